"""`AutopFiles`: files from the gateway's auto-provisioning over HTTPS, for devices of the LAN that ask over TFTP."""

import asyncio
import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

import h11

MAX_FILE = 1024 * 1024
MAX_URL = 256
SECONDS = 8.0
_CHUNK = 65_536


class AutopFiles:
    """`base()`: the gateway's autop directory as it told it ("https://host:port/autop"), "" before. `tls` checks it."""

    def __init__(self, base: Callable[[], str], tls: ssl.SSLContext) -> None:
        self._base = base
        self._tls = tls

    async def fetch(self, name: bytes) -> bytes | None:
        """The file of this TFTP name (checked by the caller), None where the gateway has none for it or does not answer."""
        parts = urlsplit(self._base())
        host = parts.hostname
        if parts.scheme != "https" or host is None:
            return None
        path = parts.path.rstrip("/").encode("ascii") + b"/" + name.lstrip(b"/").removeprefix(b"autop/")
        try:
            async with asyncio.timeout(SECONDS):
                reader, writer = await asyncio.open_connection(host, parts.port or 443, ssl=self._tls, server_hostname=host)
                try:
                    return await _get(reader, writer, path, parts.netloc)
                finally:
                    writer.transport.abort()
        except (OSError, h11.ProtocolError):  # TimeoutError and ssl.SSLError are OSErrors
            return None


async def _get(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: bytes, host: str) -> bytes | None:
    http = h11.Connection(h11.CLIENT)
    headers = [("host", host), ("user-agent", "Akuvox"), ("connection", "close")]
    for part in (h11.Request(method="GET", target=path, headers=headers), h11.EndOfMessage()):
        writer.write(http.send(part) or b"")
    await writer.drain()
    status, content = 0, bytearray()
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(_CHUNK))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            content += event.data
            if len(content) > MAX_FILE:
                return None
        elif isinstance(event, h11.EndOfMessage):
            return bytes(content) if status == 200 else None
        elif isinstance(event, h11.ConnectionClosed):
            return None
