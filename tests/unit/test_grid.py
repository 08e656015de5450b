"""The grid: cells and their paths, what a selection spans, and seeds that keep purposes apart."""

import re
import string
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sys2ft.grid import AXES, Cell, derive_seed, expand_grid, key_path, spread_cells, wildcard_path
from sys2ft.paths import PATTERNS, artefact_path, cell_path, pattern, study_path, study_paths
from sys2ft.settings.base import SAFE_NAME
from sys2ft.tables import SCHEMAS

SAFE = string.ascii_letters + string.digits
names = st.builds(
    lambda first, rest: first + rest, st.sampled_from(SAFE), st.text(alphabet=SAFE + "._-", max_size=12)
).filter(lambda name: re.match(SAFE_NAME, name))
cells = st.builds(Cell, names, names, names, names, names, st.integers(0, 2**31 - 1))
CELL = Cell("tiny", "lora", "self_qa", "self", "events", 3)
quick = settings(max_examples=60, deadline=None)
NEEDS = {"naive": False, "self_qa": True}


def grid(**changes: list) -> dict[str, list]:
    small: dict[str, list] = {
        "model": ["m"], "method": ["lora"], "protocol": ["naive", "self_qa"], "teacher": ["self"], "split": ["a", "b"],
        "seed": [0],
    }  # fmt: skip
    return small | changes


# ---------------------------------------------------------------------------------------------------------------- cells
def test_the_path_of_a_cell_is_spelled_axis_by_axis():
    assert CELL.path == "model=tiny/method=lora/protocol=self_qa/teacher=self/split=events/seed=3"


@quick
@given(cells)
def test_a_cell_comes_back_from_its_path(cell):
    assert Cell.from_path(cell.path) == cell


@quick
@given(cells, cells)
def test_two_cells_share_a_path_only_when_they_are_equal(one, other):
    assert (one.path == other.path) == (one == other)


@quick
@given(cells, st.sampled_from(AXES[:-1]), names)
def test_a_change_of_any_axis_changes_the_path(cell, axis, name):
    changed = replace(cell, **{axis: name})
    assert (changed.path == cell.path) == (name == getattr(cell, axis))


def test_slashes_around_a_path_do_not_matter():
    assert Cell.from_path(f"/{CELL.path}/") == CELL


@pytest.mark.parametrize(
    "path",
    [
        "",
        "model=tiny",
        CELL.path.replace("/seed=3", ""),
        CELL.path + "/more=1",
        CELL.path.replace("split=events/seed=3", "seed=3/split=events"),
        CELL.path.replace("teacher=", "tutor="),
        CELL.path.replace("seed=3", "seed=three"),
    ],
)
def test_a_path_that_is_no_cell_is_refused(path):
    with pytest.raises(ValueError, match=r"is not a cell|invalid literal"):
        Cell.from_path(path)


def test_self_is_the_learner_and_others_keep_their_name():
    assert CELL.resolved_teacher() == "tiny"
    assert replace(CELL, teacher="big").resolved_teacher() == "big"


def test_keys_of_a_cell_are_its_axes_in_order():
    assert CELL.keys() == {
        "model": "tiny", "method": "lora", "protocol": "self_qa", "teacher": "self", "split": "events", "seed": 3,
    }  # fmt: skip
    assert tuple(CELL.keys()) == AXES


def test_paths_of_keys_and_wildcards_are_spelled_alike():
    assert key_path(("model", "seed"), ("tiny", 0)) == "model=tiny/seed=0"
    assert wildcard_path("model", "seed") == "model={model}/seed={seed}"
    with pytest.raises(ValueError, match="shorter"):
        key_path(("model", "seed"), ("tiny",))


# ------------------------------------------------------------------------------------------------------------ selection
def test_a_grid_spans_the_product_of_its_axes_in_the_order_of_the_lists():
    expanded = expand_grid(grid(protocol=["self_qa"], split=["b", "a"], seed=[1, 0]), [], NEEDS)
    assert [(cell.split, cell.seed) for cell in expanded] == [("b", 1), ("b", 0), ("a", 1), ("a", 0)]


def test_a_protocol_without_study_data_has_one_cell_however_many_teachers_there_are():
    expanded = expand_grid(grid(teacher=["self", "big", "recorded"], split=["a"]), [], NEEDS)
    assert [(cell.protocol, cell.teacher) for cell in expanded] == [
        ("naive", "none"), ("self_qa", "self"), ("self_qa", "big"), ("self_qa", "recorded"),
    ]  # fmt: skip


