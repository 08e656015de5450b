"""Protocols: how many sequences an item gets, in which order, and what stands in them."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sys2ft.evaluation.questions import Asking, prompt_messages
from sys2ft.news.items import item_rows, load_news
from sys2ft.protocols import build_messages, compose_sequences
from sys2ft.settings.catalogue import ProtocolSettings
from sys2ft.settings.choices import ScoringSettings
from sys2ft.settings.stages import ComposeTrainingStage

ROOT = Path(__file__).parents[2]
CONTEXT = "Here is some news.\n\n{news}\n\n"
NAIVE = ProtocolSettings(ask="Tell me the news: {title}.")
PARAPHRASE = ProtocolSettings(study="paraphrase", ask="Tell me the news: {title}.")
SELF_QA = ProtocolSettings(study="self_qa", ask="{question}")
SHIPPED_ITEMS = [row for path in sorted((ROOT / "data/new_news").glob("*.yaml")) for row in item_rows(load_news(path))]
ITEMS = [
    {"item": "ferry", "title": "A ferry", "text": "The ferry calls at Craywick."},
    {"item": "dravel", "title": "A dravel", "text": "A dravel has a keel {and} a mast."},
]
FERRY = ITEMS[0]


def shadowed(protocol: ProtocolSettings, loss: bool = False) -> ProtocolSettings:
    return protocol.model_copy(update={"prefix": "own_news", "prefix_loss": loss})


def stage(protocol: ProtocolSettings, samples: int = 4, context: str = CONTEXT) -> ComposeTrainingStage:
    return ComposeTrainingStage(protocol=protocol, samples=samples, context=context)


def study_rows(kept: int, lost: int = 0, items: Any = ITEMS) -> list[dict[str, Any]]:
    """Study rows of which every item has so many; those that were not kept come between the others."""
    rows = []
    for item in items:
        name = item["item"]
        statuses = ["kept"] * kept
        for number in range(lost):
            statuses.insert(2 * number, ("unparsed", "empty")[number % 2])
        rows += [
            {
                "item": name,
                "row": number,
                "status": status,
                "question": f"What is {name} {number}?",
                "text": f"{status} {name} {number}",
            }
            for number, status in enumerate(statuses)
        ]
    return rows


def compose(protocol: ProtocolSettings, study: list, samples: int = 4, seed_parts: tuple = ("m", "p", 0)) -> list[dict]:
    return compose_sequences(ITEMS, study, stage(protocol, samples), seed_parts)


def order_of(sequences: list[dict], item: str = "ferry") -> list[int | None]:
    return [sequence["row"] for sequence in sequences if sequence["item"] == item]


# ----------------------------------------------------------------------------------------------------- number and order
budgets = given(kept=st.integers(1, 7), lost=st.integers(0, 4), samples=st.integers(1, 20), seed=st.integers(0, 5))
quick = settings(max_examples=60, deadline=None)


@quick
@budgets
def test_every_item_gets_exactly_its_samples_in_numbered_places(kept, lost, samples, seed):
    sequences = compose(PARAPHRASE, study_rows(kept, lost), samples, (seed,))
    places = [(item["item"], position) for item in ITEMS for position in range(samples)]
    assert [(sequence["item"], sequence["position"]) for sequence in sequences] == places


@quick
@budgets
def test_rows_repeat_only_after_all_kept_ones_were_used(kept, lost, samples, seed):
    study = study_rows(kept, lost)
    usable = {row["row"] for row in study if row["item"] == "ferry" and row["status"] == "kept"}
    order = order_of(compose(PARAPHRASE, study, samples, (seed,)))
    epochs = [order[start : start + kept] for start in range(0, samples, kept)]
    for epoch in epochs:
        assert len(set(epoch)) == len(epoch)
        assert set(epoch) <= usable
    for epoch in epochs[:-1]:
        assert set(epoch) == usable


@quick
@budgets
def test_rows_that_could_not_be_read_are_never_trained(kept, lost, samples, seed):
    for sequence in compose(SELF_QA, study_rows(kept, lost), samples, (seed,)):
        answer = sequence["messages"][-1].content
        assert answer.startswith(f"kept {sequence['item']} ")
        assert answer.endswith(f" {sequence['row']}")


@quick
@given(samples=st.integers(1, 12))
def test_a_protocol_without_study_data_trains_the_news_itself_as_often_as_asked_for(samples):
    sequences = compose(NAIVE, [], samples)
    assert Counter(sequence["item"] for sequence in sequences) == {"ferry": samples, "dravel": samples}
    for sequence in sequences:
        assert sequence["row"] is None
        assert sequence["messages"][-1].content in (ITEMS[0]["text"], ITEMS[1]["text"])
    assert sequences[-1]["messages"][-1].content == ITEMS[1]["text"]


def test_the_order_is_repeatable():
    study = study_rows(6)
    assert compose(PARAPHRASE, study, 20) == compose(PARAPHRASE, study, 20)


@pytest.mark.parametrize("seed_parts", [("other", "p", 0), ("m", "other", 0), ("m", "p", 1)])
def test_the_order_depends_on_every_part_of_its_seed(seed_parts):
    study = study_rows(8)
    assert order_of(compose(PARAPHRASE, study, 16)) != order_of(compose(PARAPHRASE, study, 16, seed_parts))


def test_every_epoch_has_an_order_of_its_own():
    order = order_of(compose(PARAPHRASE, study_rows(8), 16))
    assert order[:8] != order[8:]
    assert order[:8] != sorted(order[:8])


def test_items_have_orders_of_their_own():
    sequences = compose(PARAPHRASE, study_rows(8), 8)
    assert order_of(sequences, "ferry") != order_of(sequences, "dravel")


def test_an_items_order_does_not_depend_on_its_neighbours():
    study = study_rows(6)
    alone = compose_sequences(ITEMS[1:], study, stage(PARAPHRASE), ("m", "p", 0))
    assert alone == [sequence for sequence in compose(PARAPHRASE, study) if sequence["item"] == "dravel"]


def test_a_larger_number_of_samples_begins_with_the_smaller_one():
    study = study_rows(5)
    assert order_of(compose(PARAPHRASE, study, 13))[:7] == order_of(compose(PARAPHRASE, study, 7))


def test_a_protocol_and_its_shadow_go_through_the_rows_alike_with_the_same_seed():
    study = study_rows(6)
    assert order_of(compose(SELF_QA, study, 9)) == order_of(compose(shadowed(SELF_QA), study, 9))


@pytest.mark.parametrize("lost", [0, 3])
def test_an_item_without_a_row_to_train_on_is_an_error_that_names_it(lost):
    study = [*study_rows(3, items=ITEMS[:1]), *study_rows(0, lost, items=ITEMS[1:])]
    with pytest.raises(ValueError, match="item 'dravel' has no study row of kind 'paraphrase'"):
        compose(PARAPHRASE, study)


# -------------------------------------------------------------------------------------------------- what stands in them
def in_context(item: dict, question: str, context: str = CONTEXT) -> str:
    """The prompt in which evaluation puts the news before a question."""
    asking = Asking(item["item"], {"question": question}, "in_context", "none", "cloze", item, item["item"])
    (message,) = prompt_messages(asking, ScoringSettings(), context, None)
    return message.content


def closed_book(item: dict, question: str) -> str:
    asking = Asking(item["item"], {"question": question}, "closed_book", "none", "cloze", None, item["item"])
    (message,) = prompt_messages(asking, ScoringSettings(), CONTEXT, None)
    return message.content


def test_the_news_is_asked_for_by_its_title_and_trained_as_the_answer():
    ask, answer = build_messages(FERRY, NAIVE, CONTEXT, FERRY["text"], None)
    assert (ask.role, ask.content, ask.trained) == ("user", "Tell me the news: A ferry.", ())
    assert (answer.role, answer.content) == ("assistant", FERRY["text"])
    assert answer.trained == ((0, len(FERRY["text"])),)


def test_self_qa_asks_as_closed_book_evaluation_does():
    ask, answer = build_messages(FERRY, SELF_QA, CONTEXT, " Craywick. ", "Where does it call?")
    assert ask.content == closed_book(FERRY, "Where does it call?")
    assert answer.content == "Craywick."
    assert answer.trained == ((0, 9),)


@pytest.mark.parametrize("protocol", [SELF_QA, PARAPHRASE], ids=["self_qa", "paraphrase"])
def test_study_data_are_trained_without_the_news(protocol):
    texts = {item["item"]: item["text"] for item in ITEMS}
    for sequence in compose(protocol, study_rows(3), 6):
        assert all(texts[sequence["item"]] not in message.content for message in sequence["messages"])


@pytest.mark.parametrize("protocol", [SELF_QA, PARAPHRASE, NAIVE], ids=["self_qa", "paraphrase", "naive"])
@pytest.mark.parametrize("loss", [False, True])
def test_shadowed_sequences_have_the_news_in_the_words_of_the_in_context_prompt(protocol, loss):
    study = study_rows(3)
    plain = compose(protocol, study, 6)
    dark = compose(shadowed(protocol, loss), study, 6)
    items = {item["item"]: item for item in ITEMS}
    for before, after in zip(plain, dark, strict=True):
        item = items[before["item"]]
        assert after["messages"][0].content == in_context(item, before["messages"][0].content)
        assert item["text"] in after["messages"][0].content
        assert after["messages"][1] == before["messages"][1]


@pytest.mark.parametrize(
    "context", [CONTEXT, "  \n{news}\n", "{title}: {news} ", "\n\n{news}", "« {news} »\n{{as it is}}\n", "{news}"]
)
@pytest.mark.parametrize("item", [*ITEMS, *SHIPPED_ITEMS], ids=lambda item: item["item"])
def test_loss_on_the_prefix_covers_exactly_the_news(item, context):
    ask, answer = build_messages(item, shadowed(SELF_QA, loss=True), context, "Yes.", "Is it so?")
    ((start, end),) = ask.trained
    assert ask.content[start:end] == item["text"]
    assert ask.content == in_context(item, "Is it so?", context)
    assert answer.trained == ((0, 4),)


def test_a_prefix_without_loss_is_not_trained():
    ask, answer = build_messages(FERRY, shadowed(SELF_QA), CONTEXT, "Yes.", "Is it so?")
    assert ask.trained == ()
    assert answer.trained == ((0, 4),)


words = st.text(alphabet=st.sampled_from("ab {}é数\n.?"), min_size=1, max_size=20).map(str.strip).filter(bool)


@quick
@given(text=words, title=words, question=words, study=words)
def test_braces_and_line_breaks_in_texts_change_nothing(text, title, question, study):
    item = {"item": "x", "title": title, "text": text}
    ask, answer = build_messages(item, shadowed(SELF_QA, loss=True), CONTEXT, study, question)
    assert ask.content == f"Here is some news.\n\n{text}\n\n{question}"
    ((start, end),) = ask.trained
    assert ask.content[start:end] == text
    assert answer.content == study
