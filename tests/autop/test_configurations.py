"""`Configurations`: proof, refusals, the cache of rendered bytes, and what becomes of damaged records."""

from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from autop.cfg_format import read_as_device
from autop.errors import RejectedValue
from autop.fingerprint import strong_etag
from autop.identify import Asked, AuthorityFile, CommonFile, FirmwareFile, MacFile, PhonebookFile
from autop.net.configurations import CACHE_BYTES, Configurations, File, Refused
from autop.net.neighbours import SiteNeighbours
from autop.observer import Outcome, Reason
from registry.configuration import AuthorityFetched
from registry.errors import BadSeal, StoreUnavailable
from registry.location import AorBindings, Binding
from registry.mac import MacAddress
from registry.memory import MemoryStore
from registry.read_model import ReadModel
from registry.records import Account, AccountOwner, Device, DeviceKind, Relay, Site, SiteRoster, User
from registry.ring_plan import RingPlan, Stage, together
from registry.store import Change, Delete, Put
from registry.vault import Vault
from tests.autop import examples
from tests.autop.examples import MAC, TOKEN, FakeRecords

RIGHT = MacFile(TOKEN, MAC)


class CountingVault(Vault):
    """A vault that notes under which kind of context it was opened."""

    def __init__(self) -> None:
        super().__init__(bytes(32), bytes)
        self.opened: list[str] = []

    def open(self, sealed: bytes, context: str) -> bytes:
        self.opened.append(context.partition(":")[0])
        return super().open(sealed, context)


def configurations(records: FakeRecords, vault: Vault, cache_bytes: int = CACHE_BYTES) -> Configurations:
    return Configurations(read_model=records, vault=vault, settings=examples.SETTINGS, cache_bytes=cache_bytes)


async def served(found: Configurations, asked: Asked | None = RIGHT) -> File:
    file = await found.find(asked)
    assert isinstance(file, File)
    return file


async def test_the_file_of_a_proven_device() -> None:
    vault = examples.vault()
    file = await served(configurations(examples.small_site(vault), vault))
    assert file.mac == MAC
    assert file.etag == strong_etag(file.body)
    assert b"Config.Account1.GENERAL.Pwd = k3Jq9sXw7TzPb2VnM5cRdLhA\n" in file.body
    assert b"Config.Settings.SNTP.TimeZone = GMT+3:00\n" in file.body
    assert b"Config.Portico.CHANNEL.Key = 000102" in file.body
    assert b"k3Jq9sXw7TzPb2VnM5cRdLhA" not in repr(file).encode()


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (None, Reason.NO_SUCH_FILE),
        (CommonFile(TOKEN, "r000000000029"), Reason.NO_SUCH_FILE),
        (MacFile("a" * 26, MAC), Reason.NO_PROOF),
        (FirmwareFile("a" * 26, MAC, "0" * 24, ".zip"), Reason.NO_PROOF),
        (FirmwareFile(TOKEN, MacAddress("0C1105000000"), "0" * 24, ".zip"), Reason.NO_PROOF),
        (FirmwareFile(TOKEN, MAC, "0" * 24, ".zip"), Reason.NO_SUCH_FILE),
        (MacFile(TOKEN[:-1], MAC), Reason.NO_PROOF),
        (MacFile(TOKEN + "a", MAC), Reason.NO_PROOF),
        (MacFile(TOKEN.upper(), MAC), Reason.NO_PROOF),
        (MacFile("\0" * 26, MacAddress("0C1105000000")), Reason.NO_PROOF),
        (MacFile(TOKEN, MacAddress("0C1105000000")), Reason.NO_PROOF),
    ],
)
async def test_every_refusal_does_the_same_work(asked: Asked | None, reason: Reason) -> None:
    vault = CountingVault()
    records = examples.small_site(vault)
    found = configurations(records, vault)
    vault.opened.clear()
    assert await found.find(asked) == Refused(Outcome.REFUSED, reason)
    is_proven = isinstance(asked, FirmwareFile) and (asked.token, asked.mac) == (TOKEN, MAC)
    assert len(vault.opened) == (1 if is_proven else 2)
    assert records.reads == 2


