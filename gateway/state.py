"""The state folder: what one node keeps on disk, made on first start and safe to be killed in the middle of.

Every file is written beside its place and moved there after fsync, so it is whole or absent; a start after a kill -9
makes what is missing and keeps what is there. One process owns the folder at a time (a lock the kernel frees).
"""

import contextlib
import fcntl
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from gateway.errors import StartError

KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class StateFolder:
    """Paths inside the state folder, and the lock that says this process owns it."""

    path: Path
    lock: IO[str]

    @property
    def database(self) -> Path:
        return self.path / "portico.sqlite"

    @property
    def admin_token(self) -> Path:
        return self.path / "admin-token"

    @property
    def firmware(self) -> Path:
        return self.path / "firmware"

    @property
    def certificates(self) -> Path:
        return self.path / "tls"

    @property
    def master_key(self) -> Path:
        return self.path / "master.key"

    @property
    def node_secret(self) -> Path:
        return self.path / "node.secret"


def open_state(path: Path) -> StateFolder:
    """Take the state folder, making it if need be. Raises StartError naming the folder if it is unwritable or taken."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (path / "lock").open("a+", encoding="ascii")
    except OSError as error:
        raise StartError(
            f"state folder {path}: {error.strerror}. Name a folder this user may write with --state DIR, or change its owner."
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise StartError(
            f"state folder {path}: another gateway is using it. Stop that one first, or name another folder with --state DIR."
        ) from None
    try:
        write_atomically(path / ".writable", b"")
        (path / ".writable").unlink()
    except OSError as error:
        raise StartError(f"state folder {path}: cannot be written: {error.strerror}.") from None
    return StateFolder(path, lock)


def key_file(path: Path) -> bytes:
    """A secret of 32 random bytes, made on first use and readable by its owner only. Raises StartError if it is damaged."""
    with contextlib.suppress(FileNotFoundError):
        key = path.read_bytes()
        if len(key) != KEY_BYTES:
            raise StartError(
                f"{path}: holds {len(key)} bytes, not {KEY_BYTES}. Restore it from a backup: it opens everything that is sealed."
            )
        return key
    key = secrets.token_bytes(KEY_BYTES)
    write_atomically(path, key)
    return key


def write_atomically(path: Path, content: bytes | IO[bytes]) -> None:
    """Write a file that only its owner may read, so that after a crash it holds the old content or the new, never a part.

    `content` is bytes, or an open file to copy from.
    Raises OSError; the old content is then untouched.
    """
    draft = path.with_name(path.name + ".draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                shutil.copyfileobj(content, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # the new name itself must survive a power cut
    finally:
        os.close(folder)
