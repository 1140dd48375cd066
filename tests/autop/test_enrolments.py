"""Enrolment: who may have a bootstrap configuration, by which token, once; and what stands in it."""

import asyncio
import dataclasses
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autop.cfg_format import read_as_device
from autop.enrolment import (
    MAX_WINDOW_SECONDS,
    ONE_TIME_SECONDS,
    PREFIX,
    NewWindow,
    new_window,
)
from autop.identify import BootstrapFile, MacFile
from autop.net.configurations import Configurations, File, Refused
from autop.net.enrolment import Enrolments
from autop.net.proof import Presented
from autop.net.tokens import TokenRotations
from autop.observer import Outcome, Reason
from registry.configuration import AuthorityFetched, DeviceFetches, Fetch
from registry.enrolment import Enrolment, EnrolmentWindow, TokenRotation, device_window, site_window
from registry.logs import AuditEntry
from registry.mac import MacAddress
from registry.memory import MemoryStore
from registry.read_model import ReadModel
from registry.records import Account, Device, DeviceKind, LibraryMac
from registry.store import Delete, Put
from registry.vault import Vault
from tests.autop import examples
from tests.autop.examples import MAC, SETTINGS, TOKEN

GOLDEN = Path(__file__).parent.parent / "golden" / "autop"
OTHER = MacAddress("0C1105000007")
HERE, THERE = "192.0.2.7", "198.51.100.9"
SECRETS = ("k3Jq9sXw7TzPb2VnM5cRdLhA", "wE7rT2yU9iO4pA1s", "400000001", TOKEN, bytes(range(32)).hex())


class Place:
    """A node with one device, sealed secrets and all, that was added and never seen."""

    def __init__(self, store: MemoryStore) -> None:
        self.store, self.vault = store, examples.vault()
        self.now = 1_000_000.0
        self.drawn = 0
        self.restart()

    def restart(self) -> None:
        """What was in memory is gone, and what is read is what the store holds now."""
        read_model = ReadModel(self.store)
        self.tokens = TokenRotations(self.store)
        self.enrolments = Enrolments(
            store=self.store,
            read_model=read_model,
            vault=self.vault,
            entropy=self.entropy,
            wall=lambda: self.now,
            settings=lambda: SETTINGS,
        )
        self.node = Configurations(
            read_model=read_model, vault=self.vault, settings=SETTINGS, tokens=self.tokens, bootstraps=self.enrolments
        )

    def entropy(self, size: int) -> bytes:
        self.drawn += 1
        return self.drawn.to_bytes(size)

    async def open(self, mac: MacAddress | None = None, seconds: float = 3600.0, site: str = "s-1") -> NewWindow:
        made = new_window(
            id=f"w{self.drawn}",
            site=site,
            mac=mac,
            opened_by="me",
            now=self.now,
            seconds=seconds,
            entropy=self.entropy,
            vault=self.vault,
        )
        await self.store.batch([Put(made.record)])
        self.restart()
        return made

    async def ask(self, token: str, mac: MacAddress = MAC, peer: str = HERE) -> bytes | Reason:
        """A bootstrap, or why not; every node may be asked, so what was in memory must not matter."""
        self.restart()
        found = await self.node.find(BootstrapFile(token, mac), Presented(peer))
        if isinstance(found, Refused):
            assert found.outcome is Outcome.REFUSED
            return found.reason
        assert isinstance(found, File)
        assert found.is_bootstrap
        assert not found.is_configuration
        assert found.confirms == 0
        return found.body

    async def enrol(self, body: bytes, at: float = 0.0) -> str:
        """What a device does with a bootstrap: one complete fetch of its configuration. Returns its token."""
        self.now += 1.0
        token = token_in(body)
        self.restart()
        file = await self.node.find(MacFile(token, MAC))
        assert isinstance(file, File)
        assert await self.tokens.confirm(MAC, file.confirms, file.hash, at or self.now)
        self.restart()
        return token

    async def audited(self) -> list[str]:
        return [stored.record.action for stored in (await self.store.list(AuditEntry, "all", "")).items]


def token_in(body: bytes) -> str:
    url = read_as_device(body).settings["Config.Autoprovision.GENERAL.Url"]
    return url.rstrip("/").rpartition("/")[2]


class CountingVault(Vault):
    """As examples.vault(), and counts what is opened."""

    def __init__(self) -> None:
        super().__init__(bytes(range(32)), bytes)
        self.opened = 0

    def open(self, sealed: bytes, context: str) -> bytes:
        self.opened += 1
        return super().open(sealed, context)


