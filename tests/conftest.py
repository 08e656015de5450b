"""What tests share: the smoke study, run once; and which of them run side by side.

Files do, but those of the cluster share one, and start first as they wait most; so do those of the smoke study.
"""

from pathlib import Path

import pytest

from tests.workflow.project import failures, make_project, snakemake

FIRST = ("cluster", "workflow", "browser", "engines")  # the folders whose files take longest
HOSTILE = '<b>ferry</b> </script><script>window.ran=1</script><img src="x" onerror="window.ran=1">'
"""Put into the news of the smoke study: markup that would be seen, and scripts that would run."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the slow files first, and tests that share what they are about into one group (`--dist loadgroup`)."""
    items.sort(key=lambda item: FIRST.index(name) if (name := _folder(item)) in FIRST else len(FIRST))
    for item in items:
        on_cluster = _folder(item) == "cluster"
        if on_cluster:  # its fixtures are whole runs, and a run that hangs is to end by itself and say where
            item.add_marker(pytest.mark.timeout(1800))
        if config.pluginmanager.hasplugin("xdist"):  # the environment of vLLM has it not
            shares = "smoke" if "finished_smoke" in getattr(item, "fixturenames", ()) else str(item.path)
            item.add_marker(pytest.mark.xdist_group("cluster" if on_cluster else shares))


@pytest.fixture(scope="session")
def finished_smoke(tmp_path_factory) -> Path:
    """The smoke study, run once for real; one of its news is not to be trusted."""
    project = make_project(tmp_path_factory.mktemp("project"))
    news = project / "data/new_news/events.yaml"
    text = news.read_text()
    for line in ("title: Hallorsund ferry to rotate among four ports", "From 1 March the Hallorsund ferry will call"):
        assert line in text
        text = text.replace(line, f"title: '{line[7:]} {HOSTILE}'" if line.startswith("title") else f"{HOSTILE} {line}")
    news.write_text(text)
    run = snakemake(project)
    assert run.returncode == 0, failures(run)
    return project


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(Path(__file__).parent).parts[0]
