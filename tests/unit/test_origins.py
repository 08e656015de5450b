"""Where outputs come from: digests of content, and origins that travel with what they are of."""

import datetime
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sys2ft.code_versions import read_versions
from sys2ft.learned import write_digests
from sys2ft.origins import describe_environment, digest_of, read_origin, tell_origin
from sys2ft.tables import SCHEMAS, STUDY, build_table, content_digest, write_table
from tests.unit.made_study import SCRIPTS

MIXED = pa.schema(
    [
        ("text", pa.string()), ("number", pa.float64()), ("whole", pa.int32()), ("sure", pa.bool_()),
        ("day", pa.date32()), ("ids", pa.list_(pa.int32())), ("texts", pa.list_(pa.string())),
        ("chat", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
    ]
)  # fmt: skip
texts = st.none() | st.text("aé\0", max_size=3)
rows = st.fixed_dictionaries(
    {
        "text": texts, "number": st.none() | st.floats(allow_nan=False), "whole": st.none() | st.integers(-9, 9),
        "sure": st.none() | st.booleans(), "day": st.none() | st.just(datetime.date(2027, 1, 2)),
        "ids": st.none() | st.lists(st.none() | st.integers(0, 3), max_size=3),
        "texts": st.none() | st.lists(texts, max_size=2),
        "chat": st.none() | st.lists(st.none() | st.fixed_dictionaries({"role": texts, "content": texts}), max_size=2),
    }
)  # fmt: skip


def table_of(some):
    return pa.Table.from_pylist(some, schema=MIXED)


# --------------------------------------------------------------------------------------------------- digests of content
@settings(max_examples=100, deadline=None)
@given(some=st.lists(rows, max_size=4), others=st.lists(rows, max_size=4))
def test_tables_have_one_digest_just_where_they_hold_the_same(some, others):
    one, other = table_of(some), table_of(others)
    assert (content_digest(one) == content_digest(other)) == (repr(one.to_pylist()) == repr(other.to_pylist()))


@settings(max_examples=30, deadline=None)
@given(some=st.lists(rows, min_size=1, max_size=5), before=st.lists(rows, max_size=3), cut=st.integers(0, 5))
def test_files_pieces_and_descriptions_play_no_part(tmp_path_factory, some, before, cut):
    table = table_of(some)
    digest = content_digest(table)
    assert content_digest(pa.concat_tables([table.slice(0, cut), table.slice(cut)])) == digest
    assert content_digest(table_of([*before, *some, *before]).slice(len(before), len(some))) == digest
    path = tmp_path_factory.mktemp("written") / "t.parquet"
    pq.write_table(table.replace_schema_metadata({"a": "b"}), path, compression="snappy", row_group_size=2)
    assert digest_of(path) == digest


@pytest.mark.parametrize(
    ("some", "others"),
    [
        ([{"text": None}], [{"text": ""}]),
        ([{"text": "ab"}, {"text": "c"}], [{"text": "a"}, {"text": "bc"}]),
        ([{"text": "a"}, {"text": "b"}], [{"text": "b"}, {"text": "a"}]),
        ([{"ids": [1, 2]}, {"ids": [3]}], [{"ids": [1]}, {"ids": [2, 3]}]),
        ([{"ids": None}], [{"ids": []}]),
        ([{"ids": [0]}], [{"ids": [None]}]),
        ([{"number": 0.1}], [{"number": 0.1 + 2e-17 + 1e-16}]),
    ],
)
def test_what_differs_has_another_digest(some, others):
    one, other = ([dict.fromkeys(MIXED.names) | row for row in told] for told in (some, others))
    assert content_digest(table_of(one)) != content_digest(table_of(other))


def test_a_column_by_another_name_is_another_one():
    assert content_digest(pa.table({"a": [1]})) != content_digest(pa.table({"b": [1]}))


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_table_has_a_digest(name):
    row = dict.fromkeys(SCHEMAS[name].names)
    assert len(content_digest(build_table(SCHEMAS[name], [row]))) == 16


def test_a_model_s_digest_is_that_of_what_it_is_and_not_of_where_it_was_made(tmp_path):
    path, told = tmp_path / "model.json", {"revision": "r", "dtype": "float32", "files": {"a": "1"}, "parameters": 3}
    path.write_text(json.dumps(told))
    digest = digest_of(path)
    path.write_text(json.dumps(told | {"origin": {"stage": "prepare_model"}}))
    assert digest_of(path) == digest
    for change in ({"revision": "s"}, {"dtype": "bfloat16"}, {"files": {"a": "2"}}):
        path.write_text(json.dumps(told | change))
        assert digest_of(path) != digest


def test_files_that_people_write_are_told_by_what_they_say(tmp_path):
    path = tmp_path / "news.yaml"
    path.write_text("split: s\nitems: []\n")
    digest = digest_of(path)
    path.write_text("# a comment\nitems: []\nsplit: s\n")
    assert digest_of(path) == digest
    path.write_text("split: t\nitems: []\n")
    assert digest_of(path) != digest
    with pytest.raises(FileNotFoundError):
        digest_of(tmp_path / "other.yaml")


# -------------------------------------------------------------------------------------------------------------- origins
def write_study(path, text, **inputs):
    row = dict.fromkeys(STUDY.names) | {"text": text}
    origin = tell_origin(str(SCRIPTS / "filter_study.py"), **inputs)
    write_table(build_table(STUDY, [row]), path, {"a": 1}, origin)
    return path


def test_an_origin_holds_the_whole_way_and_stays_when_the_files_are_gone(tmp_path):
    (tmp_path / "news.yaml").write_text("a: 1\n")
    first = write_study(tmp_path / "1.parquet", "one", news=tmp_path / "news.yaml")
    second = write_study(tmp_path / "2.parquet", "two", parts=[first], nothing=[], none=None)
    third = write_study(tmp_path / "3.parquet", "three", parts=[second, first])
    before = digest_of(first)
    for path in (tmp_path / "news.yaml", first, second):
        path.unlink()
    origin = read_origin(third)
    assert origin is not None
    assert (origin.stage, origin.version) == (
        "filter_study",
        read_versions("workflow/code-versions.yaml")["filter_study"],
    )
    assert [source.path for source in origin.inputs["parts"]] == [str(second), str(first)]
    assert [source.digest for source in origin.sources()][1] == before
    assert len(list(origin.walk())) == 4
    (news,) = origin.inputs["parts"][0].origin.one("parts").origin.sources()
    assert (news.path, news.origin) == (str(tmp_path / "news.yaml"), None)
    assert set(origin.inputs["parts"][0].origin.inputs) == {"parts"}
    assert origin.one("other") is None


def test_an_origin_is_no_part_of_the_content(tmp_path):
    (tmp_path / "news.yaml").write_text("a: 1\n")
    one, other = (write_study(tmp_path / f"{n}.parquet", "x", **told) for n, told in enumerate(({}, {"news": tmp_path / "news.yaml"})))  # noqa: E501  # fmt: skip
    assert digest_of(one) == digest_of(other)
    assert json.loads(pq.read_schema(one).metadata[b"sys2ft"]) == {"a": 1}


def test_what_carries_no_origin_has_none(tmp_path):
    row = dict.fromkeys(STUDY.names)
    write_table(build_table(STUDY, [row]), tmp_path / "t.parquet")
    (tmp_path / "model.json").write_text("{}")
    (tmp_path / "news.yaml").write_text("")
    assert [read_origin(tmp_path / name) for name in ("t.parquet", "model.json", "news.yaml")] == [None] * 3


def test_the_digest_of_what_was_learned_is_that_of_its_weights(tmp_path):
    (tmp_path / "model.json").write_text(json.dumps({"revision": "r"}))
    for name in ("a", "b"):
        (tmp_path / "adapters" / name).mkdir(parents=True)
        (tmp_path / "adapters" / name / "adapter_model.safetensors").write_text(name)
    write_digests(tmp_path / "adapters", tmp_path / "model.json")
    digest = digest_of(tmp_path / "adapters")
    (tmp_path / "adapters/a/adapter_model.safetensors").write_text("c")
    write_digests(tmp_path / "adapters", tmp_path / "model.json")
    assert digest_of(tmp_path / "adapters") != digest


def test_the_environment_names_python_and_what_trains():
    found = describe_environment()
    assert found["python"].count(".") == 2
    assert {"torch", "transformers", "peft", "pyarrow"} <= set(found)
