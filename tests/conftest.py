"""What tests share: the smoke study, run once; and which of them run side by side.

Files do, but those of the cluster share one, and start first as they wait most; so do those of the smoke study.
"""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.project import failures, make_project, snakemake

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: tiny models, and a process for each core
SMOKE = ("tests/workflow/test_workflow.py",)
FIRST = ("cluster", "workflow", "browser", "engines")  # the folders whose files take longest
HOSTILE = '<b>ferry</b> </script><script>window.ran=1</script><img src="x" onerror="window.ran=1">'
"""Put into the news of the smoke study: markup that would be seen, and scripts that would run."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slow files first."""
    items.sort(key=lambda item: FIRST.index(name) if (name := item.nodeid.split("/")[1]) in FIRST else len(FIRST))
    for item in items:
        if (
            _group(item.nodeid) == "cluster"
        ):  # fixtures are whole runs, and one that hangs is to end by itself and say where
            item.add_marker(pytest.mark.timeout(1800))


@pytest.hookimpl(optionalhook=True)  # the environment of vLLM has no xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests of a group run one after the other in one process; `--dist loadgroup` does not group under pytest 9.2."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid)

    return Scheduling(config, log)


def _group(nodeid: str) -> str:
    """What tests share: the cluster, the smoke study (`finished_smoke`), or else their file."""
    file = nodeid.split("::")[0]
    if file.startswith("tests/cluster/"):
        return "cluster"
    return "smoke" if file.startswith("tests/browser/") or file in SMOKE else file


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
