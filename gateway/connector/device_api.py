"""`DeviceApi`: a client of the devices' local HTTP API, `POST /api {target, action, data}` with digest (akuvox-devices.md, 6).

One request at a time per device: some of their servers have one thread. A request is sent once: it is repeated only where the
device has said that it did nothing with it (401, a redirect to https). Done is what the device says is done: `retcode` 0.
"""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import h11

from gateway.connector.device_list import Listed
from gateway.connector.refusal import Refusal, Why
from gateway.connector.targets import Targets
from registry.mac import MacAddress
from sip import digest
from sip.errors import MalformedMessage
from tunnel.net.local_service import secure

PATH = "/api"
MAX_ANSWER = 512 * 1024
"""Bytes of an answer: a whole configuration of 530 keys has 40 KB."""
MAX_HEAD = 16 * 1024
MAX_WAITING = 8
"""Requests under way or waiting for one device; the next one is told `busy`."""
MAX_KNOWN = 4096
MAX_SAID = 64
_TRIES = 4
_CHUNK = 16 * 1024


@dataclass(slots=True)
class _Known:
    """What was learnt of one device: its last challenge, how often that was answered, whether it wants https, whether it hangs up
    after each answer without saying so."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
    challenges: tuple[bytes, ...] = ()
    count: int = 0
    tls: bool = False
    hangs_up: bool = False


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def all(self, name: bytes) -> tuple[bytes, ...]:
        return tuple(value for key, value in self.headers if key == name)


class DeviceApi:
    """See the module. `entropy(n)` gives n random bytes."""

    def __init__(self, targets: Targets, entropy: Callable[[int], bytes]) -> None:
        self._targets = targets
        self._entropy = entropy
        self._known: OrderedDict[MacAddress, _Known] = OrderedDict()

    async def ask(self, device: Listed, target: str, action: str, data: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Have the device do something, within so many seconds; returns the `data` it answers. Raises Refusal."""
        known = self._known_of(device.mac)
        if known.waiting >= MAX_WAITING:
            raise Refusal(Why.BUSY)
        known.waiting += 1
        try:
            async with asyncio.timeout(seconds), known.turn:
                return await self._proven(device, known, json.dumps({"target": target, "action": action, "data": data}).encode())
        except TimeoutError:
            raise Refusal(Why.NO_ANSWER) from None
        finally:
            known.waiting -= 1

    def _known_of(self, mac: MacAddress) -> _Known:
        found = self._known.pop(mac, None) or _Known()
        self._known[mac] = found
        if len(self._known) > MAX_KNOWN:
            oldest = next(iter(self._known))
            if not self._known[oldest].waiting:
                del self._known[oldest]
        return found

    async def _proven(self, device: Listed, known: _Known, body: bytes) -> dict[str, Any]:
        fresh = False
        line: _Line | None = None
        try:
            for _ in range(_TRIES):
                if line is None:
                    line = await self._connect(device, known)
                answer = await self._exchange(device, known, line, body)
                if known.hangs_up or not line.goes_on():
                    line.close()
                    line = None
                if answer.status == 401:
                    challenges = tuple(one for one in answer.all(b"www-authenticate") if one[:7].lower() == b"digest ")
                    if not challenges or not device.user or (fresh and not _is_stale(challenges)):
                        raise Refusal(Why.API_LOGIN)
                    known.challenges, known.count, fresh = challenges, 0, True
                elif answer.status in (301, 302, 307, 308) and not known.tls and _to_https(answer):
                    known.tls = True
                    if line is not None:
                        line.close()
                        line = None
                else:
                    return _data(answer)
            raise Refusal(Why.API_LOGIN)
        finally:
            if line is not None:
                line.close()

    async def _connect(self, device: Listed, known: _Known) -> "_Line":
        try:
            sock, authority = await self._targets.connect(device, "web-tls" if known.tls else "web")
        except Refusal:
            known.tls = False  # next time it is asked whether it still wants https
            raise
        try:
            reader, writer = await asyncio.open_connection(sock=sock, limit=_CHUNK)
            if known.tls:
                await secure(writer)
        except OSError:  # ssl.SSLError is one
            raise Refusal(Why.UNREACHABLE) from None
        return _Line(reader, writer, authority)

    async def _exchange(self, device: Listed, known: _Known, line: "_Line", body: bytes) -> _Answer:
        """One request, one answer. A device that hangs up between two requests without saying so gets a connection for each from
        the next command on: what it did with this one nobody knows."""
        again = line.answers > 0
        try:
            return await line.send(self._head(device, known, line.authority, body), body)
        except (OSError, h11.ProtocolError):
            known.hangs_up = known.hangs_up or again
            raise Refusal(Why.NO_ANSWER) from None

    def _head(self, device: Listed, known: _Known, authority: str, body: bytes) -> h11.Request:
        headers = [("host", authority), ("content-type", "application/json"), ("content-length", str(len(body)))]
        if known.challenges:
            known.count += 1
            try:
                proof = digest.answer(
                    known.challenges,
                    username=device.user.encode(),
                    password=device.password.encode(),
                    method=b"POST",
                    uri=PATH.encode("ascii"),
                    entropy=self._entropy,
                    nc=known.count,
                )
            except MalformedMessage:
                known.challenges = ()
                raise Refusal(Why.API_LOGIN) from None
            headers.append(("authorization", proof.decode("latin-1")))
        return h11.Request(method="POST", target=PATH, headers=headers)