async def test_a_re_poll_renders_nothing_and_a_change_does() -> None:
    vault = CountingVault()
    records = examples.small_site(vault)
    found = configurations(records, vault)
    first = await served(found)
    vault.opened.clear()
    assert await served(found) is first
    assert vault.opened == ["device-token"]
    records.put(Site("s-1", "House", "UTC"))
    changed = await served(found)
    assert changed.etag != first.etag
    assert b"TimeZone = GMT+0:00\n" in changed.body
    records.put(examples.sealed_device(vault, button_number="102"))
    assert b"LocalParam1 = 102;" in (await served(found)).body


async def test_a_new_token_replaces_the_old_one_and_is_in_the_file() -> None:
    vault = examples.vault()
    records = examples.small_site(vault)
    found = configurations(records, vault)
    await served(found)
    records.put(examples.sealed_device(vault, token="b" * 26))
    assert isinstance(await found.find(RIGHT), Refused)
    assert b"/autop/" + b"b" * 26 + b"/\n" in (await served(found, MacFile("b" * 26, MAC))).body


async def test_nobody_is_served_before_the_node_knows_its_addresses() -> None:
    vault = examples.vault()
    records = examples.small_site(vault)
    found = Configurations(read_model=records, vault=vault, settings=None)
    assert await found.find(RIGHT) == Refused(Outcome.ERROR, Reason.UNAVAILABLE)
    assert await found.find(MacFile("a" * 26, MAC)) == Refused(Outcome.REFUSED, Reason.NO_PROOF)
    assert await found.preview(MAC) is None
    found.use_settings(examples.SETTINGS)
    first = await served(found)
    found.use_settings(replace(examples.SETTINGS, sip_host="sip2.gate.example"))
    second = await served(found)
    assert b"SIP.Server = sip.gate.example\n" in first.body
    assert b"SIP.Server = sip2.gate.example\n" in second.body


async def test_the_cache_is_bounded_in_bytes() -> None:
    vault = examples.vault()
    records = FakeRecords()
    macs = [MacAddress(f"0C1105{number:06X}") for number in range(20)]
    for mac in macs:
        records.put(examples.sealed_device(vault, mac, account=""))
    one = (await served(configurations(records, vault), MacFile(TOKEN, macs[0]))).body
    found = configurations(records, vault, cache_bytes=5 * (len(one) + 600))
    files = {mac: await served(found, MacFile(TOKEN, mac)) for mac in macs}
    kept = [mac for mac in macs if await served(found, MacFile(TOKEN, mac)) is files[mac]]
    assert kept == []  # a walk in order over four times the room finds nothing left
    files15 = await served(found, MacFile(TOKEN, macs[15]))  # the oldest of the last five is used, so the next one goes
    await served(found, MacFile(TOKEN, macs[0]))
    assert await served(found, MacFile(TOKEN, macs[15])) is files15
    newest = {mac: await served(found, MacFile(TOKEN, mac)) for mac in macs[:5]}
    assert all([await served(found, MacFile(TOKEN, mac)) is file for mac, file in newest.items()])


async def test_a_device_without_account_site_or_secrets_is_still_configured() -> None:
    vault = examples.vault()
    records = FakeRecords()
    bare = replace(examples.sealed_device(vault), account="", site="gone", sealed_web_password=b"", sealed_channel_key=b"")
    records.put(bare)
    body = (await served(configurations(records, vault))).body
    assert b"Config.Account1.GENERAL.Enable = 0\n" in body
    assert b"WEB_LOGIN" not in body
    assert b"CHANNEL" not in body


@pytest.mark.parametrize("damaged", ["sealed_token", "sealed_web_password", "sealed_channel_key"])
async def test_a_seal_that_does_not_open_is_an_error_not_an_exception(damaged: str) -> None:
    vault = examples.vault()
    records = examples.small_site(vault)
    changes: dict[str, Any] = {damaged: b"damaged"}
    records.put(replace(examples.sealed_device(vault), **changes))
    found = configurations(records, vault)
    assert await found.find(RIGHT) == Refused(Outcome.ERROR, Reason.UNSEALED)
    with pytest.raises(BadSeal):
        await found.preview(MAC)


