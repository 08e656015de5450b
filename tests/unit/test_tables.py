"""Tables: described, checked against their schema, and written whole or not at all."""

import csv
import datetime
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sys2ft.tables import ITEMS, QUESTIONS, SCHEMAS, atomic_path, build_table, read_rows, read_table, write_table

QUESTION = {
    "item": "a", "question_id": "a-q1", "kind": "recall", "question": "Which?", "options": ["x, y", 'z "q"'],
    "gold": 1, "why": "So.", "short_answer": "x", "accepted_answers": [], "statement": None, "false_statement": None,
}  # fmt: skip
KEYS = {"split": "events"}


def questions(rows: int = 1) -> pa.Table:
    return build_table(QUESTIONS, [{**QUESTION, "question_id": f"a-q{number}"} for number in range(rows)], KEYS)


# -------------------------------------------------------------------------------------------------------------- schemas
@pytest.mark.parametrize(
    ("table", "column"), [(table, field.name) for table, schema in SCHEMAS.items() for field in schema]
)
def test_every_column_says_what_it_holds(table, column):
    description = SCHEMAS[table].field(column).metadata[b"description"].decode()
    assert len(description) > 5
    assert description.endswith(".")


@pytest.mark.parametrize("table", SCHEMAS)
def test_no_column_stands_twice(table):
    assert len(set(SCHEMAS[table].names)) == len(SCHEMAS[table].names)


def test_one_column_has_one_type_in_all_tables_that_share_it():
    types: dict[str, set[str]] = {}
    for schema in SCHEMAS.values():
        for field in schema:
            types.setdefault(field.name, set()).add(str(field.type))
    assert {name: kinds for name, kinds in types.items() if len(kinds) > 1} == {}


# ------------------------------------------------------------------------------------------------------------- building
def test_keys_are_columns_that_all_rows_share():
    table = questions(2)
    assert table.column("split").to_pylist() == ["events", "events"]
    assert table.schema.names == SCHEMAS["questions"].names


def test_a_table_without_rows_has_its_columns():
    assert build_table(QUESTIONS, []).schema.names == SCHEMAS["questions"].names


def test_a_missing_value_is_null_and_not_nothing():
    assert build_table(QUESTIONS, [QUESTION | {"gold": None}], KEYS).column("gold").to_pylist() == [None]


@pytest.mark.parametrize("lacking", ["item", "gold", "options"])
def test_a_row_that_lacks_a_column_is_refused(lacking):
    row = {name: value for name, value in QUESTION.items() if name != lacking}
    with pytest.raises(KeyError, match=rf"table 'questions': columns \['{lacking}'\]"):
        build_table(QUESTIONS, [QUESTION, row], KEYS)


def test_a_row_with_an_odd_column_is_refused():
    with pytest.raises(KeyError, match=r"\['difficulty'\]"):
        build_table(QUESTIONS, [QUESTION, QUESTION | {"difficulty": 3}], KEYS)


def test_an_odd_key_is_refused():
    with pytest.raises(KeyError, match=r"\['seed'\]"):
        build_table(QUESTIONS, [QUESTION], KEYS | {"seed": 1})


def test_a_value_of_another_type_is_refused():
    with pytest.raises((pa.ArrowInvalid, pa.ArrowTypeError)):
        build_table(QUESTIONS, [QUESTION | {"gold": "second"}], KEYS)


# -------------------------------------------------------------------------------------------------- whole or not at all
class PowerCutError(RuntimeError):
    """What stops a toy writer."""


def break_off(path, write) -> None:
    """Write under a temporary name and stop before it is whole."""
    with atomic_path(path) as temporary:
        write(temporary)
        raise PowerCutError


def test_a_file_stands_under_its_name_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_nothing_stands_under_the_name_of_a_file_whose_writing_failed(tmp_path):
    path = tmp_path / "file.txt"
    with pytest.raises(PowerCutError):
        break_off(path, lambda temporary: temporary.write_text("ha"))
    assert list(tmp_path.iterdir()) == []


def test_a_file_whose_replacement_failed_stays_as_it_was(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(PowerCutError):
        break_off(path, lambda temporary: temporary.write_text("ne"))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def write_folder(folder, content: str) -> None:
    (folder / "deep" / "deeper").mkdir(parents=True)
    (folder / "deep" / "deeper" / content).write_text(content)
    (folder / content).write_text(content)


def test_nothing_stands_under_the_name_of_a_directory_whose_writing_failed(tmp_path):
    with pytest.raises(PowerCutError):
        break_off(tmp_path / "adapters", lambda temporary: write_folder(temporary, "half"))
    assert list(tmp_path.iterdir()) == []


def test_a_directory_replaces_the_one_that_stood_there(tmp_path):
    path = tmp_path / "adapters"
    write_folder(path, "old")
    with atomic_path(path) as temporary:
        write_folder(temporary, "new")
    assert sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()) == [
        "deep/deeper/new", "new",
    ]  # fmt: skip
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_whose_replacement_failed_stays_as_it_was(tmp_path):
    path = tmp_path / "adapters"
    write_folder(path, "old")
    with pytest.raises(PowerCutError):
        break_off(path, lambda temporary: write_folder(temporary, "new"))
    assert (path / "deep" / "deeper" / "old").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "file.txt"):
        pass
    assert list(tmp_path.iterdir()) == []


