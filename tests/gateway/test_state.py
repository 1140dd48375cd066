"""The state folder: owned by one process, whole after any kill, clear when it cannot be used."""

import os
import stat
from pathlib import Path

import pytest

from gateway.errors import StartError
from gateway.state import key_file, open_state, write_atomically


def test_a_new_folder_is_made_for_its_owner_only(tmp_path: Path) -> None:
    folder = open_state(tmp_path / "a" / "state")
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    folder.lock.close()


def test_two_gateways_cannot_share_a_folder(tmp_path: Path) -> None:
    first = open_state(tmp_path)
    with pytest.raises(StartError, match="another gateway"):
        open_state(tmp_path)
    first.lock.close()
    open_state(tmp_path).lock.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StartError, match=str(tmp_path / "file")):
        open_state(tmp_path / "file")
    with pytest.raises(StartError, match="state folder"):
        open_state(Path("/proc/portico"))


def test_a_key_is_made_once_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    key = key_file(path)
    assert len(key) == 32
    assert key_file(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_damaged_key_is_refused_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    path.write_bytes(b"short")
    with pytest.raises(StartError, match=r"master\.key"):
        key_file(path)
    assert path.read_bytes() == b"short"


def test_a_failed_write_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def no_space(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_left_over_draft_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "file.draft").write_bytes(b"half")
    write_atomically(tmp_path / "file", b"whole")
    assert (tmp_path / "file").read_bytes() == b"whole"
