"""What is SQLite's own: the file, its owner, records that do not decode, groups of batches, a disk that is full, backups."""
# ruff: noqa: ASYNC240 - a test may touch a small file between two awaits.

import asyncio
import os
import resource
import signal
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from registry.engines import sqlite_schema
from registry.engines.sqlite import SqliteStore
from registry.engines.sqlite_backup import backup_file
from registry.engines.sqlite_writes import Batch, PutAside, WriteDesk, Written
from registry.errors import ChangesLost, StaleVersion, StoreUnavailable
from registry.mac import MacAddress
from registry.records import Device, DeviceKind, Site
from registry.store import Change, Delete, Put, Require, Stored


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "portico.db"


def device(serial: int, account: str = "") -> Device:
    mac = MacAddress(f"{serial:012X}")
    return Device(mac, f"id-{serial}", "s", DeviceKind.GUARD_PHONE, "R48", "Desk", account or f"a-{serial}", b"", b"", b"")


def tamper(path: Path, statement: str, *values: object) -> None:
    """Change the file behind the store's back."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


def rows(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchall()


# The file


async def test_everything_is_there_after_reopening(path: Path) -> None:
    store = await SqliteStore.open(path)
    await store.batch([Put(Site("a", "A")), Put(device(1)), Put(Site("gone", "Gone"))])
    await store.batch([Delete(Site, "gone")], durable=False)
    await store.close()
    store = await SqliteStore.open(path)
    assert await store.get(Site, "a") == Stored(Site("a", "A"), 1)
    assert await store.get_unique(Device, "account", "a-1") == Stored(device(1), 2)
    assert await store.sequence() == 4
    assert [change.sequence for change in await store.changes(0)] == [1, 2, 3, 4]
    assert await store.batch([Put(Site("b", "B"))]) == (5,)
    await store.close()


async def test_the_files_are_for_the_owner_only(path: Path) -> None:
    store = await SqliteStore.open(path)
    await store.batch([Put(Site("a", "A"))])
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert len(list(path.parent.iterdir())) == 4  # database, WAL, shared memory, lock
    await store.close()


async def test_closing_folds_the_wal_into_the_file(path: Path) -> None:
    store = await SqliteStore.open(path)
    await store.batch([Put(Site("a", "A"))])
    await store.close()
    assert sorted(file.name for file in path.parent.iterdir()) == ["portico.db", "portico.db.lock"]


async def test_a_second_opener_is_refused_until_the_first_closes(path: Path) -> None:
    first = await SqliteStore.open(path)
    with pytest.raises(StoreUnavailable, match="in use by another process"):
        await SqliteStore.open(path)
    await first.batch([Put(Site("a", "A"))])
    await first.close()
    second = await SqliteStore.open(path)
    assert await second.get(Site, "a") is not None
    await second.close()


@pytest.mark.parametrize("content", [b"not a database, but longer than a header" * 100, b"SQLite format 3\x00" + b"\xff" * 5000])
async def test_a_file_that_is_no_database_is_named_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StoreUnavailable, match=str(path)):
        await SqliteStore.open(path)
    assert path.read_bytes() == content


async def test_a_database_of_another_program_is_refused(path: Path) -> None:
    tamper(path, "CREATE TABLE music (title TEXT)")
    with pytest.raises(StoreUnavailable, match="another program"):
        await SqliteStore.open(path)
    assert rows(path, "SELECT name FROM sqlite_master") == [("music",)]


async def test_a_file_of_a_newer_portico_is_refused(path: Path) -> None:
    await (await SqliteStore.open(path)).close()
    tamper(path, "PRAGMA user_version = 99")
    with pytest.raises(StoreUnavailable, match="newer Portico"):
        await SqliteStore.open(path)
    assert rows(path, "PRAGMA user_version") == [(99,)]


async def test_an_empty_file_is_an_empty_store(path: Path) -> None:
    path.touch()
    store = await SqliteStore.open(path)
    assert await store.sequence() == 0
    await store.close()


@pytest.mark.parametrize("missing", ["nowhere/portico.db", "file/portico.db"])
async def test_a_folder_that_is_not_there_is_named(tmp_path: Path, missing: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match=r"portico\.db"):
        await SqliteStore.open(tmp_path / missing)


async def test_a_failed_opening_holds_no_lock_and_no_thread(path: Path) -> None:
    path.write_bytes(b"nonsense" * 1000)
    with pytest.raises(StoreUnavailable):
        await SqliteStore.open(path)
    path.unlink()
    await (await SqliteStore.open(path)).close()


async def test_each_migration_happens_whole_or_not_at_all(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await SqliteStore.open(path)
    await store.batch([Put(Site("a", "A"))])
    await store.close()
    first = sqlite_schema.MIGRATIONS[0]
    broken = ("CREATE TABLE extra (x)", "DELETE FROM records", "this is no SQL")
    monkeypatch.setattr(sqlite_schema, "MIGRATIONS", (first, broken))
    with pytest.raises(StoreUnavailable):
        await SqliteStore.open(path)
    assert rows(path, "PRAGMA user_version") == [(1,)]
    assert rows(path, "SELECT count(*) FROM sqlite_master WHERE name = 'extra'") == [(0,)]
    monkeypatch.setattr(sqlite_schema, "MIGRATIONS", (first, ("CREATE TABLE extra (x)",)))
    store = await SqliteStore.open(path)
    assert await store.get(Site, "a") == Stored(Site("a", "A"), 1)
    await store.close()
    assert rows(path, "PRAGMA user_version") == [(2,)]


async def test_what_was_forgotten_stays_forgotten_with_a_longer_log(path: Path) -> None:
    store = await SqliteStore.open(path, change_log=10)
    for start in range(0, 3000, 1000):
        await store.batch([Put(device(serial)) for serial in range(start, start + 1000)])
    await store.close()
    assert rows(path, "SELECT count(*) < 1100 FROM changes") == [(1,)]
    store = await SqliteStore.open(path, change_log=100_000)
    with pytest.raises(ChangesLost):
        await store.changes(0)
    assert len(await store.changes(2990)) == 10
    await store.close()


# Records that do not decode


async def test_an_unreadable_record_is_put_aside_and_the_rest_is_served(path: Path) -> None:
    store = await SqliteStore.open(path)
    await store.batch([Put(device(serial)) for serial in range(1, 6)])
    await store.close()
    tamper(path, "UPDATE records SET body = ? WHERE key = ?", b"\x01\xc1garbage", device(2).key)
    tamper(path, "UPDATE records SET body = ? WHERE key = ?", b"", device(4).key)
    seen: list[tuple[str, str]] = []
    store = await SqliteStore.open(path, on_quarantine=lambda kind, key: seen.append((kind, key)))
    assert await store.get(Device, device(2).key) is None
    assert await store.get(Device, device(2).key) is None
    page = await store.list(Device, "all", "")
    assert [item.record for item in page.items] == [device(1), device(3), device(5)]
    assert seen == [("Device", device(2).key), ("Device", device(4).key)]
    # Followers hear that it is gone, and its key and its unique values are free again.
    assert [(change.key, change.deleted) for change in await store.changes(5)] == [(device(2).key, True), (device(4).key, True)]
    assert await store.batch([Put(device(2), expect=0), Put(device(9, account="a-4"))]) == (8, 9)
    await store.close()
    assert rows(path, "SELECT kind, key, version, body FROM quarantine ORDER BY key") == [
        ("Device", device(2).key, 2, b"\x01\xc1garbage"),
        ("Device", device(4).key, 4, b""),
    ]


async def test_an_unreadable_record_is_put_aside_by_its_unique_value_too(path: Path) -> None:
    store = await SqliteStore.open(path)
    await store.batch([Put(device(1))])
    tamper(path, "UPDATE records SET body = x'00'")
    watch = store.watch(1)
    assert await store.get_unique(Device, "account", "a-1") is None
    assert await anext(watch) == Change(2, "Device", device(1).key, True)
    await store.close()


async def test_a_record_that_was_rewritten_meanwhile_is_not_put_aside(path: Path) -> None:
    desk = WriteDesk(path, 10)
    first, late = desk.serve([Batch((Put(Site("a", "A")), Put(Site("a", "B"))), True), PutAside("Site", "a", 1, "old")])
    assert first.value == Written((1, 2), 2)
    assert (late.value, late.error) == (None, None)
    desk.close()
    assert rows(path, "SELECT count(*) FROM quarantine") == [(0,)]


# Groups of batches


def test_a_group_is_one_transaction_in_which_a_refused_batch_undoes_itself_only(path: Path) -> None:
    desk = WriteDesk(path, 10)
    desk.serve([Batch((Put(Site("a", "A")),), True)])
    assert desk._connection is not None
    statements: list[str] = []
    desk._connection.set_trace_callback(statements.append)
    answers = desk.serve(
        [
            Batch((Put(Site("b", "B")),), True),
            Batch((Put(Site("c", "C")), Delete(Site, "a"), Put(Site("d", "D"), expect=7)), True),
            Batch((Put(Site("e", "E")), Require(Site, "a", expect=1)), False),
            Batch((), True),
        ]
    )
    assert [statement for statement in statements if statement.startswith(("BEGIN", "COMMIT", "ROLLBACK "))] == [
        "BEGIN IMMEDIATE",
        "ROLLBACK TO request",
        "COMMIT",
    ]
    assert [answer.value for answer in answers] == [Written((2,), 2), None, Written((3, 1), 3), Written((), 3)]
    assert [type(answer.error) for answer in answers] == [type(None), StaleVersion, type(None), type(None)]
    desk.close()
    assert rows(path, "SELECT key FROM records") == [("a",), ("b",), ("e",)]
    assert rows(path, "SELECT sequence, key FROM changes") == [(1, "a"), (2, "b"), (3, "e")]


def test_only_durable_groups_are_synced(path: Path) -> None:
    desk = WriteDesk(path, 10)

    def level(*durable: bool) -> int:
        desk.serve([Batch((Put(Site("a", "A")),), each) for each in durable])
        assert desk._connection is not None
        found: int = desk._connection.execute("PRAGMA synchronous").fetchone()[0]
        return found

    normal, full = 1, 2
    assert [level(True), level(False), level(False, False), level(False, True, False), level(True)] == [
        full,
        normal,
        normal,
        full,
        full,
    ]
    desk.close()


async def test_requests_beyond_the_bound_are_refused_not_queued(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.engines.worker.MAX_WAITING", 10)
    store = await SqliteStore.open(path)
    outcomes = await asyncio.gather(*[store.batch([Put(device(serial))]) for serial in range(25)], return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [tuple] * 10 + [StoreUnavailable] * 15
    assert await store.batch([Put(device(30))]) == (11,)
    await store.close()


# A disk that is full


@contextmanager
def full_disk(path: Path, room: int) -> Iterator[None]:
    """No file of this process may grow beyond the WAL's present size and `room` bytes: write() fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    size = os.path.getsize(f"{path}-wal")
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


