"""Learning curves against ones worked out by hand."""

import numpy as np
import pytest

from sys2ft.analysis.bootstrap import Resampler
from sys2ft.analysis.curves import CLOSED, Draws, build_curves, read_answered, read_trained
from sys2ft.analysis.dynamics import trace_learning
from sys2ft.tables import ANSWERS, DYNAMICS, TRAIN_LOG, build_table
from tests.unit.learning import answers, grown, log, stage, write

BLANK = {"control": "blank_question"}
INSIDE = {"condition": "in_context"}
STUDY = (
    answers("10 00") + answers("00 00", **BLANK) + answers("11 11", **INSIDE) + answers("10 00", **INSIDE, **BLANK)
    + answers("10 10", 2, True) + answers("10 00", 2, True, **BLANK)
    + answers("11 10", 2, True, **INSIDE) + answers("10 00", 2, True, **INSIDE, **BLANK)
    + answers("11 1x", 6) + answers("10 10", 6, **BLANK) + answers("10 00", 6, **INSIDE)
    + answers("00 00", 6, **INSIDE, **BLANK)
)  # fmt: skip
OTHERS = answers("11 11", 6, control="other_adapter") + answers("11 11", 6, condition="other_news")
LOG = log({"a": (3.0, 2.0, 1.0), "b": (5.0, 4.0, 3.0)})


@pytest.fixture
def trace(tmp_path):
    """Rows of `dynamics` from rows of `answers` and `train_log`."""

    def traced(rows, logged=LOG, **chosen):
        told = stage(**chosen)
        answered = build_curves(read_answered(write(ANSWERS, rows, tmp_path / "answers.parquet")))
        paths = [write(TRAIN_LOG, [row for row in logged if (row["split"], row["seed"], row["model"]) == cell],
                       tmp_path / f"{'-'.join(map(str, cell))}.parquet")
                 for cell in dict.fromkeys((row["split"], row["seed"], row["model"]) for row in logged)]  # fmt: skip
        trained = build_curves(read_trained(paths, told.milestones))
        return trace_learning(answered, trained, {"m": 100, "n": 1000}, told)

    return traced


def curve(rows, measure, control="none", column="estimate", **keys):
    """Samples seen to a column, of one measure."""
    wanted = {"measure": measure, "control": control, **keys}
    return {
        row["samples_seen"]: row[column] for row in rows if all(row[name] == value for name, value in wanted.items())
    }


@pytest.mark.parametrize(
    ("measure", "control", "values"),
    [
        ("closed_book", "none", {0: 1 / 4, 2: 2 / 4, 6: 3 / 4}),
        ("closed_book", "blank_question", {0: 0, 2: 1 / 4, 6: 2 / 4}),
        ("in_context", "none", {0: 1, 2: 3 / 4, 6: 1 / 4}),
        ("in_context", "blank_question", {0: 1 / 4, 2: 1 / 4, 6: 0}),
        ("closed_book_gain", "none", {0: 0, 2: 1 / 4, 6: 2 / 4}),
        ("closed_book_gain", "blank_question", {0: 0, 2: 1 / 4, 6: 2 / 4}),
        ("overexposure", "none", {0: 0, 2: 1 / 4, 6: 3 / 4}),
        ("overexposure", "blank_question", {0: 0, 2: 0, 6: 1 / 4}),
    ],
)
def test_measures_are_followed_from_the_base_to_the_end(trace, measure, control, values):
    assert curve(trace(STUDY + OTHERS), measure, control) == pytest.approx(values)


def test_a_curve_tells_what_each_point_had_cost(trace):
    rows = trace(STUDY)
    assert curve(rows, "closed_book", column="tokens_seen") == {0: None, 2: 2 * 10, 6: 2 * 30}
    flops = {0: None, 2: 4 * 100 * 20 + 2 * 100 * 2, 6: 4 * 100 * 60 + 2 * 100 * 6}
    assert curve(rows, "in_context", column="train_flops") == flops
    assert curve(trace(STUDY, methods={"lora": "full"}), "loss", column="train_flops")[2] == 6 * 100 * 20 + 2 * 100 * 2
    row = next(row for row in rows if row["measure"] == "overexposure")
    assert (row["items"], row["questions"], row["seeds"], row["mode"]) == (2, 4, 1, "cloze")