async def test_another_devices_seal_does_not_open_here() -> None:
    vault = examples.vault()
    records = examples.small_site(vault)
    other = examples.sealed_device(vault, MacAddress("0C1105000001"))
    records.put(replace(examples.sealed_device(vault), sealed_token=other.sealed_token))
    assert await configurations(records, vault).find(RIGHT) == Refused(Outcome.ERROR, Reason.UNSEALED)


@pytest.mark.parametrize("changes", [{"model": "GONE"}, {"button_number": "1\n2"}])
async def test_what_cannot_be_rendered_is_an_error_not_an_exception(changes: dict[str, Any]) -> None:
    vault = examples.vault()
    records = examples.small_site(vault)
    records.put(examples.sealed_device(vault, **changes))
    assert await configurations(records, vault).find(RIGHT) == Refused(Outcome.ERROR, Reason.UNRENDERABLE)


async def test_a_store_that_is_down() -> None:
    class Down(FakeRecords):
        async def get(self, kind: type[object], key: str) -> object:
            raise StoreUnavailable("closed")

    assert await configurations(Down(), examples.vault()).find(RIGHT) == Refused(Outcome.ERROR, Reason.UNAVAILABLE)


async def test_preview_of_what_exists_and_what_does_not() -> None:
    vault = examples.vault()
    found = configurations(examples.small_site(vault), vault)
    shown = await found.preview(MAC)
    assert shown is not None
    assert shown.file == await served(found)
    assert [line.key for line in shown.lines] == [line.split(" = ")[0] for line in shown.file.body.decode().splitlines()]
    assert await found.preview(MacAddress("0C1105000000")) is None


def door(number: int, relays: tuple[Relay, ...], department: str = "", site: str = "s-1") -> Device:
    mac = MacAddress(f"0C11050000{number:02X}")
    return examples.device(mac=mac, id=f"d{number}", account=f"50{number:02d}", relays=relays, department=department, site=site)


async def test_a_monitor_learns_its_doors_codes_from_a_real_store() -> None:
    vault, store = examples.vault(), MemoryStore()
    monitor = examples.sealed_device(
        vault, kind=DeviceKind.INDOOR_MONITOR, model="PORTICO-SIM-MONITOR", department="b", relays=()
    )
    doors = [
        door(1, (Relay("Gate", ""), Relay("Garage", "5"))),
        door(2, (Relay("Lobby", "7"),), "b"),
        door(3, (Relay("Foreign department", "8"),), "c"),
        door(4, (Relay("Foreign site", "9"),), "", "s-2"),
    ]
    await store.batch([Put(Site("s-1", "House")), Put(monitor), *(Put(each) for each in doors)])
    read_model = ReadModel(store)
    neighbours = SiteNeighbours(store)
    read_model.subscribe(neighbours.changed, neighbours.clear)
    found = Configurations(read_model=read_model, vault=vault, settings=examples.SETTINGS, neighbours=neighbours)
    body = (await served(found)).body
    assert b"RELAY.DTMFCode = 7\n" in body
    assert b"RELAY.DTMFCode2 = 5\n" in body
    assert b"RELAY.DTMFCode3 = \n" in body
    await store.batch([Put(replace(doors[1], relays=(Relay("Lobby", "#"),)))])
    for change in await store.changes(0):
        read_model.apply(change)
    assert b"RELAY.DTMFCode = #\n" in (await served(found)).body
    await store.batch([Delete(Device, doors[1].key)])
    for change in await store.changes(0):
        read_model.apply(change)
    assert b"RELAY.DTMFCode = \n" in (await served(found)).body


