"""The local CA and its server certificate: made once, renewed in time, safe to be killed in the middle, reloaded live."""

import hashlib
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

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
    ServerTls(files)


@pytest.mark.parametrize("present", [("ca.key",), ("ca.key", "ca.pem"), ("ca.key", "ca.pem", "server.key")])
def test_a_start_killed_half_way_is_finished_by_the_next(tmp_path: Path, present: tuple[str, ...]) -> None:
    files = local_certificates(tmp_path, NAMES, NOW)
    kept = {name: (tmp_path / name).read_bytes() for name in present}
    for path in list(tmp_path.iterdir()):
        if path.name not in present:
            path.unlink()
    local_certificates(tmp_path, NAMES, NOW)
    assert {name: (tmp_path / name).read_bytes() for name in present} == kept
    ServerTls(files)


def test_a_damaged_ca_key_is_an_error_that_names_the_folder(tmp_path: Path) -> None:
    local_certificates(tmp_path, NAMES, NOW)
    (tmp_path / "ca.key").write_bytes(b"garbage")
    with pytest.raises(StartError, match=str(tmp_path)):
        local_certificates(tmp_path, NAMES, NOW)


def test_reload_serves_the_new_certificate_and_refuses_a_bad_one(tmp_path: Path) -> None:
    files = local_certificates(tmp_path, NAMES, NOW)
    tls = ServerTls(files)
    context = tls.context(["http/1.1"])
    first = tls.leaf_sha256
    assert first == hashlib.sha256(leaf(files).public_bytes(Encoding.DER)).digest()
    local_certificates(tmp_path, (*NAMES, "other.example"), NOW)
    tls.reload()
    assert tls.leaf_sha256 != first
    good = tls.leaf_sha256
    files.certificate.write_bytes(b"garbage")
    with pytest.raises(StartError):
        tls.reload()
    assert tls.leaf_sha256 == good
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
