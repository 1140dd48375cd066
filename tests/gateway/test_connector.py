"""The connector's rules without a network: its list, its neighbours, whom it refuses, how it is told who it is."""

from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.connector.device_list import MAX_PAGES, PAGE_DEVICES, DeviceList
from gateway.connector.neighbours import Neighbours, read_table
from gateway.connector.options import options
from gateway.connector.refusal import Refusal, Why
from gateway.connector.targets import Targets
from gateway.errors import ConfigError
from registry.mac import MacAddress
from tests.tunnel.test_site_token import NAME, SECRET
from tunnel.errors import Code
from tunnel.net.pipe import StreamPipe
from tunnel.site_token import write_site_token

MAC, OTHER = MacAddress("0C1105AABB01"), MacAddress("0C1105AABB02")
TABLE = """IP address       HW type     Flags       HW address            Mask     Device
192.168.1.20     0x1         0x2         0c:11:05:aa:bb:01     *        eth0
192.168.1.21     0x1         0x0         0c:11:05:aa:bb:02     *        eth0
192.168.1.22     0x1         0x2         00:00:5e:00:01:01     *        eth0
203.0.113.9      0x1         0x2         0c:11:05:aa:bb:03     *        eth1
192.168.1.30     0x1         0x2         0c:11:05:aa:bb:04     *        eth0
192.168.1.31     0x1         0x2         0c:11:05:aa:bb:04     *        eth0
"""


def device(mac: MacAddress = MAC, address: str = "192.168.1.20", **changes: Any) -> dict[str, Any]:
    return {"mac": mac.text, "address": address, "services": ["web"], "user": "u", "password": "p", **changes}


def body(number: int, *devices: Any, page: Any = 1, pages: Any = 1) -> dict[str, Any]:
    return {"list": number, "page": page, "pages": pages, "devices": list(devices)}


def neighbours(tmp_path: Path) -> Neighbours:
    table = tmp_path / "arp"
    table.write_text(TABLE)
    return Neighbours(table)


def test_a_list_holds_once_all_its_pages_are_there() -> None:
    held = DeviceList()
    assert held.page(body(1, device()))
    assert not held.page(body(2, device(OTHER), pages=2))
    assert held.get(MAC.text).address == "192.168.1.20"
    with pytest.raises(Refusal):
        held.get(OTHER.text)
    assert not held.page(body(2, device(OTHER), pages=2))  # the same page again
    assert held.page(body(2, page=2, pages=2))
    assert [one.mac for one in held.all()] == [OTHER]
    assert not held.page(body(1, device()))  # late
    assert len(held) == 1
    held.forget()
    assert held.all() == ()
    assert held.page(body(1, device()))  # a new link counts from the beginning


@pytest.mark.parametrize(
    "said",
    [
        {},
        body(0, device()),
        body(True, device()),
        body(1, device(), page=2),
        body(1, device(), pages=MAX_PAGES + 1, page=1),
        body(1, *[device()] * (PAGE_DEVICES + 1)),
        body(1, "x"),
        body(1, device(), None),
        body(1, {**device(), "mac": "0c1105aabb01"}),
        body(1, {**device(), "mac": None}),
        body(1, device(services="web")),
        body(1, device(services=["../etc"])),
        body(1, device(services=["web"] * 9)),
        body(1, device(password=3)),
        body(1, device(password="x" * 64)),
        *(
            body(1, device(address=one))
            for one in ("127.0.0.1", "169.254.169.254", "224.0.1.75", "8.8.8.8", "a.lan", "10.0.0.1:80")
        ),
    ],
)
def test_a_page_that_breaks_a_rule_is_refused_whole(said: dict[str, Any]) -> None:
    held = DeviceList()
    with pytest.raises(Refusal) as refused:
        held.page(said)
    assert refused.value.why is Why.MALFORMED
    assert held.all() == ()


WILD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["mac", "address", "services", "user"]), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["list", "page", "pages", "devices"]), WILD | st.just(1) | st.just([device()])))
def test_no_page_breaks_the_list(said: dict[str, Any]) -> None:
    held = DeviceList()
    try:
        held.page(said)
    except Refusal:
        assert held.all() == ()


def test_the_neighbour_table() -> None:
    found = dict(read_table(TABLE))
    assert found["192.168.1.20"] == MAC
    assert "192.168.1.21" not in found  # nobody answered there


@given(st.text(max_size=300))
def test_no_table_breaks_the_reader(text: str) -> None:
    read_table(text)