async def test_a_guard_phone_dials_doors_first() -> None:
    vault, store = examples.vault(), MemoryStore()
    guard = examples.sealed_device(vault, kind=DeviceKind.GUARD_PHONE, model="R67", relays=())
    monitor = examples.device(DeviceKind.INDOOR_MONITOR, mac=MacAddress("0C1105000001"), id="m", account="6001", name="Flat & 1")
    await store.batch(
        [Put(guard), Put(monitor), Put(door(2, ())), Put(Account("6001", "s-1", AccountOwner.DEVICE, "m", "", b""))]
    )
    found = Configurations(read_model=ReadModel(store), vault=vault, settings=examples.SETTINGS, neighbours=SiteNeighbours(store))
    body = (await served(found)).body
    assert b"SPEEDDIAL.Num01 = 5002\n" in body
    assert b"SPEEDDIAL.Label02 = Flat 1\n" in body
    assert b"SPEEDDIAL.Num02 = 6001\n" in body
    assert b"SPEEDDIAL.Num03 = \n" in body


class House:
    """One site with a door, and two monitors of an IP-call user in its network group, served over one store."""

    def __init__(self) -> None:
        self.vault, self.store = examples.vault(), MemoryStore()
        self.model = ReadModel(self.store)
        self.neighbours = SiteNeighbours(self.store)
        self.model.subscribe(self.neighbours.changed, self.neighbours.clear)
        self.found = Configurations(
            read_model=self.model, vault=self.vault, settings=examples.SETTINGS, neighbours=self.neighbours
        )

    async def write(self, *records: Any) -> None:
        await self.store.batch([Put(record) for record in records])
        for change in await self.store.changes(self.model.applied):
            self.model.apply(change)

    async def build(self, **changes: Any) -> None:
        gate = examples.sealed_device(self.vault, network_group="a", button_number="101", autop_commands=(), **changes)
        await self.write(
            gate, User("u", "s-1", "Ada", "Byron", "101", ip_call=True), together("s-1", "101", ("6001", "app"), "u")
        )
        await self.write(monitor(1, owner="u", network_group="a"))


def monitor(number: int, **changes: Any) -> Device:
    mac = MacAddress(f"0C11050001{number:02X}")
    return examples.device(DeviceKind.INDOOR_MONITOR, mac=mac, id=f"m{number}", account=f"600{number}", **changes)


def registered(account: str, host: str) -> AorBindings:
    return AorBindings(account, "node", (Binding(f"sip:{account}@{host}:5060", "udp:5060:203.0.113.7:4000", "c", 1, 9e9),))


async def test_ip_call_names_the_address_a_monitor_registered_with_and_follows_it() -> None:
    house = House()
    await house.build()
    button = b"SOFTKEY01.LocalParam1 = "
    before = await served(house.found)
    assert button + b"101;;;;;;;\n" in before.body
    await house.write(registered("6001", "192.168.1.20"))
    first = await served(house.found)
    assert button + b"192.168.1.20;101;;;;;;\n" in first.body
    assert b"Settings.GENERAL.DirectIP = 1\n" in first.body
    await house.write(registered("6001", "192.168.1.20"))
    assert (await served(house.found)).etag == first.etag
    await house.write(registered("6001", "192.168.1.21"))
    moved = await served(house.found)
    assert button + b"192.168.1.21;101;;;;;;\n" in moved.body
    assert moved.etag != first.etag
    await house.write(monitor(1, owner="u", network_group="b"))
    assert (await served(house.found)).body == before.body.replace(b"DirectIP = 1", b"DirectIP = 0")


async def test_a_button_of_one_number_keeps_the_number_that_rings_the_app() -> None:
    house = House()
    await house.build(kind=DeviceKind.SINGLE_TENANT_DOOR_PHONE, model="R27")
    await house.write(registered("6001", "192.168.1.20"))
    assert b"SPEEDDIAL.Num01 = 101\n" in (await served(house.found)).body
    await house.write(together("s-1", "101", ("6001",), "u"))
    assert b"SPEEDDIAL.Num01 = 192.168.1.20\n" in (await served(house.found)).body


