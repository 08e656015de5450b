"""Protocols: how many sequences an item gets, in which order, and what stands in them."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from sys2ft.chat import cut_tokens, encode_text
from sys2ft.cost import training_flops
from sys2ft.evaluation.questions import Asking, ask_all, prompt_messages
from sys2ft.news.items import item_rows, load_news
from sys2ft.protocols import Material, build_messages, compose_sequences, gather_material
from sys2ft.settings.catalogue import ProtocolSettings
from sys2ft.settings.choices import ScoringSettings
from sys2ft.settings.stages import ComposeTrainingStage, Part
from sys2ft.tables import SEQUENCES, build_table
from sys2ft.worked_example import mark_loss

ROOT = Path(__file__).parents[2]
CONTEXT = "Here is some news.\n\n{news}\n\n"
NAIVE = ProtocolSettings(ask="Tell me the news: {title}.")
PARAPHRASE = ProtocolSettings(study="paraphrase", ask="Tell me the news: {title}.")
IMPLICATION = ProtocolSettings(study="implication", ask="What follows from this news: {title}?")
SELF_QA = ProtocolSettings(study="self_qa", ask="{question}")
REPLAY = ProtocolSettings(replay="general", ask="{question}")
PREFIXES = ("own_news", "other_news", "filler")
SHIPPED_ITEMS = [row for path in sorted((ROOT / "data/new_news").glob("*.yaml")) for row in item_rows(load_news(path))]
FILLER = (ROOT / "data/filler.txt").read_text(encoding="utf-8").strip()
ITEMS = [
    {"item": "ferry", "title": "A ferry", "text": "The ferry calls at Craywick."},
    {"item": "dravel", "title": "A dravel", "text": "A dravel has a keel {and} a mast."},
]
FERRY = ITEMS[0]
GENERAL = [{"row": number, "question": f"How is it {number}?", "text": f"It is {number}."} for number in range(5)]
PARAMETERS = 7
SEED_PARTS = ("m", "p", 0)


def shadowed(protocol: ProtocolSettings, prefix: str = "own_news", loss: bool = False) -> ProtocolSettings:
    return protocol.model_copy(update={"prefix": prefix, "prefix_loss": loss})


def distilled(protocol: ProtocolSettings) -> ProtocolSettings:
    return protocol.model_copy(update={"objective": "distill"})


def part(protocol: ProtocolSettings, name: str = "p", weight: float = 1.0) -> Part:
    return Part(name=name, weight=weight, protocol=protocol)


def stage(*parts: ProtocolSettings | Part, samples: float = 4, **changes: Any) -> ComposeTrainingStage:
    """What a protocol, or a mix of some, is told; matched by samples unless `changes` say otherwise."""
    named = tuple(some if isinstance(some, Part) else part(some) for some in parts)
    told = {"match": "samples", "amount": samples, "count_teacher": False, "context": CONTEXT}
    return ComposeTrainingStage(parts=named, **(told | changes))


def study_row(item: str, number: int, kind: str, text: str, status: str = "kept") -> dict[str, Any]:
    question = f"What is {item} {number}?" if kind == "self_qa" else None
    return {"item": item, "kind": kind, "row": number, "status": status, "question": question, "text": text}


def study_rows(kept: int, lost: int = 0, kind: str = "paraphrase", items: Any = ITEMS) -> list[dict[str, Any]]:
    """Study rows of which every item has so many; those that were not kept come between the others."""
    rows = []
    for item in items:
        name = item["item"]
        statuses = ["kept"] * kept
        for number in range(lost):
            statuses.insert(2 * number, ("unparsed", "leaked")[number % 2])
        rows += [study_row(name, n, kind, f"{status} {kind} {name} {n}", status) for n, status in enumerate(statuses)]
    return rows


@pytest.fixture(scope="module")
def compose(tokenizer):
    """`compose_sequences` with the tiny tokenizer."""

    def run(
        told: ComposeTrainingStage,
        study: Sequence = (),
        seed_parts: tuple = SEED_PARTS,
        items: Any = ITEMS,
        **more: Any,
    ) -> list[dict[str, Any]]:
        return compose_sequences(Material(items, study, **more), told, tokenizer, PARAMETERS, seed_parts)

    return run


def order_of(sequences: Sequence[Mapping[str, Any]], item: str = "ferry") -> list[int | None]:
    return [sequence["row"] for sequence in sequences if sequence["item"] == item]


def asked(sequence: Mapping[str, Any]) -> str:
    return sequence["messages"][0]["content"]


def answered(sequence: Mapping[str, Any]) -> str:
    return sequence["messages"][1]["content"]


# ----------------------------------------------------------------------------------------------------- number and order
budgets = given(kept=st.integers(1, 7), lost=st.integers(0, 4), samples=st.integers(1, 20), seed=st.integers(0, 5))
quick = settings(max_examples=40, deadline=None)


@quick
@budgets
def test_every_item_gets_exactly_its_samples_in_numbered_places(compose, kept, lost, samples, seed):
    sequences = compose(stage(PARAPHRASE, samples=samples), study_rows(kept, lost), (seed,))
    places = [(item["item"], position) for item in ITEMS for position in range(samples)]
    assert [(sequence["item"], sequence["position"]) for sequence in sequences] == places


@quick
@budgets
def test_rows_repeat_only_after_all_kept_ones_were_used(compose, kept, lost, samples, seed):
    study = study_rows(kept, lost)
    usable = {row["row"] for row in study if row["item"] == "ferry" and row["status"] == "kept"}
    order = order_of(compose(stage(PARAPHRASE, samples=samples), study, (seed,)))
    epochs = [order[start : start + kept] for start in range(0, samples, kept)]
    for epoch in epochs:
        assert len(set(epoch)) == len(epoch)
        assert set(epoch) <= usable
    for epoch in epochs[:-1]:
        assert set(epoch) == usable


@quick
@budgets
def test_rows_that_were_left_out_are_never_trained(compose, kept, lost, samples, seed):
    for sequence in compose(stage(SELF_QA, samples=samples), study_rows(kept, lost, "self_qa"), (seed,)):
        assert answered(sequence) == f"kept self_qa {sequence['item']} {sequence['row']}"
        assert asked(sequence) == f"What is {sequence['item']} {sequence['row']}?"


@quick
@given(samples=st.integers(1, 12))
def test_a_protocol_without_study_data_trains_the_news_itself_as_often_as_asked_for(compose, samples):
    sequences = compose(stage(NAIVE, samples=samples))
    assert Counter(sequence["item"] for sequence in sequences) == {"ferry": samples, "dravel": samples}
    texts = {item["item"]: item["text"] for item in ITEMS}
    for sequence in sequences:
        assert sequence["row"] is None
        assert answered(sequence) == texts[sequence["item"]]


def test_the_order_is_repeatable(compose):
    study = study_rows(6)
    assert compose(stage(PARAPHRASE, samples=20), study) == compose(stage(PARAPHRASE, samples=20), study)


@pytest.mark.parametrize("seed_parts", [("other", "p", 0), ("m", "other", 0), ("m", "p", 1)])
def test_the_order_depends_on_every_part_of_its_seed(compose, seed_parts):
    told, study = stage(PARAPHRASE, samples=16), study_rows(8)
    assert order_of(compose(told, study)) != order_of(compose(told, study, seed_parts))


def test_the_order_depends_on_the_name_of_the_protocol(compose):
    study = study_rows(8)
    one, other = (stage(part(PARAPHRASE, name), samples=16) for name in ("one", "other"))
    assert order_of(compose(one, study)) != order_of(compose(other, study))


def test_every_epoch_has_an_order_of_its_own(compose):
    order = order_of(compose(stage(PARAPHRASE, samples=16), study_rows(8)))
    assert order[:8] != order[8:]
    assert order[:8] != sorted(order[:8])


def test_items_have_orders_of_their_own(compose):
    sequences = compose(stage(PARAPHRASE, samples=8), study_rows(8))
    assert order_of(sequences, "ferry") != order_of(sequences, "dravel")


def test_an_items_order_does_not_depend_on_its_neighbours(compose):
    told, study = stage(PARAPHRASE), study_rows(6)
    alone = compose(told, study, items=ITEMS[1:])
    assert alone == [sequence for sequence in compose(told, study) if sequence["item"] == "dravel"]


def test_a_larger_number_of_samples_begins_with_the_smaller_one(compose):
    study = study_rows(5)
    more, fewer = (order_of(compose(stage(PARAPHRASE, samples=samples), study)) for samples in (13, 7))
    assert more[:7] == fewer


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_protocol_and_its_shadow_go_through_the_rows_alike_with_the_same_seed(compose, prefix):
    study = study_rows(6, kind="self_qa")
    plain, dark = stage(SELF_QA, samples=9), stage(shadowed(SELF_QA, prefix), samples=9)
    assert order_of(compose(plain, study)) == order_of(compose(dark, study, filler=FILLER))


@pytest.mark.parametrize("lost", [0, 3])
def test_an_item_without_a_row_to_train_on_is_an_error_that_names_item_and_kind(compose, lost):
    study = [*study_rows(3, items=ITEMS[:1]), *study_rows(0, lost, items=ITEMS[1:]), *study_rows(2, kind="self_qa")]
    with pytest.raises(ValueError, match="item 'dravel' has no study row of kind 'paraphrase' to train on"):
        compose(stage(PARAPHRASE), study)


def test_a_chat_that_the_template_changes_is_an_error_that_names_item_protocol_and_row(llama):
    shouting = PreTrainedTokenizerFast.from_pretrained(llama.parent / "weights")
    shouting.chat_template = "{% for m in messages %}{{ m['content'] | upper }}{% endfor %}"
    with pytest.raises(ValueError, match="item 'ferry', protocol 'p', row 0: the chat template changed the text"):
        compose_sequences(Material(ITEMS, study_rows(1)), stage(PARAPHRASE), shouting, PARAMETERS, SEED_PARTS)


@pytest.mark.parametrize(
    "protocol", [NAIVE, PARAPHRASE, shadowed(SELF_QA, "filler", loss=True), REPLAY, distilled(SELF_QA)]
)
def test_sequences_fit_their_table(compose, protocol):
    study = study_rows(3) + study_rows(3, kind="self_qa")
    rows = compose(stage(protocol), study, filler=FILLER, replay={"general": GENERAL})
    keys = {"model": "m", "protocol": "p", "teacher": "self", "split": "s", "seed": 0}
    assert build_table(SEQUENCES, rows, keys).num_rows == 8
    for row in rows:
        assert row["n_tokens"] == len(row["token_ids"]) == len(row["loss_mask"])
        assert row["n_loss_tokens"] == sum(row["loss_mask"])


# -------------------------------------------------------------------------------------------------------------- budgets
PRICES = {
    "tokens": lambda row: row["n_loss_tokens"],
    "flops": lambda row: PARAMETERS * (4 * row["n_tokens"] + 2 * len(row["context_ids"] or ())),
}
lengths = st.lists(st.integers(1, 40), min_size=1, max_size=6)


def rows_of_lengths(lengths: Sequence[int], items: Any = ITEMS) -> list[dict[str, Any]]:
    return [study_row(item["item"], n, "paraphrase", "x" * size) for item in items for n, size in enumerate(lengths)]


def costs_of(sequences: Sequence[Mapping[str, Any]], match: str, item: str = "ferry") -> list[float]:
    return [PRICES[match](sequence) for sequence in sequences if sequence["item"] == item]


def nearest(costs: Sequence[float], amount: float) -> int:
    """How many of the costs, one at least, come nearest to the amount; the fewer where two are as near."""
    sums = list(itertools.accumulate(costs))
    assert sums[-1] >= amount, "the costs do not reach the amount"
    return 1 + min(range(len(sums)), key=lambda place: abs(sums[place] - amount))


@quick
@given(lengths=lengths, share=st.floats(0.001, 1), match=st.sampled_from(["tokens", "flops"]))
@example(lengths=[40], share=0.001, match="tokens")
def test_an_item_gets_the_sequences_that_come_nearest_to_its_budget(compose, lengths, share, match):
    study = rows_of_lengths(lengths)
    endless = compose(stage(PARAPHRASE, samples=60), study)
    amount = share * min(sum(costs_of(endless, match, item["item"])) for item in ITEMS)
    sequences = compose(stage(PARAPHRASE, match=match, amount=amount), study)
    for item in ("ferry", "dravel"):
        costs = costs_of(sequences, match, item)
        assert len(costs) == nearest(costs_of(endless, match, item), amount)
        assert len(costs) == 1 or abs(sum(costs) - amount) <= max(costs_of(endless, match, item)) / 2
        assert order_of(sequences, item) == order_of(endless, item)[: len(costs)]


def test_a_budget_smaller_than_a_sequence_trains_one(compose):
    for match in ("tokens", "flops"):
        sequences = compose(stage(PARAPHRASE, match=match, amount=1), rows_of_lengths([30, 20]))
        assert [(row["item"], row["position"]) for row in sequences] == [("ferry", 0), ("dravel", 0)]


def test_items_of_longer_texts_get_fewer_sequences(compose):
    study = rows_of_lengths([3], ITEMS[:1]) + rows_of_lengths([11], ITEMS[1:])
    sequences = compose(stage(PARAPHRASE, match="tokens", amount=24), study)
    # A token a letter, and the end of the turn.
    assert Counter(row["item"] for row in sequences) == {"ferry": 6, "dravel": 2}
    assert {row["n_loss_tokens"] for row in sequences} == {4, 12}


def test_a_prefix_costs_flops_and_no_trained_tokens_unless_it_has_loss(compose):
    study = rows_of_lengths([10])

    def count(match: str, protocol: ProtocolSettings) -> int:
        amount = {"tokens": 110, "flops": training_flops(PARAMETERS, 1000)}[match]
        return len(order_of(compose(stage(protocol, match=match, amount=amount), study)))

    dark, loss = shadowed(PARAPHRASE), shadowed(PARAPHRASE, loss=True)
    assert count("tokens", PARAPHRASE) == count("tokens", dark) == 10 > count("tokens", loss)
    assert count("flops", PARAPHRASE) > count("flops", dark) == count("flops", loss)


def flops(amount: float, count_teacher: bool = True) -> ComposeTrainingStage:
    return stage(PARAPHRASE, match="flops", amount=amount, count_teacher=count_teacher)


@quick
@given(lengths=lengths, training=st.integers(1, 40_000), teacher=st.integers(0, 10**6))
def test_what_the_teacher_cost_is_taken_from_the_budget(compose, lengths, training, teacher):
    study, costs = rows_of_lengths(lengths), {"ferry": float(teacher), "dravel": 0.0}
    counted = compose(flops(training + teacher), study, teacher_flops=costs)
    alone = compose(flops(training, count_teacher=False), study, teacher_flops=costs)
    assert order_of(counted) == order_of(alone)


def test_an_item_whose_teacher_wrote_more_is_trained_less(compose):
    step = training_flops(PARAMETERS, compose(stage(PARAPHRASE), study_rows(1))[0]["n_tokens"])
    costs = {"ferry": 6 * step, "dravel": step}
    sequences = compose(flops(8 * step), study_rows(1), teacher_flops=costs)
    assert len(order_of(sequences, "ferry")) == 2
    assert len(order_of(sequences, "dravel")) in (6, 7)


@pytest.mark.parametrize("cost", [5e4, 7.25e4])
def test_a_teacher_that_costs_the_whole_budget_is_an_error_with_item_and_figures(compose, cost):
    with pytest.raises(ValueError, match="item 'dravel': writing its study data took") as caught:
        compose(flops(5e4), study_rows(3), teacher_flops={"ferry": 1.0, "dravel": cost})
    message = str(caught.value)
    assert f"took {cost:.3g} FLOPs of a budget of 5e+04" in message
    for mend in ("raise budget.flops", "lower budget.study_rows", "budget.count_teacher: false"):
        assert mend in message


def test_a_teacher_whose_cost_is_unknown_cannot_be_counted(compose):
    costs = {"ferry": 0.0, "dravel": None}
    with pytest.raises(ValueError, match=r"item 'dravel': what its teacher cost is unknown .*count_teacher: false"):
        compose(flops(1e5), study_rows(3), teacher_flops=costs)


@pytest.mark.parametrize("cost", [None, 1e30])
def test_a_teacher_that_is_not_counted_may_cost_what_it_wants(compose, cost):
    sequences = compose(stage(PARAPHRASE), study_rows(3), teacher_flops={"ferry": cost, "dravel": cost})
    assert len(sequences) == 8


def test_a_protocol_without_a_teacher_has_the_whole_budget(compose):
    counted = stage(NAIVE, match="flops", amount=1e5, count_teacher=True)
    assert compose(counted) == compose(stage(NAIVE, match="flops", amount=1e5))


def test_material_has_the_cost_of_all_kinds_of_an_item():
    counts = [
        {"item": "ferry", "teacher_flops": 3.0},
        {"item": "dravel", "teacher_flops": 5.0},
        {"item": "ferry", "teacher_flops": 4.0},
        {"item": "dravel", "teacher_flops": None},
    ]
    third = {"item": "third", "title": "T", "text": "T."}
    material = gather_material(stage(PARAPHRASE), [*ITEMS, third], [], counts, [], "")
    assert material.teacher_flops == {"ferry": 7.0, "dravel": None, "third": 0}


def test_material_has_general_text_by_the_names_that_the_parts_give_it():
    twice = [part(REPLAY, "a"), part(NAIVE, "b"), part(REPLAY.model_copy(update={"replay": "other"}), "c")]
    told = stage(*twice, part(REPLAY, "d"))
    other = [{"row": 0, "question": "Other?", "text": "Other."}]
    assert gather_material(told, ITEMS, [], [], [GENERAL, other], "").replay == {"general": GENERAL, "other": other}


def test_general_text_that_nobody_named_is_an_error():
    with pytest.raises(ValueError, match="shorter"):
        gather_material(stage(REPLAY), ITEMS, [], [], [], "")


# ---------------------------------------------------------------------------------------------------------------- mixes
def largest_distance(compose: Any, weights: Sequence[float], samples: int) -> float:
    """How far a part's count is from its weighted share at most, over all beginnings of the training order."""
    parts = [part(NAIVE, f"p{number}", weight) for number, weight in enumerate(weights)]
    counts, distance = Counter(), 0.0
    for place, sequence in enumerate(compose(stage(*parts, samples=samples), items=ITEMS[:1]), 1):
        counts[sequence["part"]] += 1
        shares = {some.name: place * some.weight / sum(weights) for some in parts}
        distance = max(distance, *(abs(counts[name] - share) for name, share in shares.items()))
    return distance


