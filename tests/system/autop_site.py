"""A running autop listener with one site behind it, and raw clients: what the autop system tests stand on."""

import asyncio
import contextlib
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from autop.net.configurations import Configurations
from autop.net.guard import Guard
from autop.net.limits import ListenerLimits
from autop.net.listener import AutopListener
from autop.observer import Outcome, Reason
from autop.sweep import Sweep, Sweeps
from gateway.accept import AcceptLimits, Acceptor
from gateway.handshakes import HandshakePlaces
from registry.records import Account
from tests.autop import examples

WALL = 1_780_000_000.0
PATH = f"/autop/{examples.TOKEN}/{examples.MAC}.cfg"


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "autop test")])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=3650))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = directory / "cert.pem", directory / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_file, key_file


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def client_context(ca: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(ca))


@dataclass
class RunningSite:
    """Where the listener is, what it observed, and how to talk to it."""

    host: str
    port: int
    listener: AutopListener
    door: Acceptor
    turned_away: list[str]
    observed: examples.Recorder
    records: examples.FakeRecords
    configurations: Configurations
    account_seal: bytes
    tls: ssl.SSLContext | None

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self.host, self.port, ssl=self.tls)

    async def exchange(self, sent: bytes) -> bytes:
        """All that comes back for these bytes until the server closes."""
        reader, writer = await self.dial()
        writer.write(sent)
        try:
            return await reader.read()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def get(self, target: str, *headers: str, method: str = "GET") -> "Answer":
        """One request on a connection of its own."""
        head = "\r\n".join([f"{method} {target} HTTP/1.1", f"Host: {self.host}", "Connection: close", *headers])
        return Answer.read(await self.exchange(head.encode() + b"\r\n\r\n"))


@dataclass
class Answer:
    """An HTTP answer taken apart, for comparing."""

    status: int
    headers: dict[str, str]
    body: bytes
    raw_head: bytes = field(repr=False)

    @classmethod
    def read(cls, raw: bytes) -> "Answer":
        head, _, body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        return cls(int(first.split(" ")[1]), {name.lower(): value for name, value in headers.items()}, body, head)

    def without_date(self) -> tuple[int, dict[str, str], bytes]:
        """What must be equal of two refusals."""
        return self.status, {name: value for name, value in self.headers.items() if name != "date"}, self.body


@contextlib.asynccontextmanager
async def running(
    certificate: tuple[Path, Path] | None = None,
    limits: ListenerLimits | None = None,
    grace: float = 5.0,
    *,
    accept: AcceptLimits | None = None,
    handshakes: HandshakePlaces | None = None,
    sweeps: list[Sweep] | None = None,
) -> AsyncIterator[RunningSite]:
    """A listener on a free port of 127.0.0.1, over TLS if a certificate is given. Sweeps are watched for if there is a list that
    keeps them."""
    vault = examples.vault()
    records = examples.small_site(vault)
    observed = examples.Recorder()
    configurations = Configurations(read_model=records, vault=vault, settings=examples.SETTINGS)
    account = await records.get(Account, "400000001")
    clock = asyncio.get_running_loop().time
    listener = AutopListener(
        configurations=configurations if sweeps is None else Guard(configurations, Sweeps(), told=sweeps.append, clock=clock),
        observer=observed,
        clock_wall=lambda: WALL,
        limits=limits,
    )
    turned_away: list[str] = []
    door = Acceptor(
        connect=listener.connect,
        tls=server_context(*certificate) if certificate else None,
        handshakes=handshakes or HandshakePlaces(),
        refused=turned_away.append,
        limits=accept,
    )
    host, port = await door.start("127.0.0.1", 0)
    try:
        tls = client_context(certificate[0]) if certificate else None
        sealed = account.record.sealed_password
        yield RunningSite(host, port, listener, door, turned_away, observed, records, configurations, sealed, tls)
    finally:
        await door.stop()
        await listener.stop(grace)
        assert listener.connections == 0
        assert door.strangers == 0


def refused(reason: Reason) -> tuple[Outcome, Reason]:
    return Outcome.REFUSED, reason