async def test_a_full_disk_acknowledges_nothing_and_heals(path: Path) -> None:
    store = await SqliteStore.open(path)
    await store.batch([Put(device(1))])
    with full_disk(path, 0):
        with pytest.raises(StoreUnavailable, match=str(path)):
            await store.batch([Put(device(2))])
        with pytest.raises(StoreUnavailable):
            await store.batch([Put(device(3))], durable=False)
        # What is there can be read meanwhile.
        assert await store.get(Device, device(1).key) == Stored(device(1), 1)
        assert await store.sequence() == 1
        outcomes = await asyncio.gather(*[store.batch([Put(device(serial))]) for serial in range(10, 20)], return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 10
    assert await store.batch([Put(device(4), expect=0)]) == (2,)
    assert [item.record for item in (await store.list(Device, "all", "")).items] == [device(1), device(4)]
    await store.close()
    store = await SqliteStore.open(path)
    assert [change.key for change in await store.changes(0)] == [device(1).key, device(4).key]
    await store.close()


async def test_the_small_batch_passes_where_its_neighbour_is_too_large_for_the_disk(path: Path) -> None:
    store = await SqliteStore.open(path)
    await store.batch([Put(device(1))])
    with full_disk(path, 60_000):
        large = [Put(device(serial)) for serial in range(100, 1000)]
        outcomes = await asyncio.gather(store.batch(large), store.batch([Put(device(2))]), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [StoreUnavailable, tuple]
    assert [item.record for item in (await store.list(Device, "all", "")).items] == [device(1), device(2)]
    await store.close()


# Backups


async def test_a_backup_is_a_whole_store_taken_while_work_goes_on(path: Path, tmp_path: Path) -> None:
    store = await SqliteStore.open(path)
    await store.batch([Put(device(serial)) for serial in range(500)])
    target = tmp_path / "copy.db"
    target.write_bytes(b"an older backup")
    writing = [
        asyncio.ensure_future(store.batch([Put(Site(str(number), "s")), Put(Site(f"{number}'", "s"))])) for number in range(50)
    ]
    await store.backup(target)
    await asyncio.gather(*writing)
    await store.close()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert not list(tmp_path.glob("*.partial*"))
    copy = await SqliteStore.open(target)
    assert len((await copy.list(Device, "all", "", limit=500)).items) == 500
    sites = {item.record.key for item in (await copy.list(Site, "all", "", limit=500)).items}
    assert all(f"{key}'" in sites for key in sites if not key.endswith("'"))
    assert await copy.sequence() == 500 + len(sites)
    await copy.batch([Put(Site("new", "New"))])
    await copy.close()


async def test_a_backup_that_cannot_be_made_leaves_the_older_one(path: Path, tmp_path: Path) -> None:
    store = await SqliteStore.open(path)
    target = tmp_path / "copy.db"
    await store.backup(target)
    older = target.read_bytes()
    with pytest.raises(StoreUnavailable):
        await store.backup(tmp_path / "nowhere" / "copy.db")
    with pytest.raises(StoreUnavailable):
        await backup_file(tmp_path / "gone.db", target)
    tamper(tmp_path / "music.db", "CREATE TABLE music (title TEXT)")
    with pytest.raises(StoreUnavailable, match="no store of Portico"):
        await backup_file(tmp_path / "music.db", target)
    assert target.read_bytes() == older
    assert not (tmp_path / "gone.db").exists()
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.backup(target)
