"""The bytes of one stream that wait for credit and for their turn: cut anywhere, copied once (into the socket's buffer)."""

from collections import deque

Piece = bytes | memoryview


class Outbound:
    """A queue of bytes, first in first out. `size` is what it holds."""

    __slots__ = ("_chunks", "finished", "size")

    def __init__(self) -> None:
        self._chunks: deque[Piece] = deque()
        self.size = 0
        self.finished = False
        """Whether nothing more will be pushed: FIN follows the last byte."""

    def push(self, data: bytes) -> None:
        if data:
            self._chunks.append(data)
            self.size += len(data)

    def pull(self, limit: int, into: list[Piece]) -> None:
        """Append at most `limit` bytes from the front to `into`, as uncopied pieces."""
        while limit and self._chunks:
            chunk = self._chunks[0]
            size = len(chunk)
            if size <= limit:
                self._chunks.popleft()
            else:
                view = memoryview(chunk)
                self._chunks[0] = view[limit:]
                chunk, size = view[:limit], limit
            into.append(chunk)
            limit -= size
            self.size -= size
