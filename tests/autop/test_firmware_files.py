"""Images on disk: whole or absent, bounded, swept at start."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from autop.net.firmware_files import MAX_DRAFTS, PIECE, FirmwareFiles, ImageReader

CONTENT = os.urandom(PIECE * 2 + 17)


async def keep(files: FirmwareFiles, image: str, content: bytes) -> str:
    draft = files.begin(len(content))
    for place in range(0, len(content), 70_000):
        await draft.write(content[place : place + 70_000])
    digest = await draft.digest()
    await draft.keep(image)
    return digest


async def test_what_was_kept_is_read_back_in_pieces(tmp_path: Path) -> None:
    files = FirmwareFiles(tmp_path / "firmware")
    assert await keep(files, "ab", CONTENT) == hashlib.sha256(CONTENT).hexdigest()
    reader = ImageReader(files.open("ab"))
    assert reader.size == len(CONTENT)
    assert await reader.read(PIECE, 100) == CONTENT[PIECE : PIECE + 100]
    files.remove("ab")
    assert await reader.read(0, 10) == CONTENT[:10]  # who reads it goes on
    assert not files.has("ab")
    with pytest.raises(FileNotFoundError):
        files.open("ab")
    reader.close()
    with pytest.raises(OSError, match="closed"):
        await reader.read(0, 1)


async def test_a_file_that_was_not_finished_is_never_seen(tmp_path: Path) -> None:
    files = FirmwareFiles(tmp_path)
    draft = files.begin(len(CONTENT))
    await draft.write(CONTENT)
    assert not files.has("ab")
    draft.discard()
    draft.discard()
    assert os.listdir(tmp_path) == []


async def test_uploads_and_disk_are_bounded(tmp_path: Path) -> None:
    files = FirmwareFiles(tmp_path)
    drafts = [files.begin(1) for _ in range(MAX_DRAFTS)]
    with pytest.raises(OSError) as busy:
        files.begin(1)
    assert busy.value.errno == errno.EBUSY
    for draft in drafts:
        draft.discard()
    with pytest.raises(OSError) as full:
        files.begin(2**62)
    assert full.value.errno == errno.ENOSPC


async def test_a_start_removes_what_a_crash_left(tmp_path: Path) -> None:
    files = FirmwareFiles(tmp_path)
    await keep(files, "ab", b"kept")
    await keep(files, "cd", b"nobody names it")
    (tmp_path / "7.draft").write_bytes(b"half")
    assert FirmwareFiles(tmp_path).sweep({"ab", "ef"}) == 2
    assert os.listdir(tmp_path) == ["ab.image"]
