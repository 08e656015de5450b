"""Figures, sentences and page of made-up studies: what must be seen is there, and no data become markup."""

import base64
import hashlib
import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sys2ft.paths import FIGURES, FORMATS
from sys2ft.report.embedding import Shown, embed, pack
from sys2ft.report.figure import write_figure
from sys2ft.report.figures import DRAW
from sys2ft.report.findings import count_words, per_estimate
from sys2ft.report.page import Page, render
from sys2ft.report.sentences import FEW, tell, tell_estimate
from tests.unit.findings import NO_CONTROL, effect, findings

HOSTILE = '</script><script>window.ran=1</script><!-- <img src=x onerror="alert(1)"> & \u2028 \u2029 end'
MODES = ("letter", "cloze", "statement", "generate")


@pytest.fixture(scope="module")
def study():
    return findings(models=("small", "large"), modes=MODES, teachers=("self", "large"))


@pytest.fixture(scope="module")
def specifications(study):
    return {name: draw(study).specification() for name, draw in DRAW.items()}


def points_of(specification: dict) -> list[dict]:
    return specification["data"]["values"]


def layers_of(specification: dict) -> list[dict]:
    return specification.get("spec", specification)["layer"]


def marks_of(specification: dict) -> list[str]:
    return [layer["mark"]["type"] for layer in layers_of(specification)]


# ------------------------------------------------------------------------------------------------------------- figures
def test_every_figure_has_its_files_and_its_function():
    assert tuple(DRAW) == FIGURES


@pytest.mark.parametrize("name", [name for name in FIGURES if name != "bill"])
def test_intervals_are_drawn_and_n_is_told(specifications, name):
    specification = specifications[name]
    assert specification["usermeta"]["drawn"]
    (bars,) = [
        layer for layer in layers_of(specification)
        if layer["mark"]["type"] == "rule" and {"x2", "y2"} & set(layer["encoding"])
    ]  # fmt: skip
    along = "x" if "x2" in bars["encoding"] else "y"
    assert bars["encoding"][along]["field"] == "low"
    assert bars["encoding"][f"{along}2"]["field"] == "high"
    measured = [point for point in points_of(specification) if point["what"] == "measured"]
    assert measured
    assert all(point["low"] <= point["estimate"] <= point["high"] for point in measured)
    caption = specification["usermeta"]["caption"]
    assert re.search(r"n: .*\d+ (questions|documents).*, \d", caption)
    assert "95% intervals" in caption
    assert " ".join(specification["title"]["subtitle"]) == caption, "in the exported file too"
    assert caption in specification["description"]


@pytest.mark.parametrize("name", ["gap", "protocols", "shadowing", "learning", "overexposure", "scaling", "teachers"])
def test_controls_stand_beside_measures(specifications, name):
    assert {"measured", "question blanked"} <= {point["what"] for point in points_of(specifications[name])}


@pytest.mark.parametrize("name", ["protocols", "learning", "overexposure", "scaling"])
def test_the_line_of_chance_is_where_guessing_leads(specifications, name):
    specification = specifications[name]
    line = layers_of(specification)[0]
    assert line["mark"]["type"] == "rule"
    channel = "x" if name == "protocols" else "y"
    assert (line["encoding"][channel]["field"], line["encoding"][channel]["aggregate"]) == ("reference", "mean")
    found = {point["panel"]: point["reference"] for point in points_of(specification)}
    assert found == {"letter": 25.0, "cloze": 25.0, "statement": 50.0, "generate": None}
    assert "chance" in specification["usermeta"]["caption"]


@pytest.mark.parametrize("name", ["gap", "shadowing", "retention", "teachers"])
def test_differences_have_a_line_at_zero(specifications, name):
    assert {point["reference"] for point in points_of(specifications[name])} == {0.0}
    assert "no difference" in specifications[name]["usermeta"]["caption"]


