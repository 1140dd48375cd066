"""A whole tunnel in one process for system tests: device page, agent, channel listener, visitor listener, one loop."""

import asyncio
import contextlib
import datetime
import hashlib
import os
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from autop.certificate import certified_macs
from gateway.accept import AcceptLimits, Acceptor
from gateway.handshakes import HandshakePlaces
from gateway.tls import ServerTls
from registry.mac import MacAddress
from registry.memory import MemoryStore
from registry.records import RemoteSession
from tunnel.frames import ALPN, KEY_SIZE, Limits
from tunnel.handshake import Identity
from tunnel.messages import DeviceEvent
from tunnel.net.agent import Agent, client_context
from tunnel.net.channel_listener import ChannelListener
from tunnel.net.link import NOTSENT_LOWAT
from tunnel.net.local_service import LocalService
from tunnel.net.ports import CountedGenerations, Usage
from tunnel.net.visitor_connection import VisitorDeadlines
from tunnel.net.visitor_listener import ALPN as VISITOR_ALPN
from tunnel.net.visitor_listener import VisitorListener
from tunnel.session import NewSession, create_session

MAC = MacAddress("0C1105AABBCC")
DOMAIN = "remote.localhost"
Page = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate as files."""

    chain: str
    key: str
    sha256: bytes


def make_certificate(folder: str, name: str = "localhost") -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    day = datetime.timedelta(days=1)
    start = datetime.datetime(2020, 1, 1)  # noqa: DTZ001 - x509 takes naive UTC
    names = [x509.DNSName("localhost"), x509.DNSName(f"*.{DOMAIN}"), x509.DNSName(name)]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + 365 * 60 * day)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain_path, key_path = os.path.join(folder, f"{name}.pem"), os.path.join(folder, f"{name}.key")
    with open(chain_path, "wb") as chain:
        chain.write(certificate.public_bytes(serialization.Encoding.PEM))
    with open(key_path, "wb") as private:
        private.write(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
    der = certificate.public_bytes(serialization.Encoding.DER)
    return Certificate(chain_path, key_path, hashlib.sha256(der).digest())


def server_context(certificate: Certificate, *protocols: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.chain, certificate.key)
    context.set_alpn_protocols(protocols)
    return context


@dataclass
class Recorder:
    """Both observers and the event sink: writes down what it is told."""

    channel: list[tuple[object, ...]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    visitor_refusals: list[str] = field(default_factory=list)
    sessions: list[tuple[str, str]] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    certificates: list[tuple[str, ...]] = field(default_factory=list)
    events: list[tuple[MacAddress, DeviceEvent]] = field(default_factory=list)
    fail_events: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def _note(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def link_up(self, mac: MacAddress, generation: int) -> None:
        self.channel.append(("up", mac, generation))
        self._note()

    def link_down(self, mac: MacAddress, generation: int, reason: str) -> None:
        self.channel.append(("down", mac, generation, reason))
        self._note()

    def channel_refused(self, reason: str) -> None:
        self.refused.append(reason)
        self._note()

    def clone_suspected(self, mac: MacAddress, addresses: tuple[str, ...]) -> None:
        self.channel.append(("cloned", mac, *addresses))
        self._note()

    def event_failed(self, mac: MacAddress) -> None:
        self.channel.append(("event failed", mac))
        self._note()

    def session_opened(self, session: RemoteSession, address: str) -> None:
        self.sessions.append(("opened", address))
        self._note()

    def session_closed(self, session: RemoteSession, usage: Usage, reason: str) -> None:
        self.sessions.append(("closed", reason))
        self.usage = usage
        self._note()

    def certificate_pinned(self, session: RemoteSession, spki: str) -> None:
        self.certificates.append(("pinned", spki))
        self._note()

    def certificate_changed(self, session: RemoteSession, known: str, shown: str) -> None:
        self.certificates.append(("changed", known, shown))
        self._note()

    def visitor_refused(self, reason: str) -> None:
        self.visitor_refusals.append(reason)
        self._note()

    async def on_event(self, mac: MacAddress, event: DeviceEvent) -> None:
        if self.fail_events:
            self.fail_events -= 1
            raise RuntimeError("the store is down, said on purpose")
        self.events.append((mac, event))
        self._note()

    async def until(self, condition: Callable[[], bool], deadline: float = 10.0) -> None:
        """Wait until `condition` holds, looking again whenever something was noted."""
        async with asyncio.timeout(deadline):
            while not condition():
                await self.changed.wait()


@dataclass
class Keys:
    """ChannelKeys from a dict."""

    known: dict[MacAddress, bytes]

    async def channel_key(self, mac: MacAddress) -> bytes | None:
        return self.known.get(mac)


@dataclass
class Site:
    """Everything that runs, and how to reach it."""

    recorder: Recorder
    store: MemoryStore
    channel: ChannelListener
    visitors: VisitorListener
    channel_address: tuple[str, int]
    visitor_address: tuple[str, int]
    certificate: Certificate
    identity: Identity
    keys: Keys
    wall: list[float]
    channel_door: Acceptor
    visitor_door: Acceptor
    agent: Agent | None = None

    def make_agent(
        self, services: Mapping[str, LocalService | tuple[str, int]], identity: Identity | None = None, **more: object
    ) -> Agent:
        options: dict[str, object] = {"backoff_first": 0.05, "backoff_most": 0.2, "event_repeat": 0.2}
        options |= {"tls": client_context(ca_file=self.certificate.chain), **more}
        return Agent(
            host="127.0.0.1",
            port=self.channel_address[1],
            identity=identity or self.identity,
            server_name="localhost",
            entropy=os.urandom,
            services=services,
            **options,  # type: ignore[arg-type]
        )

    async def new_session(self, **options: object) -> tuple[RemoteSession, str]:
        """A session and the path of its link."""
        made = await self.make_session(**options)
        return made.record, made.link_path

    async def make_session(self, **options: object) -> NewSession:
        """A session and its ticket."""
        given: dict[str, object] = {"opened_by": "tester", **options}
        return await create_session(
            self.store,
            mac=MAC,
            site="site-1",
            wall=self.wall[0],
            entropy=os.urandom,
            **given,  # type: ignore[arg-type]
        )

    async def browser(self, **options: object) -> "Browser":
        """A visitor who has opened a fresh link."""
        record, path = await self.new_session(**options)
        browser = Browser(self, record.id, port=record.port)
        status, headers, _ = await browser.get(path)
        assert status == 303
        assert headers["location"] == "/"
        browser.cookie = headers["set-cookie"].split(";")[0]
        return browser


@dataclass
class Browser:
    """A visitor with one session's name and cookie. Each request has its own connection unless one is given."""

    site: Site
    session: str
    cookie: str = ""
    port: int = 0

    @property
    def host(self) -> str:
        if self.port:
            return f"localhost:{self.port}"
        return f"{self.session}.{DOMAIN}:{self.site.visitor_address[1]}"

    @property
    def origin(self) -> str:
        return f"https://{self.host}"

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = ssl.create_default_context(cafile=self.site.certificate.chain)
        return await asyncio.open_connection(
            "127.0.0.1", self.port or self.site.visitor_address[1], ssl=context, server_hostname=self.host.split(":")[0]
        )

    def head(self, method: str, target: str, *lines: str, host: str | None = None) -> bytes:
        given = {line.partition(":")[0].lower() for line in lines}
        parts = [f"{method} {target} HTTP/1.1", f"Host: {host or self.host}", *lines]
        if self.cookie and "cookie" not in given:
            parts.append(f"Cookie: {self.cookie}")
        return ("\r\n".join(parts) + "\r\n\r\n").encode("latin-1")

    async def get(self, target: str, *lines: str, host: str | None = None) -> tuple[int, dict[str, str], bytes]:
        return await self.request("GET", target, *lines, host=host)

    async def request(
        self, method: str, target: str, *lines: str, body: bytes = b"", host: str | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """One request on a connection of its own; the answer's body is read whole."""
        reader, writer = await self.connect()
        try:
            more = (f"Content-Length: {len(body)}",) if body else ()
            writer.write(self.head(method, target, *lines, *more, "Connection: close", host=host) + body)
            return await read_answer(reader, method)
        finally:
            writer.close()


async def eventually(condition: Callable[[], bool], deadline: float = 10.0) -> None:
    """Look until `condition` holds: for state of the product that tells nobody of its change."""
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline
    while not condition():
        assert loop.time() < end, "it never came to that"
        await asyncio.sleep(0.005)


async def read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """Status and headers (lower-case names; repeated ones joined by a newline)."""
    raw = await reader.readuntil(b"\r\n\r\n")
    first, *lines = raw[:-4].decode("latin-1").split("\r\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        key = name.lower()
        headers[key] = f"{headers[key]}\n{value.strip()}" if key in headers else value.strip()
    return int(first.split(" ")[1]), headers


async def read_answer(reader: asyncio.StreamReader, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    status, headers = await read_head(reader)
    while status in (100, 103):
        status, headers = await read_head(reader)
    if method == "HEAD" or status in (204, 304):
        return status, headers, b""
    return status, headers, await read_body(reader, headers)


async def read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") == "chunked":
        body = bytearray()
        while size := int((await reader.readline()).strip(), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
        return bytes(body)
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    return await reader.read()


@contextlib.asynccontextmanager
async def serving(page: Page, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[str, int]]:
    """A device's web server: one coroutine per connection."""
    tasks: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await page(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(run, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[:2]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(list(tasks))


@contextlib.asynccontextmanager
async def tunnel_site(
    page: Page | None = None,
    *,
    limits: Limits | None = None,
    accept_limits: AcceptLimits | None = None,
    deadlines: VisitorDeadlines | None = None,
    first_message: float = 5.0,
    server_tls: ServerTls | None = None,
    device_ca: str | None = None,
    ports: Sequence[int] = (),
) -> AsyncIterator[Site]:
    """A gateway with both listeners; with `page` also a device that serves it, connected. `ports`: of sessions without names.
    `device_ca`: a PEM file, whose certificates may prove a device's MAC."""
    async with contextlib.AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        certificate = make_certificate(folder)
        recorder, store = Recorder(), MemoryStore()
        identity = Identity(MAC, os.urandom(KEY_SIZE))
        keys = Keys({MAC: identity.key})
        wall = [1_000_000.0]
        channel = ChannelListener(
            certificate_sha256=server_tls.leaf_sha256 if server_tls else lambda _connection: certificate.sha256,
            keys=keys,
            generations=CountedGenerations(0),
            events=recorder,
            observer=recorder,
            entropy=os.urandom,
            limits=limits,
            first_message=first_message,
            certified=lambda connection: certified_macs(connection.getpeercert() or {}),
        )
        stack.push_async_callback(channel.stop, 0.0)
        handshakes = HandshakePlaces()
        channel_tls = server_tls.context([ALPN]) if server_tls else server_context(certificate, ALPN)
        if device_ca is not None:
            channel_tls.verify_mode = ssl.CERT_OPTIONAL
            channel_tls.load_verify_locations(device_ca)
        channel_door = Acceptor(
            connect=channel.connect,
            tls=channel_tls,
            handshakes=handshakes,
            refused=recorder.channel_refused,
            limits=replace(accept_limits or AcceptLimits(), unsent_octets=NOTSENT_LOWAT, probe=False),
        )
        channel_address = await channel_door.start("127.0.0.1", 0)
        stack.push_async_callback(channel_door.stop)
        visitors = VisitorListener(
            store=store,
            links=channel.link,
            observer=recorder,
            entropy=os.urandom,
            wall=lambda: wall[0],
            domain=DOMAIN,
            ports=ports,
            deadlines=deadlines,
        )
        await visitors.start()
        stack.push_async_callback(visitors.stop, 0.0)
        visitor_door = Acceptor(
            connect=visitors.connect,
            tls=server_context(certificate, *VISITOR_ALPN),
            handshakes=handshakes,
            refused=recorder.visitor_refused,
            limits=accept_limits,
        )
        visitor_address = await visitor_door.start("127.0.0.1", 0)
        visitors.listening(visitor_address[1])
        for port in ports:
            await visitor_door.start("127.0.0.1", port)
        stack.push_async_callback(visitor_door.stop)
        doors = (channel_door, visitor_door)
        site = Site(
            recorder, store, channel, visitors, channel_address, visitor_address, certificate, identity, keys, wall, *doors
        )
        if page is not None:
            address = await stack.enter_async_context(serving(page))
            site.agent = site.make_agent({"web": address})
            await stack.enter_async_context(running(site.agent))
            await recorder.until(lambda: channel.link(MAC) is not None)
        yield site


@contextlib.asynccontextmanager
async def running(agent: Agent) -> AsyncIterator[Agent]:
    """The agent's `run` as a task, ended at the end."""
    task = asyncio.get_running_loop().create_task(agent.run())
    try:
        yield agent
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