class YieldingStore(MemoryStore):
    """Lets others run between any two of a request's steps, as an engine on disk does."""

    async def get(self, kind: type[Any], key: str) -> Any:
        await asyncio.sleep(0)
        return await super().get(kind, key)


async def a_place(store: MemoryStore | None = None) -> Place:
    place = Place(store or MemoryStore())
    vault = place.vault
    await place.store.batch(
        [
            Put(examples.sealed_device(vault)),
            Put(examples.account(sealed_password=vault.seal_text(SECRETS[0], "account:400000001"))),
        ]
    )
    return place


async def test_a_device_enrols_from_nothing() -> None:
    place = await a_place()
    window = await place.open()
    body = await place.ask(window.token)
    assert isinstance(body, bytes)
    token = token_in(body)
    assert token not in (TOKEN, window.token)
    old = await place.node.find(MacFile(TOKEN, MAC))
    assert isinstance(old, File), "the token it was added with is good until the new one was used"
    assert SECRETS[0].encode() in old.body
    assert await place.enrol(body) == token
    assert await place.node.find(MacFile(TOKEN, MAC)) == Refused(Outcome.REFUSED, Reason.NO_PROOF)
    assert isinstance(await place.node.find(MacFile(token, MAC)), File)
    assert await place.ask(window.token) is Reason.ENROL_DONE
    assert await place.audited() == ["device.bootstrapped", "device.enrolled"]


async def test_a_bootstrap_is_noted_before_it_is_given_and_is_the_same_again() -> None:
    place = await a_place()
    window = await place.open()
    body = await place.ask(window.token)
    rotation, enrolment = await place.store.get(TokenRotation, MAC.text), await place.store.get(Enrolment, MAC.text)
    assert rotation is not None
    assert rotation.record.sent
    assert enrolment is not None
    assert (enrolment.record.address, enrolment.record.window) == (HERE, window.record.id)
    sequence = await place.store.sequence()
    assert await place.ask(window.token) == body
    assert await place.store.sequence() == sequence, "nothing new was to be noted"
    assert await place.audited() == ["device.bootstrapped"]


async def test_a_pending_rotation_is_what_the_bootstrap_names() -> None:
    """At most two tokens are ever good."""
    place = await a_place()
    sealed = place.vault.seal_text("b" * 32, f"device-token:{MAC}")
    await place.store.batch([Put(TokenRotation(MAC, "s-1", sealed, 1.0))])
    window = await place.open()
    body = await place.ask(window.token)
    assert isinstance(body, bytes)
    assert token_in(body) == "b" * 32
    stored = await place.store.get(TokenRotation, MAC.text)
    assert stored is not None
    assert stored.record.sent


async def test_every_refusal() -> None:
    place = await a_place()
    await place.store.batch([Put(LibraryMac(OTHER))])
    assert await place.ask(f"{PREFIX}{'a' * 32}") is Reason.ENROL_UNKNOWN  # no window was ever opened
    window = await place.open()
    foreign = await place.open(site="s-2")
    assert await place.ask(f"{PREFIX}{'a' * 32}") is Reason.ENROL_NO_PROOF
    assert await place.ask(PREFIX + "x" * 10) is Reason.ENROL_NO_PROOF
    assert await place.ask(foreign.token) is Reason.ENROL_NO_PROOF
    assert await place.ask(window.token, OTHER) is Reason.ENROL_UNKNOWN  # in the library, and not added
    place.now = window.record.ends
    assert await place.ask(window.token) is Reason.ENROL_OVER
    place.now = window.record.opened - 1
    assert await place.ask(window.token) is Reason.ENROL_OVER
    place.now = window.record.opened
    await place.store.batch([Delete(EnrolmentWindow, window.record.key)])
    assert await place.ask(window.token) is Reason.ENROL_UNKNOWN
    assert await place.audited() == []


async def test_a_window_that_closes_between_proof_and_decision() -> None:
    place = await a_place()
    window = await place.open()
    place.restart()
    for scope in (device_window(MAC), site_window("s-1")):
        await place.enrolments._records.get(EnrolmentWindow, scope)
    await place.store.batch([Delete(EnrolmentWindow, window.record.key)])
    assert await place.enrolments.find(BootstrapFile(window.token, MAC), HERE, SETTINGS) is Reason.ENROL_OVER
    assert await place.store.get(TokenRotation, MAC.text) is None


