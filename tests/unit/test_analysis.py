"""Measures against answers worked out by hand, and intervals that mean what they say."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sys2ft.analysis.bootstrap import (
    Interval,
    Intervals,
    Resampler,
    correct_holm,
    estimate_ratio,
    measure_spread,
)
from sys2ft.analysis.cells import summarise_cell
from sys2ft.analysis.effects import estimate_effects
from sys2ft.analysis.measures import FAMILIARITY, FAMILIES, NO_GAIN, TOO_FEW
from sys2ft.analysis.provenance import summarise_origins
from sys2ft.analysis.scores import COLUMNS
from sys2ft.settings.choices import StatisticsSettings
from sys2ft.settings.stages import EstimateEffectsStage
from sys2ft.tables import ANSWERS, CELLS, RETENTION, SCHEMAS, build_table

# One digit a question, one word an item: right or wrong. Four items (a, b, c, d) of two questions each.
BASE = {
    ("closed_book", "none"): "10 00 01 00",  # 2 of 8
    ("closed_book", "blank_question"): "00 00 10 00",  # 1
    ("in_context", "none"): "11 11 11 10",  # 7
    ("in_context", "blank_question"): "00 10 10 00",  # 2
    ("other_news", "none"): "10 00 01 10",  # 3
}
TUNED = {
    ("closed_book", "none"): "11 10 11 00",  # 5
    ("closed_book", "blank_question"): "10 10 00 00",  # 2
    ("closed_book", "other_adapter"): "00 10 00 00",  # 1
    ("in_context", "none"): "11 01 10 01",  # 5
    ("in_context", "blank_question"): "10 00 00 00",  # 1
    ("other_news", "none"): "00 10 00 01",  # 2
}
SHADOWED = {
    ("closed_book", "none"): "10 00 10 00",  # 2
    ("closed_book", "blank_question"): "00 10 00 00",  # 1
}
NAIVE = {
    ("closed_book", "none"): "10 10 10 00",  # 3
    ("closed_book", "blank_question"): "10 00 10 10",  # 3
}
Scored = Mapping[tuple[str, str], str]


def answers(protocol: str, scored: Scored, seed: int | None = 0, split: str = "s", mode: str = "cloze") -> list[dict]:
    """Rows of the table `answers`, as far as they are looked at."""
    base = protocol == "none"
    return [
        {
            "model": "m",
            "method": "none" if base else "lora",
            "protocol": protocol,
            "teacher": "none" if protocol in ("none", "naive") else "self",
            "split": split,
            "seed": None if base else seed,
            "item": item,
            "question_id": f"{split}-{item}-{number}",
            "condition": condition,
            "control": control,
            "mode": mode,
            "correct": float(right),
        }
        for (condition, control), table in scored.items()
        for item, rights in zip("abcdefghijklmnopqrst", table.split(), strict=False)
        for number, right in enumerate(rights)
    ]


STUDY = answers("none", BASE) + answers("naive", NAIVE) + answers("qa", TUNED) + answers("qa_shadowed", SHADOWED)


def estimate(
    rows: Sequence[dict],
    shadow_pairs: tuple = (("qa", "qa_shadowed", "own_news"),),
    retention: Sequence[dict] = (),
    models: tuple = ("m",),
    **statistics: Any,
) -> list[dict]:
    chosen = StatisticsSettings(**{"draws": 400, "min_items": 2, **statistics})
    stage = EstimateEffectsStage(statistics=chosen, models=models, shadow_pairs=shadow_pairs)
    answered = pa.Table.from_pylist(rows, schema=pa.schema([ANSWERS.field(name) for name in COLUMNS]))
    return estimate_effects(answered, pa.Table.from_pylist(retention, schema=RETENTION), stage)


def effect(rows: Sequence[dict], measure: str, control: str | None, protocol: str = "qa", **keys: Any) -> dict:
    """The one row of a measure beside a control."""
    wanted = {"measure": measure, "control": control, "protocol": protocol, **keys}
    (row,) = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    return row


EFFECTS = estimate(STUDY)


# --------------------------------------------------------------------------------------------------- worked out by hand
@pytest.mark.parametrize(
    ("protocol", "measure", "control", "value", "under_control"),
    [
        ("none", "closed_book", "blank_question", 2 / 8, 1 / 8),
        ("none", "in_context", "blank_question", 7 / 8, 2 / 8),
        ("none", "in_context", "other_news", 7 / 8, 3 / 8),
        ("none", "in_context_gain", "blank_question", (7 - 2) / 8, (2 - 1) / 8),
        ("none", "in_context_gain", "other_news", (7 - 2) / 8, (3 - 2) / 8),
        ("qa", "closed_book", "blank_question", 5 / 8, 2 / 8),
        ("qa", "closed_book", "other_adapter", 5 / 8, 1 / 8),
        ("qa", "in_context", "blank_question", 5 / 8, 1 / 8),
        ("qa", "in_context", "other_news", 5 / 8, 2 / 8),
        ("qa", "closed_book_gain", "blank_question", (5 - 2) / 8, (2 - 1) / 8),
        ("qa", "closed_book_gain", "other_adapter", (5 - 2) / 8, (1 - 2) / 8),
        ("qa", "ft_icl_gap", "blank_question", (7 - 5) / 8, (2 - 2) / 8),
        ("qa", "overexposure", "blank_question", (7 - 5) / 8, (2 - 1) / 8),
        ("qa", "gap_closed", "blank_question", (5 - 2) / (7 - 2), (2 - 1) / (7 - 2)),
        ("qa", "shadowing", "blank_question", (5 - 2) / 8, (2 - 1) / 8),
        ("qa", "protocol_contrast", "blank_question", (5 - 3) / 8, (2 - 3) / 8),
        ("naive", "closed_book_gain", "blank_question", (3 - 2) / 8, (3 - 1) / 8),
        ("qa_shadowed", "protocol_contrast", "blank_question", (2 - 3) / 8, (1 - 3) / 8),
    ],
)
def test_a_measure_stands_beside_its_control_and_net_of_it(protocol, measure, control, value, under_control):
    row = effect(EFFECTS, measure, control, protocol)
    assert row["estimate"] == pytest.approx(value)
    assert row["control_estimate"] == pytest.approx(under_control)
    assert row["net"] == pytest.approx(value - under_control)
    assert row["low"] <= row["high"]
    assert row["net_low"] <= row["net_high"]
    assert (row["items"], row["questions"], row["seeds"]) == (4, 8, 1)


def test_no_measure_stands_twice_and_none_is_invented():
    found = [(row["protocol"], row["measure"], row["versus"], row["control"]) for row in EFFECTS]
    assert len(set(found)) == len(found)
    assert {measure for protocol, measure, _, _ in found if protocol == "qa_shadowed"} == {
        "closed_book", "closed_book_gain", "ft_icl_gap", "gap_closed", "protocol_contrast",
    }  # fmt: skip
    assert {measure for protocol, measure, _, _ in found if protocol == "none"} == {
        "closed_book", "in_context", "in_context_gain",
    }  # fmt: skip
    assert [protocol for protocol, measure, _, _ in found if measure == "shadowing"] == ["qa"]


def test_a_comparison_names_the_protocol_compared_with():
    assert effect(EFFECTS, "shadowing", "blank_question")["versus"] == "qa_shadowed"
    assert effect(EFFECTS, "protocol_contrast", "blank_question")["versus"] == "naive"
    assert effect(EFFECTS, "closed_book", "blank_question")["versus"] is None


def test_the_reference_protocol_is_not_compared_with_itself():
    assert not [row for row in EFFECTS if row["measure"] == "protocol_contrast" and row["protocol"] == "naive"]


def test_another_reference_protocol_can_be_chosen():
    row = effect(estimate(STUDY, (), reference_protocol="qa_shadowed"), "protocol_contrast", "blank_question")
    assert row["versus"] == "qa_shadowed"
    assert row["estimate"] == pytest.approx((5 - 2) / 8)


def test_effects_fit_their_table():
    assert build_table(SCHEMAS["effects"], EFFECTS).num_rows == len(EFFECTS)
    assert set(EFFECTS[0]) == set(SCHEMAS["effects"].names)


def test_items_of_more_questions_weigh_more():
    rows = answers("none", {("closed_book", "none"): "1111 0 00 0"})
    (row,) = estimate(rows)
    assert row["estimate"] == pytest.approx(4 / 8)
    assert (row["items"], row["questions"]) == (4, 8)


def test_a_share_of_option_orders_counts_as_a_share():
    rows = [row | {"correct": 0.25} for row in answers("none", {("closed_book", "none"): "11 11 11"})]
    assert estimate(rows)[0]["estimate"] == pytest.approx(0.25)


def test_a_measure_whose_controls_were_not_scored_stands_alone_and_says_so():
    scored = {key: table for key, table in BASE.items() if key[1] == "none" and key[0] != "other_news"}
    row = effect(estimate(answers("none", scored)), "in_context_gain", None, "none")
    assert row["estimate"] == pytest.approx(5 / 8)
    assert row["verdict"] == "no control was scored"
    assert row["net"] is None
    assert row["p"] is None
    assert row["detectable"] > 0


def test_a_measure_whose_terms_were_not_scored_is_left_out():
    rows = estimate(answers("none", {("closed_book", "none"): "10 00 01 00"}))
    assert [row["measure"] for row in rows] == ["closed_book"]


def test_every_measure_has_its_declared_family():
    assert {row["measure"] for row in EFFECTS} == set(FAMILIES) - {"size_contrast", "retention_change"}
    assert all(row["family"] == FAMILIES[row["measure"]] for row in EFFECTS)


def test_shadowing_names_the_prefix_and_nothing_else_has_one():
    pairs = (("qa", "qa_shadowed", "own_news"), ("qa", "naive", "filler+loss"))
    rows = estimate([row | {"teacher": "self"} if row["protocol"] == "naive" else row for row in STUDY], pairs)
    shadowing = {row["versus"]: row["prefix"] for row in rows if row["measure"] == "shadowing"}
    assert shadowing == {"qa_shadowed": "own_news", "naive": "filler+loss"}
    assert {row["prefix"] for row in rows if row["measure"] != "shadowing"} == {None}


# ---------------------------------------------------------------------------------------------------------------- sizes
def of_model(name: str, rows: Sequence[dict]) -> list[dict]:
    return [row | {"model": name} for row in rows]


def test_a_size_is_compared_with_the_one_before_it_on_the_same_questions():
    small = answers("none", BASE) + answers("naive", NAIVE) + answers("qa", SHADOWED)
    rows = estimate(of_model("large", STUDY) + of_model("small", small), models=("small", "large"))
    found = {row["protocol"]: row for row in rows if row["measure"] == "size_contrast"}
    assert set(found) == {"none", "naive", "qa"}
    assert {(row["model"], row["versus"], row["family"]) for row in found.values()} == {("large", "small", "sizes")}
    assert [found["qa"][name] for name in ("estimate", "control_estimate", "net")] == pytest.approx(
        [(5 - 2) / 8, (2 - 1) / 8, (3 - 1) / 8]
    )
    assert (found["none"]["estimate"], found["naive"]["estimate"]) == (0, 0)
    assert found["qa"]["teacher"] == "self"
    assert found["naive"]["teacher"] == "none"


def test_sizes_are_compared_in_the_order_of_the_grid_with_the_nearest_that_was_run():
    rows = of_model("c", STUDY) + of_model("a", STUDY) + of_model("b", answers("none", BASE))
    found = [row for row in estimate(rows, models=("a", "b", "c")) if row["measure"] == "size_contrast"]
    pairs = {(row["protocol"], row["model"], row["versus"]) for row in found}
    tuned = {(protocol, "c", "a") for protocol in ("naive", "qa", "qa_shadowed")}
    assert pairs == {("none", "b", "a"), ("none", "c", "b")} | tuned


def test_sizes_of_several_seeds_are_paired_by_seed():
    right, wrong = {("closed_book", "none"): "11 11 11 11"}, {("closed_book", "none"): "10 10 10 00"}
    tuned = answers("qa", right, 0) + answers("qa", wrong, 1)
    rows = of_model("a", answers("none", BASE) + tuned) + of_model("b", answers("none", BASE) + tuned[::-1])
    row = effect(estimate(rows, models=("a", "b")), "size_contrast", None)
    assert (row["estimate"], row["low"], row["high"], row["seeds"]) == (0, 0, 0, 2)


# ---------------------------------------------------------------------------------------------------------------- seeds
def test_seeds_are_averaged():
    other = dict.fromkeys(TUNED, "00 00 00 00")
    rows = estimate(answers("none", BASE) + answers("qa", TUNED, 0) + answers("qa", other, 1))
    row = effect(rows, "closed_book_gain", "blank_question")
    assert row["estimate"] == pytest.approx((5 / 2 - 2) / 8)
    assert row["control_estimate"] == pytest.approx((2 / 2 - 1) / 8)
    assert row["seeds"] == 2


def test_seeds_that_differ_widen_the_interval():
    right, wrong = {("closed_book", "none"): "11 11 11 11"}, {("closed_book", "none"): "00 00 00 00"}
    base = answers("none", {("closed_book", "none"): "10 10 10 10"})
    agree = estimate(base + answers("qa", {("closed_book", "none"): "10 10 10 10"}, 0))
    differ = estimate(base + answers("qa", right, 0) + answers("qa", wrong, 1))
    agreed, differed = effect(agree, "closed_book", None), effect(differ, "closed_book", None)
    assert agreed["estimate"] == differed["estimate"] == 0.5
    assert agreed["low"] == agreed["high"] == 0.5
    assert differed["low"] == 0.0
    assert differed["high"] == 1.0


def test_a_contrast_is_taken_over_the_seeds_and_questions_that_both_have():
    rows = answers("none", BASE) + answers("naive", NAIVE, 0)
    rows += answers("qa", TUNED, 0) + answers("qa", dict.fromkeys(TUNED, "00 00 00 00"), 1)
    row = effect(estimate(rows), "protocol_contrast", "blank_question")
    assert row["seeds"] == 1
    assert row["estimate"] == pytest.approx((5 - 3) / 8)


def test_a_contrast_pairs_seeds_by_their_number_and_not_by_their_place():
    one, two = {("closed_book", "none"): "11 11 11 11"}, {("closed_book", "none"): "10 00 01 00"}
    rows = answers("none", {("closed_book", "none"): "10 00 01 00"})
    rows += answers("naive", one, 0) + answers("naive", two, 1) + answers("qa", two, 1) + answers("qa", one, 0)
    row = effect(estimate(rows), "protocol_contrast", None)
    assert (row["estimate"], row["low"], row["high"]) == (0, 0, 0)


def test_a_seed_that_was_not_run_on_a_split_does_not_count_as_wrong_answers():
    """As `grid.exclude` leaves it: split t was run with seed 0 only, and every answer is right."""
    right = {("closed_book", "none"): "11 11 11 11"}
    rows = answers("none", right, split="s") + answers("none", right, split="t")
    rows += answers("qa", right, 0, "s") + answers("qa", right, 1, "s") + answers("qa", right, 0, "t")
    assert effect(estimate(rows), "closed_book", None, split="all")["estimate"] == pytest.approx(1.0)


# ----------------------------------------------------------------------------------------------------- splits and modes
def test_splits_stand_alone_and_together():
    rows = estimate(answers("none", BASE, split="s") + answers("none", dict.fromkeys(BASE, "11 11"), split="t"))
    assert [effect(rows, "closed_book", "blank_question", "none", split=name)["estimate"] for name in ("s", "t")] == [
        2 / 8, 1.0,
    ]  # fmt: skip
    together = effect(rows, "closed_book", "blank_question", "none", split="all")
    assert together["estimate"] == pytest.approx((2 + 4) / 12)
    assert (together["items"], together["questions"]) == (6, 12)


def test_one_split_alone_is_not_told_twice():
    assert {row["split"] for row in EFFECTS} == {"s"}


def test_items_of_the_same_name_in_two_splits_are_two_items():
    rows = estimate(answers("none", BASE, split="s") + answers("none", BASE, split="t"))
    assert effect(rows, "closed_book", "blank_question", "none", split="all")["items"] == 8


def test_a_tuned_model_on_some_splits_is_compared_with_the_base_on_those():
    rows = answers("none", BASE, split="s") + answers("none", dict.fromkeys(BASE, "11 11 11 11"), split="t")
    together = effect(
        estimate(rows + answers("qa", TUNED, split="s")), "closed_book_gain", "blank_question", split="all"
    )
    assert together["estimate"] == pytest.approx((5 - 2) / 8)
    assert together["items"] == 4


def test_a_control_that_a_split_lacks_is_not_taken_for_wrong_answers_where_splits_stand_together():
    plain = {key: table for key, table in BASE.items() if key != ("in_context", "blank_question")}
    rows = estimate(answers("none", BASE, split="s") + answers("none", plain, split="t"))
    beside = {
        split: {r["control"] for r in rows if r["measure"] == "in_context" and r["split"] == split}
        for split in ("all", "s")
    }
    assert beside == {"all": {"other_news"}, "s": {"other_news", "blank_question"}}


def test_a_contrast_leaves_out_a_seed_that_one_of_the_two_lacks_on_a_split():
    right = {("closed_book", "none"): "11 11 11 11"}
    rows = [row for split in ("s", "t") for row in answers("none", right, split=split) + answers("qa", right, 0, split)]
    rows += answers("qa", right, 1, "s") + answers("qa", right, 1, "t")
    rows += answers("naive", right, 0, "s") + answers("naive", right, 0, "t") + answers("naive", right, 1, "s")
    row = effect(estimate(rows), "protocol_contrast", None, split="all")
    assert (row["estimate"], row["seeds"]) == (0, 1)
    assert effect(estimate(rows), "protocol_contrast", None, split="s")["seeds"] == 2


def test_modes_are_kept_apart():
    rows = estimate(STUDY + answers("none", dict.fromkeys(BASE, "11 11 11 11"), mode="letter"))
    assert effect(rows, "closed_book", "blank_question", "none", mode="cloze")["estimate"] == 2 / 8
    assert effect(rows, "closed_book", "blank_question", "none", mode="letter")["estimate"] == 1.0


def test_what_was_not_read_counts_as_not_right_and_its_share_is_told():
    unread = [row | {"correct": row["correct"] or None} for row in STUDY]
    rows, plain = estimate(unread), estimate(STUDY)
    assert {row["unread_share"] for row in plain} == {0.0}
    for before, after in zip(plain, rows, strict=True):
        assert {**after, "unread_share": 0.0} == before
    shares = {
        ("closed_book", "blank_question", "none"): 7 / 8,  # 6 of 8 as asked, 7 of 8 blanked
        ("closed_book", "other_adapter", "qa"): 7 / 8,
        ("in_context", "other_news", "none"): 5 / 8,
        ("ft_icl_gap", "blank_question", "qa"): 6 / 8,
    }
    for (measure, control, protocol), share in shares.items():
        assert effect(rows, measure, control, protocol)["unread_share"] == share


# ------------------------------------------------------------------------------------------------------------- verdicts
def scale(scored: Scored, times: int) -> dict:
    """The same answers on more items."""
    return {key: " ".join([table] * times) for key, table in scored.items()}


def test_a_gain_that_its_control_explains_is_not_distinguishable_from_familiarity():
    """Closed book from 2 to 5 of 8; with the question blanked from 1 to 4: the gain is there without the question."""
    alike = TUNED | {("closed_book", "blank_question"): "10 10 11 00"}
    rows = estimate(answers("none", scale(BASE, 5)) + answers("qa", scale(alike, 5)))
    row = effect(rows, "closed_book_gain", "blank_question")
    assert row["low"] > 0, "the gain itself is beyond doubt"
    assert row["estimate"] == row["control_estimate"] == pytest.approx(3 / 8)
    assert row["net_low"] <= 0 <= row["net_high"]
    assert row["verdict"] == FAMILIARITY == "not distinguishable from familiarity"


def test_a_gain_beyond_its_control_is_said_to_be_above_it():
    rows = estimate(answers("none", scale(BASE, 5)) + answers("qa", scale(TUNED, 5)))
    row = effect(rows, "closed_book_gain", "other_adapter")
    assert row["net_low"] > 0
    assert row["verdict"] == "above its control"
    assert row["p"] < 0.05


def test_a_measure_below_its_control_is_said_to_be_below_it():
    low = {("closed_book", "none"): "00 10 00 00 00", ("closed_book", "blank_question"): "11 11 10 11 11"}
    assert (
        effect(estimate(answers("none", low)), "closed_book", "blank_question", "none")["verdict"]
        == "below its control"
    )


@pytest.mark.parametrize("row", EFFECTS, ids=lambda row: f"{row['protocol']}-{row['measure']}-{row['control']}")
def test_a_verdict_agrees_with_the_interval_of_the_net_measure(row):
    if row["net_low"] is None:
        assert row["verdict"] == NO_GAIN
    else:
        assert (row["verdict"] == FAMILIARITY) == (row["net_low"] <= 0 <= row["net_high"])


def test_too_few_items_give_an_estimate_and_no_interval():
    rows = estimate(STUDY, min_items=5)
    assert {row["verdict"] for row in rows} == {TOO_FEW}
    nothing = ("low", "high", "p", "p_holm", "control_low", "control_high", "net_low", "net_high", "detectable")
    assert all(row[name] is None for row in rows for name in nothing)
    row = effect(rows, "closed_book_gain", "blank_question")
    assert (row["estimate"], row["control_estimate"], row["net"]) == (3 / 8, 1 / 8, 2 / 8)
    assert effect(rows, "gap_closed", "blank_question")["estimate"] is None


def test_just_enough_items_give_an_interval():
    assert effect(estimate(STUDY, min_items=4), "closed_book", "blank_question")["low"] is not None


# ----------------------------------------------------------------------------------------------------------- gap closed
def test_gap_closed_is_undefined_where_the_base_has_no_in_context_gain():
    flat = BASE | {("in_context", "none"): "01 00 10 00"}
    row = effect(estimate(answers("none", flat) + answers("qa", TUNED)), "gap_closed", "blank_question")
    assert row["verdict"] == NO_GAIN
    assert all(row[name] is None for name in ("estimate", "low", "high", "net", "control_estimate", "p"))


def test_gap_closed_is_undefined_where_the_interval_of_the_in_context_gain_covers_0():
    unsure = BASE | {("in_context", "none"): "11 00 11 00"}  # gains of 1, 0, 1 and 0 questions
    rows = estimate(answers("none", unsure) + answers("qa", TUNED))
    gain = effect(rows, "in_context_gain", "blank_question", "none")
    assert gain["estimate"] > 0
    assert gain["low"] <= 0 <= gain["high"]
    assert effect(rows, "gap_closed", "blank_question")["verdict"] == NO_GAIN


def test_gap_closed_is_undefined_where_the_in_context_gain_is_there_without_the_question():
    familiar = BASE | {("in_context", "blank_question"): "10 11 11 10"}
    rows = estimate(answers("none", familiar) + answers("qa", TUNED))
    assert effect(rows, "in_context_gain", "blank_question", "none")["low"] > 0
    assert effect(rows, "gap_closed", "blank_question")["verdict"] == NO_GAIN


def test_gap_closed_without_a_control_is_told_as_it_is():
    plain = [{key: table for key, table in scored.items() if key[1] == "none"} for scored in (BASE, TUNED)]
    row = effect(estimate(answers("none", plain[0]) + answers("qa", plain[1])), "gap_closed", None)
    assert row["estimate"] == pytest.approx(3 / 5)
    assert row["verdict"] == "no control was scored"


def test_a_gap_that_is_closed_in_every_item_is_closed_for_certain():
    base = {("closed_book", "none"): "00 00 00 00", ("in_context", "none"): "11 10 11 11"}
    tuned = {("closed_book", "none"): "11 10 11 11"}
    row = effect(estimate(answers("none", base) + answers("qa", tuned)), "gap_closed", None)
    assert (row["estimate"], row["low"], row["high"]) == (1, 1, 1)


# ----------------------------------------------------------------------------------------------------------------- Holm
@pytest.mark.parametrize(
    ("p_values", "corrected"),
    [
        ([], []),
        ([0.03], [0.03]),
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.02, 0.02], [0.04, 0.04]),
        ([0.9, 0.8, 0.001], [1.0, 1.0, 0.003]),
        ([0.0, 1.0], [0.0, 1.0]),
    ],
)
def test_holm_agrees_with_values_worked_out_by_hand(p_values, corrected):
    assert correct_holm(p_values) == pytest.approx(corrected)


p_lists = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@settings(max_examples=100, deadline=None)
@given(p_lists)
def test_holm_keeps_the_order_and_lies_between_no_correction_and_bonferroni(p_values):
    corrected = correct_holm(p_values)
    ranked = [value for _, value in sorted(zip(p_values, corrected, strict=True))]
    assert ranked == sorted(ranked)
    for before, after in zip(p_values, corrected, strict=True):
        assert before <= after <= min(1.0, len(p_values) * before) or after == pytest.approx(before)


@settings(max_examples=100, deadline=None)
@given(p_lists, st.randoms(use_true_random=False))
def test_holm_does_not_depend_on_the_order_of_a_family(p_values, random):
    order = random.sample(range(len(p_values)), len(p_values))
    corrected = correct_holm(p_values)
    assert correct_holm([p_values[place] for place in order]) == [corrected[place] for place in order]


def test_a_family_is_declared_and_corrected_under_one_control_in_one_mode_and_split():
    study = [row for mode in ("cloze", "letter") for row in (r | {"mode": mode} for r in STUDY)]
    rows = estimate(study)
    families: dict[tuple, list[dict]] = {}
    for row in rows:
        if row["p"] is None:
            assert row["p_holm"] is None
        else:
            families.setdefault((row["family"], row["control"], row["mode"], row["split"]), []).append(row)
    sizes = {family[:2]: len(rows) for family, rows in families.items()}
    assert sizes == {
        ("accuracy", "blank_question"): 4 + 2, ("accuracy", "other_adapter"): 1, ("accuracy", "other_news"): 2,
        ("learning", "blank_question"): 3 + 1, ("learning", "other_adapter"): 1, ("learning", "other_news"): 1,
        ("gap", "blank_question"): 3 + 3, ("overexposure", "blank_question"): 1, ("shadowing", "blank_question"): 1,
        ("protocols", "blank_question"): 2,
    }  # fmt: skip
    for family in families.values():
        assert [row["p_holm"] for row in family] == pytest.approx(correct_holm([row["p"] for row in family]))


# ------------------------------------------------------------------------------------------------------------ intervals
QUESTIONS_OF_AN_ITEM = 5


def arm(sums: Sequence) -> np.ndarray:
    """(1, seeds, items); one seed unless `sums` has a list for each."""
    return np.atleast_2d(np.asarray(sums, dtype=float))[None]


def counts_of(arms: np.ndarray) -> np.ndarray:
    return np.full(arms.shape[2], float(QUESTIONS_OF_AN_ITEM))


def intervals_of(
    arms: np.ndarray, draws: int = 2000, level: float = 0.95, power: float = 0.8, seed: int = 0, bounds: tuple = (0, 1)
) -> Intervals:
    return Resampler(arms.shape[2], draws, seed).intervals(arms, counts_of(arms), level, power, bounds)


def interval_of(table: np.ndarray, **chosen: Any) -> Interval:
    return intervals_of(table, **chosen)[0]


def draws_of(resampler: Resampler, table: np.ndarray) -> np.ndarray:
    return resampler.draw(table, counts_of(table))[0]


def test_two_identical_arms_differ_by_0_for_certain():
    one, other = arm([1, 3, 0, 5, 2, 4]), arm([1, 3, 0, 5, 2, 4])
    found = interval_of(one - other, draws=500, seed=3)
    assert (found.estimate, found.low, found.high, found.p, found.detectable) == (0, 0, 0, 1, 0)


def test_two_identical_arms_of_several_seeds_differ_by_0_for_certain():
    table = [[1, 3, 0, 5], [5, 5, 0, 1], [2, 2, 2, 2]]
    found = interval_of(arm(table) - arm(table), draws=500)
    assert (found.estimate, found.low, found.high, found.p, found.detectable) == (0, 0, 0, 1, 0)


def test_identical_protocols_have_a_contrast_of_0_for_certain():
    rows = estimate(answers("none", BASE) + answers("naive", TUNED) + answers("qa", TUNED))
    row = effect(rows, "protocol_contrast", "blank_question")
    assert [row[name] for name in ("estimate", "low", "high", "net", "net_low", "net_high")] == [0] * 6
    assert row["p"] == 1
    assert row["verdict"] == FAMILIARITY


def test_pairing_takes_out_what_items_have_in_common():
    """Item difficulty varies widely, the gain is one question in each item: an interval of no width."""
    easy_to_hard = arm([4, 3, 2, 1, 0, 0])
    better = arm([5, 4, 3, 2, 1, 1])
    found = interval_of(better - easy_to_hard, draws=500, seed=1)
    assert (found.low, found.high) == (pytest.approx(0.2), pytest.approx(0.2))
    assert found.p == 0


def test_quantities_share_their_draws_and_do_not_touch_one_another():
    """Alone or together, in one chunk or several, each has the interval it has by itself."""
    tables = np.random.default_rng(4).binomial(5, 0.4, size=(7, 2, 9)).astype(float)
    together = intervals_of(tables)
    for number in range(len(tables)):
        assert together[number] == interval_of(tables[number : number + 1])


def test_a_bound_on_memory_changes_nothing(monkeypatch):
    tables = np.random.default_rng(4).binomial(5, 0.4, size=(7, 3, 9)).astype(float)
    whole = intervals_of(tables)
    monkeypatch.setattr("sys2ft.analysis.bootstrap.CHUNK_BYTES", 3 * 8 * 2000)
    assert [intervals_of(tables)[number] for number in range(7)] == [whole[number] for number in range(7)]


def test_the_same_seed_gives_the_same_draws_and_another_does_not():
    table = arm([1, 3, 0, 5, 2, 4])
    first, again, other = (draws_of(Resampler(6, 50, seed), table) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=3, max_size=12))
def test_an_interval_of_an_accuracy_lies_within_0_and_1_and_holds_the_estimate(sums):
    found = interval_of(arm(sums), draws=300)
    assert -1e-9 <= found.low <= found.estimate + 1e-9
    assert found.estimate - 1e-9 <= found.high <= 1 + 1e-9
    assert 0 <= found.p <= 1
    assert found.detectable >= 0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=4, max_size=12).filter(lambda sums: len(set(sums)) > 1))
def test_more_confidence_and_more_power_ask_for_more(sums):
    table = arm(sums)
    usual = interval_of(table)
    sure = interval_of(table, level=0.99)
    assert sure.low <= usual.low
    assert usual.high <= sure.high
    assert interval_of(table, power=0.9).detectable > usual.detectable


differences = st.lists(st.lists(st.integers(-5, 5), min_size=8, max_size=8), min_size=1, max_size=3)


@settings(max_examples=60, deadline=None)
@given(differences, st.sampled_from([0.8, 0.95, 0.999]))
def test_p_falls_below_the_level_just_where_the_interval_leaves_0_out(sums, level):
    found = interval_of(arm(sums), level=level, bounds=(-1, 1), draws=500)
    assert (found.p <= 1 - level) == (not found.covers(0))


def test_p_goes_on_where_no_draw_reaches_0():
    """A larger effect has a smaller p also where the draws cannot tell: else no large family could be corrected."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(1, 1, 15))
    found = intervals_of(np.concatenate([noise + shift for shift in (1, 2, 4, 8)]), bounds=(-np.inf, np.inf))
    assert (np.diff(found.p) < 0).all()
    assert found.p[-1] < 1e-8


