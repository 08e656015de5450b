"""From a figure back to what it was made from: the walk, the figure once more, and damage found wherever it strikes."""

import json
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sys2ft.cli import main
from sys2ft.code_versions import read_versions
from sys2ft.errors import InputError
from sys2ft.explain.account import explain
from sys2ft.explain.estimates import recompute
from sys2ft.explain.report import as_data, as_text
from sys2ft.explain.rows import choose_row
from sys2ft.paths import cell_path, study_path
from sys2ft.report.provenance import collect_settings
from sys2ft.tables import CELLS as CELLS_SCHEMA
from sys2ft.tables import DYNAMICS, build_table, read_rows, write_table
from tests.unit.made_study import CELLS, SCRIPTS, gather, make_study

EFFECTS = Path("results/made/tables/effects.parquet")
GAIN = ("model=m", "protocol=self_qa", "measure=closed_book_gain", "control=blank_question")
CLOSED = ("condition=closed_book", "control=none")
CELL = CELLS["self_qa", 1]
VERSIONS = read_versions(SCRIPTS.parent / "code-versions.yaml")

pytestmark = pytest.mark.usefixtures("study")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The study, written once."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_study("results/made")
    return folder


@pytest.fixture
def study(made, tmp_path, monkeypatch):
    """A copy that a test may damage."""
    shutil.copytree(made, tmp_path / "study")
    monkeypatch.chdir(tmp_path / "study")
    return tmp_path / "study"


def rewrite(path, change, **options):
    """Write a table with other rows, as somebody would who edits it and knows nothing of origins."""
    table = pq.ParquetFile(path).read()
    rows = table.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path, **options)


# ---------------------------------------------------------------------------------------------------- what stands where
def test_cells_hold_what_each_was_made_from():
    rows = {(row["protocol"], row["seed"]): row for row in read_rows(CELLS_SCHEMA, "results/made/tables/cells.parquet")}
    taught, naive = rows["self_qa", 0], rows["naive", 0]
    assert naive["studies"] is None
    (study_data,) = taught["studies"]
    assert {**study_data, "digest": ""} == {
        "kind": "self_qa", "prompts_version": 3, "teacher_revision": "t at 7", "digest": "",
    }  # fmt: skip
    assert taught["revision"] == "r1"
    versions = {told["stage"]: told["version"] for told in taught["code_versions"]}
    assert set(versions) == {
        "prepare_model", "validate_news", "generate_study", "filter_study", "compose_training", "fine_tune",
        "score_base", "score_answers", "score_base_retention", "score_retention",
    }  # fmt: skip
    assert {told["stage"] for told in naive["code_versions"]} == set(versions) - {"generate_study", "filter_study"}
    assert {"python", "torch", "transformers", "peft"} <= {told["package"] for told in taught["environment"]}
    for name in ("model", "items", "questions"):
        assert len({row[f"{name}_digest"] for row in rows.values()}) == 1
    for name in ("sequences", "adapters"):
        digests = [row[f"{name}_digest"] for row in rows.values()]
        assert None not in digests
        assert len(set(digests)) == len(rows)


# ------------------------------------------------------------------------------------------------ what a row is made of
def test_every_effect_is_computed_again_to_the_same(made, monkeypatch):
    monkeypatch.chdir(made)
    found = set()
    for number in range(pq.read_metadata(EFFECTS).num_rows):
        account = explain(EFFECTS, number, ())
        row = account.chosen.row
        assert account.damage == []
        assert account.recomputed is not None, account.why_not
        assert account.recomputed.values or row["estimate"] is None
        for name, value in account.recomputed.values.items():
            assert row[name] is None or row[name] == pytest.approx(value)
        found.add(row["measure"])
    assert found == {
        "closed_book", "in_context", "in_context_gain", "closed_book_gain", "ft_icl_gap", "gap_closed",
        "protocol_contrast", "size_contrast", "retention_change",
    }  # fmt: skip


