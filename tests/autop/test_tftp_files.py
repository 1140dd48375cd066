"""What TFTP serves, found by the same way as over HTTP."""

from dataclasses import dataclass, field

import pytest

from autop.identify import MacFile, PhonebookFile
from autop.net.configurations import Configurations, File
from autop.net.tftp_files import TftpConfigurations, asked_for
from autop.observer import Outcome, Reason
from tests.autop import examples
from tests.autop.examples import MAC, TOKEN

WALL = 1_780_000_000.0


@dataclass
class Sink:
    fetches: list[tuple[str, str, float, bool, str]] = field(default_factory=list)

    def fetched(self, file: File, peer: str, wall: float, *, complete: bool, held: str, transport: str = "") -> None:
        self.fetches.append((file.mac.text, peer, wall, complete, transport))


@dataclass
class Site:
    files: TftpConfigurations
    observed: examples.Recorder
    sink: Sink


def site() -> Site:
    vault = examples.vault()
    configurations = Configurations(read_model=examples.small_site(vault), vault=vault, settings=examples.SETTINGS)
    observed, sink = examples.Recorder(), Sink()
    files = TftpConfigurations(configurations=configurations, observer=observed, clock_wall=lambda: WALL, fetches=sink)
    return Site(files, observed, sink)


@pytest.mark.parametrize(
    "name",
    [
        f"autop/{TOKEN}/{MAC}.cfg",
        f"/autop/{TOKEN}/{MAC}.cfg",
        f"{TOKEN}/{MAC}.cfg",
        f"/{TOKEN}/{MAC}.cfg",
        f"{TOKEN}//0c:11:05:aa:bb:cc.CFG",
    ],
)
def test_names_of_a_configuration(name: str) -> None:
    assert asked_for(name.encode()) == MacFile(TOKEN, MAC)


def test_the_phonebook_too() -> None:
    assert asked_for(f"{TOKEN}/{MAC}.xml".encode()) == PhonebookFile(TOKEN, MAC)


def test_firmware_is_not_served() -> None:
    name = f"{TOKEN}/{MAC}-{'a' * 24}.rom".encode()
    assert asked_for(name) is None


@pytest.mark.parametrize(
    "name",
    [
        b"",
        b"/",
        b"autop/",
        b"../../etc/passwd",
        b"/etc/passwd",
        b"..\\..\\boot.ini",
        f"{TOKEN}/../{TOKEN}/{MAC}.cfg".encode(),
        f"{TOKEN}/%2e%2e/{MAC}.cfg".encode(),
        f"autop/autop/{TOKEN}/{MAC}.cfg".encode(),
        f"https://x/autop/{TOKEN}/{MAC}.cfg".encode(),
        f"{TOKEN}/{MAC}.cfg\n".encode(),
        b"\xff" * 200,
    ],
)
def test_everything_else_is_nothing(name: bytes) -> None:
    assert asked_for(name) is None


async def test_a_fetch_is_told_when_it_is_complete_and_not_before() -> None:
    here = site()
    file = await here.files.find(f"{TOKEN}/{MAC}.cfg".encode(), "192.0.2.7")
    assert file is not None
    assert b"Config.Account1.GENERAL.Pwd = k3Jq9sXw7TzPb2VnM5cRdLhA\n" in file.body
    assert "k3Jq9sXw7TzPb2VnM5cRdLhA" not in repr(file)
    assert here.observed.answers == [(Outcome.SERVED, Reason.NONE)]
    assert (here.observed.fetches, here.sink.fetches) == ([], [])
    file.complete()
    assert here.sink.fetches == [(MAC.text, "192.0.2.7", WALL, True, "tftp")]
    assert [(mac, peer) for mac, _, peer, _ in here.observed.fetches] == [(MAC.text, "192.0.2.7")]


async def test_a_phonebook_is_no_fetch_of_a_configuration() -> None:
    here = site()
    file = await here.files.find(f"{TOKEN}/{MAC}.xml".encode(), "192.0.2.7")
    assert file is not None
    file.complete()
    assert (here.observed.fetches, here.sink.fetches) == ([], [])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (f"{'x' * 26}/{MAC}.cfg", Reason.NO_PROOF),
        (f"{TOKEN}/0C1105000000.cfg", Reason.NO_PROOF),
        ("../x", Reason.NO_SUCH_FILE),
        (f"{TOKEN}/{MAC}-{'a' * 24}.rom", Reason.NO_SUCH_FILE),
    ],
)
async def test_refusals_are_one_and_counted(name: str, reason: Reason) -> None:
    here = site()
    assert await here.files.find(name.encode(), "192.0.2.7") is None
    assert here.observed.answers == [(Outcome.REFUSED, reason)]


async def test_a_name_without_a_token_is_refused() -> None:
    here = site()
    for name in (f"{MAC}.cfg", f"autop/{MAC}.cfg", f"/{MAC}.cfg"):
        assert await here.files.find(name.encode(), "192.0.2.7") is None
    assert [outcome for outcome, _ in here.observed.answers] == [Outcome.REFUSED] * 3