def test_the_smallest_detectable_value_agrees_with_students_t():
    """Ten items with a standard error of s / sqrt(10): (2.2622 + 0.8834) times it, from a table of t with 9 df."""
    sums = [0, 1, 2, 3, 4, 5, 1, 2, 3, 4]
    error = np.std(np.asarray(sums) / 5, ddof=1) / np.sqrt(10)
    found = interval_of(arm(sums), draws=40_000)
    assert found.detectable == pytest.approx((2.2622 + 0.8834) * error, rel=1e-4)
    assert found.p < 0.01


def test_p_agrees_with_students_t_for_a_mean():
    values = arm(np.random.default_rng(5).normal(0.5, 1, size=20))
    found = interval_of(values, draws=40_000, bounds=(-np.inf, np.inf))
    assert 0.001 < found.p < 0.2
    assert found.p == pytest.approx(stats.ttest_1samp(values.ravel(), 0).pvalue, rel=0.15)


def simulated_arms(studies: int) -> np.ndarray:
    """Ten items of five questions, half of the answers right; intra-item correlation 0.15 (beta-binomial)."""
    rng = np.random.default_rng(2025)
    shape = (1 / 0.15 - 1) / 2
    return rng.binomial(5, rng.beta(shape, shape, size=(studies, 1, 10))).astype(float)


