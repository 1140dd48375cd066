"""curl fetches configurations over HTTPS: the right device its own file, everybody else the same nothing."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system.fleet import AddedDevice, add_devices, add_site
from tests.system.peers import RunningGateway, needs, program

pytestmark = [needs("curl"), pytest.mark.system]


@dataclass(frozen=True, slots=True)
class Fetched:
    """What curl got: status line, headers in order without Date, body."""

    status: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        (value,) = [value for header, value in self.headers if header.lower() == name]
        return value


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with RunningGateway(tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture(scope="module")
def devices(gateway: RunningGateway) -> list[AddedDevice]:
    return add_devices(gateway, add_site(gateway, "curl"), 2, first=0xAB12CD)


def fetch(gateway: RunningGateway, folder: Path, url: str, *options: str) -> Fetched:
    """Fetch `url` trusting the gateway's CA and nothing else. `--path-as-is`: what the test spells is what is sent."""
    command = [str(program("curl")), "--silent", "--show-error", "--path-as-is", "--max-time", "20", "--noproxy", "*"]
    command += ["--cacert", gateway.ready["ca_file"], "--dump-header", "head", "--output", "body", *options, url]
    (folder / "body").write_bytes(b"")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    status, *lines = (folder / "head").read_text("latin-1").splitlines()
    pairs = [line.partition(":") for line in lines if line]
    headers = tuple((name, value.strip()) for name, _, value in pairs if name.lower() != "date")
    return Fetched(status, headers, (folder / "body").read_bytes())


def url(device: AddedDevice, name: str) -> str:
    return f"{device.autop_url.rstrip('/')}/{name}"


def test_every_spelling_of_the_mac_gets_the_same_file(
    gateway: RunningGateway, devices: list[AddedDevice], tmp_path: Path
) -> None:
    device = devices[0]
    assert device.mac == "0C1105AB12CD"
    spellings = ["0C1105AB12CD", "0c1105ab12cd", "0c:11:05:ab:12:cd", "0C-11-05-AB-12-CD", "0c1105Ab12cD"]
    got = [fetch(gateway, tmp_path, url(device, f"{mac}.cfg")) for mac in spellings]
    assert set(got) == {got[0]}
    assert got[0].status.split()[1] == "200"
    assert re.fullmatch(r'"[^"]+"', got[0].header("etag")), "a strong ETag"
    settings = dict(re.findall(r"(?m)^(Config\.\S+) *= *(.*?)\r?$", got[0].body.decode()))
    assert device.username in settings.values()
    assert device.password in settings.values()
    assert int(got[0].header("content-length")) == len(got[0].body)


def test_an_unchanged_file_is_not_sent_again(gateway: RunningGateway, devices: list[AddedDevice], tmp_path: Path) -> None:
    address = url(devices[0], f"{devices[0].mac}.cfg")
    etag = fetch(gateway, tmp_path, address).header("etag")
    again = fetch(gateway, tmp_path, address, "--header", f"If-None-Match: {etag}")
    assert again.status.split()[1] == "304"
    assert again.header("etag") == etag
    assert again.body == b""
    other = fetch(gateway, tmp_path, address, "--header", 'If-None-Match: "another"')
    assert other.status.split()[1] == "200"


def test_everybody_else_gets_identical_answers(gateway: RunningGateway, devices: list[AddedDevice], tmp_path: Path) -> None:
    first, second = devices
    token = first.autop_url.rstrip("/").rpartition("/")[2]
    wrong = ("A" if token[0] != "A" else "B") + token[1:]
    stranger = first.autop_url.replace(token, wrong)
    tries = {
        "unknown MAC": url(first, "0C1105FFFFFF.cfg"),
        "wrong token": f"{stranger.rstrip('/')}/{first.mac}.cfg",
        "another device's MAC": url(first, f"{second.mac}.cfg"),
        "unknown MAC, wrong token": f"{stranger.rstrip('/')}/0C1105FFFFFF.cfg",
        "no file": url(first, ""),
        "malformed MAC": url(first, "0C1105AB12C.cfg"),
        "not hexadecimal": url(first, "0C1105AB12CG.cfg"),
        "other ending": url(first, f"{first.mac}.txt"),
        "another device's phonebook": url(first, f"{second.mac}.xml"),
        "climbing": url(first, f"../{token}/../../etc/passwd"),
        "encoded climbing": url(first, "%2e%2e%2f%2e%2e%2fetc%2fpasswd"),
        "NUL": url(first, f"{first.mac}.cfg%00"),
        "not UTF-8": url(first, "%ff%fe.cfg"),
        "empty token": first.autop_url.replace(token, "").rstrip("/") + f"///{first.mac}.cfg",  # with fewer it is a login
    }
    got = {name: fetch(gateway, tmp_path, address) for name, address in tries.items()}
    expected = got["unknown MAC"]
    assert expected.status.split()[1] in ("401", "403", "404")
    assert {name: answer for name, answer in got.items() if answer != expected} == {}
    gateway.assert_quiet()
