"""What every engine keeps to, whatever runs the teacher: one suite for all of them."""

import pytest

from sys2ft.chat import user
from sys2ft.study.requests import Request, complete
from tests.engines.speaker import CONTEXT, PHRASE


def ask(number: int, content: str, tokens: int = 12, seed: int | None = None, item: str | None = None) -> Request:
    seed = 100 + number if seed is None else seed
    item = f"item{number}" if item is None else item
    return Request(item, "write", number, range(number, number + 1), (user(content),), tokens, seed)


def ask_all(count: int, tokens: int = 12, shift: int = 0) -> list[Request]:
    return [ask(n, "Write é" + " of the ferry" * (n + 1), tokens, 100 + n + shift) for n in range(count)]


def texts(subject, requests) -> dict[str, str]:
    return {sample.request.id: sample.text for sample in complete(subject.engine, requests)}


def test_each_request_is_answered_once_and_complete_orders_them(subject):
    requests = ask_all(7)
    given = [sample.request for group in subject.engine(requests) for sample in group]
    assert sorted(request.id for request in given) == sorted(request.id for request in requests)
    assert [sample.request for sample in complete(subject.engine, requests)] == requests
    assert len({sample.text for sample in complete(subject.engine, requests)}) > 1


def test_no_requests_no_samples(subject):
    assert complete(subject.engine, []) == []


def test_the_same_requests_have_the_same_texts(subject):
    assert texts(subject, ask_all(6)) == texts(subject, ask_all(6))


def test_other_seeds_have_other_texts(sampler):
    assert texts(sampler, ask_all(6)) != texts(sampler, ask_all(6, shift=1000))


def test_two_seeds_of_one_prompt_give_two_texts(sampler):
    one, two = (ask(number, "Write of the ferry", 24) for number in range(2))
    assert len(set(texts(sampler, [one, two]).values())) == 2


def test_a_request_does_not_depend_on_what_else_is_asked(subject):
    requests = ask_all(6)
    together = texts(subject, requests)
    for request in requests[::2]:
        assert texts(subject, [request]) == {request.id: together[request.id]}
    assert texts(subject, requests[::-1]) == together


def test_a_call_that_was_given_up_leaves_nothing_behind(subject):
    requests = ask_all(9)
    whole = texts(subject, requests)
    begun = iter(subject.engine(requests))
    kept = {sample.request.id: sample.text for sample in next(begun)}
    begun.close()
    assert kept.items() <= whole.items()
    assert texts(subject, requests) == whole


def test_samples_are_given_as_they_are_finished(sampler):
    requests = [ask(number, "Say it!", 12, item="item0") for number in range(9)]
    groups = [len(group) for group in sampler.engine(requests)]
    assert sum(groups) == 9
    assert max(groups) <= 4, "more at once than are decoded together"


def test_the_end_token_ends_a_text_and_is_no_part_of_it(sampler):
    (said,) = complete(sampler.engine, [ask(0, "Say é it!", 30)])
    assert (said.text, said.finish) == (PHRASE, "stop")
    assert said.completion_tokens == len(PHRASE.encode()) + 1
    assert said.prompt_tokens == len("Say é it!".encode())


def test_a_model_that_says_nothing_gives_the_empty_text(sampler):
    samples = complete(sampler.engine, [ask(number, "Be silent.") for number in range(3)])
    assert {(sample.text, sample.finish, sample.completion_tokens) for sample in samples} == {("", "stop", 1)}


def test_the_limit_is_kept_and_said(sampler):
    for sample in complete(sampler.engine, [*ask_all(3, tokens=5), ask(3, "Say it!", 5)]):
        assert sample.completion_tokens <= 5
        assert sample.finish == "stop" or (sample.finish, sample.completion_tokens) == ("length", 5)
        assert sample.prompt_tokens > 0
    # Five bytes: the third character is begun, and an engine may show that or not.
    assert sample.finish == "length"
    assert sample.text.removesuffix("\ufffd") == PHRASE[:2]


def test_the_prompt_may_be_in_any_script(subject):
    for content in ("Où? 雪! é!", "🙂" * 40 + "!"):
        (said,) = complete(subject.engine, [ask(0, content, 20)])
        assert PHRASE in said.text
        assert said.finish == "stop"


@pytest.mark.parametrize("room", [-1000, 2], ids=["no_room", "too_little_room"])
def test_what_cannot_be_served_names_its_item(subject, room):
    request = ask(0, "x" * (CONTEXT - room - 1) + "!", 5, item="long")
    with pytest.raises(
        ValueError, match=r"long.*(exceed the context of \d+ of .|longer than the teacher's context)|study\.long"
    ):
        complete(subject.engine, [request])
    assert len(texts(subject, ask_all(2))) == 2, "the engine goes on"