def test_each_split_and_size_is_in_the_gap_and_shadowed_protocols_are_not(specifications):
    points = points_of(specifications["gap"])
    assert {point["place"] for point in points} == {"all", "mathematics", "events"}
    assert {point["series"] for point in points} == {"small", "large"}
    assert not any("shadowed" in point["band"] for point in points)


def test_self_is_the_learner_among_teachers(specifications):
    taught = {(point["series"], point["place"]) for point in points_of(specifications["teachers"])}
    assert taught == {("small", "small"), ("small", "large"), ("large", "large")}


def test_a_perplexity_is_told_in_nats_and_an_accuracy_in_points(specifications):
    points = points_of(specifications["retention"])
    assert {point["panel"] for point in points} == {"facts/acc (points)", "text/word_perplexity (nats)"}
    assert all(abs(point["estimate"]) < 1 for point in points if "nats" in point["panel"])


def law(**given) -> dict:
    parameters = [{"name": name, "value": value, "low": None, "high": None} for name, value in
                  (("intercept", -1.0), ("slope", 0.2))]  # fmt: skip
    row = {
        "method": "lora", "protocol": "naive", "teacher": "self", "split": "all", "mode": "cloze",
        "measure": "closed_book", "control": "none", "x": "train_flops", "form": "log_linear", "chance": 0.25,
        "parameters": parameters, "aic": -10.0, "verdict": "identified: best supported; sizes collapse",
    }  # fmt: skip
    return row | given


def test_a_law_is_drawn_where_it_is_identified_and_nowhere_else():
    found = findings(models=("small", "large"), modes=MODES, scaling=[law()])
    specification = DRAW["scaling"](found).specification()
    fitted = [point for point in points_of(specification) if point["what"] == "law"]
    assert {(point["panel"], point["band"], point["series"]) for point in fitted} == {
        ("cloze", "naive", "small"), ("cloze", "naive", "large"),
    }  # fmt: skip
    assert all(25 < point["fitted"] < 100 for point in fitted)
    assert "log_linear, identified: best supported; sizes collapse" in specification["usermeta"]["caption"]
    found = findings(models=("small", "large"), modes=MODES, scaling=[law(verdict="not identifiable: 2 sizes")])
    specification = DRAW["scaling"](found).specification()
    assert not [point for point in points_of(specification) if point["what"] == "law"]
    assert "none is identified" in specification["usermeta"]["caption"]


def test_a_study_without_data_gets_sentences_instead_of_figures():
    bare = findings(dynamics=[], bill=[], effects=[])
    for name, draw in DRAW.items():
        figure = draw(bare)
        assert figure.chart is None, name
        assert re.fullmatch(r"Not drawn: .+\.", figure.caption), name


def test_a_split_that_the_grid_excludes_leaves_the_other_to_stand_for_all():
    made = findings(teachers=("self", "large"))
    left = findings(
        teachers=("self", "large"),
        effects=[row for row in made.effects if row["split"] == "events"],
        dynamics=[row | {"split": "events"} for row in made.dynamics],
    )
    assert left.whole == "events"
    for name in ("gap", "protocols", "learning", "teachers"):
        assert DRAW[name](left).chart is not None, name
    told = {section.title for section in tell(left) if section.sentences[0][0] != "Not told"}
    assert {"Is there a gap to close?", "Does training bring the news into the weights?"} <= told


def test_chance_is_that_of_the_splits_that_were_asked_in_the_mode():
    made = findings(modes=("letter", "cloze"))
    questions = [row | {"options": list("abcdef")} if row["split"] == "events" else row for row in made.questions]
    rows = [row for row in made.effects if (row["split"], row["mode"]) != ("events", "letter")]
    found = findings(effects=rows, questions=questions)
    assert found.chance("all", "letter") == pytest.approx(1 / 4)
    assert found.chance("all", "cloze") == pytest.approx((1 / 4 + 1 / 6) / 2)
    assert found.chance("events", "letter") is None