async def test_a_device_that_has_fetched_its_configuration_does_not_enrol_in_its_sites_window() -> None:
    place = await a_place()
    window = await place.open()
    await place.store.batch([Put(DeviceFetches(MAC, "s-1", (Fetch("ab" * 32, 1.0, 1.0, HERE),)))])
    assert await place.ask(window.token) is Reason.ENROL_DONE
    own = await place.open(MAC)
    assert isinstance(await place.ask(own.token), bytes)


async def test_a_second_address_is_refused_and_noted_once() -> None:
    place = await a_place()
    window = await place.open()
    body = await place.ask(window.token)
    for _ in range(3):
        assert await place.ask(window.token, peer=THERE) is Reason.ENROL_SECOND_ADDRESS
    assert await place.ask(window.token) == body, "whoever was first goes on"
    stored = await place.store.get(Enrolment, MAC.text)
    assert stored is not None
    assert stored.record.contested
    assert (await place.audited()).count("device.enrolment-contested") == 1
    entry = (await place.store.list(AuditEntry, "all", "", newest_first=True)).items[0].record
    assert HERE in entry.detail
    assert THERE in entry.detail


async def test_of_two_addresses_at_once_one_gets_the_bootstrap() -> None:
    place = await a_place(YieldingStore())
    window = await place.open()
    places = [HERE, THERE, HERE, THERE, "203.0.113.5"]
    found = await asyncio.gather(*[place.enrolments.find(BootstrapFile(window.token, MAC), one, SETTINGS) for one in places])
    stored = await place.store.get(Enrolment, MAC.text)
    assert stored is not None
    for one, given in zip(places, found, strict=True):
        assert (given is Reason.ENROL_SECOND_ADDRESS) == (one != stored.record.address)
    assert len({given for given in found if isinstance(given, bytes)}) == 1
    assert (await place.audited()).count("device.bootstrapped") == 1
    assert (await place.audited()).count("device.enrolment-contested") == 1


async def test_another_address_after_the_enrolment_is_noted_too() -> None:
    place = await a_place()
    window = await place.open()
    body = await place.ask(window.token)
    assert isinstance(body, bytes)
    await place.enrol(body)
    assert await place.ask(window.token, peer=THERE) is Reason.ENROL_DONE
    assert "device.enrolment-contested" in await place.audited()


@pytest.mark.parametrize("by", ["its own token", "the site's token"])
async def test_a_factory_reset_device_comes_back_through_a_window_of_its_own(by: str) -> None:
    place = await a_place()
    window = await place.open(seconds=MAX_WINDOW_SECONDS)
    body = await place.ask(window.token)
    assert isinstance(body, bytes)
    first = await place.enrol(body)
    await place.store.batch([Put(AuthorityFetched(MAC, "s-1", "ab" * 32))])
    assert await place.ask(window.token) is Reason.ENROL_DONE
    own = await place.open(MAC)
    token = own.token if by == "its own token" else window.token
    again = await place.ask(token, peer=THERE)
    assert isinstance(again, bytes)
    assert await place.store.get(AuthorityFetched, MAC.text) is None, "a reset device must not check servers yet"
    second = await place.enrol(again)
    assert second != first
    assert await place.node.find(MacFile(first, MAC)) == Refused(Outcome.REFUSED, Reason.NO_PROOF)
    assert await place.ask(token, peer=THERE) is Reason.ENROL_DONE, "once per opening"
    assert isinstance(await place.ask((await place.open(MAC)).token), bytes)


async def test_the_upgrade_opens_a_window_for_a_device_that_it_resets() -> None:
    place = await a_place()
    made = await place.enrolments.open_for_device(MAC, id="u1", opened_by="upgrade/7", seconds=1800.0)
    assert made is not None
    assert isinstance(await place.ask(made.token), bytes)
    assert (await place.audited())[0] == "enrolment-window.opened"
    assert await place.enrolments.open_for_device(OTHER, id="u2", opened_by="upgrade/7", seconds=60.0) is None
    with pytest.raises(ValueError, match="at most"):
        await place.enrolments.open_for_device(MAC, id="u3", opened_by="me", seconds=MAX_WINDOW_SECONDS + 1)