async def test_a_panel_dials_longer_than_the_longest_plan_of_its_site() -> None:
    house = House()
    await house.build()
    assert b"CALLTIMEOUT.DialOut = 60\n" in (await served(house.found)).body
    await house.write(RingPlan("s-1", "102", (Stage((), 50), Stage((), 45))))
    assert b"CALLTIMEOUT.DialOut = 105\n" in (await served(house.found)).body


async def test_a_phonebook_needs_the_devices_own_token_and_is_rendered_once() -> None:
    house = House()
    await house.build()
    asked = PhonebookFile(examples.TOKEN, examples.MAC)
    book = await house.found.find(asked)
    assert isinstance(book, File)
    assert book.content_type == b"text/xml; charset=utf-8"
    assert b'<Contact Id="1" Name="Ada Byron" Office="101" Mobile="" Other=""/>' in book.body
    assert await house.found.find(asked) is book
    await house.write(User("v", "s-1", "Bob", '"<&', "102"), SiteRoster("s-1"))
    after = await house.found.find(asked)
    assert isinstance(after, File)
    assert len(ElementTree.fromstring(after.body)) == 2
    wrong = await house.found.find(PhonebookFile("x" * 26, examples.MAC))
    unknown = await house.found.find(PhonebookFile(examples.TOKEN, MacAddress("0C1105FFFFFF")))
    assert wrong == unknown == Refused(Outcome.REFUSED, Reason.NO_PROOF)


async def test_a_change_during_the_listing_is_not_lost() -> None:
    class ChangesMeanwhile(MemoryStore):
        async def list(self, *arguments: Any, **options: Any) -> Any:
            page = await super().list(*arguments, **options)
            if not meanwhile:
                meanwhile.append(door(1, (Relay("Gate", "2"),)))
                await self.batch([Put(meanwhile[0])])
                neighbours.changed(Change(9, "Device", "x", False))
            return page

    meanwhile: list[Device] = []
    store = ChangesMeanwhile()
    await store.batch([Put(door(1, (Relay("Gate", "1"),)))])
    neighbours = SiteNeighbours(store)
    before, after = await neighbours.of("s-1"), await neighbours.of("s-1")
    assert before.door_relays("")[0].dtmf_code == "1"
    assert after.door_relays("")[0].dtmf_code == "2"
    assert await neighbours.of("s-1") is after
    neighbours.changed(Change(10, "Site", "s-1", False))
    assert await neighbours.of("s-1") is after


def test_rejected_values_name_the_key_only() -> None:
    assert str(RejectedValue("Config.A.B.Pwd", "too long")) == "Config.A.B.Pwd: too long"


async def test_a_device_checks_servers_only_once_it_has_the_present_authority() -> None:
    vault, pem = examples.vault(), b"-----BEGIN CERTIFICATE-----\n"
    records = FakeRecords()
    records.put(Site("s-1", "House", "UTC"))
    monitor = DeviceKind.INDOOR_MONITOR
    records.put(examples.sealed_device(vault, kind=monitor, model="PORTICO-SIM-MONITOR", account="", relays=()))
    found = configurations(records, vault)
    asked = AuthorityFile(TOKEN, MAC)

    async def told() -> tuple[str, str]:
        written = read_as_device((await served(found)).body).settings
        return written["Config.Settings.SECURITY.OnlyAcceptTrusted"], written["Config.Certificate.01.Url"]

    assert await told() == ("0", "")
    assert await found.find(asked) == Refused(Outcome.REFUSED, Reason.NO_SUCH_FILE)
    settings = replace(examples.SETTINGS, server_ca=pem)
    found.use_settings(settings)
    url = f"{settings.directory(TOKEN)}{MAC}.pem"
    assert await told() == ("0", url)
    file = await served(found, asked)
    assert (file.body, file.is_authority, file.is_configuration) == (pem, True, False)
    assert await found.find(AuthorityFile("a" * 26, MAC)) == Refused(Outcome.REFUSED, Reason.NO_PROOF)
    records.put(AuthorityFetched(MAC, "s-1", "00" * 32))
    assert await told() == ("0", url)
    records.put(AuthorityFetched(MAC, "s-1", file.hash))
    assert await told() == ("1", url)
