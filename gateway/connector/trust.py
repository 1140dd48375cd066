"""How the connector knows its gateway: a CA file, the fingerprint of a CA, or the system's trust."""

import asyncio
import hashlib
import ipaddress
import ssl

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from tunnel.frames import ALPN

SECONDS = 10.0
_CHUNK = 16_384
_MOST = 256 * 1024


class NotTheGateway(OSError):
    """What answers there shows no certificate with this fingerprint."""


def trusting(alpn: str, *, ca_file: str | None = None, certificate: str | None = None) -> ssl.SSLContext:
    """TLS for this protocol that trusts a CA file, or this one certificate (PEM; a CA's or the gateway's own), else the system.

    Raises OSError for a file that cannot be read.
    """
    context = ssl.create_default_context(cafile=ca_file, cadata=certificate)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols([alpn])
    return context


async def certificate_shown(host: str, port: int, sha256: str) -> str:
    """The certificate (PEM) with this SHA-256 (hex, of the DER) among those that a gateway shows.

    Only fetched here; whoever trusts it checks the connection against it. Raises NotTheGateway, OSError.
    """
    async with asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            chain = await _chain(reader, writer, host)
        except SSL.Error as error:
            raise NotTheGateway("no TLS there") from error
        finally:
            writer.transport.abort()
    for der in chain:
        if hashlib.sha256(der).hexdigest() == sha256.lower():
            return ssl.DER_cert_to_PEM_cert(der)
    raise NotTheGateway("no certificate with the fingerprint of --ca-sha256 is shown there")


async def _chain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> list[bytes]:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_alpn_protos([ALPN.encode("ascii")])
    connection = SSL.Connection(context, None)
    if not _is_address(host):
        connection.set_tlsext_host_name(host.encode("idna"))
    connection.set_connect_state()
    heard = 0
    while True:
        try:
            connection.do_handshake()
        except SSL.WantReadError:
            pass
        else:
            shown = connection.get_peer_cert_chain(as_cryptography=True) or []
            return [one.public_bytes(Encoding.DER) for one in shown]
        while True:
            try:
                writer.write(connection.bio_read(_CHUNK))
            except SSL.WantReadError:
                break
        await writer.drain()
        data = await reader.read(_CHUNK)
        heard += len(data)
        if not data or heard > _MOST:
            raise NotTheGateway("no TLS there")
        connection.bio_write(data)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
