"""Copies of a store while it is in use, by SQLite's online backup (`portico backup`, and before an upgrade)."""

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from registry.engines.sqlite_schema import APPLICATION_ID, create_private, sync_folder
from registry.errors import StoreUnavailable


async def backup_file(source: str | Path, target: str | Path) -> None:
    """`copy_store` without blocking the loop. Raises StoreUnavailable."""
    await asyncio.to_thread(copy_store, Path(source), Path(target))


def copy_store(source: Path, target: Path) -> None:
    """Copy the store at `source`, also while a gateway (of any process) writes to it, to `target` as one file of mode 0600.

    The copy is one snapshot. It appears under its name, replacing what was there, only when it is whole and on the disk.
    Raises StoreUnavailable.
    """
    partial = target.with_name(target.name + ".partial")
    try:
        try:
            partial.unlink(missing_ok=True)
            create_private(partial)
            _copy_pages(source, partial)
            _sync(partial)
            os.replace(partial, target)
            sync_folder(target)
        finally:
            partial.unlink(missing_ok=True)
    except (sqlite3.Error, OSError) as error:
        cause = error.strerror if isinstance(error, OSError) else error
        raise StoreUnavailable(f"cannot copy {source} to {target}: {cause}") from error


def _copy_pages(source: Path, partial: Path) -> None:
    # mode=rw: a source that is not there must not be made.
    with (
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True, timeout=5.0)) as reading,
        closing(sqlite3.connect(partial, isolation_level=None)) as writing,
    ):
        (owner,) = reading.execute("PRAGMA application_id").fetchone()
        if owner != APPLICATION_ID:
            raise StoreUnavailable(f"{source} is no store of Portico")
        reading.backup(writing)


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