async def test_one_time_urls() -> None:
    place = await a_place()
    await place.store.batch([Put(LibraryMac(OTHER))])
    assert await place.enrolments.url_for(MAC) is None
    window = await place.open()
    sequence = await place.store.sequence()
    url = await place.enrolments.url_for(MAC)
    assert url is not None
    assert url.startswith(f"{SETTINGS.autop_url}/{PREFIX}")
    assert await place.enrolments.url_for(OTHER) is None
    assert await place.store.sequence() == sequence, "whoever asks for many costs the store nothing"
    token = url.rstrip("/").rpartition("/")[2]
    assert token != window.token
    place.now += ONE_TIME_SECONDS - 1
    body = await place.ask(token)
    assert isinstance(body, bytes)
    place.now += 1
    assert await place.ask(token) is Reason.ENROL_NO_PROOF
    fresh = await place.enrolments.url_for(MAC)
    assert fresh is not None, "not enrolled yet: it may have lost the first"
    await place.enrol(body)
    assert await place.enrolments.url_for(MAC) is None
    assert await place.ask(fresh.rstrip("/").rpartition("/")[2]) is Reason.ENROL_DONE


async def test_a_one_time_url_is_one_devices_and_dies_with_its_window() -> None:
    place = await a_place()
    await place.store.batch([Put(examples.sealed_device(place.vault, OTHER, id="d-2", account=""))])
    window = await place.open(seconds=300.0)
    url = await place.enrolments.url_for(MAC)
    assert url is not None
    token = url.rstrip("/").rpartition("/")[2]
    assert await place.ask(token, OTHER) is Reason.ENROL_NO_PROOF
    place.now += 300.0
    assert await place.ask(token) is Reason.ENROL_NO_PROOF
    assert await place.enrolments.url_for(MAC) is None
    place.now -= 300.0
    await place.store.batch([Delete(EnrolmentWindow, window.record.key)])
    await place.open()
    assert await place.ask(token) is Reason.ENROL_NO_PROOF


async def test_every_guess_costs_the_same() -> None:
    place = await a_place()
    window = await place.open()
    costs, wrong = set(), f"{PREFIX}{'a' * 32}"
    for token, mac in ((wrong, MAC), (wrong, OTHER), (window.token, OTHER), ("enrol-xxxxxxxxxx", MAC)):
        records = examples.FakeRecords()
        for kind, key in ((Device, MAC.text), (EnrolmentWindow, site_window("s-1"))):
            stored = await place.store.get(kind, key)
            assert stored is not None
            records.put(stored.record)
        counting = CountingVault()
        enrolments = Enrolments(
            store=place.store,
            read_model=records,
            vault=counting,
            entropy=place.entropy,
            wall=lambda: place.now,
            settings=lambda: SETTINGS,
        )
        assert isinstance(await enrolments.find(BootstrapFile(token, mac), HERE, SETTINGS), Reason)
        costs.add((records.reads, counting.opened))
    assert costs == {(3, 2)}


async def test_nobody_enrols_before_the_node_knows_its_addresses() -> None:
    place = await a_place()
    window = await place.open()
    node = Configurations(read_model=ReadModel(place.store), vault=place.vault, settings=None, bootstraps=place.enrolments)
    assert await node.find(BootstrapFile(window.token, MAC)) == Refused(Outcome.REFUSED, Reason.ENROL_UNKNOWN)


@pytest.mark.parametrize("kind", DeviceKind, ids=lambda kind: kind.name.lower())
async def test_the_bootstrap_of_every_kind_is_golden_and_holds_no_secret(kind: DeviceKind) -> None:
    place = await a_place()
    window = await place.open()
    stored = await place.store.get(Device, MAC.text)
    assert stored is not None
    changed = examples.device(kind, sealed_token=stored.record.sealed_token, sealed_channel_key=stored.record.sealed_channel_key)
    await place.store.batch([Put(replace(changed, sealed_web_password=stored.record.sealed_web_password))])
    body = await place.ask(window.token)
    assert isinstance(body, bytes)
    token = token_in(body)
    assert body.decode().replace(token, "<the new token>") == (GOLDEN / "bootstrap" / "every-kind.cfg").read_text()
    for secret in (*SECRETS, window.token):
        assert secret not in body.decode()
    for record in (stored.record, (await place.store.get(Account, "400000001")).record):  # type: ignore[union-attr]
        for field in dataclasses.fields(record):
            value = getattr(record, field.name)
            if isinstance(value, bytes) and value:
                assert value not in body
    assert set(read_as_device(body).settings) <= set((GOLDEN / "known-keys.txt").read_text().replace("\t", "\n").split())