def test_the_loss_of_a_point_is_that_of_the_first_step_from_there(trace):
    rows = trace(STUDY)
    assert curve(rows, "loss") == {0: (3 + 5) / 2, 2: (2 + 4) / 2, 4: (1 + 3) / 2, 6: (1 + 3) / 2}
    assert {(row["mode"], row["questions"]) for row in rows if row["measure"] == "loss"} == {("none", None)}


def test_without_milestones_a_curve_has_two_points(trace):
    rows = trace([row for row in STUDY if not row["milestone"]], milestones=False)
    for measure in ("closed_book", "in_context", "loss"):
        assert list(curve(rows, measure)) == [0, 6]
    assert curve(rows, "closed_book") == {0: 1 / 4, 6: 3 / 4}


def test_a_learner_that_had_ended_before_stands_there_as_it_was_at_its_end(trace):
    rows = answers("10 00") + answers("10 10", 2, True) + answers(". 01", 4, True) + answers("11 11", [3, 6])
    logged = log({"a": (3.0, 2.0, 1.0)}, samples=1) + log({"b": (5.0, 4.0, 3.0)})
    found = curve(trace(rows, logged), "closed_book")
    assert found == {0: 1 / 4, 2: 2 / 4, 4: 3 / 4, 6: 1.0}


def test_a_moment_at_which_a_learner_was_not_kept_is_no_point(trace):
    rows = answers("10 00") + answers("10 10", [1, 2], True) + answers("11 11", [2, 4])
    logged = log({"a": (3.0, 2.0)}, samples=1) + log({"b": (5.0, 4.0)})
    assert curve(trace(rows, logged), "closed_book") == {0: 1 / 4, 2: 3 / 4, 4: 1.0}
    assert curve(trace(rows, logged), "closed_book", column="tokens_seen") == {0: None, 2: 20 + 10, 4: 40}


def test_seeds_are_averaged_and_one_that_lacks_a_split_is_left_out_of_all(trace):
    rows = [*answers("10 00"), *answers("00 00", split="t"), *answers("11 11", 6), *answers("00 10", 6, seed=1)]
    rows += answers("11 11", 6, split="t")
    logged = LOG + log({"a": (1.0,) * 3, "b": (1.0,) * 3}, seed=1) + log({"a": (2.0,) * 3, "b": (2.0,) * 3}, split="t")
    found = trace(rows, logged, milestones=False)
    assert curve(found, "closed_book", split="s")[6] == pytest.approx((4 + 1) / 8)
    assert curve(found, "closed_book", split="s", column="seeds")[6] == 2
    assert curve(found, "loss", split="s")[6] == pytest.approx((1 + 3 + 1 + 1) / 4)
    assert curve(found, "closed_book", split="all") == {0: 1 / 8, 6: 1.0}
    assert curve(found, "closed_book", split="all", column="seeds")[6] == 1
    assert curve(found, "closed_book", split="all", column="tokens_seen")[6] == 4 * 30
    assert curve(found, "loss", split="all")[6] == pytest.approx((1 + 3 + 2 + 2) / 4)


def test_a_mode_that_some_splits_are_asked_in_costs_what_these_cost(trace):
    rows = [row for split in "st" for row in answers("10 00", split=split) + answers("11 10", 6, split=split)]
    rows += answers("10 00", mode="letter") + answers("11 11", 6, mode="letter")
    found = trace(rows, LOG + log({"a": (1.0,) * 3, "b": (1.0,) * 3}, split="t"), milestones=False)
    assert curve(found, "closed_book", split="all", mode="cloze", column="tokens_seen")[6] == 4 * 30
    for split in ("s", "all"):
        assert curve(found, "closed_book", split=split, mode="letter", column="tokens_seen")[6] == 2 * 30


