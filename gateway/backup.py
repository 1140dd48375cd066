"""`portico backup` and `portico restore`: everything a node cannot make again, in one file.

A backup holds the database (a consistent copy, taken while the gateway runs), the master key, the node secret, the local
CA with its keys, and the firmware images. It therefore opens every secret of the installation: it is written for its owner only.
"""

import contextlib
import os
import re
import tarfile
import tempfile
from pathlib import Path

from gateway.errors import StartError
from gateway.state import open_state, write_atomically
from registry.engines.sqlite_backup import copy_store
from registry.errors import RegistryError

KEPT = ("master.key", "node.secret", "admin-token", "tls/ca.key", "tls/ca.pem", "tls/server.key", "tls/server.pem")
DATABASE = "portico.sqlite"
_IMAGE = re.compile(r"firmware/[0-9a-f]{24}\.image", re.ASCII)


def backup(state: Path, target: Path) -> list[str]:
    """Write a backup of the state folder to `target`; the gateway may be running. Returns the names of what is in it.

    Raises StartError naming what is missing or cannot be written. An existing target is not overwritten.
    """
    database = state / DATABASE
    if not database.exists():
        raise StartError(f"state folder {state}: holds no {DATABASE}, so there is nothing to back up. Is --state right?")
    if target.exists():
        raise StartError(f"{target}: exists already; name a new file.")
    names: list[str] = []
    draft = target.with_name(target.name + ".draft")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
                copy = Path(scratch) / DATABASE
                copy_store(database, copy)
                archive.add(copy, DATABASE)
                names.append(DATABASE)
            for name in KEPT:
                if (state / name).exists():
                    archive.add(state / name, name)
                    names.append(name)
            # After the database: an image that is uploaded meanwhile is unknown to it, one that is removed meanwhile is missing.
            for path in sorted((state / "firmware").glob("*.image")):
                with contextlib.suppress(FileNotFoundError):
                    archive.add(path, f"firmware/{path.name}")
                    names.append(f"firmware/{path.name}")
        draft.replace(target)
    except (OSError, RegistryError) as error:
        draft.unlink(missing_ok=True)
        raise StartError(f"backup to {target}: {error}") from None
    return names


def restore(archive_file: Path, state: Path) -> list[str]:
    """Fill an empty state folder from a backup. Returns the names of what was restored. Raises StartError."""
    folder = open_state(state)
    try:
        if folder.database.exists() or folder.master_key.exists():
            raise StartError(f"state folder {state}: is not empty; restore into a new folder, so that nothing is lost.")
        allowed = {*KEPT, DATABASE}
        folder.certificates.mkdir(mode=0o700, exist_ok=True)
        folder.firmware.mkdir(mode=0o700, exist_ok=True)
        names: list[str] = []
        with tarfile.open(archive_file, "r:gz") as archive:
            for member in archive:
                is_ours = member.name in allowed or _IMAGE.fullmatch(member.name)
                content = archive.extractfile(member) if member.isfile() and is_ours else None
                if content is None:
                    raise StartError(f"{archive_file}: {member.name!r} does not belong in a Portico backup.")
                write_atomically(state / member.name, content)
                names.append(member.name)
        if DATABASE not in names or "master.key" not in names:
            raise StartError(f"{archive_file}: is no complete Portico backup.")
        return names
    except (OSError, tarfile.TarError, EOFError) as error:
        raise StartError(f"restore from {archive_file}: {error}") from None
    finally:
        folder.lock.close()
