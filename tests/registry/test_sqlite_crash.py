"""kill -9 at random moments, and the files as they are after every single SQL statement: nothing acknowledged is lost."""

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from registry.engines import sqlite_schema, sqlite_writes
from registry.engines.sqlite import SqliteStore
from registry.engines.sqlite_writes import Batch, WriteDesk
from registry.records import Site
from registry.store import Delete, Put, Stored

KILLS = 20
CREATION_KILLS = 8
ROOT = Path(__file__).parents[2]


def run_and_kill(job: str, target: Path, round_: int, lines: int) -> list[str]:
    """Start the child, kill it once it has said `lines` lines, and return every whole line that it said."""
    command = [sys.executable, "-m", "tests.registry.crash_child", job, str(target), str(round_)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        said = [child.stdout.readline() for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        said += child.stdout.readlines()
    assert child.returncode == -signal.SIGKILL
    return [line.decode().strip() for line in said if line.endswith(b"\n")]


async def test_no_acknowledged_write_is_lost_by_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "portico.db"
    chance = random.Random(2)
    acknowledged: dict[str, int] = {}
    for round_ in range(KILLS):
        for line in run_and_kill("write", path, round_, chance.choice((1, 2, 10, chance.randrange(3, 400)))):
            name, first, second = line.split()
            if name != "opened":
                acknowledged[name], acknowledged[f"{name}'"] = int(first), int(second)
    assert len(acknowledged) > 2 * KILLS
    await check_sites(path, acknowledged)


async def check_sites(path: Path, acknowledged: dict[str, int]) -> None:
    """Every acknowledged write is there at its version; of a pair both or none; the feed agrees with the records."""
    store = await SqliteStore.open(path)
    found: dict[str, int] = {}
    cursor: str | None = None
    while not found or cursor is not None:
        page = await store.list(Site, "all", "", after=cursor, limit=500)
        found |= {item.record.key: item.version for item in page.items}
        cursor = page.next
    assert {name: found.get(name) for name in acknowledged} == acknowledged
    assert all(found.get(f"{name}'") == version + 1 for name, version in found.items() if not name.endswith("'"))
    assert len(found) % 2 == 0
    newest = await store.sequence()
    assert newest == max(found.values())
    assert len(found) == newest  # Nothing is deleted here, so every sequence number is a record's.
    feed = [change for after in range(0, newest, 1000) for change in await store.changes(after, limit=1000)]
    assert {change.key: change.sequence for change in feed} == found
    await store.close()


async def test_a_creation_killed_at_any_moment_opens(tmp_path: Path) -> None:
    chance = random.Random(3)
    for round_ in range(CREATION_KILLS):
        names = run_and_kill("create", tmp_path, round_, chance.randrange(1, 20))
        for name in names[-2:]:
            await check_usable(tmp_path / f"{name}.db")


async def check_usable(path: Path) -> None:
    store = await SqliteStore.open(path)
    assert await store.batch([Put(Site("a", "A"))]) == (1,)
    assert await store.get(Site, "a") == Stored(Site("a", "A"), 1)
    await store.close()


@contextmanager
def copy_at_each_statement(monkeypatch: pytest.MonkeyPatch, path: Path, copies: list[Path]) -> Iterator[None]:
    """Copy the store's files before every statement: what the kernel would hand to the next process after a kill there."""

    def copy(_statement: str) -> None:
        target = path.parent / f"copy-{len(copies)}"
        target.mkdir()
        for file in path.parent.glob(f"{path.name}*"):
            shutil.copy(file, target)
        copies.append(target / path.name)

    def connect(target: Path) -> sqlite3.Connection:
        connection = sqlite_schema.connect(target)
        connection.set_trace_callback(copy)
        return connection

    with monkeypatch.context() as patched:
        patched.setattr(sqlite_writes, "connect", connect)
        yield


async def test_a_creation_killed_at_each_statement_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copies: list[Path] = []
    with copy_at_each_statement(monkeypatch, tmp_path / "portico.db", copies):
        desk = WriteDesk(tmp_path / "portico.db", 100)
        desk.serve([Batch((), True)])
        desk.close()
    assert len(copies) > len(sqlite_schema.MIGRATIONS[0])
    for copy in copies:
        await check_usable(copy)


async def test_a_group_killed_at_each_statement_is_there_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before: dict[str, int] = {"a": 1, "b": 2}
    after: dict[str, int] = {"a": 3, "c": 5, "d": 6}
    copies: list[Path] = []
    with copy_at_each_statement(monkeypatch, tmp_path / "portico.db", copies):
        desk = WriteDesk(tmp_path / "portico.db", 100)
        desk.serve([Batch((Put(Site("a", "A")), Put(Site("b", "B"))), True)])
        acknowledged = len(copies)
        group = [
            Batch((Put(Site("a", "second")), Delete(Site, "b")), True),
            Batch((Put(Site("x", "X")), Put(Site("a", "stale"), expect=1)), True),
            Batch((Put(Site("c", "C")), Put(Site("d", "D"))), False),
        ]
        answers = desk.serve(group)
        assert [answer.error is None for answer in answers] == [True, False, True]
        desk.close()
    found = [await versions(copy) for copy in copies[acknowledged:]]
    assert len(found) > 15
    assert all(state in (before, after) for state in found)
    assert found == sorted(found, key=[before, after].index)  # Never back again.
    assert await versions(tmp_path / "portico.db") == after


async def versions(path: Path) -> dict[str, int]:
    store = await SqliteStore.open(path)
    page = await store.list(Site, "all", "")
    await store.close()
    return {item.record.key: item.version for item in page.items}


def test_the_copies_would_show_a_lost_transaction(tmp_path: Path) -> None:
    """The copying itself is honest: a transaction that is not committed is not in the copy, a committed one is."""
    path = tmp_path / "plain.db"
    seen: list[int] = []

    def count(target: Path) -> int:
        connection = sqlite3.connect(target)
        try:
            found: int = connection.execute("SELECT count(*) FROM t").fetchone()[0]
        finally:
            connection.close()
        return found

    def look(make: Callable[[], Any]) -> None:
        make()
        target = tmp_path / f"look-{len(seen)}"
        target.mkdir()
        for file in tmp_path.glob("plain.db*"):
            shutil.copy(file, target)
        seen.append(count(target / "plain.db"))

    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE t (x)")
    connection.execute("BEGIN")
    look(lambda: connection.execute("INSERT INTO t VALUES (1)"))
    look(lambda: connection.execute("COMMIT"))
    connection.close()
    assert seen == [0, 1]
