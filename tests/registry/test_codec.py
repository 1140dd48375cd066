"""Stored records: every class round-trips, what was ever written is read, and anything else is an UnreadableRecord."""

from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import (
    call_types,
    codec,
    commands,
    configuration,
    connector,
    enrolment,
    firmware,
    location,
    logs,
    records,
    relay_state,
    ring_plan,
    trunk,
    web_certificate,
)
from registry.codec import KINDS, MAX_BODY, SCHEMA, decode, encode, kind_name
from registry.errors import UnreadableRecord
from registry.mac import MacAddress
from registry.records import AccessMethod, Department, Device, LibraryMac, Relay, RemoteSession, Site, SiteRoster
from registry.ring_plan import MAX_STAGES, RingPlan, Stage
from registry.schedule import Window
from tests.registry.golden_records import FOLDER, SAMPLES, golden_files, read, sample

NAMES = sorted(KINDS)


def stored(fields_: Any) -> bytes:
    packed: bytes = msgpack.packb(fields_)
    return bytes((SCHEMA,)) + packed


# Every class


def test_every_record_class_is_a_kind_and_has_a_sample() -> None:
    classes = {
        item.__name__
        for module in (
            call_types,
            commands,
            configuration,
            connector,
            enrolment,
            firmware,
            logs,
            records,
            relay_state,
            ring_plan,
            location,
            trunk,
            web_certificate,
        )
        for item in vars(module).values()
        if isinstance(item, type) and item.__module__ == module.__name__ and hasattr(item, "indexes")
    }
    assert set(KINDS) == classes == {type(record).__name__ for record in SAMPLES}
    assert all(kind_name(kind) == name for name, kind in KINDS.items())


@pytest.mark.parametrize("name", NAMES)
def test_samples_leave_no_field_at_its_default(name: str) -> None:
    for part in fields(sample(name)):
        assert part.default is MISSING or getattr(sample(name), part.name) != part.default, part.name


@pytest.mark.parametrize("name", NAMES)
def test_the_newest_golden_file_is_what_is_written_now(name: str) -> None:
    newest = golden_files(name)[-1]
    assert encode(sample(name)) == read(newest), "a stored form changed: see tests/registry/golden_records.py"
    assert decode(KINDS[name], read(newest)) == sample(name)


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.hex")), ids=lambda file: file.stem)
def test_every_golden_file_is_still_read(file: Path) -> None:
    name = file.stem.rpartition("-")[0]
    assert decode(KINDS[name], read(file)).key == sample(name).key


@pytest.mark.parametrize("name", NAMES)
def test_fields_of_a_later_release_are_ignored(name: str) -> None:
    later = msgpack.unpackb(encode(sample(name))[1:]) | {"a_later_field": {"deep": [1, b"x", None]}, "zzz": 1}
    assert decode(KINDS[name], stored(later)) == sample(name)


@pytest.mark.parametrize("name", NAMES)
def test_fields_missing_from_an_earlier_release_take_their_default_and_required_ones_do_not(name: str) -> None:
    body = msgpack.unpackb(encode(sample(name))[1:])
    for part in fields(sample(name)):
        without = stored({key: value for key, value in body.items() if key != part.name})
        if part.default is MISSING:
            with pytest.raises(UnreadableRecord):
                decode(KINDS[name], without)
        else:
            assert getattr(decode(KINDS[name], without), part.name) == part.default


@pytest.mark.parametrize("name", NAMES)
def test_every_truncation_is_unreadable(name: str) -> None:
    body = encode(sample(name))
    for length in range(len(body)):
        with pytest.raises(UnreadableRecord):
            decode(KINDS[name], body[:length])
    with pytest.raises(UnreadableRecord):
        decode(KINDS[name], body + b"\xc0")


@pytest.mark.parametrize("name", NAMES)
def test_every_other_schema_byte_is_unreadable(name: str) -> None:
    body = encode(sample(name))
    for schema in set(range(256)) - {SCHEMA}:
        with pytest.raises(UnreadableRecord):
            decode(KINDS[name], bytes((schema,)) + body[1:])


@pytest.mark.parametrize("name", NAMES)
def test_every_changed_byte_gives_a_record_or_is_unreadable(name: str) -> None:
    body = encode(sample(name))
    for place in range(1, len(body)):
        for value in (0x00, 0x80, 0xC0, 0xC1, 0xC7, 0xDD, 0xDF, 0xFF, body[place] ^ 1):
            changed = body[:place] + bytes((value,)) + body[place + 1 :]
            try:
                record = decode(KINDS[name], changed)
            except UnreadableRecord:
                continue
            again = encode(record)
            assert encode(decode(KINDS[name], again)) == again


