"""Which tests run side by side: files do, but those of the cluster share one, and start first as they wait most."""

from pathlib import Path

import pytest

FIRST = ("cluster", "workflow", "browser", "engines")  # the folders whose files take longest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the slow files first, and tests that share what they are about into one group (`--dist loadgroup`)."""
    items.sort(key=lambda item: FIRST.index(name) if (name := _folder(item)) in FIRST else len(FIRST))
    for item in items:
        on_cluster = _folder(item) == "cluster"
        if on_cluster:  # its fixtures are whole runs, and a run that hangs is to end by itself and say where
            item.add_marker(pytest.mark.timeout(1800))
        if config.pluginmanager.hasplugin("xdist"):  # the environment of vLLM has it not
            item.add_marker(pytest.mark.xdist_group("cluster" if on_cluster else str(item.path)))


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(Path(__file__).parent).parts[0]
