"""What a design can detect: by the formula, by simulated studies, and on the command line."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sys2ft.analysis.bootstrap import Resampler
from sys2ft.analysis.power import Design, estimate_icc, plan
from sys2ft.analysis.scores import COLUMNS, read_scores
from sys2ft.cli import main
from sys2ft.errors import InputError
from sys2ft.tables import ANSWERS, build_table, write_table
from tests.unit.simulated import simulate

STUDIES = 4000  # a share of 80 % has a standard error of 0.63 points


def test_the_design_of_new_news_detects_9_points_and_one_domain_of_it_22():
    """By hand: sqrt(0.25 / 375 * 1.6) = 0.03266; t with 74 df 1.9925 and 0.8464, with 14 df 2.1448 and 0.8681."""
    assert Design(75, 5).detectable()["contrast"] == pytest.approx((1.9925 + 0.8464) * 0.03266, rel=1e-3)
    assert Design(15, 5).detectable()["contrast"] == pytest.approx((2.1448 + 0.8681) * 0.07303, rel=1e-3)


def test_errors_worked_out_by_hand():
    """p (1 - p) = 0.16; design effect 1.3, of which two seeds that correlate by 0.6 average out 0.4 / 2."""
    errors = Design(10, 4, seeds=2, accuracy=0.2, icc=0.1, correlation=0.5, seed_correlation=0.6).errors()
    assert errors["accuracy"] ** 2 == pytest.approx(0.16 / 40 * 1.1)
    assert errors["contrast"] ** 2 == pytest.approx(2 * 0.16 / 40 * (1.1 - 0.5 * 1.3))
    assert errors["net_contrast"] ** 2 == pytest.approx(4 * 0.16 / 40 * (1.1 - 0.5 * 1.3))


@pytest.mark.parametrize(("items", "icc"), [(15, 0.0), (15, 0.2), (75, 0.1)])
def test_power_matches_the_formula(items, icc):
    """Arms that differ by the detectable difference are told apart in 80 % of the studies by the test of `effects`."""
    design = Design(items, 5, icc=icc, correlation=0.3)
    found = design.detectable()["contrast"]
    arms = simulate(STUDIES, items, icc, accuracies=(0.5 + found / 2, 0.5 - found / 2), correlation=0.3)
    result = Resampler(items, 4000, 1).intervals(arms[:, 0] - arms[:, 1], np.full(items, 5.0), 0.95, 0.8)
    assert (result.p <= 0.05).mean() == pytest.approx(0.8, abs=0.035)
    assert np.sqrt((result.detectable**2).mean()) == pytest.approx(found, rel=0.06)


@pytest.mark.parametrize("items", [15, 75])
def test_power_against_chance_and_with_seeds_matches_the_formula(items):
    design = Design(items, 5, seeds=3, icc=0.1, seed_correlation=0.6)
    arms = simulate(STUDIES, items, 0.1, 3, seed_correlation=0.6)[:, 0]
    chance = 5 * (0.5 - design.detectable()["accuracy"])
    result = Resampler(items, 4000, 1).intervals(arms - chance, np.full(items, 5.0), 0.95, 0.8)
    assert (result.p <= 0.05).mean() == pytest.approx(0.8, abs=0.04)


designs = st.builds(
    Design, st.integers(2, 200), st.integers(1, 20), st.integers(1, 5), st.floats(0.05, 0.95), st.floats(0, 0.9)
)


@given(designs, st.sampled_from([0.02, 0.1, 0.4]))
def test_the_items_needed_are_just_enough(design, difference):
    for name, items in design.items_needed(difference).items():
        assert Design(**{**vars(design), "items": items}).detectable()[name] <= difference
        if items > 2:
            assert Design(**{**vars(design), "items": items - 1}).detectable()[name] > difference


def test_what_cannot_be_reached_is_said():
    with pytest.raises(InputError, match="needs over 10000000 items"):
        plan(Design(75, 5), 1e-6)


# ------------------------------------------------------------------------------------------------------- command line
def run(capsys, *flags: str) -> str:
    main(["power", *flags])
    return capsys.readouterr().out


def test_the_command_prints_a_row_for_each_thing_that_is_planned(capsys):
    text = run(capsys, "--items", "75", "--questions", "5", "--icc", "0.15", "--difference", "0.05")
    assert "75 items of 5 questions, 1 seed" in text
    rows = [line.split() for line in text.splitlines()[-3:]]
    assert [row[-2] for row in rows] == ["9.3", "9.3", "13.1"]
    assert [row[-1] for row in rows] == ["254", "254", "505"]


def test_the_command_prints_json(capsys):
    found = json.loads(run(capsys, "--items", "20", "--questions", "3", "--seeds", "2", "--format", "json"))
    assert (found["items"], found["seeds"], found["icc"]) == (20, 2, 0.15)
    assert found["rows"] == plan(Design(20, 3, seeds=2))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--items", "1"], "--items: is 1. To mend: write 2 or more."),
        (["--questions", "0"], "--questions: is 0. To mend: write 1 or more."),
        (["--icc", "1"], "--icc: is 1. To mend: write a number from 0 up to 1."),
        (["--accuracy", "0"], "--accuracy: is 0."),
        (["--power", "0.3"], "--power: is 0.3. To mend: write a number from 0.5 up to 1."),
        (["--difference", "5"], "--difference: is 5. To mend: write a number between 0 and 1."),
        (["--correlation", "0.9"], "--seed-correlation: is 0.75, and two arms correlate by 0.9."),
        (["--icc", "0.1", "--results", "results"], "--results: given beside --icc."),
        (["--results", "nowhere"], "nowhere/tables/answers.parquet: no such table."),
    ],
)
def test_a_design_that_cannot_be_is_refused_with_the_option_and_the_mend(flags, message):
    given_flags = {"--items": "10", "--questions": "5"} | dict(zip(flags[::2], flags[1::2], strict=True))
    with pytest.raises(SystemExit) as stop:
        main(["power", *(word for pair in given_flags.items() for word in pair)])
    assert message in str(stop.value)


# ---------------------------------------------------------------------------------------------- estimated from answers
def closed_book(rights: np.ndarray) -> list[dict]:
    """Rows of `answers` of a base: (items, questions) right or wrong."""
    nothing = dict.fromkeys(ANSWERS.names)
    keys = {"model": "m", "method": "none", "protocol": "none", "teacher": "none", "split": "s", "mode": "cloze"}
    keys |= {"condition": "closed_book", "control": "none", "milestone": False}
    return [
        {**nothing, **keys, "item": f"i{item}", "question_id": f"i{item}-{number}", "correct": float(right)}
        for item, some in enumerate(rights)
        for number, right in enumerate(some)
    ]


def correlated(items: int, icc: float) -> np.ndarray:
    """(items, 5) right or wrong: beta-binomial."""
    rng = np.random.default_rng(3)
    shape = (1 / icc - 1) / 2
    return rng.random((items, 5)) < rng.beta(shape, shape, size=(items, 1))


def test_the_correlation_within_items_is_estimated_from_answers():
    rows = closed_book(correlated(2000, 0.2))
    table = pa.Table.from_pylist(rows, schema=pa.schema([ANSWERS.field(name) for name in COLUMNS]))
    assert estimate_icc([scores for _, scores in read_scores(table)]) == pytest.approx(0.2, abs=0.03)


def test_the_command_estimates_it_from_a_folder_of_results(capsys, tmp_path):
    write_table(build_table(ANSWERS, closed_book(correlated(400, 0.2))), tmp_path / "tables/answers.parquet")
    flags = ["--items", "75", "--questions", "5", "--results", str(tmp_path), "--format", "json"]
    assert json.loads(run(capsys, *flags))["icc"] == pytest.approx(0.2, abs=0.06)


def test_answers_without_a_second_question_tell_no_correlation(tmp_path):
    write_table(build_table(ANSWERS, closed_book(np.eye(4)[:, :1])), tmp_path / "tables/answers.parquet")
    with pytest.raises(SystemExit, match="no correlation within items can be estimated"):
        main(["power", "--items", "75", "--questions", "5", "--results", str(tmp_path)])