def test_what_was_not_asked_is_not_laid_to_milestones():
    made = findings()
    found = findings(dynamics=[row for row in made.dynamics if row["measure"] != "in_context"])
    assert DRAW["overexposure"](found).caption == "Not drawn: no tuned model was asked in context."
    assert DRAW["learning"](found).chart is not None


def test_methods_stand_apart_among_teachers():
    made = findings(teachers=("self", "large"))
    both = [row | {"method": method} for row in made.effects for method in ("lora", "full")]
    grid = made.grid.model_copy(update={"method": ("lora", "full")})
    points = points_of(DRAW["teachers"](replace(made, grid=grid, effects=both)).specification())
    assert {point["band"] for point in points} == {"self_qa, lora", "self_qa, full"}


def test_too_few_items_are_drawn_without_intervals_and_said():
    figure = DRAW["gap"](findings(few=True))
    assert {point["low"] for point in points_of(figure.specification())} == {None}
    assert "have too few items for an interval" in figure.caption


def test_figures_are_files_also_those_that_are_not_drawn(tmp_path):
    for name, figure in (("bill", DRAW["bill"](findings())), ("teachers", DRAW["teachers"](findings()))):
        paths = write_figure(figure.specification(), tmp_path, name)
        assert [path.name for path in paths] == [f"{name}.{kind}" for kind in FORMATS]
        starts = {"svg": b"<svg", "pdf": b"%PDF", "png": b"\x89PNG", "json": b"{"}
        for path in paths:
            assert path.read_bytes().startswith(starts[path.suffix[1:]])
    assert "two teachers" in (tmp_path / "teachers.svg").read_text()


# ----------------------------------------------------------------------------------------------------------- sentences
def told(**given) -> str:
    return ": ".join(tell_estimate(findings(), [effect(**given)]))


def test_a_gain_is_told_with_interval_control_net_and_what_could_have_been_seen():
    assert told() == (
        "naive, tiny, cloze: +20.0 [10.0, 30.0] points (10 items, 50 questions, 1 seed). Question blanked: +10.0 "
        "[2.0, 18.0]; net +10.0 [3.0, 17.0], above its control; the smallest detectable difference is 9.0 points."
    )


def test_nothing_found_is_told_in_the_same_words():
    verdict = "not distinguishable from familiarity"
    said = told(estimate=-0.02, low=-0.1, net=0.01, net_low=-0.05, net_high=0.06, p=0.7, p_holm=1.0, verdict=verdict)
    assert "−2.0 [−10.0, 30.0] points" in said
    assert f"net +1.0 [−5.0, 6.0], {verdict}; the smallest detectable difference is 9.0 points." in said


def test_a_difference_that_does_not_outlive_the_correction_says_so():
    assert "which does not outlive Holm's correction (p 0.2)" in told(p=0.01, p_holm=0.2)
    assert "outlive" not in told(p=0.01, p_holm=0.02)


def test_too_few_items_are_told_with_their_number():
    nothing = dict.fromkeys(("low", "high", "p", "p_holm", "net_low", "net_high", "detectable"))
    said = told(items=2, questions=10, seeds=3, **nothing, verdict="too few items for an interval")
    assert said.endswith("+20.0 points (2 items, 10 questions, 3 seeds), too few items for an interval.")


def test_an_undefined_share_of_the_gap_says_why():
    verdict = "undefined: no in-context gain of the base to close, beyond its control"
    said = told(measure="gap_closed", estimate=None, low=None, high=None, verdict=verdict)
    assert said == f"naive, tiny, cloze: {verdict} (10 items, 50 questions, 1 seed)."


def test_what_is_forgotten_is_told_by_adapters_and_documents_in_its_unit():
    rest = {"measure": "retention_change", "control": None, **NO_CONTROL, "verdict": "worse than the base"}
    said = told(mode="text/word_perplexity", estimate=0.1234, low=0.01, high=0.2, **rest)
    assert "+0.123 [0.010, 0.200] nats (10 adapters, 50 documents). Worse than the base; " in said