# Any record


def strategy_of(hint: Any) -> st.SearchStrategy[Any]:
    """Any value that a field with this type hint may hold."""
    plain: dict[Any, st.SearchStrategy[Any]] = {
        str: st.text(max_size=20),
        int: st.integers(-(2**63), 2**64 - 1),
        float: st.floats(allow_nan=False),
        bool: st.booleans(),
        bytes: st.binary(max_size=40),
        MacAddress: st.from_regex(r"[0-9A-F]{12}", fullmatch=True).map(MacAddress),
    }
    if hint in plain:
        return plain[hint]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(hint)
    if is_dataclass(hint):
        return strategy_of_class(hint)
    item = strategy_of(get_args(hint)[0])
    if get_origin(hint) is tuple:
        return st.lists(item, max_size=MAX_STAGES).map(tuple)
    if get_origin(hint) is frozenset:
        return st.frozensets(item)
    assert get_origin(hint) is UnionType
    assert get_args(hint)[1] is NoneType
    return st.none() | item


def strategy_of_class(class_: Any) -> st.SearchStrategy[Any]:
    hints = get_type_hints(class_)
    parts = {part.name: strategy_of(hints[part.name]) for part in fields(class_)}
    if class_ is Stage:
        parts["ring_seconds"] = st.integers(1, 300)
    if class_ is Window:
        parts |= {
            "days": st.frozensets(st.integers(0, 6), min_size=1),
            "start": st.integers(0, 1439),
            "end": st.integers(1, 1440),
        }
    return st.builds(class_, **parts)


ANY_RECORD = {name: strategy_of_class(kind) for name, kind in KINDS.items()}


@given(st.data())
def test_any_record_comes_back_equal_and_equal_records_are_equal_bytes(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(NAMES))
    record = data.draw(ANY_RECORD[name])
    body = encode(record)
    again = decode(KINDS[name], body)
    assert again == record
    assert encode(again) == body
    assert [type(getattr(again, part.name)) for part in fields(record)] == [
        type(getattr(record, part.name)) for part in fields(record)
    ]


@given(st.data())
def test_garbage_is_unreadable(data: st.DataObject) -> None:
    kind = KINDS[data.draw(st.sampled_from(NAMES))]
    with pytest.raises(UnreadableRecord):
        decode(kind, bytes((SCHEMA,)) + data.draw(st.binary(max_size=60)))


def test_sets_are_stored_in_order() -> None:
    methods = list(AccessMethod)
    device = sample("Device")
    bodies = set()
    for turn in range(len(methods)):
        relay = Relay("Door", access_methods=frozenset(methods[turn:] + methods[:turn]))
        bodies.add(
            encode(type(device)(**{part.name: getattr(device, part.name) for part in fields(device)} | {"relays": (relay,)}))
        )
    assert len(bodies) == 1


def test_an_int_in_a_float_field_is_stored_as_a_float() -> None:
    read_back = decode(Site, encode(Site("a", "A", created=5)))
    assert type(read_back.created) is float
    assert read_back == Site("a", "A", created=5)


# What cannot be written


@pytest.mark.parametrize(
    "record",
    [
        SiteRoster("s", 2**64),
        SiteRoster("s", -(2**63) - 1),
        SiteRoster("s", True),
        SiteRoster("s", 1.0),  # type: ignore[arg-type]
        SiteRoster("s", plans_due=1),  # type: ignore[arg-type]
        Site("a", "\udc80"),
        Site("a", "x" * MAX_BODY),
        Site("a", b"bytes"),  # type: ignore[arg-type]
        Site("a", None),  # type: ignore[arg-type]
        Site("a", "A", created="1"),  # type: ignore[arg-type]
        Site("a", "A", created=True),
        LibraryMac("0C1105AABBCC"),  # type: ignore[arg-type]
        Department("d", "s", "D", floors=["1"]),  # type: ignore[arg-type]
        Department("d", "s", "D", floors="12"),  # type: ignore[arg-type]
        Department("d", "s", "D", floors=(1,)),  # type: ignore[arg-type]
        RingPlan("s", "1", (None,)),  # type: ignore[arg-type]
        RingPlan("s", "1", (), on_reject="end"),  # type: ignore[arg-type]
    ],
    ids=repr,
)
def test_what_could_not_be_read_back_is_not_written(record: Any) -> None:
    with pytest.raises(ValueError):
        encode(record)