@quick
@given(weights=st.lists(st.floats(0.05, 20), min_size=2, max_size=3), samples=st.integers(1, 60))
@example(weights=[1, 1], samples=9)
@example(weights=[3, 1], samples=40)
@example(weights=[0.1, 0.2, 0.7], samples=60)
def test_every_beginning_holds_each_part_within_one_sequence_of_its_share(compose, weights, samples):
    assert largest_distance(compose, weights, samples) < 1


@pytest.mark.parametrize("weights", [[2, 0.5, 50, 50], [1, 10, 1, 100, 100, 100, 7, 7]])
def test_a_mix_of_many_parts_keeps_its_shares_too(compose, weights):
    assert largest_distance(compose, weights, 80) < 1


def test_the_part_with_the_larger_weight_is_first_and_equal_parts_take_turns(compose):
    def names(*weights: float) -> str:
        parts = [part(NAIVE, name, weight) for name, weight in zip("ab", weights, strict=True)]
        return "".join(row["part"] for row in compose(stage(*parts, samples=8), items=ITEMS[:1]))

    assert names(1, 1) == names(0.3, 0.3) == "abababab"
    assert names(3, 1) == "aabaaaba"
    assert names(1, 3)[0] == "b"


def test_parts_keep_their_own_ask_and_prefix(compose):
    parts = (part(shadowed(SELF_QA, loss=True), "qa"), part(PARAPHRASE, "say"), part(NAIVE, "news"))
    study = study_rows(3) + study_rows(3, kind="self_qa")
    mixed = compose(stage(*parts, samples=9), study)
    alone = {some.name: compose(stage(some, samples=3), study) for some in parts}
    for item in ("ferry", "dravel"):
        for name, sequences in alone.items():
            found = [row for row in mixed if (row["item"], row["part"]) == (item, name)]
            assert [row | {"position": 0} for row in found] == [
                row | {"position": 0} for row in sequences if row["item"] == item
            ]