def test_the_expanded_interval_covers_the_truth_about_as_often_as_it_says():
    arms = simulated_arms(400)
    found = intervals_of(arms, draws=4000)
    low, high = np.quantile(Resampler(10, 4000, 0).draw(arms, counts_of(arms)), [0.025, 0.975], axis=1)
    covered, plainly_covered = ((ends[0] <= 0.5) & (ends[1] >= 0.5) for ends in ((found.low, found.high), (low, high)))
    assert (found.low <= low).all()
    assert (high <= found.high).all()
    assert 0.91 <= covered.mean() <= 0.985
    assert plainly_covered.mean() < covered.mean()
    # Ten items: t with 9 df over the normal quantile, 2.262 / 1.960, times sqrt(10 / 9).
    widened = (found.high - found.low) / (high - low)
    assert widened.mean() == pytest.approx(2.262 / 1.960 * np.sqrt(10 / 9), rel=0.06)


def test_questions_drawn_one_by_one_would_cover_less():
    """Why items are drawn: the standard error that takes questions for independent is too small."""
    arms = simulated_arms(200)
    spread = estimate_ratio(arms, counts_of(arms)).std()
    independent = np.sqrt(0.25 / 50)
    clustered = Resampler(10, 400, 0).draw(arms, counts_of(arms)).std(axis=1).mean()
    assert independent < 0.9 * spread
    assert clustered == pytest.approx(spread, rel=0.12)


