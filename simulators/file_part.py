"""`FilePart`: the file of an upload form as a device takes it: a piece at a time."""

import hashlib


class FilePart:
    """The first part of a multipart/form-data body (RFC 7578), fed piece by piece, kept only as size and hash."""

    def __init__(self, boundary: bytes) -> None:
        self._end = b"\r\n--" + boundary
        self._held = b""
        self._in_content = False
        self.complete = False
        self.size = 0
        self.sha256 = hashlib.sha256()

    def feed(self, piece: bytes) -> None:
        if self.complete:
            return
        self._held += piece
        if not self._in_content:
            _head, found, rest = self._held.partition(b"\r\n\r\n")
            if not found:
                self._held = self._held[-16 * 1024 :]
                return
            self._in_content, self._held = True, rest
        content, found, _ = self._held.partition(self._end)
        if found:
            self._count(content)
            self.complete = True
            return
        # The end mark may begin in what is here and go on in the next piece.
        keep = len(self._end) - 1
        self._count(self._held[:-keep])
        self._held = self._held[-keep:]

    def _count(self, content: bytes) -> None:
        self.size += len(content)
        self.sha256.update(content)