def test_intervals_end_where_a_measure_does(trace):
    rights = ("11 11 10", "11 11 11", "10 11 11")
    rows = [row for seed, words in enumerate(rights) for row in answers(words, 6, seed=seed)]
    logged = [row for seed in range(3) for row in log(dict.fromkeys("abc", (0.1, 0.0, 0.0)), seed=seed)]
    found = trace(answers("00 00 00") + rows, logged, milestones=False)
    assert curve(found, "closed_book", column="high")[6] == 1.0
    assert curve(found, "closed_book_gain", column="high")[6] == 1.0


def test_one_learner_of_all_items_has_one_loss_and_no_interval_of_it(trace):
    rows = answers("10 00 00") + answers("11 10 11", 6)
    found = trace(rows, log({"all": (3.0, 2.0, 1.0)}), milestones=False)
    assert curve(found, "loss", column="items") == {0: 1, 6: 1}
    assert curve(found, "loss", column="low") == {0: None, 6: None}
    assert curve(found, "closed_book", column="items")[6] == 3
    assert curve(found, "closed_book", column="low")[6] is not None


def test_too_few_items_have_no_interval(trace):
    assert {row["low"] for row in trace(STUDY, min_items=3)} == {None}


def test_models_and_modes_have_curves_of_their_own(trace):
    rows = STUDY + answers("11 11", model="n") + answers("11 10", 6, model="n") + answers("01 00", mode="letter")
    rows += answers("11 00", 6, mode="letter")
    found = trace(rows, LOG + log({"a": (1.0,) * 3, "b": (1.0,) * 3}, model="n"))
    assert curve(found, "closed_book", model="n") == {0: 1.0, 6: 3 / 4}
    assert curve(found, "closed_book", model="n", column="train_flops")[6] == 10 * (4 * 100 * 60 + 2 * 100 * 6)
    assert curve(found, "closed_book", mode="letter") == {0: 1 / 4, 6: 2 / 4}


def test_intervals_are_those_of_the_project(trace):
    rows = answers("10 00 01 00") + answers("11 10 11 00", 6)
    logged = log(dict.fromkeys("abcd", (1.0,) * 3))
    found = trace(rows, logged, milestones=False, draws=400)
    resampler = Resampler(4, 400, 0)
    counts, before, after = np.full(4, 2.0), np.array([[1, 0, 1, 0.0]]), np.array([[2, 1, 2, 0.0]])
    for measure, sums, least in (("closed_book", after, 0.0), ("closed_book_gain", after - before, -1.0)):
        expected = resampler.intervals(sums[None], counts, 0.95, bounds=(least, 1.0))[0]
        assert curve(found, measure, column="low")[6] == pytest.approx(expected.low)
        assert curve(found, measure, column="high")[6] == pytest.approx(expected.high)


def test_curves_of_as_many_items_share_their_draws_whatever_their_seeds():
    """Or models with fewer seeds than others would not be paired with them."""
    rng = np.random.default_rng(0)
    one = grown(np.array([0.3, 0.6]), [0, 4], rng, items=8, seeds=1)
    three = type(one)(one.keys, one.items, 3, one.samples, one.counts,
                      {term: np.repeat(values, 3, axis=1) for term, values in one.values.items()})  # fmt: skip
    draws = Draws(100, 0)
    assert np.allclose(draws.means(one, (CLOSED, "none")), draws.means(three, (CLOSED, "none")))


def test_rows_fit_their_table(trace):
    rows = trace(STUDY)
    assert build_table(DYNAMICS, rows).num_rows == len(rows) == 8 * 3 + 4


def test_a_damaged_table_is_named(tmp_path):
    path = tmp_path / "answers.parquet"
    path.write_bytes(b"not a table")
    with pytest.raises(ValueError, match=r"answers.parquet cannot be used .*delete it and run again"):
        read_answered(str(path))
    write(TRAIN_LOG, LOG, path)
    with pytest.raises(ValueError, match="columns of the table 'answers'"):
        read_answered(str(path))
