"""A backup holds everything a node cannot make again; a restore fills an empty folder and nothing else."""

import io
import tarfile
from pathlib import Path

import pytest

from gateway.backup import backup, restore
from gateway.errors import StartError
from gateway.state import key_file, open_state
from registry.engines.sqlite import SqliteStore
from registry.records import Site
from registry.store import Put


async def state(tmp_path: Path) -> Path:
    folder = open_state(tmp_path / "state")
    key_file(folder.master_key)
    store = await SqliteStore.open(folder.database)
    await store.batch([Put(Site("s1", "North"))])
    await store.close()
    folder.lock.close()
    return folder.path


async def test_round_trip(tmp_path: Path) -> None:
    source = await state(tmp_path)
    names = backup(source, tmp_path / "b.tar.gz")
    assert "portico.sqlite" in names
    assert (tmp_path / "b.tar.gz").stat().st_mode & 0o077 == 0
    assert sorted(restore(tmp_path / "b.tar.gz", tmp_path / "new")) == sorted(names)
    assert (tmp_path / "new" / "master.key").read_bytes() == (source / "master.key").read_bytes()
    store = await SqliteStore.open(tmp_path / "new" / "portico.sqlite")
    assert await store.get(Site, "s1") is not None
    await store.close()


async def test_firmware_images_come_along_and_drafts_do_not(tmp_path: Path) -> None:
    source = await state(tmp_path)
    (source / "firmware").mkdir()
    (source / "firmware" / f"{'a1' * 12}.image").write_bytes(b"rom" * 1000)
    (source / "firmware" / "1.draft").write_bytes(b"half")
    names = backup(source, tmp_path / "b.tar.gz")
    assert [name for name in names if name.startswith("firmware/")] == [f"firmware/{'a1' * 12}.image"]
    restore(tmp_path / "b.tar.gz", tmp_path / "new")
    assert (tmp_path / "new" / "firmware" / f"{'a1' * 12}.image").read_bytes() == b"rom" * 1000


async def test_nothing_is_overwritten(tmp_path: Path) -> None:
    source = await state(tmp_path)
    backup(source, tmp_path / "b.tar.gz")
    with pytest.raises(StartError, match="exists already"):
        backup(source, tmp_path / "b.tar.gz")
    with pytest.raises(StartError, match="not empty"):
        restore(tmp_path / "b.tar.gz", source)
    with pytest.raises(StartError, match="nothing to back up"):
        backup(tmp_path / "absent", tmp_path / "c.tar.gz")


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "tls/../../evil", "unknown", "firmware/../evil.image"])
def test_a_forged_archive_is_refused(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = 4
        archive.addfile(member, io.BytesIO(b"evil"))
    with pytest.raises(StartError, match="does not belong"):
        restore(tmp_path / "b.tar.gz", tmp_path / "new")
    assert not list(tmp_path.rglob("evil"))


def test_a_file_that_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"no archive")
    with pytest.raises(StartError, match="restore from"):
        restore(tmp_path / "b", tmp_path / "new")
