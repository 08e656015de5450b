"""`sys2ft table effects`: what stands in it, and what is said where nothing does."""

import pytest

from sys2ft.cli import main
from sys2ft.tables import EFFECTS, build_table, write_table

ROW = dict.fromkeys(EFFECTS.names) | {
    "model": "m", "method": "lora", "protocol": "self_qa", "teacher": "self", "split": "all", "mode": "cloze",
    "measure": "closed_book_gain", "items": 10, "questions": 50, "seeds": 1, "unread_share": 0.0, "estimate": 0.123,
    "p_holm": 0.0312, "family": "learning", "verdict": "above its control",
}  # fmt: skip


def printed(capsys, folder, rows, *flags) -> list[str]:
    write_table(build_table(EFFECTS, rows), folder / "tables/effects.parquet")
    main(["table", "effects", "--results", str(folder), *flags])
    return capsys.readouterr().out.splitlines()


def test_effects_are_printed_in_percent_and_p_values_as_they_are(capsys, tmp_path):
    first, _, head, row = printed(capsys, tmp_path, [ROW])[:4]
    assert first == "effects on split 'all': 10 items, 50 questions, model m"
    values = dict(zip(head.split()[:3], row.split()[:3], strict=True))
    assert values == {"protocol": "self_qa", "mode": "cloze", "measure": "closed_book_gain"}
    assert "12.3" in row
    assert "0.031" in row


def test_columns_that_say_nothing_are_left_out(capsys, tmp_path):
    shadowing = ROW | {"measure": "shadowing", "versus": "self_qa_shadowed", "prefix": "own_news"}
    alone = printed(capsys, tmp_path, [ROW])[2].split()
    assert {"versus", "prefix", "unread_share", "model", "teacher"}.isdisjoint(alone)
    head = printed(capsys, tmp_path, [ROW, shadowing, ROW | {"model": "n"}])[2].split()
    assert head[:2] == ["model", "protocol"]
    assert {"versus", "prefix"} < set(head)


def test_one_measure_is_printed_alone(capsys, tmp_path):
    lines = printed(capsys, tmp_path, [ROW, ROW | {"measure": "ft_icl_gap"}], "--measure", "ft_icl_gap")
    assert [line.split()[2] for line in lines[3:4]] == ["ft_icl_gap"]
    assert lines[4] == ""


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--measure", "gain"], "measure: there is no measure 'gain'. To mend: use one of: closed_book_gain."),
        (["--split", "events"], "split: there is no split 'events'. To mend: use one of: all."),
    ],
)
def test_what_is_not_in_the_table_is_named_with_what_is(capsys, tmp_path, flags, message):
    with pytest.raises(SystemExit) as stop:
        printed(capsys, tmp_path, [ROW], *flags)
    assert message in str(stop.value)
