"""The bytes of firmware images: one file each in one folder, whole or absent.

A file is written as a draft of its own, synced, and moved to its name, the beginning of its SHA-256; so a file that has a name
is complete. Reading and writing run in threads, in pieces.
"""

import asyncio
import contextlib
import errno
import hashlib
import itertools
import os
from collections.abc import Collection
from pathlib import Path

PIECE = 256 * 1024
"""Bytes written or read at once."""
MIN_FREE = 256 * 1024 * 1024
"""Bytes of disk that stay free: the store lies on the same disk."""
MAX_DRAFTS = 4
"""Uploads at a time."""


class FirmwareFiles:
    """The folder. One process owns it (the state folder's lock)."""

    def __init__(self, folder: Path, *, min_free: int = MIN_FREE) -> None:
        """Makes the folder if need be. Raises OSError."""
        folder.mkdir(mode=0o700, exist_ok=True)
        self._folder = folder
        self._min_free = min_free
        self._serial = itertools.count(1)
        self._drafts: set[Draft] = set()

    def sweep(self, keep: Collection[str]) -> int:
        """Remove what a crash left: drafts, and images that are not in `keep`. Before any `begin`. Returns how many."""
        removed = 0
        for path in self._folder.iterdir():
            if path.suffix != ".image" or path.stem not in keep:
                path.unlink(missing_ok=True)
                removed += 1
        return removed

    def begin(self, size: int) -> "Draft":
        """A place for a file of `size` bytes. Raises OSError: ENOSPC, and EBUSY while MAX_DRAFTS are under way."""
        if len(self._drafts) >= MAX_DRAFTS:
            raise OSError(errno.EBUSY, "as many uploads as there may be are under way")
        if (found := os.statvfs(self._folder)).f_bavail * found.f_frsize < size + self._min_free:
            raise OSError(errno.ENOSPC, "no room for a file of this size")
        draft = Draft(self._folder, self._folder / f"{next(self._serial)}.draft", self._drafts)
        self._drafts.add(draft)
        return draft

    def open(self, image: str) -> int:
        """A descriptor for reading. Raises OSError (FileNotFoundError where it is missing)."""
        return os.open(self._path(image), os.O_RDONLY | os.O_CLOEXEC)

    def has(self, image: str) -> bool:
        """Whether the file is there."""
        return self._path(image).exists()

    def remove(self, image: str) -> None:
        """Remove the file. Who reads it now goes on to its end."""
        self._path(image).unlink(missing_ok=True)

    def _path(self, image: str) -> Path:
        return self._folder / f"{image}.image"


class Draft:
    """A file that is being written. Ends with `keep` or `discard`."""

    def __init__(self, folder: Path, path: Path, drafts: set["Draft"]) -> None:
        self._folder = folder
        self._path = path
        self._drafts = drafts
        self._digest = hashlib.sha256()
        self._waiting = bytearray()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self.size = 0

    async def write(self, content: bytes) -> None:
        """Add bytes. Raises OSError."""
        self.size += len(content)
        self._waiting += content
        if len(self._waiting) >= PIECE:
            await asyncio.to_thread(self._flush)

    async def digest(self) -> str:
        """The SHA-256 (hexadecimal) of all that was written. Raises OSError."""
        await asyncio.to_thread(self._flush)
        return self._digest.hexdigest()

    async def keep(self, image: str) -> None:
        """Give the file its name; it would survive a power cut when this returns. Raises OSError."""
        try:
            await asyncio.to_thread(self._keep, image)
        finally:
            self.discard()

    def discard(self) -> None:
        """Forget it, unless it was kept. Further calls do nothing."""
        if self in self._drafts:
            self._drafts.discard(self)
            os.close(self._file)
            self._path.unlink(missing_ok=True)

    def _flush(self) -> None:
        content = bytes(self._waiting)
        self._waiting.clear()
        self._digest.update(content)
        view = memoryview(content)
        while view:
            view = view[os.write(self._file, view) :]

    def _keep(self, image: str) -> None:
        self._flush()
        os.fsync(self._file)
        self._path.replace(self._folder / f"{image}.image")
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # the new name itself must survive
        finally:
            os.close(folder)


class ImageReader:
    """One open file, closed once, also while a read is under way in its thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._reading = 0
        self._closed = False

    @property
    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    async def read(self, start: int, count: int) -> bytes:
        """Bytes from `start` on. Raises OSError."""
        if self._closed:
            raise OSError("closed")
        self._reading += 1
        reading = asyncio.ensure_future(asyncio.to_thread(os.pread, self._descriptor, count, start))
        reading.add_done_callback(self._read)
        return await asyncio.shield(reading)

    def close(self) -> None:
        self._closed = True
        self._let_go()

    def _read(self, reading: "asyncio.Future[bytes]") -> None:
        self._reading -= 1
        with contextlib.suppress(asyncio.CancelledError):
            reading.exception()
        self._let_go()

    def _let_go(self) -> None:
        if self._closed and not self._reading and self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