def test_the_walk_names_the_terms_the_answers_and_all_before_them():
    account = explain(EFFECTS, None, GAIN)
    told = [(p.who, p.condition, p.control, p.sign, p.answers, p.mean) for p in account.recomputed.parts]
    assert told == [
        ("tuned", "closed_book", "none", 1, 8, 0.75), ("base", "closed_book", "none", -1, 4, 0.25),
        ("tuned", "closed_book", "blank_question", 1, 8, 0.25), ("base", "closed_book", "blank_question", -1, 4, 0.25),
    ]  # fmt: skip
    assert account.recomputed.values == {"estimate": 0.5, "control_estimate": 0.0, "net": 0.5}
    both = [CELLS["self_qa", 0], CELLS["self_qa", 1]]
    answers = [cell_path("results/made", "answers", cell) for cell in both]
    assert [str(table.path) for table in account.tables] == [
        "results/made/score_base/model=m/split=s/answers.parquet",
        *answers,
    ]
    names = ("model", "items", "questions", "sequences", "adapters", "train_log")
    expected = {cell_path("results/made", name, cell) for cell in both for name in names} | set(answers)
    for cell in both:
        paths = {name: study_path("results/made", name, cell, "self_qa", shard=0) for name in ("study", "completions")}
        expected |= set(paths.values()) | {paths["study"].replace("study.parquet", "study_counts.parquet")}
    assert set(account.checks) == expected | {str(account.tables[0].path), "news.yaml"}
    assert {check.status for check in account.checks.values()} == {"ok"}
    stages = [stage for stage, _ in account.code_versions]
    assert len(stages) == len(set(stages)) == 9
    assert stages[-1] == "validate_news"


def test_text_and_data_tell_the_same():
    account = explain(EFFECTS, None, GAIN)
    text, data = "\n".join(as_text(account)), json.loads(json.dumps(as_data(account)))
    for part in ("+1 tuned closed_book: 0.750000 over 8 answers", "the table says 0.500000: agrees", "revision r1",
                 "2 of 2 rows kept, teacher t, revision t at 7; prompts version 3",
                 f"fine_tune {VERSIONS['fine_tune']}", "python 3.",
                 "under blank_question", " ok"):  # fmt: skip
        assert part in text
    for path in data["checks"]:
        assert path["path"] in text
    assert data["recomputed"]["values"]["net"] == data["values"]["net"] == 0.5
    assert [cell["seed"] for cell in data["cells"]] == [0, 1]
    (kind,) = [part for part in data["cells"][0]["made_from"] if part["what"] == "study (self_qa)"]
    assert kind["path"] == study_path("results/made", "study", CELLS["self_qa", 0], "self_qa")
    assert data["damage"] == []


@pytest.mark.parametrize(
    ("table", "keys", "tables"),
    [
        ("answers", ("model=m", "protocol=self_qa", "seed=1", "question_id=a-q1", *CLOSED, "milestone=false"), 1),
        ("answers", ("model=m", "protocol=none", "question_id=b-q2", *CLOSED), 1),
        ("retention", ("model=m", "protocol=naive", "seed=0", "item=b", "document=2"), 1),
        ("cells", ("model=m", "protocol=naive", "seed=0"), 4),
    ],
)  # fmt: skip
def test_rows_of_other_tables_are_walked_too(table, keys, tables):
    account = explain(EFFECTS.with_name(f"{table}.parquet"), None, keys)
    assert len(account.tables) == tables
    assert account.damage == []
    assert account.recomputed is None
    assert "for rows of effects only" in "\n".join(as_text(account))


def test_a_point_of_a_learning_curve_is_walked_to_its_cells_and_base():
    keys = {"model": "m", "method": "lora", "protocol": "self_qa", "teacher": "t", "split": "all", "mode": "cloze"}
    row = dict.fromkeys(DYNAMICS.names) | keys | {"measure": "closed_book", "control": "none", "samples_seen": 1}
    path = EFFECTS.with_name("dynamics.parquet")
    write_table(build_table(DYNAMICS, [row]), path)
    account = explain(path, 0, ())
    assert [table.who for table in account.tables] == ["base", "tuned", "tuned"]
    assert account.damage == []
    row |= {"mode": "none", "measure": "loss"}
    write_table(build_table(DYNAMICS, [row]), path)
    assert cell_path("results/made", "train_log", CELL) in explain(path, 0, ()).checks


