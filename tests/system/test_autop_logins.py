"""curl as a device that proves itself by a login or a client certificate, at a URL without a token."""

import datetime
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.system.fleet import AddedDevice, add_devices, add_site
from tests.system.mac_sweep import sweep
from tests.system.peers import RunningGateway, loopback_config, needs, program

pytestmark = [needs("curl"), pytest.mark.system]

STRANGER = "0C1105FFFFFF"
CURL_CUT_OFF = (35, 52, 55, 56)
"""curl's exit codes where the server ends the handshake; with TLS 1.3 a client learns it when it sends or reads."""


class Authority:
    """A certificate authority of an operator's, as openssl would make it."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = folder / f"{name}.pem"
        made = self._certificate(self._name, self._key, days=30).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self.file.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def device(self, common_name: str, *, dns: str = "", days: float = 30) -> Path:
        """A device's certificate with its key, in one PEM file. Negative days: it has run out."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._certificate(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]), key, days=days)
        if dns:
            made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(dns)]), critical=False)
        file = self._folder / f"device-{key.public_key().public_numbers().x:x}.pem"
        file.write_bytes(
            made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        return file

    def _certificate(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, days: float) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=60))
            .not_valid_after(now + datetime.timedelta(days=days))
        )


@dataclass(frozen=True, slots=True)
class Fetched:
    """What curl got: its exit code, the heads of all answers, the last body."""

    code: int
    heads: tuple[str, ...]
    body: bytes

    @property
    def status(self) -> int:
        return int(self.heads[-1].split()[1]) if self.heads else 0

    def refusal(self) -> tuple[str, bytes]:
        """The last answer without what changes from one to the next."""
        return re.sub(r'(?mi)^date: .*$|(?<=nonce=")[^"]*', "", self.heads[-1]), self.body


@dataclass(frozen=True, slots=True)
class House:
    """A gateway with two devices, which takes client certificates."""

    gateway: RunningGateway
    devices: list[AddedDevice]
    authority: Authority
    folder: Path

    def fetch(self, mac: str, *options: str, http: bool = False) -> Fetched:
        ready = self.gateway.ready
        host, port = ready["autop_http" if http else "autop_https"]
        url = f"{'http' if http else 'https'}://{host}:{port}/autop/{mac}.cfg"
        command = [str(program("curl")), "--silent", "--max-time", "20", "--noproxy", "*", "--cacert", ready["ca_file"]]
        command += ["--dump-header", "head", "--output", "body", *options, url]
        for name in ("head", "body"):
            (self.folder / name).write_bytes(b"")
        done = subprocess.run(command, cwd=self.folder, capture_output=True, check=False)
        heads = tuple(part for part in (self.folder / "head").read_bytes().decode("latin-1").split("\r\n\r\n") if part)
        return Fetched(done.returncode, heads, (self.folder / "body").read_bytes())

    def token(self, device: AddedDevice) -> str:
        return device.autop_url.rstrip("/").rpartition("/")[2]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("logins")
    authority = Authority(folder, "Operator CA")
    config = loopback_config(more=f'[tls]\ndevice_ca = "{authority.file}"\n').replace("[listen]\n", "[listen]\nautop_http = 0\n")
    (folder / "gateway").mkdir()
    with RunningGateway(folder / "gateway", config) as gateway:
        yield House(gateway, add_devices(gateway, add_site(gateway, "logins"), 2, first=0xAB12CD), authority, folder)


@pytest.mark.parametrize("http", [False, True], ids=["https", "http"])
def test_a_device_logs_in_with_its_mac_and_token(house: House, http: bool) -> None:
    device = house.devices[0]
    for name in (device.mac, "0c:11:05:ab:12:cd".replace(":", "-")):
        got = house.fetch(device.mac, "--digest", "--user", f"{name}:{house.token(device)}", http=http)
        assert [int(head.split()[1]) for head in got.heads] == [401, 200]
        assert device.password.encode() in got.body


def test_md5_is_offered_first_as_libcurl_looks_at_no_other(house: House) -> None:
    got = house.fetch(house.devices[0].mac)
    challenges = re.findall(r"(?mi)^www-authenticate: (\w+) .*?(?:algorithm=([\w-]+).*)?$", got.heads[0])
    assert challenges == [("Digest", "MD5"), ("Digest", "SHA-256"), ("Basic", "")]


def test_basic_is_taken_over_tls_only(house: House) -> None:
    device = house.devices[0]
    user = f"{device.mac}:{house.token(device)}"
    assert house.fetch(device.mac, "--basic", "--user", user).status == 200
    plain = house.fetch(device.mac, "--basic", "--user", user, http=True)
    assert plain.status == 401
    assert "Basic" not in plain.heads[-1]


