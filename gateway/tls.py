"""Certificates and TLS contexts: a local CA on first start, or the operator's own files; chosen by server name, reloaded
without dropping anyone.

ECDSA P-256 throughout: a handshake costs a third less than with RSA-2048 (reliability-and-security.md, finding 5).
"""

import contextlib
import hashlib
import ipaddress
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.errors import StartError
from gateway.state import write_atomically

CA_DAYS = 3650
SERVER_DAYS = 397
RENEW_BEFORE = timedelta(days=30)
_CLOCK_SKEW = timedelta(hours=48)
"""Devices boot with clocks that are behind: a certificate made now must be valid to them already."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where the server's certificate chain and key are, and the CA to hand to devices (None for the operator's own)."""

    certificate: Path
    key: Path
    ca: Path | None


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate as it was read. `names`: the DNS names it is for, in lower case; `not_after`: wall-clock seconds."""

    files: CertificateFiles
    names: tuple[str, ...]
    sha256: bytes
    not_after: float


class _Shown(ssl.SSLContext):
    """A context that shows one certificate."""

    certificate_sha256 = b""


class _Listener:
    """What one listener's connections may be shown: a context for each certificate, in the order of the certificates.
    `client_ca`: whose certificates its clients may present; None: they are not asked for any."""

    __slots__ = ("alpn", "client_ca", "contexts")

    def __init__(self, alpn: Sequence[str], client_ca: Path | None) -> None:
        self.alpn = list(alpn)
        self.client_ca = client_ca
        self.contexts: list[_Shown] = []


class ServerTls:
    """The contexts of all TLS listeners. The server name that a client asks for (SNI, RFC 6066 section 3) picks the certificate:
    one with that name, else one with a wildcard in its first label's place (RFC 9525 section 6.3), else the first one."""

    def __init__(self, files: Sequence[CertificateFiles]) -> None:
        """`files`: at least one. Raises StartError if a certificate and key cannot be loaded together."""
        self._files = tuple(files)
        self._listeners: list[_Listener] = []
        self.reload()

    def context(self, alpn: Sequence[str], client_ca: Path | None = None) -> ssl.SSLContext:
        """A listener's context, which offers these protocols (TLS 1.2 and newer, no compression, no renegotiation).

        It has no certificate itself: `_choose` gives every connection, whether or not it asks for a name, the context of one.
        With `client_ca`, a PEM file, clients are asked for a certificate. One without goes on; one whose certificate these
        authorities did not issue, or whose time is over, ends in the handshake: OpenSSL has no third way that Python offers.

        Raises StartError for a CA file that cannot be used.
        """
        listener = _Listener(alpn, client_ca)
        listener.contexts = [_context(one, listener) for one in self.certificates]
        self._listeners.append(listener)

        def choose(connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
            connection.context = listener.contexts[self._index(name)]

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _harden(context, listener.alpn)
        if client_ca is not None:
            context.verify_mode = ssl.CERT_OPTIONAL  # a connection's own, whichever context it is given
        context.sni_callback = choose
        return context

    def reload(self) -> None:
        """Read all files again; new connections get the new certificates, open ones stay. Raises StartError, changing nothing,
        when one is unreadable, does not belong to its key, or was written to meanwhile."""
        fresh = tuple(_read(one) for one in self._files)
        contexts = [[_context(one, listener) for one in fresh] for listener in self._listeners]
        if fresh != tuple(_read(one) for one in self._files):
            raise StartError("a certificate changed while it was read. Reload again when all files are written.")
        self.certificates = fresh
        self._by_name: dict[str, int] = {}
        for index, one in enumerate(fresh):
            for name in one.names:
                self._by_name.setdefault(name, index)
        for listener, made in zip(self._listeners, contexts, strict=True):
            listener.contexts = made

    def leaf_sha256(self, connection: ssl.SSLObject) -> bytes:
        """SHA-256 of the certificate (DER) that this connection was shown, which a channel's proof is bound to."""
        shown = connection.context
        assert isinstance(shown, _Shown)
        return shown.certificate_sha256

    @property
    def ca(self) -> Path | None:
        """The CA certificate to hand to devices; None where the operator brought certificates."""
        return self._files[0].ca

    @property
    def ca_sha256(self) -> str:
        """SHA-256 (hex) of the CA certificate that devices may pin, "" where the operator brought certificates."""
        if self.ca is None:
            return ""
        return x509.load_pem_x509_certificate(self.ca.read_bytes()).fingerprint(hashes.SHA256()).hex()

    def _index(self, name: str | None) -> int:
        """Which certificate is for this server name (None: none was asked for)."""
        if name is None:
            return 0
        name = name.lower()
        found = self._by_name.get(name)
        if found is None:
            found = self._by_name.get("*" + name[name.find(".") :], 0)
        return found


def _read(files: CertificateFiles) -> Certificate:
    try:
        leaf = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        names = []  # a client that checks would not take it for any name; it can only be the first, for all others
    except (OSError, ValueError) as error:
        raise StartError(f"certificate {files.certificate}: {error}") from None
    der = leaf.public_bytes(serialization.Encoding.DER)
    lower = tuple(name.lower() for name in names)
    return Certificate(files, lower, hashlib.sha256(der).digest(), leaf.not_valid_after_utc.timestamp())


def _context(certificate: Certificate, listener: _Listener) -> _Shown:
    context = _Shown(ssl.PROTOCOL_TLS_SERVER)
    _harden(context, listener.alpn)
    if listener.client_ca is not None:
        context.verify_mode = ssl.CERT_OPTIONAL
        try:
            context.load_verify_locations(listener.client_ca)
        except OSError as error:  # also ssl.SSLError
            raise StartError(f"tls.device_ca: {listener.client_ca}: {error.strerror or error}.") from None
    context.certificate_sha256 = certificate.sha256
    files = certificate.files
    try:
        context.load_cert_chain(files.certificate, files.key)
    except (OSError, ssl.SSLError) as error:
        raise StartError(f"certificate {files.certificate} with key {files.key}: {error}") from None
    return context


def _harden(context: ssl.SSLContext, alpn: list[str]) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    if alpn:
        context.set_alpn_protocols(alpn)


def local_certificates(folder: Path, names: Iterable[str], now: datetime) -> CertificateFiles:
    """The gateway's own CA and a server certificate for `names`, made or renewed as needed under `folder`.

    A CA that exists is kept for good, since devices may trust it. Safe to be killed at any point. Raises StartError.
    """
    files = CertificateFiles(folder / "server.pem", folder / "server.key", folder / "ca.pem")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        ca_key = _private_key(folder / "ca.key")
        ca = _ca_certificate(folder / "ca.pem", ca_key, now)
        wanted = sorted(set(names))
        server_key = _private_key(files.key)
        if not _still_good(files.certificate, server_key, wanted, ca, now):
            write_atomically(files.certificate, _server_certificate(server_key, wanted, ca, ca_key, now))
    except OSError as error:
        raise StartError(f"certificates in {folder}: {error.strerror}") from None
    except ValueError as error:
        raise StartError(
            f"certificates in {folder}: {error}. Restore the folder from a backup, or remove it for a new CA."
        ) from None
    return files


def _private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    with contextlib.suppress(FileNotFoundError):
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{path.name} is no EC key")
        return key
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_atomically(path, pem)
    return key


def _ca_certificate(path: Path, key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    with contextlib.suppress(FileNotFoundError):
        return x509.load_pem_x509_certificate(path.read_bytes())
    serial = x509.random_serial_number()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Portico local CA {serial & 0xFFFFFF:06x}")])
    public = key.public_key()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(serial)
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_atomically(path, certificate.public_bytes(serialization.Encoding.PEM))
    return certificate


def _server_certificate(
    key: ec.EllipticCurvePrivateKey,
    names: Sequence[str],
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    now: datetime,
) -> bytes:
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Portico gateway")]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + timedelta(days=SERVER_DAYS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    return certificate.public_bytes(pem) + ca.public_bytes(pem)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _still_good(path: Path, key: ec.EllipticCurvePrivateKey, names: Sequence[str], ca: x509.Certificate, now: datetime) -> bool:
    """Whether the certificate at `path` fits the key, the CA and the names, and lasts longer than the renewal margin."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        certificate.verify_directly_issued_by(ca)
    except Exception:  # whatever is wrong with it, a new one is the cure
        return False
    fits = certificate.public_key() == key.public_key()
    covers = {_general_name(name) for name in names} <= set(held)
    return fits and covers and certificate.not_valid_after_utc > now + RENEW_BEFORE


def utc(wall: float) -> datetime:
    """Wall-clock seconds as the datetime that certificates are written in."""
    return datetime.fromtimestamp(wall, UTC)