def test_the_largest_record_is_written_and_read() -> None:
    room = MAX_BODY - len(encode(Site("a", "x" * 70_000))) + 70_000
    assert len(encode(Site("a", "x" * room))) == MAX_BODY
    assert decode(Site, encode(Site("a", "x" * room))) == Site("a", "x" * room)
    with pytest.raises(ValueError):
        encode(Site("a", "x" * (room + 1)))
    with pytest.raises(UnreadableRecord):
        decode(Site, stored(msgpack.unpackb(encode(Site("a", "x"))[1:]) | {"name": "x" * (room + 1)}))


def test_a_class_that_is_no_kind_is_a_type_error() -> None:
    class Site(records.Site):
        """The same name does not make it the same class."""

    for call in (lambda: encode(Site("a", "A")), lambda: decode(Site, b"\x01\x80"), lambda: kind_name(Relay)):
        with pytest.raises(TypeError):
            call()


# What cannot be read

SITE: dict[str, Any] = {"id": "a", "name": "A"}
DEVICE: dict[str, Any] = msgpack.unpackb(encode(sample("Device"))[1:])
SESSION: dict[str, Any] = msgpack.unpackb(encode(sample("RemoteSession"))[1:])


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (Site, stored([])),
        (Site, stored(None)),
        (Site, stored("a")),
        (Site, stored([["id", "a"], ["name", "A"]])),
        (Site, stored({})),
        (Site, stored({1: 2})),
        (Site, stored({b"id": "a", b"name": "A"})),
        (Site, stored(SITE | {"name": 1})),
        (Site, stored(SITE | {"name": None})),
        (Site, stored(SITE | {"name": b"A"})),
        (Site, stored(SITE | {"name": ["A"]})),
        (Site, stored(SITE | {"log_unopened_calls": 1})),
        (Site, stored(SITE | {"created": 1})),
        (Site, stored(SITE | {"created": "0"})),
        (Site, stored(SITE | {"name": msgpack.ExtType(5, b"A")})),
        (SiteRoster, stored({"site": "s", "devices": True})),
        (SiteRoster, stored({"site": "s", "devices": 1.0})),
        (Device, stored(DEVICE | {"kind": 4})),
        (Device, stored(DEVICE | {"kind": "2"})),
        (Device, stored(DEVICE | {"kind": True})),
        (Device, stored(DEVICE | {"kind": 2.0})),
        (Device, stored(DEVICE | {"mac": "0c1105aabbcc"})),
        (Device, stored(DEVICE | {"mac": "0C1105AABBC\uff23"})),
        (Device, stored(DEVICE | {"mac": "0C1105AABBCC\n"})),
        (Device, stored(DEVICE | {"mac": 5})),
        (Device, stored(DEVICE | {"sealed_token": "text"})),
        (Device, stored(DEVICE | {"relays": {}})),
        (Device, stored(DEVICE | {"relays": [[]]})),
        (Device, stored(DEVICE | {"relays": [{"name": "Door", "access_methods": ["magic"]}]})),
        (Device, stored(DEVICE | {"relays": [{"name": "Door", "access_methods": [[]]}]})),
        (RemoteSession, stored(SESSION | {"used": "now"})),
        (RingPlan, stored({"site": "s", "number": "1", "stages": [{"targets": [], "ring_seconds": 0}]})),
        (RingPlan, stored({"site": "s", "number": "1", "stages": [{"targets": []}] * (MAX_STAGES + 1)})),
        (Site, b"\x01" + b"\x91" * 100_000),
        (Site, b"\x01" + b"\x81\xa1a" * 50_000),
        (Site, b"\x01\xdd\xff\xff\xff\xff"),
        (Site, b"\x01\xdf\xff\xff\xff\xff"),
        (Site, b"\x01\xc6\xff\xff\xff\xff"),
        (Site, b"\x01\xc7\x0c\xff" + b"\xff" * 12),
        (Site, b"\x01\x82\xa2id\xa1\xff\xa4name\xa1A"),
        (Site, b"\x01"),
        (Site, b""),
    ],
)
def test_what_is_no_record_is_unreadable_and_the_error_shows_nothing_of_it(kind: Any, body: bytes) -> None:
    with pytest.raises(UnreadableRecord) as caught:
        decode(kind, body)
    assert str(caught.value) in (f"the stored bytes are no {kind.__name__}", f"no {kind.__name__} of schema 1")
    assert caught.value.__context__ is None


def test_a_field_type_that_records_do_not_use_is_refused_at_import() -> None:
    for hint in (list[str], dict[str, str], tuple[str, int], complex, int | str, int | str | None, Any, object):
        with pytest.raises(TypeError):
            codec._codec_of(hint)