def test_every_refusal_is_the_same_challenge(house: House) -> None:
    first, second = house.devices
    token = house.token(first)
    tries = {
        "no login, unknown MAC": (STRANGER,),
        "no login, known MAC": (first.mac,),
        "wrong password": (first.mac, "--digest", "--user", f"{first.mac}:wrong"),
        "password of another": (first.mac, "--digest", "--user", f"{first.mac}:{house.token(second)}"),
        "name of another": (first.mac, "--digest", "--user", f"{second.mac}:{token}"),
        "another's file": (second.mac, "--digest", "--user", f"{first.mac}:{token}"),
        "no MAC": (first.mac, "--digest", "--user", f"admin:{token}"),
        "unknown MAC": (STRANGER, "--digest", "--user", f"{STRANGER}:{token}"),
        "unknown MAC, Basic": (STRANGER, "--basic", "--user", f"{STRANGER}:{token}"),
        "known MAC, Basic, wrong": (first.mac, "--basic", "--user", f"{first.mac}:wrong"),
        "another scheme": (first.mac, "--header", f"Authorization: Bearer {token}"),
        "malformed": (first.mac, "--header", 'Authorization: Digest username="'),
        "certificate of another": (first.mac, "--cert", str(house.authority.device(second.mac))),
        "certificate of a stranger": (STRANGER, "--cert", str(house.authority.device(second.mac))),
        "certificate without a MAC": (first.mac, "--cert", str(house.authority.device("gate"))),
    }
    got = {name: house.fetch(mac, *options) for name, (mac, *options) in tries.items()}
    expected = got["no login, unknown MAC"]
    assert expected.status == 401
    assert {name: one.refusal() for name, one in got.items() if one.refusal() != expected.refusal()} == {}


@pytest.mark.parametrize("tls", ["--tlsv1.3", "--tls-max=1.2"])
def test_a_certificate_of_the_operators_proves_its_mac(house: House, tls: str) -> None:
    device = house.devices[1]
    option = tls.split("=")
    for certificate in (
        house.authority.device(device.mac),
        house.authority.device("0c:11:05:ab:12:ce"),
        house.authority.device("door 1", dns=f"{device.mac}.devices.example".lower()),
    ):
        got = house.fetch(device.mac, "--cert", str(certificate), *option)
        assert got.status == 200
        assert device.password.encode() in got.body


@pytest.mark.parametrize("tls", ["--tlsv1.3", "--tls-max=1.2"])
def test_a_certificate_that_has_run_out_or_is_of_another_ca_ends_in_the_handshake(house: House, tls: str) -> None:
    device = house.devices[1]
    for certificate in (
        house.authority.device(device.mac, days=-1),
        Authority(house.folder, "Somebody").device(device.mac),
    ):
        got = house.fetch(device.mac, "--cert", str(certificate), *tls.split("="))
        assert (got.code in CURL_CUT_OFF, got.heads, got.body) == (True, (), b""), got.code


def test_a_session_that_is_resumed_keeps_its_certificate(house: House) -> None:
    device = house.devices[1]
    context = ssl.create_default_context(cafile=house.gateway.ready["ca_file"])
    context.load_cert_chain(house.authority.device(device.mac))
    host, port = house.gateway.ready["autop_https"]
    session: ssl.SSLSession | None = None
    for resumed in (False, True):
        raw = socket.create_connection((host, port))
        with context.wrap_socket(raw, server_hostname=host, session=session) as talk:
            talk.sendall(f"GET /autop/{device.mac}.cfg HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            assert talk.recv(65536).startswith(b"HTTP/1.1 200 ")
            assert talk.session_reused is resumed
            session = talk.session


async def test_a_sweep_is_in_the_audit_and_the_metrics_and_a_device_logs_in_beside_it(house: House) -> None:
    gateway, device = house.gateway, house.devices[0]
    swept = await sweep(
        [(*gateway.address("autop_http"), None)], [f"0C11050000{n:02X}" for n in range(40)], set(), connections=10
    )
    assert swept.found == 0
    audit = [one for one in gateway.ask("GET", "/audit")["items"] if one["action"] == "autop.sweep"]
    assert [(one["actor"], one["object"], one["site"]) for one in audit] == [("autop", "source 127.0.0.1", "")]
    assert re.fullmatch(r"21 different guesses within a minute, \d devices proved themselves; throttled", audit[0]["note"])
    assert gateway.metric("portico_autop_sweeps_total") == 1
    assert gateway.metric("portico_autop_throttled_sources") == 1
    assert house.fetch(device.mac, "--digest", "--user", f"{device.mac}:{house.token(device)}").status == 200


def test_without_the_key_no_certificate_is_asked_for_and_a_vendors_harms_nothing(tmp_path: Path) -> None:
    (tmp_path / "gateway").mkdir()
    with RunningGateway(tmp_path / "gateway") as gateway:
        devices = add_devices(gateway, add_site(gateway, "vendor"), 1)
        house = House(gateway, devices, Authority(tmp_path, "Vendor"), tmp_path)
        certificate = ("--cert", str(house.authority.device(devices[0].mac)))
        assert house.fetch(devices[0].mac, *certificate).status == 401
        login = ("--digest", "--user", f"{devices[0].mac}:{house.token(devices[0])}")
        assert house.fetch(devices[0].mac, *certificate, *login).status == 200
