"""Scaling laws: known ones are found, and where there is none, or too little to tell, that is said."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from sys2ft.analysis.curves import CLOSED, LOSS
from sys2ft.analysis.fitting import Fit
from sys2ft.analysis.forms import FORMS
from sys2ft.analysis.panels import build_panels, chances
from sys2ft.analysis.scaling import Trial, fit_scaling_laws, predict
from sys2ft.analysis.verdicts import Design, Fitted, Limited, judge
from sys2ft.settings.choices import GridSettings
from sys2ft.tables import SCALING, build_table
from tests.unit.learning import GRID, KEYS, grown, stage, trained

SIZES = {"half": 0.5e9, "one": 1.5e9, "three": 3e9, "seven": 7e9, "fourteen": 14e9, "thirty": 32e9}
SAMPLES = [0, *(8 * 2**step for step in range(8))]
GUESSES = {("s", f"i{number}"): 0.25 for number in range(200)}
WIDE = stage(grid=GridSettings(**{**GRID.model_dump(), "model": tuple(SIZES)}))


def power(x, scale, exponent, start=0.03, end=0.8):
    """Chance-corrected accuracy between floor and ceiling."""
    return end + (start - end) * (1 + x / scale) ** -exponent


def cells(models, teacher_flops=0.0, rows=None, kept=None, seeds=2):
    told = {"study_rows": rows, "study_kept": kept, "teacher_flops": teacher_flops}
    return [KEYS | {"model": model, "seed": seed} | told for model in models for seed in range(seeds)]


def study(law, models=SIZES, samples=SAMPLES, seed=0, told=WIDE, costs=None, items=60, seeds=2, spread=0.3, noise=None):
    """Rows of `scaling` of made-up learners, whose chance-corrected accuracy is a law of samples and size."""
    rng = np.random.default_rng(seed)
    curves = []
    for model in models:
        accuracies = 0.25 + 0.75 * np.clip(law(np.array(samples, float), SIZES[model]), 1e-6, 0.99)
        curves.append(grown(accuracies, samples, rng, model, items, seeds, spread))
    losses = [trained(curve, noise=noise) for curve in curves]
    parameters = {model: int(size) for model, size in SIZES.items()}
    return build_panels(curves, losses, costs or cells(models, seeds=seeds), GUESSES, parameters, told)


def rows_of(panels, x, measure=CLOSED, told=WIDE):
    """The rows of one amount, by form."""
    (panel,) = [panel for panel in panels if panel.keys["measure"] == measure]
    return {row["form"]: row for row in Trial(panel, x, told).rows()}


def parameter(row, name):
    (found,) = [entry for entry in row["parameters"] if entry["name"] == name]
    return found


# ----------------------------------------------------------------------------------------------------- known exponents
@pytest.mark.parametrize(("exponent", "size_exponent", "scale"), [(0.9, 0.5, 60.0), (0.5, 0.8, 40.0)])
def test_a_known_power_law_in_samples_and_size_is_recovered(exponent, size_exponent, scale):
    panels = study(lambda x, size: power(x * (size / 1e9) ** size_exponent, scale, exponent), items=120, spread=0)
    found = rows_of(panels, "samples_seen")
    for name, value in {"exponent": exponent, "size_exponent": size_exponent, "scale": scale, "end": 0.8}.items():
        told = parameter(found["power_size"], name)
        assert told["low"] <= value <= told["high"], name
    assert found["power_size"]["verdict"] == "identified: best supported"
    assert min(found, key=lambda form: found[form]["aic"]) == "power_size"
    assert found["power_size"]["held_out"] == "thirty"
    assert found["power_size"]["held_out_error"] < 0.05 < found["constant"]["held_out_error"]
    assert (found["power_size"]["points"], found["power_size"]["models"], found["power_size"]["chance"]) == (
        48,
        6,
        0.25,
    )
    size = parameter(found["power_size"], "size_exponent")
    assert size["low"] > 0


def test_a_known_slope_is_recovered():
    def law(x, size):
        return 1 / (1 + np.exp(1.5 - 0.35 * np.log(np.maximum(x, 1)) - 0.2 * np.log(size / 1e9)))

    row = rows_of(study(law, items=120, spread=0), "samples_seen")["log_linear_size"]
    for name, value in {"slope": 0.35, "size_slope": 0.2, "intercept": -1.5}.items():
        told = parameter(row, name)
        assert told["low"] <= value <= told["high"], name
    assert row["verdict"].startswith("identified")


def test_a_function_of_compute_alone_is_found_to_collapse():
    """FLOPs are 4 x parameters x tokens: a hundred a sequence, sixty items."""
    panels = study(lambda x, size: power(4 * size * 100 * 60 * x, 2e15, 0.8), items=120)
    by_compute, by_samples = rows_of(panels, "train_flops"), rows_of(panels, "samples_seen")
    assert by_compute["power"]["verdict"].endswith("sizes collapse")
    assert by_compute["power"]["verdict"].startswith("identified")
    exponent = parameter(by_compute["power"], "exponent")
    assert exponent["low"] <= 0.8 <= exponent["high"]
    size = parameter(by_compute["power_size"], "size_exponent")
    assert size["low"] <= 0 <= size["high"]
    assert (
        "sizes do not collapse" in by_samples["power"]["verdict"]
        or "not identifiable" in by_samples["power"]["verdict"]
    )
    assert parameter(by_samples["power_size"], "size_exponent")["value"] == pytest.approx(1, abs=0.2)


def test_the_exponents_of_a_loss_are_recovered():
    """Chinchilla's form, with noise of 2 % for each item and step."""
    rng, told = np.random.default_rng(0), {}
    samples, truth = SAMPLES, {"E": 0.9, "alpha": 0.35, "B": 2.0, "beta": 0.45}
    curves, logs = [], []
    for model, size in SIZES.items():
        curve = grown(np.full(len(samples), 0.5), samples, rng, model, 60)
        loss = 0.9 + 300 / size**0.35 + 2 * np.maximum(samples, 1.0) ** -0.45
        noise = np.exp(rng.normal(0, 0.02, (len(samples), 2, 60)))
        curves.append(curve)
        logs.append(trained(curve, loss.tolist(), noise))
    panels = build_panels(curves, logs, cells(SIZES), GUESSES, {m: int(n) for m, n in SIZES.items()}, WIDE)
    found = rows_of(panels, "samples_seen", LOSS)
    for name, value in truth.items():
        told = parameter(found["chinchilla"], name)
        assert told["low"] <= value <= told["high"], name
    assert found["chinchilla"]["verdict"] == "identified: best supported"
    assert found["chinchilla"]["chance"] is None


