"""What SIP is told of door devices, and the openings the gateway has seen coming."""

from dataclasses import replace

from gateway.directory import MemoryDirectory
from gateway.door_openings import CALLS, DoorOpenings, relay_of
from gateway.doors import DoorBook, door_facts
from registry.mac import MacAddress
from registry.memory import MemoryStore
from registry.read_model import ReadModel
from registry.records import AccessMethod, DeviceKind, Relay
from registry.store import Change, Put
from registry.vault import Vault
from sip.directory import UNKNOWN, DoorFacts, DoorQuestion
from tests.gateway.test_logbook import DOOR as PLAIN

CARD = frozenset((AccessMethod.CARD,))
DOOR = replace(PLAIN, relays=(Relay("Door", "1"), Relay("Garage", "21"), Relay("Roof", "5", access_methods=CARD), Relay("Lift")))


async def test_a_door_is_loaded_once_and_forgotten_when_it_changes() -> None:
    store = MemoryStore()
    model = ReadModel(store)
    directory = MemoryDirectory(model, Vault(b"k" * 32, lambda n: b"r" * n), lambda: 0.0)
    book = DoorBook(model)
    await store.batch([Put(DOOR)])
    assert book.door(DOOR.account) is UNKNOWN
    await directory.fetch(DoorQuestion(DOOR.account))
    assert book.door(DOOR.account) == DoorFacts((("1", True), ("21", True), ("5", False)), b"application/dtmf-relay")
    (version,) = await store.batch([Put(replace(DOOR, relays=()))])
    model.apply(Change(version, "Device", DOOR.key, False))
    await directory.fetch(DoorQuestion(DOOR.account))
    assert book.door(DOOR.account) == DoorFacts((), b"application/dtmf-relay")
    await directory.fetch(DoorQuestion("nobody"))
    assert book.door("nobody") is None


async def test_only_door_devices_are_doors() -> None:
    store = MemoryStore()
    model = ReadModel(store)
    await store.batch([Put(replace(DOOR, kind=DeviceKind.INDOOR_MONITOR))])
    await model.get_unique(type(DOOR), "account", DOOR.account)
    assert DoorBook(model).door(DOOR.account) is None


def test_a_model_the_catalogue_does_not_know_takes_what_most_take() -> None:
    assert door_facts(replace(DOOR, model="UNHEARD-OF")).info_form == b"application/dtmf-relay"


def test_the_longest_code_wins_and_forbidden_ones_never_do() -> None:
    assert [relay_of(DOOR, keys) for keys in ("1", "21", "321", "2211", "2", "5", "")] == [1, 2, 2, 2, None, None, None]


def test_openings_are_bounded_and_forgotten() -> None:
    openings = DoorOpenings(lambda account: DOOR)
    for number in range(CALLS + 50):
        openings.digit(f"c{number}", "app", DOOR.account, "1", float(number) / 1000)
    assert openings.claim(DOOR.mac, 1, "c10", 20.0) is None
    newest = openings.claim(DOOR.mac, 1, "", 20.0)
    assert newest is not None
    assert newest.call_id == f"c{CALLS + 49}"
    openings.digit("late", "app", DOOR.account, "1", 10_000.0)
    assert openings.claim(DOOR.mac, 1, f"c{CALLS}", 10_000.0) is None
    assert openings.claim(MacAddress("0C1105000099"), 1, "", 10_000.0) is None


def test_keys_of_an_unknown_door_and_parts_of_codes_open_nothing() -> None:
    openings = DoorOpenings(lambda account: DOOR if account == DOOR.account else None)
    openings.digit("c1", "app", "nobody", "1", 0.0)
    openings.digit("c1", "app", DOOR.account, "2", 0.0)
    openings.digit("c1", "another", DOOR.account, "5", 0.0)
    assert all(openings.claim(DOOR.mac, relay, "", 1.0) is None for relay in range(1, 5))