def test_the_order_of_a_part_does_not_depend_on_what_it_is_mixed_with(compose):
    study = study_rows(7) + study_rows(7, kind="self_qa")

    def rows(*parts: Part) -> list:
        mixed = compose(stage(*parts, samples=24), study, replay={"general": GENERAL})
        return [row["row"] for row in mixed if row["part"] == "qa" and row["item"] == "ferry"]

    alone = rows(part(SELF_QA, "qa"))
    for others in ([part(PARAPHRASE, "say")], [part(REPLAY, "r", 3), part(NAIVE, "news", 2)]):
        beside = rows(part(SELF_QA, "qa"), *others)
        assert beside == alone[: len(beside)]


def test_the_news_itself_can_be_mixed_in(compose):
    sequences = compose(stage(part(NAIVE, "news"), part(PARAPHRASE, "say", 2), samples=9), study_rows(4))
    for item in ITEMS:
        own = [row for row in sequences if row["item"] == item["item"]]
        assert Counter(row["part"] for row in own) == {"news": 3, "say": 6}
        for row in own:
            assert (row["row"] is None) == (row["part"] == "news")
            assert (answered(row) == item["text"]) == (row["part"] == "news")


@quick
@given(kept=st.integers(1, 5), lost=st.integers(0, 3), samples=st.integers(3, 15), seed=st.integers(0, 3))
def test_no_part_trains_rows_of_a_kind_that_another_part_studies(compose, kept, lost, samples, seed):
    kinds = {"say": PARAPHRASE, "then": IMPLICATION, "qa": SELF_QA}
    study = [row for protocol in kinds.values() for row in study_rows(kept, lost, protocol.study or "")]
    told = stage(*(part(protocol, name) for name, protocol in kinds.items()), samples=samples)
    for row in compose(told, study, (seed,)):
        assert answered(row) == f"kept {kinds[row['part']].study} {row['item']} {row['row']}"


