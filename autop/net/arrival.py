"""`Arrival`: whether a configuration reached its device, told to whoever keeps the history of fetches."""

import asyncio
import contextlib
import re
from collections.abc import Callable

from autop.fingerprint import entity_tags
from autop.http_messages import Request
from autop.net.acknowledgement import Acknowledgement
from autop.net.configurations import File
from autop.net.ports import FetchSink

_OURS = re.compile(rb'"([0-9a-f]{64})"')


class Arrival:
    """Watches one connection's configurations, one at a time."""

    __slots__ = ("_clock_wall", "_sink", "_waiting")

    def __init__(self, sink: FetchSink, clock_wall: Callable[[], float]) -> None:
        self._sink = sink
        self._clock_wall = clock_wall
        self._waiting: tuple[File, str, str, Acknowledgement] | None = None

    def answered(self, request: Request, file: File, peer: str, transport: asyncio.Transport, *, is_held: bool) -> None:
        """The client has the file (304: `is_held`), or will have once its TCP has acknowledged all that was written."""
        named = [value for name, value in request.headers if name == b"if-none-match"]
        held = file.hash if named == [file.etag] else _held(named)
        if not is_held:
            # Where nobody can know whether it arrived, the fetch is not counted.
            with contextlib.suppress(OSError):
                self._waiting = file, held, peer, Acknowledgement(transport)
        elif held == file.hash:  # "*" and lists say nothing of what the client has
            self._sink.fetched(file, peer, self._clock_wall(), complete=False, held="")

    def look(self) -> bool:
        """Whether no file is on its way any more. Tells of the fetch that has become complete."""
        if self._waiting is None:
            return True
        file, held, peer, acknowledgement = self._waiting
        if not acknowledgement.is_complete():
            return False
        acknowledgement.end()
        self._waiting = None
        self._sink.fetched(file, peer, self._clock_wall(), complete=True, held=held)
        return True

    def end(self) -> None:
        """The connection is lost: nothing is watched any more."""
        if self._waiting is not None:
            self._waiting[3].end()


def _held(named: list[bytes]) -> str:
    """The one entity tag of If-None-Match, if it is like ours: the SHA-256 of a file."""
    tags = entity_tags(named) if named else None
    if not tags or len(tags) != 1:
        return ""
    (tag,) = tags
    found = _OURS.fullmatch(tag)
    return found[1].decode("ascii") if found else ""