def test_a_single_item_tells_of_no_spread():
    spread = measure_spread(np.array([[[1.0], [5.0]]]), np.ones((1, 1)))
    assert (spread.items.item(), spread.seeds.item()) == (0.0, 0.0)


def test_what_items_and_seeds_vary_by_agrees_with_the_mean_squares_of_a_crossed_design():
    """Two items, two seeds, one question each; worked out by hand, and with the seeds' own variance cut at 0."""
    spread = measure_spread(np.array([[[1.0, 0.0], [5.0, 2.0]], [[1.0, 0.0], [0.0, 1.0]]]), np.ones((2, 2)))
    # Means: items 3 and 1, seeds 0.5 and 3.5, in all 2; the rest is -0.5 and 0.5, and 0.5 and -0.5.
    assert spread.items == pytest.approx([(1 + 1) / 2, 0])
    assert spread.seeds == pytest.approx([(1.5**2 + 1.5**2) / 2 - 4 * 0.25 / 4, 0])
    assert spread.df[0] == pytest.approx((1 + 2.0) ** 2 / (1**2 / 1 + 2.0**2 / 1))


# ------------------------------------------------------------------------------------------------------ costs of a cell
def train_log(losses: Mapping[str, Sequence[float]], together: bool = True, context_tokens: int = 0) -> list[dict]:
    """A row for every step of an item, by item; 5 tokens are computed for each item that takes a step.

    `together` trains the items side by side, so that a row tells the tokens of all; else each is trained by itself.
    """
    taking = [sum(len(some) > step for some in losses.values()) for step in range(max(map(len, losses.values())))]
    taking = taking if together else [1] * len(taking)
    return [
        {"item": item, "step": step, "loss": loss, "samples": 2, "tokens": 10, "loss_tokens": 4,
         "context_tokens": context_tokens, "computed_tokens": 5 * taking[step - 1], "useful_share": 1.6, "seconds": 0.5}
        for item, some in losses.items()
        for step, loss in enumerate(some, 1)
    ]  # fmt: skip