def test_general_text_is_trained_with_its_own_questions_whatever_the_item(compose):
    told = stage(part(SELF_QA, "qa", 3), part(REPLAY, "general"), samples=16)
    sequences = compose(told, study_rows(4, kind="self_qa"), replay={"general": GENERAL})
    replayed = [row for row in sequences if row["part"] == "general"]
    assert Counter(row["item"] for row in replayed) == {"ferry": 4, "dravel": 4}
    for row in replayed:
        assert (asked(row), answered(row)) == (GENERAL[row["row"]]["question"], GENERAL[row["row"]]["text"])
    assert order_of(replayed, "ferry") != order_of(replayed, "dravel")


def test_each_item_has_an_order_of_its_own_in_every_part(compose):
    told = stage(part(PARAPHRASE, "say"), part(SELF_QA, "qa"), samples=16)
    sequences = compose(told, study_rows(8) + study_rows(8, kind="self_qa"))
    for name in ("say", "qa"):
        some = [row for row in sequences if row["part"] == name]
        assert set(order_of(some, "ferry")) == set(order_of(some, "dravel")) == set(range(8))
        assert order_of(some, "ferry") != order_of(some, "dravel")


def test_two_parts_that_study_the_same_kind_go_through_it_in_orders_of_their_own(compose):
    told = stage(part(PARAPHRASE, "plain"), part(shadowed(PARAPHRASE), "dark"), samples=16)
    sequences = compose(told, study_rows(8))
    plain, dark = ([row for row in sequences if row["part"] == name] for name in ("plain", "dark"))
    assert set(order_of(plain)) == set(order_of(dark)) == set(range(8))
    assert order_of(plain) != order_of(dark)


