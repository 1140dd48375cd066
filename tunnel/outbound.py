"""The bytes of one stream that wait for credit and for their turn: cut anywhere, copied once (into the socket's buffer)."""

from collections import deque


class Outbound:
    """A queue of bytes, first in first out. `size` is what it holds."""

    __slots__ = ("_chunks", "finished", "size")

    def __init__(self) -> None:
        self._chunks: deque[memoryview] = deque()
        self.size = 0
        self.finished = False
        """Whether nothing more will be pushed: FIN follows the last byte."""

    def push(self, data: bytes) -> None:
        if data:
            self._chunks.append(memoryview(data))
            self.size += len(data)

    def pull(self, limit: int) -> list[memoryview]:
        """At most `limit` bytes from the front, as uncopied pieces."""
        pieces: list[memoryview] = []
        while limit and self._chunks:
            chunk = self._chunks[0]
            if len(chunk) <= limit:
                self._chunks.popleft()
            else:
                self._chunks[0] = chunk[limit:]
                chunk = chunk[:limit]
            pieces.append(chunk)
            limit -= len(chunk)
            self.size -= len(chunk)
        return pieces