def study_counts(kept: int, leaked: int = 0, **costs: Any) -> dict:
    """A row of `study_counts` with what a cell's summary reads of it."""
    counts = {"rows": 8, "kept": kept, "leaked": leaked, "largest_overlap": 0.25, "leak_threshold": 0.5}
    return counts | {"teacher_prompt_tokens": 60, "teacher_tokens": 30, "teacher_flops": 9e4} | costs


QUESTIONS = [{"item": "a"}, {"item": "a"}, {"item": "b"}]
LOSSES = {"a": (3.0, 1.0), "b": (2.0, 0.0)}


def test_what_a_cell_cost_is_summed_by_hand():
    counts = [study_counts(6, leaked=1), study_counts(2, leaked=3, largest_overlap=0.75, teacher_flops=1e4)]
    row = summarise_cell(QUESTIONS, train_log(LOSSES), counts, parameters=100, match="samples", amount=4)
    assert row == {
        "items": 2, "questions": 3, "study_rows": 16, "study_kept": 0.5, "study_leaked": 4, "largest_overlap": 0.75,
        "leak_threshold": 0.5, "match": "samples", "amount": 4, "teacher_prompt_tokens": 120, "teacher_tokens": 60,
        "teacher_flops": 1e5, "samples_seen": 8, "tokens_seen": 40, "loss_tokens_seen": 16,
        "train_flops": 4 * 100 * 40, "total_flops": 1e5 + 4 * 100 * 40, "first_loss": 2.5, "last_loss": 0.5,
        "train_seconds": pytest.approx(1.0), "useful_share": pytest.approx((40 - 8) / 20),
    }  # fmt: skip


