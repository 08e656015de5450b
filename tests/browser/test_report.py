"""The report as people meet it: in a browser, without a network, by keyboard, with news that is not to be trusted."""

from itertools import pairwise
from pathlib import Path

import pytest

from tests.conftest import HOSTILE

ARTEFACTS = Path(__file__).parents[2] / "results/test-artefacts"


def cells_of(page, table: str, column: str) -> list[str]:
    """The texts of a column, as they stand there."""
    names = page.locator(f"section[aria-labelledby='table-{table}'] th").all_inner_texts()
    place = [name.split()[0] for name in names].index(column) + 1
    return page.locator(f"section[aria-labelledby='table-{table}'] tbody td:nth-child({place})").all_inner_texts()


def test_it_opens_without_a_word_in_the_console_and_asks_for_nothing(opened, report):
    assert opened.said == []
    assert opened.requests == [report.as_uri()]


def test_figures_are_drawn_or_say_why_not(opened):
    shown = opened.page.locator("section.figure")
    assert shown.count() == 9
    for figure in shown.all():
        drawn, missing = figure.locator(".chart svg").count(), figure.locator(".missing").count()
        assert (drawn, missing) in ((1, 0), (0, 1))
        text = figure.locator("figcaption, .missing").inner_text()
        assert "n: " in text if drawn else text.startswith("Not drawn: ")
    told = opened.page.locator("#chart-gap").get_attribute("aria-label")
    assert "The FT-ICL gap by split and size" in told, "for those who do not see it"


def test_tables_filter(opened):
    page = opened.page
    table = page.locator("section[aria-labelledby='table-effects']")
    before = table.get_by_role("status").inner_text()
    table.get_by_label("measure", exact=True).select_option(label="shadowing")
    assert set(cells_of(page, "effects", "measure")) == {"shadowing"}
    table.get_by_label("mode", exact=True).select_option(label="cloze")
    assert set(cells_of(page, "effects", "mode")) == {"cloze"}
    table.get_by_label("measure", exact=True).select_option(label="all")
    table.get_by_label("mode", exact=True).select_option(label="all")
    assert table.get_by_role("status").inner_text() == before
    table.get_by_label("words in effects").fill("generate FT_icl")
    assert set(cells_of(page, "effects", "measure")) == {"ft_icl_gap"}
    table.get_by_label("words in effects").fill("no such words")
    assert table.get_by_role("status").inner_text() == "No row matches."


def test_tables_sort_by_number_and_by_text_and_put_what_is_missing_last(opened):
    page = opened.page
    table = page.locator("section[aria-labelledby='table-effects']")
    header = table.get_by_role("columnheader", name="estimate", exact=False).first
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    rising = [float(text) for text in cells_of(page, "effects", "estimate") if text]
    assert rising == sorted(rising)
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    falling = cells_of(page, "effects", "estimate")
    assert float(falling[0]) >= max(rising)
    by_measure = table.get_by_role("columnheader", name="measure")
    by_measure.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "none"
    assert cells_of(page, "effects", "measure") == sorted(cells_of(page, "effects", "measure"))


def test_rows_beyond_the_first_page_can_be_reached(opened):
    table = opened.page.locator("section[aria-labelledby='table-effects']")
    assert table.get_by_role("status").inner_text().startswith("Rows 1 to 50 of ")
    assert table.get_by_role("button", name="Previous rows").is_disabled()
    table.get_by_role("button", name="Next rows").click()
    assert table.get_by_role("status").inner_text().startswith("Rows 51 to ")


def test_all_can_be_done_with_the_keyboard(opened):
    page = opened.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    page.locator("section[aria-labelledby='table-effects'] input").focus()
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.closest('th') && document.activeElement.innerText"))
        if reached[-1] == "measure":
            break
    assert reached[-1] == "measure", reached
    page.keyboard.press("Enter")
    header = page.locator("section[aria-labelledby='table-effects'] th", has_text="measure")
    assert header.get_attribute("aria-sort") == "ascending"


def test_everything_has_a_name_and_headings_leave_no_level_out(opened):
    nameless = """[...document.querySelectorAll('input, select, button, [role=region], [role=group]')].filter((e) =>
        !(e.labels && e.labels.length) && !e.innerText && !e.getAttribute('aria-label'))"""
    assert opened.page.evaluate(f"{nameless}.length") == 0
    levels = opened.page.evaluate("[...document.querySelectorAll('h1, h2, h3, h4')].map((h) => Number(h.tagName[1]))")
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert [opened.page.locator(tag).count() for tag in ("header", "nav", "main", "footer")] == [1, 1, 1, 1]


def test_a_cell_is_shown_from_news_to_answers(opened):
    page = opened.page
    cell = "model=tiny/method=lora/protocol=self_qa_shadowed/teacher=recorded/split=events/seed=0"
    page.get_by_label("cell: model").select_option(value=cell)
    shown = page.locator("#browser").inner_text()
    for part in (
        "Study rows, self_qa",
        "4 kept",
        "Training sequence 1 of 4",
        "Loss along",
        "other_news",
        "blank_question",
    ):
        assert part in shown
    assert page.locator("#browser .sequence mark").count() >= 1
    assert page.locator("#browser td .gold").count() > 10
    assert "unread: none" in shown, "random weights name no option"
    questions = page.get_by_label("question", exact=True)
    last = questions.locator("option").last.inner_text()
    questions.select_option(label=last)
    assert last.rpartition(" (")[0] in page.locator("#browser h4").first.inner_text()


def test_markup_in_news_stays_text_and_does_not_run(opened):
    page = opened.page
    cell = "model=tiny/method=lora/protocol=naive/teacher=none/split=events/seed=0"
    page.get_by_label("cell: model").select_option(value=cell)
    assert HOSTILE in page.locator("#browser h3").inner_text()
    assert HOSTILE in page.locator("#browser p.text").first.inner_text()
    assert page.locator("#browser script, #browser img, #browser b").count() == 0
    assert page.evaluate("window.ran") is None
    assert page.evaluate("document.scripts.length") == 5, "two of the page's own, three of data"


def test_the_policy_lets_nothing_else_run(opened):
    """Were there a hole in the escaping, a script put into the page would still not run."""
    page = opened.page
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'}))"
    )
    page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<img src=\"https://x.example/x\" onerror=\"window.ran = 1\">')"
    )
    page.wait_for_timeout(300)
    assert page.evaluate("window.ran") is None
    assert any("Content Security Policy" in text for text in opened.said)


@pytest.mark.parametrize(("name", "width"), [("wide", 1280), ("phone", 390)])
def test_it_fits_a_screen(opened, name, width):
    """The screenshots are kept: results/test-artefacts/report-wide.png and report-phone.png."""
    opened.page.set_viewport_size({"width": width, "height": 900})
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    opened.page.screenshot(path=ARTEFACTS / f"report-{name}.png", full_page=True)
    assert (ARTEFACTS / f"report-{name}.png").stat().st_size > 20_000


def test_it_prints(opened):
    assert opened.page.pdf()[:5] == b"%PDF-"
