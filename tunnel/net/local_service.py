"""Dialling a device's own service at the end that is near it: plain TCP, or TLS as old and self-signed as devices have it.

The TLS here protects nothing by itself. What does is the pin: the public key that the device showed is reported (OPENED, `spki`),
and the gateway refuses another one than it knows.
"""

import asyncio
import hashlib
import socket
import ssl
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tunnel.errors import Code
from tunnel.net.pipe import StreamPipe
from tunnel.net.splice import CHUNK
from tunnel.net.tls_splice import splice_tls

_LEGACY_SERVER_CONNECT = 0x4  # SSL_OP_LEGACY_SERVER_CONNECT: servers from before RFC 5746; Python names it from 3.12 on
DIAL_DEADLINE = 8.0
"""Seconds for TCP and TLS together; below the 10 s after which the opener gives up."""


class LocalService(NamedTuple):
    """Where a service of a device is, on the device's own network. `tls`: it speaks TLS, which is undone here."""

    host: str
    port: int
    tls: bool = False

    @property
    def authority(self) -> str:
        """What an HTTP client names as Host."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return shown if self.port == (443 if self.tls else 80) else f"{shown}:{self.port}"


async def serve_tls(pipe: StreamPipe, service: LocalService) -> None:
    """Answer an offered stream with a service that speaks TLS, and carry it: plain on the stream, TLS to the device."""
    try:
        async with asyncio.timeout(DIAL_DEADLINE):
            reader, writer = await asyncio.open_connection(service.host, service.port, limit=CHUNK)
            spki = await secure(writer)
    except OSError:  # TimeoutError and ssl.SSLError are some
        pipe.reset(Code.TARGET_UNREACHABLE)
        return
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    pipe.accept(service.authority, spki)
    await splice_tls(pipe, reader, writer)


async def secure(writer: asyncio.StreamWriter) -> bytes:
    """Speak TLS on a connection to a device's page from here on. Returns the SHA-256 of the public key that it showed.

    Raises OSError, also for TLS that fails; then the connection is aborted. The caller bounds the time.
    """
    try:
        await writer.start_tls(device_context())
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        if not shown:
            raise ConnectionError("a TLS server without a certificate")
    except BaseException:
        writer.transport.abort()
        raise
    return spki_sha256(shown)


def device_context() -> ssl.SSLContext:
    """TLS for dialling a device's web page, and for nothing else: TLS 1.0, weak keys and ciphers, any certificate.

    One for each connection, so that no session of one device is ever offered to another.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("ALL:!aNULL:!eNULL:@SECLEVEL=0")
    context.options |= _LEGACY_SERVER_CONNECT
    return context


def spki_sha256(der: bytes) -> bytes:
    """SHA-256 of the SubjectPublicKeyInfo in a certificate; of the whole certificate where that cannot be read."""
    try:
        key = x509.load_der_x509_certificate(der).public_key()
        return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    except Exception:  # devices' certificates are odd in many ways; any change of this one is a change too
        return hashlib.sha256(der).digest()
