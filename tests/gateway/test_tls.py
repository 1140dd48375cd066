"""The local CA and its server certificate: made once, renewed in time, safe to be killed in the middle, reloaded live."""

import contextlib
import hashlib
import re
import ssl
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway import logs
from gateway.errors import StartError
from gateway.tls import SERVER_DAYS, CertificateFiles, ServerTls, local_certificates

NOW = datetime(2026, 11, 23, tzinfo=UTC)
NAMES = ("gw.example", "127.0.0.1", "*.remote.localhost")


def leaf(files: CertificateFiles) -> x509.Certificate:
    return x509.load_pem_x509_certificate(files.certificate.read_bytes())


def test_first_start_makes_a_ca_and_a_certificate_for_the_names(tmp_path: Path) -> None:
    files = local_certificates(tmp_path / "tls", NAMES, NOW)
    assert files.ca is not None
    ca = x509.load_pem_x509_certificate(files.ca.read_bytes())
    leaf(files).verify_directly_issued_by(ca)
    names = leaf(files).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {"gw.example", "*.remote.localhost"}
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert (tmp_path / "tls" / "ca.key").stat().st_mode & 0o077 == 0


def test_a_second_start_keeps_everything(tmp_path: Path) -> None:
    files = local_certificates(tmp_path, NAMES, NOW)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    local_certificates(tmp_path, NAMES, NOW + timedelta(days=1))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert files.key.exists()


@pytest.mark.parametrize("change", ["names", "age", "damage", "missing"])
def test_a_new_certificate_under_the_same_ca_when_the_old_no_longer_serves(tmp_path: Path, change: str) -> None:
    files = local_certificates(tmp_path, NAMES, NOW)
    assert files.ca is not None
    ca, old = files.ca.read_bytes(), files.certificate.read_bytes()
    names: tuple[str, ...] = (*NAMES, "new.example")
    now = NOW
    if change == "age":
        names, now = NAMES, NOW + timedelta(days=SERVER_DAYS - 29)
    elif change == "damage":
        names = NAMES
        files.certificate.write_bytes(old[:100])
    elif change == "missing":
        names = NAMES
        files.certificate.unlink()
    local_certificates(tmp_path, names, now)
    assert files.ca.read_bytes() == ca
    assert files.certificate.read_bytes() not in (old, old[:100])
    ServerTls([files])


@pytest.mark.parametrize("present", [("ca.key",), ("ca.key", "ca.pem"), ("ca.key", "ca.pem", "server.key")])
def test_a_start_killed_half_way_is_finished_by_the_next(tmp_path: Path, present: tuple[str, ...]) -> None:
    files = local_certificates(tmp_path, NAMES, NOW)
    kept = {name: (tmp_path / name).read_bytes() for name in present}
    for path in list(tmp_path.iterdir()):
        if path.name not in present:
            path.unlink()
    local_certificates(tmp_path, NAMES, NOW)
    assert {name: (tmp_path / name).read_bytes() for name in present} == kept
    ServerTls([files])


def test_a_damaged_ca_key_is_an_error_that_names_the_folder(tmp_path: Path) -> None:
    local_certificates(tmp_path, NAMES, NOW)
    (tmp_path / "ca.key").write_bytes(b"garbage")
    with pytest.raises(StartError, match=str(tmp_path)):
        local_certificates(tmp_path, NAMES, NOW)


def made(folder: Path, *names: str, now: datetime = NOW) -> CertificateFiles:
    return local_certificates(folder, names, now)


def shown(tls: ServerTls, listener: ssl.SSLContext, name: str | None, damage: bytes = b"") -> bytes:
    """SHA-256 of the certificate that a client which asks for this name gets, by its own account and by `leaf_sha256`.

    `damage` replaces the name's octets on the wire.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname=name)
    server = listener.wrap_bio(to_server, to_client, server_side=True)
    for one in (client, server, client, server):
        if damage and one is server and name is not None:
            to_server.write(to_server.read().replace(name.encode(), damage))
        with contextlib.suppress(ssl.SSLWantReadError):
            one.do_handshake()
    seen = client.getpeercert(binary_form=True)
    assert seen is not None
    assert tls.leaf_sha256(server) == hashlib.sha256(seen).digest()
    return hashlib.sha256(seen).digest()


def sha256(files: CertificateFiles) -> bytes:
    return hashlib.sha256(leaf(files).public_bytes(Encoding.DER)).digest()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (None, 0),
        ("127.0.0.1", 0),  # an address is never asked for
        ("unknown.example", 0),
        ("gw.example", 0),
        ("sip.example", 1),
        ("SIP.Example", 1),
        ("a.remote.example", 1),
        ("b.remote.example", 2),  # the exact name goes before the wildcard
        ("a.b.remote.example", 0),  # a wildcard is one label
        ("remote.example", 0),
        ("x.both.example", 1),  # the first that has it
        (".remote.example", None),
    ],
)
def test_the_server_name_picks_the_certificate(tmp_path: Path, name: str | None, expected: int | None) -> None:
    files = [
        made(tmp_path / "a", "gw.example"),
        made(tmp_path / "b", "sip.example", "*.remote.example", "*.both.example"),
        made(tmp_path / "c", "b.remote.example", "*.both.example"),
    ]
    tls = ServerTls(files)
    for alpn in ([], ["http/1.1"]):
        listener = tls.context(alpn)
        if expected is None:
            assert tls._index(name) == 1  # no client of ours sends such a name; it must not raise
        else:
            assert shown(tls, listener, name) == sha256(files[expected])


def test_the_chosen_context_offers_the_listeners_protocols(tmp_path: Path) -> None:
    tls = ServerTls([made(tmp_path / "a", "gw.example"), made(tmp_path / "b", "sip.example")])
    listener = tls.context(["portico/1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["portico/1"])
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname="sip.example")
    server = listener.wrap_bio(to_server, to_client, server_side=True)
    for one in (client, server, client):
        with contextlib.suppress(ssl.SSLWantReadError):
            one.do_handshake()
    assert client.selected_alpn_protocol() == server.selected_alpn_protocol() == "portico/1"


@pytest.mark.parametrize("octets", [b"\xff\xfe", b"a\x00", b"\r\n", b".."])
def test_a_hostile_server_name_raises_nothing_but_the_failure_of_its_handshake(
    tmp_path: Path, octets: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The handshake fails in any case: what the server read is not what the client sent."""
    monkeypatch.setattr(sys, "unraisablehook", logs._unraisable)
    tls = ServerTls([made(tmp_path, "gw.example")])
    name = "hostile-name.example"
    with pytest.raises(ssl.SSLError):
        shown(tls, tls.context([]), name, (octets * 20)[: len(name)])
    assert caplog.records == []