def test_a_part_whose_kind_kept_nothing_of_an_item_is_an_error_though_others_kept_some(compose):
    study = [*study_rows(3, kind="self_qa"), *study_rows(3, items=ITEMS[:1]), *study_rows(0, 2, items=ITEMS[1:])]
    with pytest.raises(ValueError, match="item 'dravel' has no study row of kind 'paraphrase' to train on"):
        compose(stage(part(SELF_QA, "qa"), part(PARAPHRASE, "say")), study)


def test_a_set_of_general_text_without_rows_is_an_error_that_names_the_item(compose):
    with pytest.raises(ValueError, match="item 'ferry' has no general text to train on"):
        compose(stage(REPLAY), replay={"general": []})


def test_a_mix_is_matched_as_a_whole(compose):
    study = study_rows(3) + study_rows(3, kind="self_qa")
    told = stage(part(SELF_QA, "qa"), part(shadowed(PARAPHRASE, loss=True), "say"), match="tokens", amount=400)
    endless = compose(told.model_copy(update={"match": "samples", "amount": 60}), study)
    mixed = compose(told, study)
    assert len(order_of(mixed)) == nearest(costs_of(endless, "tokens"), 400)
    assert {row["part"] for row in mixed} == {"qa", "say"}


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
    ask, answer = build_messages("A ferry", None, NAIVE, CONTEXT, FERRY["text"], None)
    assert (ask.role, ask.content, ask.trained) == ("user", "Tell me the news: A ferry.", ())
    assert (answer.role, answer.content) == ("assistant", FERRY["text"])
    assert answer.trained == ((0, len(FERRY["text"])),)