def test_a_base_is_explained_without_cells():
    account = explain(EFFECTS, None, ("model=m", "protocol=none", "measure=in_context_gain", "control=blank_question"))
    assert account.cells == []
    assert [environment["python"].count(".") for environment in account.environments] == [2]
    assert [stage for stage, _ in account.code_versions] == [
        "estimate_effects", "prepare_model", "score_base", "validate_news",
    ]  # fmt: skip
    assert "it answered in" in "\n".join(as_text(account))


def test_a_comparison_is_made_of_both_protocols():
    account = explain(EFFECTS, None, ("model=m", "protocol=self_qa", "measure=protocol_contrast"))
    assert [table.who for table in account.tables] == ["tuned", "tuned", "other", "other"]
    assert {cell["protocol"] for cell in account.cells} == {"self_qa", "naive"}
    assert account.recomputed.values["estimate"] == 0.25


def test_a_comparison_of_sizes_is_made_of_both_models():
    bases = explain(EFFECTS, None, ("protocol=none", "measure=size_contrast"))
    assert [table.path.parent.parent.name for table in bases.tables] == ["model=n", "model=m"]
    assert bases.cells == []
    account = explain(EFFECTS, None, ("protocol=naive", "measure=size_contrast"))
    assert [table.who for table in account.tables] == ["tuned", "tuned", "other", "other"]
    assert [(cell["model"], cell["protocol"]) for cell in account.cells] == [("n", "naive")] * 2 + [("m", "naive")] * 2
    assert account.recomputed.values["control_estimate"] == 0


def test_only_questions_that_both_were_asked_and_seeds_that_were_asked_all_are_compared():
    row = {"measure": "size_contrast", "versus": "m", "protocol": "p", "control": None, "estimate": 0.5}
    asked = {"condition": "closed_book", "control": "none", "split": "s"}

    def answers(told):
        return [{**asked, "seed": seed, "question_id": name, "correct": right} for seed, name, right in told]

    tuned = answers([(0, "a", 1.0), (0, "b", 1.0), (0, "c", 0.0), (1, "a", 1.0), (1, "b", 0.0), (1, "c", 0.0)])
    other = answers([(0, "a", 1.0), (0, "b", None), (1, "a", 0.0)])
    found = recompute(row, {"tuned": tuned, "other": other})
    assert [(part.answers, part.mean) for part in found.parts] == [(2, 1.0), (2, 0.5)]
    assert found.differing == []


# --------------------------------------------------------------------------------------------------------------- damage
def damage(keys=GAIN):
    return "\n".join(explain(EFFECTS, None, keys).damage)


def test_a_table_that_is_written_again_is_still_what_it_was(study):
    for path in [*study.rglob("sequences.parquet"), *study.rglob("answers.parquet"), *study.rglob("study.parquet")]:
        rewrite(path, lambda _: None, compression="snappy", data_page_size=64)
    assert damage() == ""


def test_edited_training_rows_are_found_and_named():
    path = cell_path("results/made", "sequences", CELL)
    rewrite(path, lambda rows: rows[1]["token_ids"].append(9))
    (line,) = damage().splitlines()
    assert line.startswith(f"{path}: its digest is ")
    assert cell_path("results/made", "train_log", CELL) in line
    assert "results/made/tables/cells.parquet" in line
    assert damage(("model=m", "protocol=naive", "measure=closed_book_gain", "control=blank_question")) == "", (
        "of another cell"
    )


@pytest.mark.parametrize(
    ("artefact", "told_by"), [("study", "compose_training"), ("items", "generate_study"), ("questions", "score_base")]
)
def test_edited_study_rows_and_news_are_found(artefact, told_by):
    paths = {"study": study_path("results/made", "study", CELL, "self_qa")}
    path = paths.get(artefact) or cell_path("results/made", artefact, CELL)
    rewrite(path, lambda rows: rows[0].update(item="c"))
    found = damage()
    assert found.startswith(f"{path}: its digest is ")
    assert len(found.splitlines()) == 1
    assert told_by in found