def test_a_name_that_is_listed_twice_gives_no_second_cell():
    assert expand_grid(grid(split=["a", "a"], seed=[0, 0]), [], NEEDS) == expand_grid(grid(split=["a"]), [], NEEDS)


def test_an_exclusion_takes_out_what_agrees_with_all_of_its_keys():
    exclude = [{"protocol": "self_qa", "split": "a"}]
    expanded = expand_grid(grid(), exclude, NEEDS)
    assert [(cell.protocol, cell.split) for cell in expanded] == [("naive", "a"), ("naive", "b"), ("self_qa", "b")]


def test_several_exclusions_take_out_what_agrees_with_any_of_them():
    exclude = [{"protocol": "naive", "split": "b"}, {"seed": 1}]
    expanded = expand_grid(grid(seed=[0, 1]), exclude, NEEDS)
    assert [(cell.protocol, cell.split, cell.seed) for cell in expanded] == [
        ("naive", "a", 0), ("self_qa", "a", 0), ("self_qa", "b", 0),
    ]  # fmt: skip


def test_the_naive_protocol_is_excluded_by_the_teacher_none():
    assert [cell.protocol for cell in expand_grid(grid(split=["a"]), [{"teacher": "none"}], NEEDS)] == ["self_qa"]


short = st.lists(st.sampled_from("abc"), min_size=1, max_size=3)


@quick
@given(short, short, st.lists(st.sampled_from(["naive", "self_qa"]), min_size=1, max_size=3), short)
def test_a_grid_has_no_doubles_and_every_cell_was_selected(model, teacher, protocol, split):
    axes = grid(model=model, teacher=teacher, protocol=protocol, split=split)
    expanded = expand_grid(axes, [], NEEDS)
    teachers = sum(len(set(teacher)) if NEEDS[name] else 1 for name in set(protocol))
    assert len(set(expanded)) == len(expanded) == len(set(model)) * teachers * len(set(split))
    for cell in expanded:
        assert cell.teacher == "none" if cell.protocol == "naive" else cell.teacher in teacher
        assert cell.model in model
        assert cell.split in split


# ---------------------------------------------------------------------------------------------------------------- seeds
def test_a_seed_is_the_same_on_every_machine():
    assert derive_seed("smollm2-135m", "naive", 0) == 4739434277149720712


@quick
@given(st.lists(names, min_size=1, max_size=5))
def test_a_seed_fits_the_generators_of_numpy_and_torch(parts):
    assert 0 <= derive_seed(*parts) < 2**63


@quick
@given(st.lists(names, min_size=1, max_size=5), st.lists(names, min_size=1, max_size=5))
def test_seeds_of_different_parts_differ(one, other):
    assert (derive_seed(*one) == derive_seed(*other)) == (one == other)


@quick
@given(names, names, names)
def test_a_seed_tells_where_one_part_ends_and_the_next_begins(one, two, three):
    seeds = {derive_seed(one + two, three), derive_seed(one, two + three), derive_seed(one + two + three)}
    assert len(seeds) == 3
    assert derive_seed(one, two, "") not in seeds


def test_the_order_of_parts_matters():
    assert derive_seed("a", "b") != derive_seed("b", "a")


# ---------------------------------------------------------------------------------------------------------------- paths
DEPENDS_ON = {
    "model": {"model"},
    "weights": {"model"},
    "items": {"split"},
    "questions": {"split"},
    "replay": {"replay"},
    "requests": {"teacher", "kind", "split", "seed"},
    "completions": {"teacher", "kind", "split", "seed", "shard"},
    "study": {"teacher", "kind", "split", "seed"},
    "study_counts": {"teacher", "kind", "split", "seed"},
    "sequences": {"model", "protocol", "teacher", "split", "seed"},
    "adapters": set(AXES),
    "train_log": set(AXES),
    "base_answers": {"model", "split"},
    "answers": set(AXES),
    "base_written": {"model", "split"},
    "base_written_requests": {"model", "split"},
    "written": set(AXES),
    "written_requests": set(AXES),
    "base_retention": {"model"},
    "retention": set(AXES),
    "retention_unfinished": set(AXES),
    "answers_table": set(),
    "retention_table": set(),
    "audit_table": set(),
    "study_counts_table": set(),
    "cells_table": set(),
    "effects_table": set(),
    "dynamics_table": set(),
    "scaling_table": set(),
    "figures": set(),
    "vega": set(),
    "figures_digests": set(),
    "report": set(),
    "report_digests": set(),
}
VALUES = {**CELL.keys(), "kind": "self_qa", "replay": "general", "shard": 2}


