"""Headless Chromium, of Debian's package, and the report of the finished smoke study in it."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests import debian

PACKAGES = {"chromium": "chromium"}
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
DRAWN = "body[data-drawn]"
MOST_SECONDS = 90  # on a busy machine without a GPU


@dataclass
class Opened:
    """A page, and all that it said and asked for since it was opened."""

    page: object
    requests: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def chromium():
    """A browser."""
    playwright = pytest.importorskip("playwright.sync_api")
    if reason := debian.why_not(PACKAGES):
        pytest.skip(f"no Chromium here: {reason}")
    debian.install(PACKAGES)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=[*ARGUMENTS])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def report(finished_smoke) -> Path:
    """The page of the smoke study."""
    return finished_smoke / "results/smoke/report/index.html"


@pytest.fixture
def opened(chromium, report):
    """The report in a window of its own."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(1000 * MOST_SECONDS)
    page = context.new_page()
    found = Opened(page)
    page.on("request", lambda request: found.requests.append(request.url))
    page.on("console", lambda message: found.said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: found.said.append(f"error: {error}"))
    page.goto(report.as_uri())
    page.wait_for_selector(DRAWN)
    yield found
    context.close()