def test_changed_weights_are_found_and_named():
    adapters = Path(cell_path("results/made", "adapters", CELL))
    (adapters / "b/adapter_model.safetensors").write_text("others")
    assert damage() == f"{adapters}: b is missing or damaged"


def test_other_adapters_with_their_own_digests_are_not_those_that_answered():
    adapters = [Path(cell_path("results/made", "adapters", CELLS["self_qa", seed])) for seed in (0, 1)]
    shutil.rmtree(adapters[1])
    shutil.copytree(*adapters)
    told = damage()
    assert f"{adapters[1]}: its digest is " in told
    assert f"{cell_path('results/made', 'answers', CELL)}: answers were given by an adapter " in told


def test_edited_answers_give_another_estimate_and_are_not_those_of_the_table():
    path = cell_path("results/made", "answers", CELL)

    def flip(rows):
        next(row for row in rows if not row["milestone"] and row["correct"] == 0).update(correct=1.0)

    rewrite(path, flip)
    first, second = damage().splitlines()
    assert (
        first == f"{path}: its rows are not those that results/made/tables/answers.parquet has of it: columns correct"
    )
    assert second.startswith(f"{EFFECTS}, row ")
    assert second.endswith("the answers give another estimate, net")


def test_an_edited_table_of_effects_is_found():
    rewrite(EFFECTS, lambda rows: [row.update(control_estimate=0.125) for row in rows if row["control_estimate"] == 0])
    assert damage().endswith("the answers give another control_estimate")


def test_a_file_that_cannot_be_read_is_damage():
    path = Path(cell_path("results/made", "sequences", CELL))
    path.write_bytes(path.read_bytes()[:-9])
    assert damage().startswith(f"{path}: cannot be read (")
    manifest = Path(cell_path("results/made", "model", CELL))
    (manifest.parent / "weights/model.safetensors").write_text("other")
    assert f"{manifest}: weights/model.safetensors is missing or damaged" in damage()


def test_what_was_deleted_is_no_damage_and_its_origin_is_still_known(study):
    for name in ("compose_training", "filter_study", "generate_study", "fine_tune"):
        shutil.rmtree(study / "results/made" / name)
    account = explain(EFFECTS, None, GAIN)
    assert account.damage == []
    assert account.checks[cell_path("results/made", "sequences", CELL)].status == "not there any more"
    assert account.recomputed.values["estimate"] == 0.5
    assert ("generate_study", VERSIONS["generate_study"]) in account.code_versions
    shutil.rmtree(study / "results/made/score_answers")
    account = explain(EFFECTS, None, GAIN)
    assert account.recomputed is None
    assert account.damage == []
    assert "answers.parquet is not there any more" in "\n".join(as_text(account))


def test_answers_in_modes_that_the_study_has_no_more_are_no_part_of_it():
    """They stay on disk, and nothing keeps them up to date."""
    written = Path(cell_path("results/made", "written", CELL))
    written.parent.mkdir(parents=True)
    shutil.copy(cell_path("results/made", "answers", CELL), written)
    rewrite(written, lambda rows: [row.update(mode="generate") for row in rows])
    account = explain(Path("results/made/tables/cells.parquet"), None, [f"{k}={v}" for k, v in CELL.keys().items()])
    assert str(written) not in account.checks
    assert account.damage == []
    settings = collect_settings("results/made", {}, [CELL], {"s": ("answers",)})
    assert "score_answers" in settings
    assert "write_answers" not in settings, "in the report neither"


def test_an_absolute_path_is_that_of_the_project():
    path = Path(study_path("results/made", "completions", CELL, "self_qa", shard=0))
    rewrite(path, lambda rows: [row.update(completion="other") for row in rows])
    relative, absolute = explain(EFFECTS, None, GAIN), explain(EFFECTS.absolute(), None, GAIN)
    assert list(absolute.checks) == list(relative.checks)
    assert absolute.damage == relative.damage != []


def test_news_that_people_edit_is_no_damage(study):
    (study / "news.yaml").write_text("# a comment\nsplit: s\n")
    assert explain(EFFECTS, None, GAIN).checks["news.yaml"].status == "ok"
    (study / "news.yaml").write_text("split: t\n")
    account = explain(EFFECTS, None, GAIN)
    assert account.checks["news.yaml"].status == "edited since"
    assert account.damage == []