class ToyTable:
    """A table that breaks while it is written."""

    def replace_schema_metadata(self, metadata):  # noqa: ARG002
        return self

    @property
    def schema(self):
        raise PowerCutError


@pytest.mark.parametrize("name", ["table.parquet", "table.csv"])
def test_a_table_whose_writing_breaks_off_leaves_nothing(tmp_path, name):
    with pytest.raises(PowerCutError):
        write_table(ToyTable(), tmp_path / name, {"x": 1})  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_table_whose_settings_cannot_be_written_leaves_the_former_one(tmp_path):
    path = tmp_path / "questions.parquet"
    write_table(questions(1), path)
    with pytest.raises(TypeError):
        write_table(questions(2), path, {"x": object()})
    assert len(read_rows(QUESTIONS, path)) == 1
    assert list(tmp_path.iterdir()) == [path]


# ------------------------------------------------------------------------------------------------------- there and back
def test_a_table_comes_back_as_it_was_written(tmp_path):
    path = tmp_path / "questions.parquet"
    write_table(questions(3), path, {"rows": 3})
    assert read_table(QUESTIONS, path).to_pylist() == questions(3).to_pylist()
    columns = pq.ParquetFile(path).metadata.row_group(0)
    assert {columns.column(index).compression for index in range(columns.num_columns)} == {"ZSTD"}


def test_descriptions_of_columns_stand_in_the_file(tmp_path):
    write_table(questions(), tmp_path / "questions.parquet", {})
    field = pq.read_schema(tmp_path / "questions.parquet").field("gold")
    assert field.metadata[b"description"] == b"Index of the right option."


def test_dates_lists_and_structs_come_back(tmp_path):
    item = {"item": "a", "title": "T", "date": datetime.date(2027, 2, 3), "text": "é ü 数"}
    write_table(build_table(ITEMS, [item], KEYS), tmp_path / "items.parquet")
    assert read_rows(ITEMS, tmp_path / "items.parquet") == [{**KEYS, **item}]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=25, deadline=None)
@given(kept=st.dictionaries(st.text(min_size=1, max_size=8), json_values, max_size=4))
def test_settings_come_back_from_the_metadata(tmp_path_factory, kept):
    path = tmp_path_factory.mktemp("metadata") / "questions.parquet"
    write_table(questions(), path, kept)
    assert json.loads(pq.read_schema(path).metadata[b"sys2ft"]) == kept


def test_rows_of_several_files_keep_the_order_of_the_files(tmp_path):
    for name in ("b", "a"):
        write_table(build_table(QUESTIONS, [QUESTION | {"item": name}], KEYS), tmp_path / f"{name}.parquet")
    rows = read_rows(QUESTIONS, tmp_path / "b.parquet", tmp_path / "a.parquet")
    assert [row["item"] for row in rows] == ["b", "a"]


@pytest.mark.parametrize("other", [name for name in SCHEMAS if name != "questions"])
def test_a_table_of_another_schema_is_refused(tmp_path, other):
    path = tmp_path / "questions.parquet"
    write_table(questions(), path)
    with pytest.raises(ValueError, match=f"does not have the columns of the table '{other}': delete it and run again"):
        read_table(SCHEMAS[other], path)


@pytest.mark.parametrize("change", ["drop", "rename", "retype", "reorder"])
def test_a_table_of_another_version_is_refused(tmp_path, change):
    table = questions()
    number = table.schema.get_field_index("gold")
    changed = {
        "drop": lambda: table.drop_columns(["gold"]),
        "rename": lambda: table.rename_columns([f"{name}_" if name == "gold" else name for name in table.column_names]),
        "retype": lambda: table.set_column(number, "gold", table["gold"].cast(pa.int64())),
        "reorder": lambda: table.select(list(reversed(table.column_names))),
    }[change]()
    write_table(changed, tmp_path / "questions.parquet")
    with pytest.raises(ValueError, match="does not have the columns of the table 'questions'"):
        read_table(QUESTIONS, tmp_path / "questions.parquet")


def test_the_csv_twin_holds_lists_as_json_text(tmp_path):
    write_table(questions(2), tmp_path / "questions.csv", {"ignored": True})
    with (tmp_path / "questions.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2
    assert list(rows[0]) == SCHEMAS["questions"].names
    assert json.loads(rows[0]["options"]) == QUESTION["options"]
    assert rows[1]["question_id"] == "a-q1"
    assert rows[1]["gold"] == "1"


def test_the_csv_twin_leaves_a_missing_list_empty(tmp_path):
    table = build_table(QUESTIONS, [QUESTION | {"options": None}], KEYS)
    write_table(table, tmp_path / "questions.csv")
    with (tmp_path / "questions.csv").open(newline="", encoding="utf-8") as stream:
        assert next(csv.DictReader(stream))["options"] == ""