def test_each_question_is_answered_also_where_the_study_has_nothing_of_it():
    for found in (findings(), findings(effects=[], dynamics=[])):
        sections = tell(found)
        assert len(sections) == 10
        assert all(section.sentences for section in sections)
    assert {section.sentences[0][0] for section in sections} == {"Not told"}


def test_many_sentences_are_folded_below_counts_that_add_up(study):
    section = next(section for section in tell(study) if section.title.startswith("Does training bring"))
    assert len(section.sentences) > FEW
    assert section.folded
    counted = sum(int(said.split()[0]) for _, said in section.summary)
    groups = per_estimate(row for row in study.find("closed_book_gain") if "shadowed" not in row["protocol"])
    assert counted == len(groups) == len(section.sentences)
    assert all("Holm's correction leaves" in said for _, said in section.summary)


def test_counts_are_told_as_ranges():
    rows = [{"items": 5, "questions": 25, "seeds": 1}, {"items": 1200, "questions": 25, "seeds": 1}]
    assert count_words(rows) == "5 to 1,200 items, 25 questions, 1 seed"


# ----------------------------------------------------------------------------------------------------------------- page
def make_page(**given) -> Page:
    fields = {
        "title": "made up", "about": ["What was run."], "sections": [], "figures": {}, "tables": [], "rows": 10,
        "examples": [], "examples_note": "None.",
    }  # fmt: skip
    return Page(**(fields | given))


@given(st.text())
def test_no_text_can_leave_its_script_element(text):
    written = str(embed([text, HOSTILE + text]))
    assert not set(written) & set("<>&\u2028\u2029")
    assert json.loads(written) == [text, HOSTILE + text]


def test_hostile_text_is_markup_nowhere_in_the_page():
    drawn = {"usermeta": {"title": HOSTILE, "caption": HOSTILE, "drawn": True}, "description": HOSTILE}
    page = make_page(
        title=HOSTILE, about=[HOSTILE], figures={"gap": drawn}, examples=[{"news": {"text": HOSTILE}}],
        tables=[Shown("effects", HOSTILE, [{"verdict": HOSTILE}], HOSTILE)], examples_note=HOSTILE,
        common={HOSTILE: HOSTILE}, settings={HOSTILE: [HOSTILE, HOSTILE]},
    )  # fmt: skip
    html = render(page, "/* vega */")
    assert "<script>window.ran" not in html
    assert "<img" not in html
    assert html.count("<script") == 5
    assert "&lt;script&gt;window.ran=1" in html


def test_the_policy_names_both_scripts_and_allows_no_evaluation():
    html = render(make_page(), "window.vegaEmbed = 1")
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', html)
    policy = policy.replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert len(scripts) == 2
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_a_script_that_would_end_its_element_is_refused():
    with pytest.raises(ValueError, match="'vega' cannot stand in a page"):
        render(make_page(), "'</SCRIPT>'")


def test_tables_are_packed_without_loss_and_say_what_is_left_out():
    rows = [{"mode": "cloze", "estimate": 0.123456789, "net": None, "items": 5, "parameters": None},
            {"mode": "letter", "estimate": None, "net": None, "items": 6,
             "parameters": [{"name": "slope", "value": 0.5, "low": None}]}] * 3  # fmt: skip
    packed = pack(Shown("effects", "about", rows), 4)
    assert packed["total"] == 6
    columns = {column["name"]: column for column in packed["columns"]}
    assert set(columns) == {"mode", "estimate", "items", "parameters"}, "a column that holds nothing is left out"
    assert columns["estimate"]["numbers"] == [0.12346, None] * 2
    assert columns["mode"]["words"] == ["cloze", "letter"]
    assert columns["mode"]["codes"] == [0, 1] * 2
    assert columns["parameters"]["words"] == [None, "slope 0.5"]
    assert columns["items"]["about"] == "Items: the clusters of the bootstrap."