def test_results_without_origins_are_walked_as_far_as_they_are_known(study):
    for path in (study / "results").rglob("*.parquet"):
        table = pq.ParquetFile(path).read()
        pq.write_table(table.replace_schema_metadata({"sys2ft": "{}"}), path)
    gather("results/made")
    account = explain(EFFECTS, None, GAIN)
    assert account.damage == []
    assert account.environments == []
    assert account.checks[cell_path("results/made", "sequences", CELL)].status == "nobody told its digest"
    (study / cell_path("results/made", "adapters", CELL) / "a/adapter_model.safetensors").unlink()
    assert "a is missing or damaged" in damage()


# --------------------------------------------------------------------------------------------------- which row is meant
def test_keys_that_fit_several_rows_list_them():
    with pytest.raises(InputError) as error:
        choose_row(EFFECTS, None, ["model=m", "protocol=self_qa", "measure=closed_book_gain"])
    lines = str(error.value).splitlines()
    assert "2 rows are meant" in lines[0]
    assert [line.split(": ")[1] for line in lines[1:3]] == ["control=blank_question", "control=other_adapter"]
    number = int(lines[1].split()[1].rstrip(":"))
    assert choose_row(EFFECTS, number, ()).row["control"] == "blank_question"


@pytest.mark.parametrize(
    ("number", "keys", "message"),
    [
        (999, (), r"row: there is no row 999\. To mend: write a number from 0 to \d+"),
        (-1, (), "there is no row -1"),
        (None, ("measur=closed_book",), "there is no column 'measur' to choose by. To mend: write 'measure'"),
        (None, ("measure=closed_bok",), "measure: no row has 'closed_bok'. To mend: write 'closed_book'"),
        (None, ("protocol=naive", "measure=in_context_gain"), "no row has 'in_context_gain' among the rows that the"),
        (None, (), r"\d\d rows are meant:"),
    ],
)
def test_a_row_that_is_not_there_gives_one_clear_error(number, keys, message):
    with pytest.raises(InputError, match=message):
        choose_row(EFFECTS, number, keys)


def test_a_null_is_written_as_nothing():
    keys = ["model=m", "protocol=self_qa", "measure=retention_change", "control="]
    assert choose_row(EFFECTS, None, keys).row["control"] is None


@pytest.mark.parametrize("name", ["effect", "study_counts"])
def test_a_table_that_is_not_there_or_not_about_cells_gives_one_clear_error(name):
    with pytest.raises(InputError, match=r"no such table|is no table of results"):
        choose_row(EFFECTS.with_name(f"{name}.parquet"), 0, ())


def test_the_table_of_cells_must_be_there_and_fit(study):
    (study / "results/made/tables/cells.parquet").rename(study / "cells.parquet")
    with pytest.raises(InputError, match=r"cells\.parquet: missing"):
        explain(EFFECTS, None, GAIN)
    rewrite(study / "cells.parquet", lambda rows: [row.update(model="x") for row in rows])
    (study / "cells.parquet").rename(study / "results/made/tables/cells.parquet")
    with pytest.raises(InputError, match="has no cell of"):
        explain(EFFECTS, None, GAIN)


# ----------------------------------------------------------------------------------------------------- the command line
def test_the_command_prints_the_account_and_fails_on_damage(capsys):
    main(["explain", str(EFFECTS), "--key", *GAIN])
    assert re.search(r"^\d\d CHECKED: \d\d ok$", capsys.readouterr().out, re.MULTILINE)
    main(["explain", str(EFFECTS), "--row", "0", "--format", "json"])
    assert json.loads(capsys.readouterr().out)["row"] == 0
    rewrite(cell_path("results/made", "sequences", CELL), lambda rows: rows.pop())
    with pytest.raises(SystemExit) as stopped:
        main(["explain", str(EFFECTS), "--key", *GAIN])
    assert stopped.value.code not in (0, None)
    assert "differs" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="does not go with --key"):
        main(["explain", str(EFFECTS), "--row", "0", "--key", *GAIN])
