"""What scanners and monitors see: svmap and svwar (SIPVicious) find no user, sipsak's OPTIONS is answered."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.peers import needs, program
from tests.system.udp_phone import House, running_house

pytestmark = pytest.mark.system
SCAN_DEADLINE = 40


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    yield from running_house(tmp_path_factory.mktemp("scanned"), 4, 0x9000)


def run(folder: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a tool in a home of its own, for SIPVicious keeps its sessions there."""
    return subprocess.run(
        [str(program(name)), *arguments],
        cwd=folder,
        env={"HOME": str(folder), "PATH": "/usr/bin:/bin", "TERM": "dumb"},
        capture_output=True,
        text=True,
        timeout=SCAN_DEADLINE,
        check=False,
    )


@needs("svmap")
def test_svmap_sees_a_sip_server_and_nothing_else(house: House, tmp_path: Path) -> None:
    host, port = house.address
    found = run(tmp_path, "svmap", f"-p{port}", host)
    assert f"{host}:{port}" in found.stdout + found.stderr, found
    assert not [name for name in ("portico", "Portico", "twisted") if name in found.stdout + found.stderr]


@needs("svwar")
@pytest.mark.parametrize("method", ["REGISTER", "INVITE", "OPTIONS"])
def test_svwar_finds_no_user_among_known_and_unknown(house: House, tmp_path: Path, method: str) -> None:
    host, port = house.address
    known, registered = house.new_account() if method == "REGISTER" else None, house.phone("R", host="127.0.0.200")
    if method == "REGISTER":
        assert registered.registers().status == 200
    names = tmp_path / "names"
    users = [str(number) for number in range(100, 140)] + [registered.user] + ([known.username] if known else [])
    names.write_text("\n".join(users) + "\n")
    tried = run(tmp_path, "svwar", "--force", f"-p{port}", f"-d{names}", "-m", method, host)
    said = tried.stdout + tried.stderr
    assert "found nothing" in said, said


@needs("sipsak")
def test_sipsak_options_are_answered(house: House, tmp_path: Path) -> None:
    """The port by `-r`: in a URI sipsak 0.9.8.1 drops the fifth digit, and another port of our host is not us (trap 15)."""
    host, port = house.address
    asked = run(tmp_path, "sipsak", "-vv", "-r", str(port), "-s", f"sip:{host}")
    assert asked.returncode == 0, asked
    assert "SIP/2.0 200 OK" in asked.stdout