# ------------------------------------------------------------------------------------------------------------ no trend
def test_data_without_any_trend_are_not_identifiable():
    """Six studies, whose items differ: hardly ever is a form taken for identified."""
    verdicts = []
    for seed in range(6):
        found = rows_of(study(lambda x, _: 0.3 + 0 * x, seed=seed, items=40), "train_flops")
        assert found.pop("constant")["verdict"].startswith("reference")
        verdicts += [row["verdict"] for row in found.values()]
    assert sum(verdict.startswith("identified") for verdict in verdicts) <= 1


def test_guessing_is_not_identifiable():
    found = rows_of(study(lambda x, _: 0 * x, seed=1), "train_flops")
    assert found["constant"]["verdict"] == "reference: no form is identified"
    assert all(found[name]["verdict"].startswith("not identifiable") for name in found if name != "constant")


def test_sizes_that_differ_for_no_reason_of_theirs_make_no_law():
    """Each model has a level of its own, in no order of size, and does not learn: the largest cannot be predicted."""
    levels = dict(zip(SIZES.values(), (0.5, 0.2, 0.6, 0.3, 0.55, 0.1), strict=True))
    found = rows_of(study(lambda x, size: levels[size] + 0 * x), "samples_seen")
    assert not [row["verdict"] for row in found.values() if row["verdict"].startswith("identified")]


# ---------------------------------------------------------------------------------------------------------- too little
def test_one_model_is_fitted_and_identifies_nothing():
    panels = study(lambda x, _: power(x, 60, 0.9), ["seven"])
    for x in ("samples_seen", "train_flops", "total_flops", "parameters"):
        found = rows_of(panels, x)
        assert {row["verdict"] for row in found.values()} == {
            "not identifiable: sizes of models: 1, at least 3 are needed"
        }
        assert {row["held_out"] for row in found.values()} == {None}
    found = rows_of(panels, "samples_seen")
    row = found["power"]
    drawn = predict("power", row["parameters"], np.array(SAMPLES[1:]), SIZES["seven"], row["chance"])
    assert drawn == pytest.approx(0.25 + 0.75 * power(np.array(SAMPLES[1:]), 60, 0.9), abs=0.08), "it can be drawn"
    assert found["power_size"]["parameters"] == []