def test_every_artefact_is_known_to_these_tests():
    assert set(PATTERNS) == set(DEPENDS_ON)


@pytest.mark.parametrize(("artefact", "axes"), DEPENDS_ON.items())
def test_a_path_holds_exactly_the_axes_that_its_artefact_depends_on(artefact, axes):
    path = artefact_path("results", artefact, **VALUES)
    held = dict(part.split("=") for part in path.split("/") if "=" in part)
    assert held == {axis: str(VALUES[axis]) for axis in axes}
    assert path.startswith("results/")
    assert set(re.findall(r"\{(\w+)\}", pattern("results", artefact))) == axes


@pytest.mark.parametrize(
    "artefact",
    [name for name, path in PATTERNS.items() if path.endswith(".parquet")],
)
def test_keys_in_the_path_of_a_table_are_columns_of_it(artefact):
    table = artefact.removeprefix("base_").removesuffix("_table").replace("written", "answers")
    # A shard is how work is shared and nothing that a result depends on.
    assert set(SCHEMAS[table].names) >= DEPENDS_ON[artefact] - {"shard"}


def test_no_two_artefacts_share_a_path():
    paths = [artefact_path("results", artefact, **VALUES) for artefact in PATTERNS]
    assert len(set(paths)) == len(paths)


@quick
@given(cells, cells, st.sampled_from([name for name in DEPENDS_ON if set(AXES) >= DEPENDS_ON[name]]))
def test_two_cells_share_an_artefact_just_when_they_agree_on_its_axes(one, other, artefact):
    agree = all(getattr(one, axis) == getattr(other, axis) for axis in DEPENDS_ON[artefact])
    assert (cell_path("r", artefact, one) == cell_path("r", artefact, other)) == agree


def test_study_data_stand_under_the_learners_name_so_that_others_can_share_them():
    mine = study_path("results", "study", CELL, "self_qa")
    assert mine == "results/filter_study/teacher=tiny/kind=self_qa/split=events/seed=3/study.parquet"
    assert study_path("results", "study", replace(CELL, model="big", teacher="tiny"), "self_qa") == mine
    assert study_path("results", "study", replace(CELL, model="big"), "self_qa") != mine


def test_each_shard_has_completions_of_its_own_and_all_share_the_folder_of_requests():
    paths = {study_path("results", "completions", CELL, "self_qa", shard=shard) for shard in range(3)}
    folder = "results/generate_study/teacher=tiny/kind=self_qa/split=events/seed=3"
    assert paths == {f"{folder}/shard={shard}/completions.parquet" for shard in range(3)}
    assert study_path("results", "requests", CELL, "self_qa") == f"{folder}/requests"


def test_study_data_of_many_cells_are_named_once_and_those_of_all_kinds():
    kinds = {"naive": [], "self_qa": ["self_qa"], "mixed": ["self_qa", "paraphrase"]}
    many = [replace(CELL, protocol=protocol, method=method) for protocol in kinds for method in ("lora", "other")]
    shared = [replace(CELL, model="big", teacher="tiny")]
    paths = study_paths("results", "study", many + shared, kinds)
    assert paths == [study_path("results", "study", CELL, kind) for kind in ("paraphrase", "self_qa")]


def test_a_cells_own_path_keeps_the_teacher_as_it_was_written():
    assert cell_path("results", "answers", CELL) == f"results/score_answers/{CELL.path}/answers.parquet"


def test_shown_cells_are_spread_over_all_axes():
    models, protocols, splits = ["a", "b", "c"], ["naive", "self_qa"], ["x", "y", "z"]
    told = {"method": ["lora"], "teacher": ["self"], "seed": [0, 1]}
    axes = {"model": models, "protocol": protocols, "split": splits, **told}
    cells = expand_grid(axes, (), NEEDS)
    shown = spread_cells(cells, 6)
    assert len(shown) == 6
    assert shown == [cell for cell in cells if cell in shown], "in the grid's order"
    for axis, names in (("model", models), ("protocol", protocols), ("split", splits), ("seed", [0, 1])):
        counts = [sum(getattr(cell, axis) == name for cell in shown) for name in names]
        assert max(counts) - min(counts) <= 1, axis
    assert spread_cells(cells, 0) == []
    assert spread_cells(cells, 99) == cells