def test_whom_the_kernel_knows(tmp_path: Path) -> None:
    known = neighbours(tmp_path)
    assert known.mac_of("192.168.1.20") == MAC
    assert known.mac_of("192.168.1.99") is None
    assert known.address_of(MAC) == "192.168.1.20"
    assert known.address_of(MacAddress("0C1105AABB03")) == ""  # no private address
    assert known.address_of(MacAddress("0C1105AABB04")) == ""  # at two: nobody knows which
    assert known.is_own("127.0.0.1")
    assert not known.is_own("192.0.2.1")
    assert Neighbours(tmp_path / "missing").mac_of("192.168.1.20") is None


class Pipe:
    """A stream that was offered."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.codes: list[Code] = []

    def reset(self, code: Code) -> None:
        self.codes.append(code)


async def test_what_is_never_dialled(tmp_path: Path) -> None:
    """No connection is made here: each is refused before."""
    held = DeviceList()
    held.page(body(1, device(), device(OTHER, "", services=["web", "gopher"])))
    targets = Targets(held, neighbours(tmp_path))
    for mac, service, code in (
        (MAC.text, "web-tls", Code.SERVICE_REFUSED),
        (MAC.text, "127.0.0.1:80", Code.SERVICE_REFUSED),
        (OTHER.text, "gopher", Code.SERVICE_REFUSED),
        (OTHER.text, "web", Code.TARGET_UNREACHABLE),
        ("", "web", Code.SERVICE_REFUSED),
        ("0C1105AABBFF", "web", Code.SERVICE_REFUSED),
    ):
        pipe = Pipe(mac)
        await targets.serve(cast(StreamPipe, pipe), service)
        assert pipe.codes == [code], (mac, service)


# How it is told


def flags(tmp_path: Path, **changes: str | None) -> dict[str, str | None]:
    token = tmp_path / "token"
    token.write_text(write_site_token(NAME, SECRET) + "\n")
    return {"gateway": "gate.example:7444", "token_file": str(token), "ca": None, "ca_sha256": None, **changes}


def test_flags(tmp_path: Path) -> None:
    found = options(flags(tmp_path, ca_sha256="AB:" * 31 + "AB"), None)
    assert (found.host, found.port, found.name, found.ca_sha256) == ("gate.example", 7444, NAME, "ab" * 32)
    assert options(flags(tmp_path, gateway="[2001:db8::1]"), None).host == "2001:db8::1"
    assert options(flags(tmp_path, gateway="192.0.2.1"), None).port == 7443
    assert SECRET not in repr(found)


def test_pnp_and_tftp_are_off_unless_switched_on(tmp_path: Path) -> None:
    assert (options(flags(tmp_path), None).pnp, options(flags(tmp_path), None).tftp) == ((), None)
    found = options(flags(tmp_path, pnp="eth0, eth1.5", tftp="192.168.1.2"), None)
    assert (found.pnp, found.tftp) == (("eth0", "eth1.5"), ("192.168.1.2", 69))
    assert options(flags(tmp_path, tftp="192.168.1.2:6969"), None).tftp == ("192.168.1.2", 6969)


def test_a_file_says_the_same_and_flags_win(tmp_path: Path) -> None:
    said = flags(tmp_path)
    file = tmp_path / "connector.toml"
    file.write_text(f'gateway = "other.example"\ntoken_file = "{said["token_file"]}"\nca = "/ca.pem"\n')
    nothing = dict.fromkeys(said)
    assert options(nothing, file).host == "other.example"
    assert options({**nothing, "gateway": "gate.example"}, file).host == "gate.example"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"gateway": None}, "--gateway"),
        ({"gateway": "gate.example:0"}, "--gateway"),
        ({"gateway": "gate.example:99999"}, "--gateway"),
        ({"gateway": "https://gate.example"}, "--gateway"),
        ({"gateway": "gate.example:\u0661"}, "--gateway"),
        ({"ca_sha256": "ab"}, "--ca-sha256"),
        ({"ca": "x", "ca_sha256": "ab" * 32}, "one of them"),
        ({"token_file": "/nowhere/token"}, "site token"),
        ({"pnp": "eth0;x"}, "--pnp"),
        ({"tftp": "0.0.0.0"}, "--tftp"),
        ({"tftp": "192.168.1.2:x"}, "--tftp"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, changes: dict[str, str | None], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        options(flags(tmp_path, **changes), None)


@pytest.mark.parametrize("text", ['gate = "x"', "gateway = 3", "gateway", "\xff"])
def test_a_file_that_says_something_else(tmp_path: Path, text: str) -> None:
    file = tmp_path / "connector.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError):
        options(flags(tmp_path), file)


def test_a_file_without_a_token(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("portico_" + SECRET)
    with pytest.raises(ConfigError, match="holds no site token"):
        options(flags(tmp_path, token_file=str(tmp_path / "other")), None)