def test_without_milestones_there_is_one_point_a_model():
    panels = study(lambda x, size: power(x * (size / 1e9) ** 0.5, 60, 0.9), samples=[0, 64])
    found = rows_of(panels, "samples_seen")
    assert {row["points"] for row in found.values()} == {6}
    assert found["power"]["verdict"] == "not identifiable: points: 6, at least 7 are needed"
    assert found["power"]["aic"] is None
    assert found["log_linear"]["verdict"].startswith("not identifiable: no better than a constant"), "all saw as much"
    by_size = rows_of(panels, "parameters")
    assert list(by_size) == ["constant", "log_linear", "power"]
    assert by_size["log_linear"]["verdict"] == "identified: best supported"
    assert parameter(by_size["log_linear"], "slope")["low"] > 0


def test_the_default_study_has_a_table_of_honest_verdicts():
    """One model, no milestones, two items."""
    told = stage(min_items=5)
    rows = fit_scaling_laws(study(lambda x, _: 0.3 + 0 * x, ["half"], [0, 6], told=told, items=2), told)
    assert rows
    assert all(row["verdict"].startswith("not identifiable: ") for row in rows)
    assert build_table(SCALING, rows).num_rows == len(rows)


def test_too_few_items_leave_values_without_intervals():
    told = stage(min_items=80)
    found = rows_of(study(lambda x, _: power(x, 60, 0.9), told=told), "samples_seen", told=told)
    assert found["power"]["verdict"] == "not identifiable: items: 60, at least 80 are needed for an interval"
    assert parameter(found["power"], "end")["low"] is None
    assert found["power"]["held_out_error"] is not None
    assert found["power"]["held_out_low"] is None


def test_one_item_of_several_seeds_is_fitted_and_identifies_nothing():
    found = rows_of(study(lambda x, _: power(x, 60, 0.9), items=1, told=stage(min_items=5)), "samples_seen",
                    told=stage(min_items=5))  # fmt: skip
    assert found["power"]["verdict"] == "not identifiable: items: 1, at least 5 are needed for an interval"


def test_a_cost_that_is_unknown_is_said_to_be():
    panels = study(lambda x, _: power(x, 60, 0.9), costs=cells(SIZES, None))
    found = rows_of(panels, "total_flops")
    assert {row["verdict"] for row in found.values()} == {"not identifiable: total_flops is unknown"}
    assert rows_of(panels, "train_flops")["power"]["parameters"]


# --------------------------------------------------------------------------------------------------------------- panels
def test_the_teacher_is_paid_for_the_rows_that_were_needed():
    """Two seeds of 60 items: 100 rows an item were written for 8e12 FLOPs, half of them kept."""
    panels = study(lambda x, _: 0.3 + 0 * x, costs=cells(SIZES, 8e12, rows=6000, kept=0.5))
    panel = panels[0]
    first = slice(0, 8)
    assert panel.amounts["samples_seen"][first].tolist() == SAMPLES[1:]
    assert panel.amounts["train_flops"][first] == pytest.approx([4 * 0.5e9 * 100 * 60 * x for x in SAMPLES[1:]])
    shares = [min(1, 60 * x / 3000) for x in SAMPLES[1:]]
    teacher = panel.amounts["total_flops"] - panel.amounts["train_flops"]
    assert teacher[first] == pytest.approx([8e12 * share for share in shares])