def test_other_errors_that_cannot_be_raised_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "unraisablehook", logs._unraisable)
        made_and_lost = type("Broken", (), {"__del__": lambda self: 1 / 0})()
        del made_and_lost
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "ZeroDivisionError" in caplog.text


def test_reload_is_of_all_or_of_none(tmp_path: Path) -> None:
    files = [made(tmp_path / "a", "gw.example"), made(tmp_path / "b", "sip.example")]
    tls = ServerTls(files)
    listeners = [tls.context([]), tls.context(["http/1.1"])]

    def all_shown() -> list[bytes]:
        return [shown(tls, one, name) for one in listeners for name in ("gw.example", "sip.example", "new.example")]

    first = all_shown()
    made(tmp_path / "a", "gw.example", "new.example")
    good = files[1].certificate.read_bytes()
    for bad in (b"garbage", files[0].certificate.read_bytes()):  # no certificate, and one of another key
        files[1].certificate.write_bytes(bad)
        with pytest.raises(StartError, match=re.escape(str(files[1].certificate))):
            tls.reload()
        assert all_shown() == first
    files[1].certificate.write_bytes(good)
    made(tmp_path / "b", "sip.example", "new.example")
    tls.reload()
    a, b = sha256(files[0]), sha256(files[1])
    assert all_shown() == [a, b, a] * 2
    assert a not in first
    assert b not in first
    assert [one.not_after for one in tls.certificates] == [leaf(one).not_valid_after_utc.timestamp() for one in files]


def test_a_connection_is_told_the_certificate_it_saw_also_after_a_reload(tmp_path: Path) -> None:
    files = made(tmp_path, "gw.example")
    tls = ServerTls([files])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server)
    server = tls.context([]).wrap_bio(to_server, to_client, server_side=True)
    for one in (client, server, client, server):
        with contextlib.suppress(ssl.SSLWantReadError):
            one.do_handshake()
    before = sha256(files)
    made(tmp_path, "gw.example", "new.example")
    tls.reload()
    assert tls.leaf_sha256(server) == before != sha256(files)


def test_a_certificate_without_names_and_old_tls(tmp_path: Path) -> None:
    tls = ServerTls([made(tmp_path)])
    assert tls.certificates[0].names == ()
    assert tls.context([]).minimum_version == ssl.TLSVersion.TLSv1_2


def asked(listener: ssl.SSLContext) -> bool:
    """Whether a listener asks its clients for a certificate: only then does one end that nobody issued."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # there the handshake itself ends
    with tempfile.TemporaryDirectory() as folder:
        vendor = made(Path(folder), "vendor")
        context.load_cert_chain(vendor.certificate, vendor.key)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client, server = context.wrap_bio(to_client, to_server), listener.wrap_bio(to_server, to_client, server_side=True)
    try:
        for one in (client, server, client, server, client):
            with contextlib.suppress(ssl.SSLWantReadError):
                one.do_handshake()
    except ssl.SSLCertVerificationError:
        return True
    return False


def test_only_a_listener_with_a_client_ca_asks_for_certificates_also_after_a_reload(tmp_path: Path) -> None:
    files = made(tmp_path, *NAMES)
    assert files.ca is not None
    tls = ServerTls([files])
    plain, asking = tls.context(["http/1.1"]), tls.context(["http/1.1"], files.ca)
    for _ in range(2):
        assert not asked(plain)
        assert asked(asking)
        tls.reload()


@pytest.mark.parametrize("content", [None, b"", b"garbage"])
def test_a_client_ca_that_cannot_be_used_is_an_error_that_names_its_key(tmp_path: Path, content: bytes | None) -> None:
    tls, file = ServerTls([made(tmp_path, *NAMES)]), tmp_path / "devices.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(StartError, match=r"tls\.device_ca: .*devices\.pem"):
        tls.context([], file)