def test_a_cell_without_a_teacher_has_no_study_data_and_cost_no_teacher():
    row = summarise_cell(QUESTIONS, train_log(LOSSES), None, 10, "tokens", 500)
    study = ("study_rows", "study_kept", "study_leaked", "largest_overlap", "leak_threshold")
    assert [row[name] for name in study] == [None] * 5
    assert [row[name] for name in ("teacher_prompt_tokens", "teacher_tokens", "teacher_flops")] == [0, 0, 0]
    assert row["total_flops"] == row["train_flops"] == 4 * 10 * 40
    assert (row["match"], row["amount"]) == ("tokens", 500)


@pytest.mark.parametrize(("method", "factor"), [("lora", 4), ("full", 6)])
def test_all_weights_cost_half_as_much_again_and_an_imitated_context_one_reading(method, factor):
    plain, imitated = (
        summarise_cell(QUESTIONS, train_log(LOSSES, context_tokens=tokens), None, 100, "samples", 4, method)
        for tokens in (0, 30)
    )
    assert plain["train_flops"] == factor * 100 * 40
    assert imitated["train_flops"] == factor * 100 * 40 + 2 * 100 * 4 * 30
    assert imitated["total_flops"] == imitated["train_flops"]
    changed = {name for name in plain if plain[name] != imitated[name]}
    assert changed == {"train_flops", "total_flops"}, "what is imitated is no token seen"