def test_self_qa_asks_as_closed_book_evaluation_does():
    ask, answer = build_messages("A ferry", None, SELF_QA, CONTEXT, " Craywick. ", "Where does it call?")
    assert ask.content == closed_book(FERRY, "Where does it call?")
    assert answer.content == "Craywick."
    assert answer.trained == ((0, 9),)


@pytest.mark.parametrize("protocol", [SELF_QA, PARAPHRASE], ids=["self_qa", "paraphrase"])
def test_study_data_are_trained_without_the_news(compose, protocol):
    texts = {item["item"]: item["text"] for item in ITEMS}
    for sequence in compose(stage(protocol, samples=6), study_rows(3, kind=protocol.study)):
        assert all(texts[sequence["item"]] not in message["content"] for message in sequence["messages"])


def test_without_a_prefix_the_answer_alone_is_trained(compose, tokenizer):
    (sequence,) = compose(stage(SELF_QA, samples=1), study_rows(1, kind="self_qa"), items=ITEMS[:1])
    marked = mark_loss(tokenizer, sequence["token_ids"], sequence["loss_mask"])
    assert marked == "user:\nWhat is ferry 0?<|im_end|>\nassistant:\n⟦kept self_qa ferry 0<|im_end|>⟧\n"


# ------------------------------------------------------------------------------------------------------------- prefixes
def test_the_items_of_these_tests_have_a_next_one():
    assert [item["item"] for item in ITEMS] == ["ferry", "dravel"]


def prefix_of(item: Mapping[str, Any], prefix: str, tokenizer: Any) -> str:
    """What is to stand before the sequences of one of `ITEMS`."""
    (other,) = (some for some in ITEMS if some["item"] != item["item"])
    return {
        "own_news": item["text"],
        "other_news": other["text"],
        "filler": cut_tokens(tokenizer, FILLER, item["text"]),
    }[prefix]


@pytest.mark.parametrize("protocol", [SELF_QA, PARAPHRASE, NAIVE], ids=["self_qa", "paraphrase", "naive"])
@pytest.mark.parametrize("loss", [False, True])
def test_shadowed_sequences_have_the_news_in_the_words_of_the_in_context_prompt(compose, protocol, loss):
    study = study_rows(3, kind=protocol.study or "none")
    plain = compose(stage(protocol, samples=6), study)
    dark = compose(stage(shadowed(protocol, loss=loss), samples=6), study)
    items = {item["item"]: item for item in ITEMS}
    for before, after in zip(plain, dark, strict=True):
        item = items[before["item"]]
        assert asked(after) == in_context(item, asked(before))
        assert item["text"] in asked(after)
        assert answered(after) == answered(before)


@pytest.mark.parametrize("loss", [False, True])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_loss_on_a_prefix_marks_exactly_its_text_and_without_it_nothing(compose, tokenizer, prefix, loss):
    told = stage(shadowed(SELF_QA, prefix, loss))
    items = {item["item"]: item for item in ITEMS}
    for row in compose(told, study_rows(2, kind="self_qa"), filler=FILLER):
        before = prefix_of(items[row["item"]], prefix, tokenizer)
        before = f"⟦{before}⟧" if loss else before
        question, answer = f"What is {row['item']} {row['row']}?", f"kept self_qa {row['item']} {row['row']}"
        assert mark_loss(tokenizer, row["token_ids"], row["loss_mask"]) == (
            f"user:\nHere is some news.\n\n{before}\n\n{question}<|im_end|>\nassistant:\n⟦{answer}<|im_end|>⟧\n"
        )


@quick
@given(number=st.integers(2, 7), title=st.booleans())
def test_the_other_news_is_the_next_item_of_the_split_and_never_the_own(compose, number, title):
    items = [{"item": f"i{n}", "title": f"Title {n}", "text": f"News number {n}."} for n in range(number)]
    told = stage(shadowed(NAIVE, "other_news"), samples=1, context="{title}: {news} " if title else CONTEXT)
    for n, row in enumerate(compose(told, items=items)):
        following = (n + 1) % number
        before = f"Title {following}: " if title else "Here is some news.\n\n"
        assert asked(row).startswith(f"{before}News number {following}.")
        assert f"News number {n}." not in asked(row)


def test_the_other_news_is_the_one_of_evaluation(compose):
    items = [{"item": f"i{n}", "title": f"Title {n}", "text": f"News number {n}."} for n in range(4)]
    questions = [{"item": item["item"], "question": f"Tell me the news: {item['title']}."} for item in items]
    scoring = ScoringSettings(conditions=("closed_book", "other_news"), controls=(), modes=("cloze",))
    readers = {item["item"]: item["item"] for item in items}
    askings = [one for one in ask_all(items, questions, scoring, readers) if one.condition == "other_news"]
    prompts = [prompt_messages(asking, scoring, CONTEXT, None)[0].content for asking in askings]
    assert [asked(row) for row in compose(stage(shadowed(NAIVE, "other_news"), samples=1), items=items)] == prompts


