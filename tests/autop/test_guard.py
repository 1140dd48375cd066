"""The guard: who guesses is answered late, who is proven never is, and neither time nor answer tells of a MAC."""

from dataclasses import replace

import pytest

from autop.identify import Asked, BootstrapFile, CommonFile, MacFile, OwnFile, PhonebookFile
from autop.net.configurations import Configurations, File, Refused, SentAway
from autop.net.guard import Guard
from autop.net.proof import Presented
from autop.observer import Outcome, Reason
from autop.sweep import MISSES, WINDOW, Sweep, Sweeps
from registry.enrolment import Enrolment, TokenRotation
from registry.errors import BadSeal
from registry.mac import MacAddress
from tests.autop import examples
from tests.autop.examples import MAC, TOKEN
from tests.autop.test_enrolments import a_place
from tests.autop.test_login import NOTHING, answered, configurations, logins

HERE = Presented("198.51.100.7")
WRONG = "a" * 26
STRANGER = MacAddress("0C1105000000")


class Watched:
    """A guard with a clock of its own, and what it told."""

    def __init__(self, files: Configurations | None = None) -> None:
        self.now = 100 * WINDOW
        self.told: list[Sweep] = []
        self.guard = Guard(files or configurations(), Sweeps(), told=self.told.append, clock=lambda: self.now)

    async def ask(self, asked: Asked | None, presented: Presented = HERE) -> File | Refused:
        found = await self.guard.find(asked, presented)
        assert isinstance(found, File | Refused)
        return found

    async def sweep(self, misses: int = MISSES + 1) -> None:
        for number in range(misses):
            await self.ask(MacFile(WRONG, MacAddress(f"0C1105{number:06X}")))


async def test_the_twenty_first_guess_throttles_its_source_and_a_proven_device_does_not_feel_it() -> None:
    watched = Watched()
    await watched.sweep(MISSES)
    assert watched.told == []
    await watched.sweep(MISSES + 1)
    assert watched.told == [Sweep("198.51.100.7", MISSES + 1, 0)]
    assert isinstance(await watched.ask(MacFile(TOKEN, MAC)), File)
    late = await watched.ask(MacFile(WRONG, MAC))
    assert late == Refused(Outcome.REFUSED, Reason.NO_PROOF, is_late=True)
    elsewhere = await watched.ask(MacFile(WRONG, MAC), Presented("198.51.101.7"))
    assert elsewhere == Refused(Outcome.REFUSED, Reason.NO_PROOF)
    watched.now += 2 * WINDOW
    assert await watched.ask(MacFile(WRONG, MAC)) == elsewhere


async def test_late_is_every_guess_whether_the_mac_is_known_or_not_and_no_common_file() -> None:
    watched = Watched()
    await watched.sweep()
    for asked in (MacFile(WRONG, MAC), MacFile(WRONG, STRANGER), PhonebookFile(WRONG, MAC), PhonebookFile(TOKEN, STRANGER), None):
        found = await watched.ask(asked)
        assert isinstance(found, Refused)
        assert found.is_late
    common = await watched.ask(CommonFile(TOKEN, "r000000000029"))
    assert isinstance(common, Refused)
    assert not common.is_late


async def test_what_honest_devices_are_refused_every_day_is_no_guess() -> None:
    watched = Watched()
    for number in range(1000):
        await watched.ask(CommonFile(f"{number:026}", "r000000000029"))
        await watched.ask(None)
        await watched.ask(MacFile(WRONG, MAC))  # one device, a token that is no longer good, all day
    assert watched.told == []


async def test_a_challenge_is_a_guess_until_it_is_answered() -> None:
    watched = Watched()
    for number in range(MISSES):
        await watched.ask(OwnFile(MacAddress(f"0C1105{number:06X}")), NOTHING)
    challenge = await watched.ask(OwnFile(MAC), NOTHING)
    assert len(watched.told) == 1
    assert isinstance(challenge, Refused)
    assert isinstance(await watched.ask(OwnFile(MAC), answered(challenge)), File)
    found = await watched.ask(MacFile(WRONG, MAC), NOTHING)
    assert found == Refused(Outcome.REFUSED, Reason.NO_PROOF)  # what was left are twenty: no longer throttled


