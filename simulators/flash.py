"""A simulated device's flash: it fetches an image, goes on where a cut left it, and starts with the new version, or does not.

An image for simulated devices is a first line with its version and whatever follows (`image`). Real images are not looked into.
"""

import asyncio
import contextlib
import hashlib
import ssl
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

import h11

_CHUNK = 64 * 1024
_MARK = b"portico simulated firmware "


class Boots(Enum):
    """What a device does once it has an image."""

    NEW = "the new version"
    OLD = "the old version again"
    NOT = "never again"


@dataclass(frozen=True, slots=True)
class Installed:
    """An image was fetched, in so many answers with these statuses, and the device started with `version`."""

    version: str
    statuses: tuple[int, ...]


class FlashFailed(OSError):
    """No image: the server has none for this device, or not now, or too many connections were cut."""


def image(version: str, size: int) -> bytes:
    """An image of `size` bytes in which no two parts are alike."""
    head = _MARK + version.encode() + b"\n"
    return (head + hashlib.shake_256(head).digest(size))[:size]


class Flash:
    """`version` is what runs now. `cuts`: after so many bytes each, the power of the network fails during a download."""

    def __init__(
        self,
        model: str,
        version: str,
        tls: ssl.SSLContext,
        *,
        boots: Boots = Boots.NEW,
        cuts: tuple[int, ...] = (),
        seconds: float = 30.0,
    ) -> None:
        self.model = model
        self.version = version
        self.talks = True
        self.content = b""
        self._tls = tls
        self._boots = boots
        self._cuts = list(cuts)
        self._seconds = seconds

    @property
    def user_agent(self) -> str:
        """As a device's REGISTER has it: `Akuvox R20B 220.30.2.28`."""
        return f"Akuvox {self.model} {self.version}"

    async def install(self, url: str) -> Installed:
        """Fetch the image, however many connections it takes, and start. Raises FlashFailed."""
        got, etag, statuses = bytearray(), b"", []
        for _ in range(10):
            with contextlib.suppress(OSError, h11.ProtocolError, TimeoutError):
                async with asyncio.timeout(self._seconds):
                    answer = await self._part(url, got, etag)
                statuses.append(answer.status)
                if answer.status not in (200, 206):
                    raise FlashFailed(f"the server answered {answer.status}")
                etag = answer.etag
                if answer.whole:
                    self.content = bytes(got)
                    return Installed(self._started(bytes(got)), tuple(statuses))
        raise FlashFailed("every connection was cut")

    def _started(self, content: bytes) -> str:
        if self._boots is Boots.NEW and content.startswith(_MARK):
            self.version = content[len(_MARK) :].partition(b"\n")[0].decode("ascii")
        self.talks = self._boots is not Boots.NOT
        return self.version

    async def _part(self, url: str, got: bytearray, etag: bytes) -> "_Part":
        """One request: all, or what is missing of the file that `got` is the beginning of. Adds to `got`."""
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(
            parts.hostname, parts.port, ssl=self._tls if parts.scheme == "https" else None
        )
        cut = self._cuts.pop(0) if self._cuts else None
        try:
            headers = [("Host", parts.netloc), ("User-Agent", self.user_agent), ("Connection", "close")]
            if got:
                headers += [("Range", f"bytes={len(got)}-"), ("If-Range", etag.decode("latin-1"))]
            http = h11.Connection(h11.CLIENT)
            writer.write(http.send(h11.Request(method="GET", target=parts.path, headers=headers)) or b"")
            writer.write(http.send(h11.EndOfMessage()) or b"")
            return await _read(http, reader, got, cut)
        finally:
            writer.transport.abort()


@dataclass(frozen=True, slots=True)
class _Part:
    status: int
    etag: bytes
    whole: bool


async def _read(http: h11.Connection, reader: asyncio.StreamReader, got: bytearray, cut: int | None) -> _Part:
    status, etag, fresh = 0, b"", 0
    while True:
        try:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(await reader.read(_CHUNK))
                continue
        except (OSError, h11.ProtocolError):
            if not status:
                raise
            return _Part(status, etag, whole=False)
        if isinstance(event, h11.Response):
            status = event.status_code
            etag = next((value for name, value in event.headers if name == b"etag"), b"")
            if status == 200:
                got.clear()
        elif isinstance(event, h11.Data) and status in (200, 206):
            got += event.data
            fresh += len(event.data)
            if cut is not None and fresh >= cut:
                return _Part(status, etag, whole=False)
        elif isinstance(event, h11.EndOfMessage):
            return _Part(status, etag, whole=True)