def filler_before(compose: Any, text: str, filler: str) -> str:
    items = [{"item": "a", "title": "A", "text": text}]
    (row,) = compose(stage(shadowed(NAIVE, "filler"), samples=1), items=items, filler=filler)
    return asked(row).removeprefix("Here is some news.\n\n").removesuffix("\n\nTell me the news: A.")


@quick
@given(length=st.integers(1, 200), words=st.lists(st.sampled_from(["a", "bed", "garden"]), min_size=1, max_size=20))
def test_filler_has_about_as_many_tokens_as_the_news(compose, tokenizer, length, words):
    filler = " ".join(words)
    prefix = filler_before(compose, "x" * length, filler)
    assert abs(len(encode_text(tokenizer, prefix)) - length) <= 2
    assert filler.startswith(prefix) or prefix.startswith(filler)


@pytest.mark.parametrize("item", SHIPPED_ITEMS[::10], ids=lambda item: item["item"])
def test_the_shipped_filler_stands_in_for_the_shipped_news(compose, tokenizer, item):
    prefix = filler_before(compose, item["text"], FILLER)
    assert FILLER.startswith(prefix)
    assert abs(len(encode_text(tokenizer, prefix)) - len(encode_text(tokenizer, item["text"]))) <= 2


def test_filler_is_repeated_for_news_that_is_longer_than_it(compose, tokenizer):
    text = "word " * 1200 + "end."
    prefix = filler_before(compose, text, FILLER)
    assert prefix.startswith(f"{FILLER}\n\n{FILLER[:100]}")
    assert abs(len(encode_text(tokenizer, prefix)) - len(encode_text(tokenizer, text))) <= 2


def test_filler_has_no_title(compose):
    told = stage(shadowed(NAIVE, "filler"), samples=1, context="{title}| {news}\n\n")
    for row in compose(told, filler=FILLER):
        assert asked(row).startswith("| The morning begins")


@pytest.mark.parametrize(
    "context", [CONTEXT, "  \n{news}\n", "{title}: {news} ", "\n\n{news}", "« {news} »\n{{as it is}}\n", "{news}"]
)
@pytest.mark.parametrize("item", [*ITEMS, *SHIPPED_ITEMS], ids=lambda item: item["item"])
def test_loss_on_the_prefix_covers_exactly_the_news(item, context):
    prefix = (item["title"], item["text"])
    ask, answer = build_messages(item["title"], prefix, shadowed(SELF_QA, loss=True), context, "Yes.", "Is it so?")
    ((start, end),) = ask.trained
    assert ask.content[start:end] == item["text"]
    assert ask.content == in_context(item, "Is it so?", context)
    assert answer.trained == ((0, 4),)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_prefix_without_loss_is_not_trained(prefix):
    protocol = shadowed(SELF_QA, prefix)
    ask, answer = build_messages("A ferry", ("Other", "Some text."), protocol, CONTEXT, "Yes.", "Is it so?")
    assert "Some text." in ask.content
    assert ask.trained == ()
    assert answer.trained == ((0, 4),)


words = st.text(alphabet=st.sampled_from("ab {}é数\n.?"), min_size=1, max_size=20).map(str.strip).filter(bool)


@quick
@given(text=words, title=words, question=words, study=words)
def test_braces_and_line_breaks_in_texts_change_nothing(text, title, question, study):
    dark = shadowed(SELF_QA, loss=True)
    ask, answer = build_messages(title, (title, text), dark, CONTEXT, study, question)
    assert ask.content == f"Here is some news.\n\n{text}\n\n{question}"
    ((start, end),) = ask.trained
    assert ask.content[start:end] == text
    assert answer.content == study


def test_news_that_stands_in_its_title_too_is_marked_in_its_own_place():
    dark = shadowed(NAIVE, loss=True)
    ask, _ = build_messages("It rained.", ("It rained.", "It rained."), dark, "{title} | {news} | ", "Yes.", None)
    assert ask.trained == ((13, 23),)


# --------------------------------------------------------------------------------------------------------- distillation
TRAINED = {"naive": NAIVE, "paraphrase": PARAPHRASE, "self_qa": SELF_QA}


def all_kinds(kept: int) -> list[dict[str, Any]]:
    return study_rows(kept) + study_rows(kept, kind="self_qa")


def masked(tokens: Sequence[int], mask: Sequence[bool]) -> list[int]:
    return [token for token, loss in zip(tokens, mask, strict=True) if loss]


@pytest.mark.parametrize("protocol", TRAINED.values(), ids=TRAINED)
def test_a_distilled_sequence_is_the_plain_one_beside_the_same_chat_with_the_item_in_context(compose, protocol):
    """What the base reads is token by token what a shadowed sequence is, in the words of in-context evaluation."""
    study = all_kinds(3)
    plain, dark, both = (
        compose(stage(some, samples=5), study) for some in (protocol, shadowed(protocol), distilled(protocol))
    )
    for before, after, row in zip(plain, dark, both, strict=True):
        assert row == before | {"context_ids": after["token_ids"], "context_mask": after["loss_mask"]}
        assert row["token_ids"] != row["context_ids"]