def test_a_seed_that_lacks_a_split_pays_for_nothing():
    """Seed 0 was run on both splits, seed 1 on one: what is averaged is seed 0, and its 8e12 FLOPs for each split."""
    rng = np.random.default_rng(0)
    curve = grown(np.full(9, 0.5), SAMPLES, rng, "half", 60, seeds=1)
    names = tuple(("st"[number // 30], f"i{number}") for number in range(60))
    curve = replace(curve, keys=curve.keys | {"split": "all"}, items=names)
    ran = [(0, "s"), (0, "t"), (1, "s")]
    costs = [{**cells(["half"], 8e12, rows=1, kept=1.0)[0], "seed": seed, "split": split} for seed, split in ran]
    guesses = dict.fromkeys(names, 0.25)
    panel = build_panels([curve], [trained(curve)], costs, guesses, {"half": int(0.5e9)}, WIDE)[0]
    teacher = panel.amounts["total_flops"] - panel.amounts["train_flops"]
    assert teacher[-1] == pytest.approx(2 * 8e12)


def test_models_of_as_many_other_items_are_not_fitted_together():
    rng = np.random.default_rng(0)
    half, one = (grown(np.full(9, 0.5), SAMPLES, rng, model, 60) for model in ("half", "one"))
    one = replace(one, items=tuple(("t", name) for _, name in one.items))
    panels = build_panels([half, one], [trained(half), trained(one)], cells(["half", "one"]), GUESSES,
                          {"half": 1, "one": 2}, WIDE)  # fmt: skip
    assert set(panels[0].models) == {"half"}


def test_a_model_that_was_not_run_on_all_items_is_left_out():
    rng = np.random.default_rng(0)
    curves = [grown(np.full(9, 0.5), SAMPLES, rng, model, items) for model, items in (("half", 60), ("one", 40))]
    parameters = {"half": 1, "one": 2}
    panels = build_panels(
        curves, [trained(curve) for curve in curves], cells(["half", "one"]), GUESSES, parameters, WIDE
    )
    assert set(panels[0].models) == {"half"}


def test_all_right_and_all_wrong_stay_on_the_scale():
    (panel, _) = study(lambda x, _: np.where(x > 50, 1.0, -1.0), spread=0)
    panel.values[0], panel.values[-1] = 0.0, 1.0
    scaled = panel.scaled(panel.values)
    low, high = panel.link.to(np.array(panel.limits))
    assert (scaled[0], scaled[-1]) == (low, high)
    guess = np.sqrt(0.25 * 0.75 / 600) / 0.75
    assert panel.limits == pytest.approx((guess, 1 - 0.5 / 600)), "300 questions, two seeds"
    data = panel.data("samples_seen", np.ones(48, bool))
    assert np.isfinite(data.error).all()
    assert (data.error > 0).all()


def test_the_chance_of_a_guess_is_that_of_the_options_and_the_mode():
    rows = [{"split": "s", "item": "a", "options": ["x"] * n} for n in (2, 4)]
    assert chances(rows) == {("s", "a"): (1 / 2 + 1 / 4) / 2}
    rng = np.random.default_rng(0)
    for mode, chance in (("letter", 0.25), ("statement", 0.5), ("generate", 0.0), ("generate_reasoned", 0.0)):
        curve = grown(np.full(9, 0.5), SAMPLES, rng)
        curve.keys["mode"] = mode
        panels = build_panels([curve], [trained(curve)], cells(["m"]), GUESSES, {"m": 1}, WIDE)
        assert panels[0].chance == chance


def test_a_drawn_curve_is_that_of_the_table():
    panels = study(lambda x, size: power(x * (size / 1e9) ** 0.5, 60, 0.9))
    row = rows_of(panels, "samples_seen")["power_size"]
    drawn = predict(row["form"], row["parameters"], np.geomspace(8, 1024, 20), 7e9, row["chance"])
    assert all(before < after for before, after in pairwise(drawn))
    truth = 0.25 + 0.75 * power(np.geomspace(8, 1024, 20) * 7**0.5, 60, 0.9)
    assert drawn == pytest.approx(truth, abs=0.06)
    loss = [{"name": "level", "value": 0.5}]
    assert predict("constant", loss, np.array([1.0, 2.0]), 7e9, None) == pytest.approx(np.exp([0.5, 0.5]))


# ------------------------------------------------------------------------------------------------------------- verdicts
def fitted(likelihood, error=0.1, **parameters):
    told = {name: Limited(sum(limits) / 2, *limits) for name, limits in parameters.items()}
    error = error if isinstance(error, Limited) else Limited(error, 0, 1)
    return Fitted(Fit(np.zeros(len(parameters)), 1.0, likelihood, 48), told, error)


def design(**chosen):
    usual = {"x": "train_flops", "known": True, "points": 48, "sizes": 6, "min_sizes": 3, "items": 40, "min_items": 5}
    return Design(**{**usual, "held_out": "largest", **chosen})


NULL = fitted(-100, 0.2, level=(0, 1))
LINE = {"intercept": (0, 1), "slope": (0.1, 0.2)}
SIZED_LINE = {**LINE, "size_slope": (0.1, 0.2)}
CURVED = {"start": (0, 0.1), "end": (0.7, 0.9), "scale": (1, 9), "exponent": (0.5, 0.9)}


@pytest.mark.parametrize(
    ("name", "found", "chosen", "verdict"),
    [
        ("log_linear", {"log_linear": fitted(-90, **LINE)}, {}, "identified: best supported"),
        ("log_linear", {"log_linear": fitted(-99.5, **LINE)}, {},
         "not identifiable: no better than a constant (AICc +1.3)"),
        ("log_linear", {"log_linear": fitted(-90, **LINE | {"slope": (-0.1, 0.2)})}, {},
         "not identifiable: the interval of slope covers 0"),
        ("log_linear", {"log_linear": fitted(-90, 0.2, **LINE)}, {},
         "not identifiable: predicts largest no better than a constant"),
        ("power", {"power": fitted(-80, **CURVED | {"exponent": (0.5, 5.0)})}, {},
         "not identifiable: the interval of exponent reaches its bounds"),
        ("power", {"power": fitted(-80, **CURVED | {"exponent": (0.01, 0.011)})}, {},
         "not identifiable: the interval of exponent reaches its bounds"),
        ("log_linear", {"log_linear": fitted(-90, **LINE), "power": fitted(-80, **CURVED)}, {},
         "rejected: AICc +15.1 beside power"),
        ("power_size", {"power_size": fitted(-80, **CURVED, size_exponent=(-5, 0.5))}, {},
         "not identifiable: the interval of size_exponent reaches its bounds"),
        ("log_linear", {"log_linear": fitted(-90, **LINE), "log_linear_size": fitted(-89, **SIZED_LINE)},
         {}, "identified: best supported; sizes collapse"),
        ("log_linear", {"log_linear": fitted(-90, **LINE), "log_linear_size": fitted(-70, **SIZED_LINE)},
         {}, "rejected: AICc +37.6 beside log_linear_size; sizes do not collapse: size_slope is not 0"),
        ("log_linear", {"log_linear": fitted(-90, **LINE), "log_linear_size": fitted(-70, **LINE, size_slope=(-1, 1))},
         {}, "rejected: AICc +37.6 beside log_linear_size; sizes collapse"),
        ("power", {"log_linear": fitted(-90.5, **LINE), "power": fitted(-89, **CURVED)}, {},
         "identified: AICc +1.9 beside log_linear"),
        ("log_linear", {"log_linear": fitted(-90, Limited(0.1, 0.09, 0.15), **LINE),
                        "power": fitted(-92, Limited(0.05, 0.03, 0.08), **CURVED)}, {},
         "identified: best supported; power predicts largest better"),
        ("constant", {"log_linear": fitted(-90, **LINE)}, {}, "reference: log_linear is identified"),
        ("constant", {"log_linear": fitted(-99, **LINE)}, {}, "reference: no form is identified"),
        ("power", {}, {"points": 6}, "not identifiable: points: 6, at least 7 are needed"),
        ("power", {}, {"sizes": 2, "points": 6}, "not identifiable: sizes of models: 2, at least 3 are needed"),
        ("power", {}, {"known": False}, "not identifiable: train_flops is unknown"),
        ("power", {}, {"items": 4}, "not identifiable: items: 4, at least 5 are needed for an interval"),
    ],
)  # fmt: skip
def test_a_verdict_goes_by_the_first_rule_that_applies(name, found, chosen, verdict):
    assert judge(name, {"constant": NULL, **found}, design(**chosen)) == verdict


def test_every_form_is_tried_where_it_has_a_meaning():
    panels = study(lambda x, _: 0.3 + 0 * x)
    by_measure = {panel.keys["measure"]: panel for panel in panels}
    tried = {
        (measure, x): Trial(panel, x, WIDE).forms() for measure, panel in by_measure.items() for x in panel.amounts
    }
    assert tried[LOSS, "samples_seen"] == list(FORMS)
    assert "chinchilla" not in tried[CLOSED, "samples_seen"] + tried[LOSS, "train_flops"]
    assert tried[CLOSED, "parameters"] == ["constant", "log_linear", "power"]
