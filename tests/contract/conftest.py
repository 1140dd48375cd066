"""Every engine, empty, for each test of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.engines.sqlite import SqliteStore
from registry.memory import MemoryStore
from registry.store import Store
from tests.contract.samples import SMALL_LOG
from tests.registry.awaiting import wait

ENGINES = ("memory", "sqlite")


async def make(engine: str, folder: Path, change_log: int) -> Store:
    if engine == "memory":
        return MemoryStore(change_log=change_log)
    return await SqliteStore.open(folder / "portico.db", change_log=change_log)


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made = wait(make(request.param, tmp_path, 100_000))
    yield made
    wait(made.close())


@pytest.fixture(params=ENGINES)
def forgetful(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store that keeps SMALL_LOG changes."""
    made = wait(make(request.param, tmp_path, SMALL_LOG))
    yield made
    wait(made.close())