@pytest.mark.parametrize("protocol", TRAINED.values(), ids=TRAINED)
def test_the_item_stands_in_the_context_alone_and_is_not_trained(compose, tokenizer, protocol):
    items = {item["item"]: item for item in ITEMS}
    for row in compose(stage(distilled(protocol), samples=3), all_kinds(3)):
        news, end = items[row["item"]]["text"], "<|im_end|>"
        marked = mark_loss(tokenizer, row["context_ids"], row["context_mask"])
        expected = f"user:\n{in_context(items[row['item']], asked(row))}{end}\nassistant:\n⟦{answered(row)}{end}⟧\n"
        assert marked == expected
        assert news in asked_text(marked)
        assert news not in asked_text(mark_loss(tokenizer, row["token_ids"], row["loss_mask"]))


def asked_text(rendered: str) -> str:
    return rendered.partition("assistant:\n")[0]


@quick
@given(text=st.text("ab é数\n.?", min_size=1, max_size=30).map(str.strip).filter(bool), question=st.booleans())
def test_both_have_the_same_trained_tokens_in_the_same_order(compose, text, question):
    protocol = SELF_QA if question else PARAPHRASE
    study = [study_row(item["item"], 0, protocol.study or "", text) for item in ITEMS]
    for row in compose(stage(distilled(protocol), samples=1), study):
        assert sum(row["context_mask"]) == row["n_loss_tokens"] == sum(row["loss_mask"]) > 0
        assert masked(row["context_ids"], row["context_mask"]) == masked(row["token_ids"], row["loss_mask"])
        assert len(row["context_ids"]) == len(row["context_mask"]) > row["n_tokens"]


@pytest.mark.parametrize("protocol", [NAIVE, SELF_QA, shadowed(SELF_QA, loss=True), REPLAY])
def test_what_is_not_distilled_has_no_context(compose, protocol):
    for row in compose(stage(protocol), all_kinds(3), replay={"general": GENERAL}):
        assert (row["context_ids"], row["context_mask"]) == (None, None)


def test_a_context_in_another_wording_is_that_of_the_settings(compose, tokenizer):
    (row,) = compose(stage(distilled(NAIVE), samples=1, context="{title}| {news} |"), items=ITEMS[:1])
    assert mark_loss(tokenizer, row["context_ids"], row["context_mask"]).startswith(
        "user:\nA ferry| The ferry calls at Craywick. |Tell me the news: A ferry."
    )


def test_a_budget_of_flops_counts_what_the_base_reads(compose):
    study = rows_of_lengths([10])
    plain, both = (compose(stage(some, samples=60), study) for some in (PARAPHRASE, distilled(PARAPHRASE)))
    row = next(row for row in both if row["item"] == "ferry")
    cost = PARAMETERS * (4 * row["n_tokens"] + 2 * len(row["context_ids"]))
    assert training_flops(PARAMETERS, row["n_tokens"], len(row["context_ids"])) == cost
    trained, distilled_rows = (
        order_of(compose(stage(some, match="flops", amount=20 * cost), study))
        for some in (PARAPHRASE, distilled(PARAPHRASE))
    )
    assert len(distilled_rows) == 20
    assert len(trained) == nearest(costs_of(plain, "flops"), 20 * cost) > 25


def test_a_budget_of_trained_tokens_is_the_same_for_what_is_distilled(compose):
    study = rows_of_lengths([10, 7, 12])
    told = [stage(some, match="tokens", amount=150) for some in (PARAPHRASE, distilled(PARAPHRASE))]
    assert order_of(compose(told[0], study)) == order_of(compose(told[1], study))


def test_a_mix_distils_the_parts_that_say_so(compose):
    parts = (part(distilled(SELF_QA), "qa", 2), part(PARAPHRASE, "say"), part(REPLAY, "general"))
    sequences = compose(stage(*parts, samples=12), all_kinds(4), replay={"general": GENERAL})
    assert Counter((row["part"], row["context_ids"] is not None) for row in sequences) == {
        ("qa", True): 12, ("say", False): 6, ("general", False): 6,
    }  # fmt: skip
    alone = compose(stage(part(distilled(SELF_QA), "qa"), samples=6), all_kinds(4))
    context = {(row["item"], row["row"]): row["context_ids"] for row in alone}
    for row in sequences:
        if row["part"] == "qa":
            assert row["context_ids"] == context[row["item"], row["row"]]


def test_a_context_that_the_template_changes_is_an_error_that_names_item_protocol_and_row(llama):
    """The chat alone is rendered as it stands; with the news, which is longer, it is not."""
    cutting = PreTrainedTokenizerFast.from_pretrained(llama.parent / "weights")
    cutting.chat_template = "{% for m in messages %}{{ m['content'][:40] }}{% endfor %}"
    told = stage(part(distilled(NAIVE), "short"), samples=1)
    items = [{"item": "x", "title": "X", "text": "It rains."}]
    compose_sequences(Material(items), stage(NAIVE, samples=1), cutting, PARAMETERS, SEED_PARTS)
    with pytest.raises(ValueError, match="item 'x', protocol 'short', row None: the chat template changed the text"):
        compose_sequences(Material(items), told, cutting, PARAMETERS, SEED_PARTS)