def test_models_that_are_trained_one_by_one_have_steps_of_their_own():
    losses = {"a": (4.0, 3.0, 1.0), "b": (2.0,)}
    alone = summarise_cell(QUESTIONS, train_log(losses, together=False), None, 10, "tokens", 500, "full")
    bank = summarise_cell(QUESTIONS, train_log(losses), None, 10, "tokens", 500, "lora")
    assert (alone["train_seconds"], bank["train_seconds"]) == pytest.approx((4 * 0.5, 3 * 0.5))
    assert (alone["useful_share"], bank["useful_share"]) == pytest.approx([(40 - 8) / (4 * 5)] * 2)
    assert (alone["first_loss"], alone["last_loss"]) == (bank["first_loss"], bank["last_loss"])


def test_an_item_taken_over_brings_its_share_of_the_steps_it_was_trained_in():
    """Two items were trained together; one was trained again alone, and the other's rows stand as they were."""
    log = [row for row in train_log(LOSSES) if row["item"] == "a"] + train_log({"b": LOSSES["b"]})
    row = summarise_cell(QUESTIONS, log, None, 10, "samples", 4)
    assert row["train_seconds"] == pytest.approx(2 * 0.5 / 2 + 2 * 0.5)
    assert row["useful_share"] == pytest.approx(8 / 5)
    assert row["samples_seen"] == 8


UNKNOWN = {"teacher_prompt_tokens": None, "teacher_tokens": None, "teacher_flops": None}


def test_a_cell_of_recorded_study_data_has_counts_of_rows_and_no_cost():
    row = summarise_cell(QUESTIONS, train_log(LOSSES), [study_counts(8, **UNKNOWN)] * 2, 10, "samples", 4)
    assert (row["study_rows"], row["study_kept"]) == (16, 1)
    assert [row[name] for name in (*UNKNOWN, "total_flops")] == [None] * 4
    assert row["train_flops"] == 4 * 10 * 40


@pytest.mark.parametrize("unknown", UNKNOWN)
def test_a_cost_that_is_unknown_for_one_item_or_kind_is_unknown_for_the_cell(unknown):
    counts = [study_counts(8), study_counts(8, **{unknown: None}), study_counts(8)]
    row = summarise_cell(QUESTIONS, train_log(LOSSES), counts, 10, "samples", 4)
    assert {name for name in UNKNOWN if row[name] is None} == {unknown}
    assert (row["total_flops"] is None) == (unknown == "teacher_flops")


def test_a_cell_of_several_kinds_is_the_sum_of_their_counts():
    kinds = [[study_counts(kept, leaked) for kept, leaked in some] for some in ([(8, 0), (4, 2)], [(0, 8), (2, 1)])]
    row = summarise_cell(QUESTIONS, train_log(LOSSES), [*kinds[0], *kinds[1]], 10, "samples", 4)
    alone = [summarise_cell(QUESTIONS, train_log(LOSSES), some, 10, "samples", 4) for some in kinds]
    for name in ("study_rows", "study_leaked", "teacher_prompt_tokens", "teacher_tokens", "teacher_flops"):
        assert row[name] == alone[0][name] + alone[1][name]
    assert row["study_kept"] == (8 + 4 + 0 + 2) / 32