class _Line:
    """One connection to a device. Some devices know a nonce only on the connection on which they gave it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, authority: str) -> None:
        self._reader, self._writer, self.authority = reader, writer, authority
        self._http = h11.Connection(h11.CLIENT, MAX_HEAD)
        self.answers = 0

    async def send(self, head: h11.Request, body: bytes) -> _Answer:
        """One request, one answer. Raises OSError, h11.ProtocolError, and Refusal for an answer that is too long."""
        if self.answers:
            self._http.start_next_cycle()
        for part in (head, h11.Data(body), h11.EndOfMessage()):
            self._writer.write(self._http.send(part) or b"")
        await self._writer.drain()
        response: h11.Response | None = None
        content = bytearray()
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(_CHUNK))
            elif isinstance(event, h11.Response):
                response = event
            elif isinstance(event, h11.Data):
                content += event.data
                if len(content) > MAX_ANSWER:
                    raise Refusal(Why.BAD_ANSWER)
            elif isinstance(event, h11.EndOfMessage) and response is not None:
                self.answers += 1
                return _Answer(response.status_code, tuple(response.headers), bytes(content))
            elif isinstance(event, h11.ConnectionClosed):
                raise ConnectionResetError("the device hung up")

    def goes_on(self) -> bool:
        """Whether the device takes another request here."""
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE and not self._reader.at_eof()

    def close(self) -> None:
        """End it at once: nothing of ours is under way."""
        self._writer.transport.abort()


def _is_stale(challenges: tuple[bytes, ...]) -> bool:
    """The password was right, the nonce is used up."""
    return any(b"stale=true" in one.replace(b'"', b"").replace(b" ", b"").lower() for one in challenges)


def _to_https(answer: _Answer) -> bool:
    """A redirect to https is meant for the same device; wherever else it points, nobody follows."""
    return any(value[:8].lower() == b"https://" for value in answer.all(b"location"))


def _data(answer: _Answer) -> dict[str, Any]:
    """What a whole answer says. Raises Refusal for all but retcode 0."""
    if answer.status == 403:
        raise Refusal(Why.API_FORBIDDEN)
    if answer.status == 404 or 300 <= answer.status < 400:
        raise Refusal(Why.API_MISSING)
    if answer.status != 200:
        raise Refusal(Why.REFUSED, f"HTTP {answer.status}")
    try:
        said = json.loads(answer.body)
    except (ValueError, RecursionError):
        raise Refusal(Why.BAD_ANSWER) from None
    code = said.get("retcode") if isinstance(said, dict) else None
    if not isinstance(code, int) or isinstance(code, bool):
        raise Refusal(Why.BAD_ANSWER)
    if code != 0:
        message = said.get("message")
        word = message if isinstance(message, str) and message.isascii() and message.isprintable() else f"retcode {code}"
        raise Refusal(Why.REFUSED, word[:MAX_SAID])
    data = said.get("data")
    return data if isinstance(data, dict) else {}