@pytest.mark.parametrize("asked", [OwnFile(MAC), OwnFile(STRANGER)])
async def test_a_throttled_source_waits_for_a_challenge_and_for_the_answer_to_a_login(asked: OwnFile) -> None:
    watched = Watched()
    await watched.sweep()
    challenge = await watched.ask(asked, replace(NOTHING, peer=HERE.peer))
    assert isinstance(challenge, Refused)
    assert challenge.is_late
    wrong = await watched.ask(asked, replace(answered(challenge, "wrong"), peer=HERE.peer))
    assert isinstance(wrong, Refused)
    assert wrong.is_late


async def test_an_error_is_as_late_as_a_guess() -> None:
    vault = examples.vault()
    records = examples.FakeRecords()
    records.put(examples.device(sealed_token=b"damaged"))
    with pytest.raises(BadSeal):
        vault.open(b"damaged", "x")
    watched = Watched(configurations(records, vault))
    await watched.sweep()
    assert await watched.ask(MacFile(WRONG, MAC)) == Refused(Outcome.ERROR, Reason.UNSEALED, is_late=True)
    challenge = await watched.ask(OwnFile(MAC), replace(NOTHING, peer=HERE.peer))
    assert isinstance(challenge, Refused)
    assert challenge.is_late


async def test_who_might_enrol_is_told_that_its_source_guesses_and_counts_as_a_device() -> None:
    class Files(Configurations):
        def __init__(self) -> None:
            self.seen: list[bool] = []

        async def find(self, asked: Asked | None, presented: Presented = NOTHING) -> Refused:
            self.seen.append(presented.is_throttled)
            may = isinstance(asked, BootstrapFile) and presented.is_throttled
            return Refused(Outcome.REFUSED, Reason.THROTTLED if may else Reason.NO_PROOF)

    files = Files()
    watched = Watched(files)
    await watched.sweep()
    assert files.seen == [False] * (MISSES + 1)
    for number in range(30):
        await watched.ask(BootstrapFile("enrol-x", MacAddress(f"0C1105{number:06X}")))
    assert files.seen[-1]
    watched.now += WINDOW
    for number in range(100):
        await watched.ask(BootstrapFile("enrol-x", MacAddress(f"0C1105{number:06X}")))
    await watched.sweep(MISSES + 10)  # what a hundred devices excuse
    watched.now += WINDOW
    await watched.ask(BootstrapFile("enrol-x", MAC))
    assert not files.seen[-1]


async def test_whoever_sweeps_a_window_enrols_nobody_and_its_neighbour_does_a_little_later() -> None:
    place = await a_place()
    token, watched = (await place.open()).token, Watched(place.node)
    for number in range(MISSES + 1):
        found = await watched.ask(BootstrapFile(token, MacAddress(f"0C1106{number:06X}")))
        assert isinstance(found, Refused)
        assert found.reason is Reason.ENROL_UNKNOWN
    refused = await watched.ask(BootstrapFile(token, MAC))
    assert refused == Refused(Outcome.REFUSED, Reason.THROTTLED, is_late=True)
    assert await place.store.get(Enrolment, MAC.text) is None
    assert await place.store.get(TokenRotation, MAC.text) is None
    watched.now += 2 * WINDOW
    assert isinstance(await watched.ask(BootstrapFile(token, MAC)), File)


async def test_a_device_that_is_sent_away_has_proved_itself_it_is_never_late_and_never_challenged() -> None:
    vault = examples.vault()
    files = Configurations(
        read_model=examples.small_site(vault), vault=vault, settings=examples.SETTINGS, gate=lambda *_: 7, logins=logins()
    )
    watched = Watched(files)
    await watched.sweep()
    certified = replace(HERE, certified=frozenset([MAC]), is_tls=True)
    for asked in (MacFile(TOKEN, MAC), OwnFile(MAC)):
        assert await watched.ask(asked, certified) == SentAway(Outcome.LIMITED, Reason.BUSY, seconds=7)
    assert await watched.ask(OwnFile(STRANGER), certified) != SentAway(Outcome.LIMITED, Reason.BUSY, seconds=7)


async def test_devices_that_are_answered_from_memory_excuse_misses_like_any_others() -> None:
    watched = Watched()
    for number in range(100):
        watched.guard.served_known(MacAddress(f"0C1106{number:06X}"), HERE.peer)
    await watched.sweep(MISSES + 10)
    assert watched.told == []
    await watched.sweep(MISSES + 11)
    assert watched.told == [Sweep(HERE.peer, MISSES + 11, 100)]