def test_items_of_unequal_numbers_of_steps_each_have_a_first_and_a_last_loss():
    row = summarise_cell(QUESTIONS, train_log({"a": (4.0, 3.0, 1.0), "b": (2.0,)}), None, 10, "tokens", 500)
    assert (row["first_loss"], row["last_loss"]) == ((4 + 2) / 2, (1 + 2) / 2)
    assert (row["samples_seen"], row["tokens_seen"]) == (8, 40)
    assert row["train_seconds"] == pytest.approx(1.5)
    assert row["useful_share"] == pytest.approx((40 - 8) / (10 + 5 + 5))


steps = st.lists(st.floats(0, 9), min_size=1, max_size=4)


@settings(max_examples=50, deadline=None)
@given(losses=st.dictionaries(st.sampled_from("abcde"), steps, min_size=1), by_step=st.booleans())
def test_losses_of_a_cell_are_those_of_its_items_in_whatever_order_they_stand(losses, by_step):
    log = train_log(losses)
    log = sorted(log, key=lambda row: row["step"]) if by_step else log
    row = summarise_cell([{"item": item} for item in losses], log, None, 10, "tokens", 500)
    assert row["first_loss"] == pytest.approx(np.mean([some[0] for some in losses.values()]))
    assert row["last_loss"] == pytest.approx(np.mean([some[-1] for some in losses.values()]))
    assert row["train_seconds"] == pytest.approx(0.5 * max(map(len, losses.values())))


@pytest.mark.parametrize("counts", [None, [study_counts(8)], [study_counts(8, **UNKNOWN)]])
def test_the_summary_of_a_cell_fits_its_table(counts):
    row = summarise_cell(QUESTIONS, train_log(LOSSES), counts, 10, "samples", 4)
    row |= {"revision": "r", **summarise_origins((), [], None, [])}
    keys = {"model": "m", "method": "lora", "protocol": "p", "teacher": "none", "split": "s", "seed": 0}
    (read,) = build_table(CELLS, [row], keys).to_pylist()
    assert read == pytest.approx(keys | row, nan_ok=False)


# ------------------------------------------------------------------------------------------------------------ retention
def retained(protocol: str, table: str, seed: int = 0, split: str = "s") -> list[dict]:
    """General questions: one word an adapter ('none' for the base), one figure a question."""
    readers = ["none"] if protocol == "none" else "abcdefgh"
    rows = answers(protocol, {("general", "none"): table}, seed=seed, split=split)
    return [
        {name: row[name] for name in ("model", "method", "protocol", "teacher", "seed")}
        | {"item": readers["abcdefgh".index(row["item"])], "split": "none" if protocol == "none" else split}
        | {"task": "general", "metric": "acc", "filter": "none", "document": int(row["question_id"][-1])}
        | {"value": row["correct"], "higher_is_better": True}
        for row in rows
    ]


def test_retention_change_is_paired_with_the_base_on_the_same_general_questions():
    general = retained("none", "1101") + retained("qa", "1100 1000 1101")
    row = effect(estimate(STUDY, retention=general), "retention_change", None)
    assert row["estimate"] == pytest.approx((2 + 1 + 3) / 12 - 3 / 4)
    assert (row["items"], row["questions"], row["seeds"]) == (3, 4, 1)
    assert row["low"] < row["estimate"] < row["high"]
    assert row["p"] is not None
    assert row["detectable"] > 0


@pytest.mark.parametrize(
    ("tuned", "verdict"),
    [
        ("1101 1101 1101", "no change found"),
        ("0000 0001 0000", "worse than the base"),
        ("1111 1111 1111", "better than the base"),
    ],
)
def test_the_verdict_on_retention_says_which_way(tuned, verdict):
    general = retained("none", "1101") + retained("qa", tuned)
    assert effect(estimate(STUDY, retention=general), "retention_change", None)["verdict"] == verdict


def test_where_less_is_better_a_rise_is_worse():
    general = retained("none", "1101") + retained("qa", "1111 1111 1111")
    general = [{**row, "higher_is_better": False} for row in general]
    assert effect(estimate(STUDY, retention=general), "retention_change", None)["verdict"] == "worse than the base"


def test_retention_over_several_splits_compares_with_the_one_base():
    general = [
        *retained("none", "11"), *retained("qa", "10 10", split="events"), *retained("qa", "01 11", split="coding"),
    ]  # fmt: skip
    both = [{**row, "split": split} for split in ("events", "coding") for row in STUDY]
    rows = estimate(both, retention=general)
    assert effect(rows, "retention_change", None, split="all")["items"] == 4
    assert effect(rows, "retention_change", None, split="events")["estimate"] == pytest.approx(-0.5)
    assert effect(rows, "retention_change", None, split="coding")["estimate"] == pytest.approx(-0.25)


def test_too_few_adapters_give_a_change_without_an_interval():
    general = retained("none", "1101") + retained("qa", "1100 1000 1101")
    row = effect(estimate(STUDY, retention=general, min_items=4), "retention_change", None)
    assert (row["low"], row["p"], row["verdict"]) == (None, None, TOO_FEW)


def test_effects_with_retention_fit_their_table():
    general = retained("none", "1101") + retained("qa", "1100 1000 1101")
    rows = estimate(STUDY, retention=general)
    assert build_table(SCHEMAS["effects"], rows).num_rows == len(EFFECTS) + 1


def test_a_document_that_the_base_was_not_asked_stops_the_comparison():
    general = retained("none", "11") + retained("qa", "1100 1000 1101")
    with pytest.raises(ValueError, match="document 2 of general/acc was put to a tuned model and not to its base"):
        estimate(STUDY, retention=general)


def test_each_metric_of_a_task_and_each_way_to_read_it_is_a_change_of_its_own():
    general = retained("none", "1101") + retained("qa", "1100 1000 1101")
    strict = [{**row, "metric": "exact_match", "filter": "strict"} for row in general]
    rows = estimate(STUDY, retention=general + strict)
    found = [row["mode"] for row in rows if row["measure"] == "retention_change"]
    assert found == ["general/acc", "general/exact_match/strict"]
