"""Records as bytes: a schema byte, then a msgpack map from field name to value.

Reading is lenient where versions of Portico differ and strict everywhere else: unknown fields are ignored and missing
ones take the dataclass default, so that a node reads what the release before and the release after it wrote; a value of
a wrong type, or a required field that is missing, is an `UnreadableRecord`. Field names are therefore as fixed as the
class names in `KINDS`, and a new field needs a default. `tests/golden/records/` pins what was ever written.

Types a field may have: str, int, float, bool, bytes, MacAddress (as text), an enum (by value), a nested dataclass,
`tuple[X, ...]`, `frozenset[X]` (sorted, so that equal records are equal bytes), and `X | None` of these.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgpack

from registry.call_types import CustomPlan
from registry.commands import CollectedLog, Command, CommandGroup
from registry.configuration import AuthorityFetched, AutopCommands, AutopRevision, DeviceFetches, FetchedFile, OneTimeAutop
from registry.connector import Connector, ConnectorSeen, DeviceAddress, SiteConnectors
from registry.enrolment import Enrolment, EnrolmentWindow, TokenRotation
from registry.errors import UnreadableRecord
from registry.firmware import DeviceUpgrade, FirmwareImage, FirmwareUpgrade
from registry.location import AorBindings, AorPush
from registry.logs import AuditEntry, CallRecord, DoorEvent
from registry.mac import MacAddress
from registry.records import (
    Account,
    ApiToken,
    Department,
    Device,
    IdempotencyKey,
    LibraryMac,
    RemoteSession,
    Site,
    SiteRoster,
    User,
)
from registry.relay_state import RelayState
from registry.ring_plan import RingPlan
from registry.store import Record
from registry.trunk import SiteLandlines, Trunk
from registry.web_certificate import WebCertificate

SCHEMA = 1
"""The first byte of every stored record: a msgpack map by field name follows."""
MAX_BODY = 262_144
"""The largest record in bytes."""

KINDS: dict[str, type[Any]] = {
    "Account": Account,
    "AorBindings": AorBindings,
    "AorPush": AorPush,
    "ApiToken": ApiToken,
    "AuditEntry": AuditEntry,
    "AuthorityFetched": AuthorityFetched,
    "AutopCommands": AutopCommands,
    "AutopRevision": AutopRevision,
    "CallRecord": CallRecord,
    "CollectedLog": CollectedLog,
    "Command": Command,
    "CommandGroup": CommandGroup,
    "Connector": Connector,
    "ConnectorSeen": ConnectorSeen,
    "CustomPlan": CustomPlan,
    "Department": Department,
    "Device": Device,
    "DeviceAddress": DeviceAddress,
    "DeviceFetches": DeviceFetches,
    "DeviceUpgrade": DeviceUpgrade,
    "DoorEvent": DoorEvent,
    "Enrolment": Enrolment,
    "EnrolmentWindow": EnrolmentWindow,
    "FetchedFile": FetchedFile,
    "FirmwareImage": FirmwareImage,
    "FirmwareUpgrade": FirmwareUpgrade,
    "IdempotencyKey": IdempotencyKey,
    "LibraryMac": LibraryMac,
    "OneTimeAutop": OneTimeAutop,
    "RelayState": RelayState,
    "RemoteSession": RemoteSession,
    "RingPlan": RingPlan,
    "Site": Site,
    "SiteConnectors": SiteConnectors,
    "SiteLandlines": SiteLandlines,
    "SiteRoster": SiteRoster,
    "TokenRotation": TokenRotation,
    "Trunk": Trunk,
    "User": User,
    "WebCertificate": WebCertificate,
}
"""Every record class a store holds, under its stored name. A class that is not here cannot be written."""

R = TypeVar("R", bound=Record)

_Encode = Callable[[Any], Any]
_Decode = Callable[[Any], Any]
_Codec = tuple[_Encode, _Decode]


class _Misfit(ValueError):
    """A decoded value that is not what the field holds."""


@dataclass(frozen=True, slots=True)
class _FieldCodec:
    name: str
    encode: _Encode
    decode: _Decode
    required: bool


def kind_name(kind: type[Any]) -> str:
    """The stored name of a record class. Raises TypeError for a class that is not in KINDS."""
    if KINDS.get(kind.__name__) is not kind:
        raise TypeError(f"{kind.__name__} is no record class a store holds; see KINDS in registry/codec.py")
    return kind.__name__


def encode(record: Record) -> bytes:
    """The stored bytes of a record; equal records give equal bytes.

    Raises ValueError for what cannot be stored: over MAX_BODY bytes, integers over 64 bits, text that UTF-8 cannot spell,
    and a field that holds another type than it declares, for that could be written but never read.
    """
    pack, _ = _RECORDS[kind_name(type(record))]
    try:
        body: bytes = bytes((SCHEMA,)) + msgpack.packb(pack(record))
    except OverflowError as error:
        raise ValueError(f"{type(record).__name__} holds an integer of more than 64 bits") from error
    if len(body) > MAX_BODY:
        raise ValueError(f"a stored record has at most {MAX_BODY} bytes; this {type(record).__name__} has {len(body)}")
    return body


def decode(kind: type[R], body: bytes) -> R:
    """The record that `body` holds. Raises UnreadableRecord, which names the class and never the content."""
    _, unpack = _RECORDS[kind_name(kind)]
    if not 1 < len(body) <= MAX_BODY or body[0] != SCHEMA:
        raise UnreadableRecord(f"no {kind.__name__} of schema {SCHEMA}")
    try:
        record: R = unpack(msgpack.unpackb(memoryview(body)[1:], strict_map_key=True))
    except (ValueError, TypeError, RecursionError):
        pass  # The error may repeat what the record holds, so UnreadableRecord is raised outside and does not carry it.
    else:
        return record
    raise UnreadableRecord(f"the stored bytes are no {kind.__name__}")


def _kept(type_: type[Any]) -> _Encode:
    def check(value: Any) -> Any:
        if not isinstance(value, type_):
            raise _Misfit(f"not {type_.__name__}")
        return value

    return check


def _exactly(type_: type[Any]) -> _Decode:
    def check(value: Any) -> Any:
        # `type is` and not isinstance: True is no int here.
        if type(value) is not type_:
            raise _Misfit(f"not {type_.__name__}")
        return value

    return check


def _encode_int(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _Misfit("not int")
    return int(value)


def _encode_float(value: Any) -> float:
    # A float field may hold an int in Python's typing; stored, it is a float always.
    if not isinstance(value, float | int) or isinstance(value, bool):
        raise _Misfit("not float")
    return float(value)


def _encode_mac(value: Any) -> str:
    if not isinstance(value, MacAddress):
        raise _Misfit("not MacAddress")
    return value.text


def _decode_mac(value: Any) -> MacAddress:
    if type(value) is not str:
        raise _Misfit("not str")
    return MacAddress(value)


_is_list = _exactly(list)
_is_map = _exactly(dict)


_PLAIN: dict[Any, _Codec] = {
    str: (_kept(str), _exactly(str)),
    bool: (_kept(bool), _exactly(bool)),
    bytes: (_kept(bytes), _exactly(bytes)),
    int: (_encode_int, _exactly(int)),
    float: (_encode_float, _exactly(float)),
    MacAddress: (_encode_mac, _decode_mac),
}


def _codec_of(hint: Any) -> _Codec:
    """How a field of type `hint` is written and read. Raises TypeError for a type that records do not use."""
    if hint in _PLAIN:
        return _PLAIN[hint]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum_codec(hint)
    if isinstance(hint, type) and is_dataclass(hint):
        return _dataclass_codec(hint)
    arguments = get_args(hint)
    if get_origin(hint) is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return _tuple_codec(arguments[0])
    if get_origin(hint) is frozenset:
        return _frozenset_codec(arguments[0])
    if get_origin(hint) in (UnionType, Union) and len(arguments) == 2 and NoneType in arguments:
        return _optional_codec(next(argument for argument in arguments if argument is not NoneType))
    raise TypeError(f"a record field cannot be {hint}")


def _enum_codec(enum: type[Enum]) -> _Codec:
    by_value = {member.value: member for member in enum}
    (value_type,) = {type(value) for value in by_value}
    check = _exactly(value_type)

    def decode_member(value: Any) -> Enum:
        member = by_value.get(check(value))
        if member is None:
            raise _Misfit(f"no member of {enum.__name__}")
        return member

    is_member = _kept(enum)
    return lambda member: is_member(member).value, decode_member


def _tuple_codec(item: Any) -> _Codec:
    encode_item, decode_item = _codec_of(item)

    def decode_items(value: Any) -> tuple[Any, ...]:
        return tuple([decode_item(element) for element in _is_list(value)])

    is_tuple = _kept(tuple)
    return lambda items: [encode_item(element) for element in is_tuple(items)], decode_items


def _frozenset_codec(item: Any) -> _Codec:
    encode_item, decode_item = _codec_of(item)

    def decode_items(value: Any) -> frozenset[Any]:
        return frozenset([decode_item(element) for element in _is_list(value)])

    is_set = _kept(frozenset)
    return lambda items: sorted([encode_item(element) for element in is_set(items)]), decode_items


def _optional_codec(item: Any) -> _Codec:
    encode_item, decode_item = _codec_of(item)
    return (
        lambda value: None if value is None else encode_item(value),
        lambda value: None if value is None else decode_item(value),
    )


def _dataclass_codec(class_: type[Any]) -> _Codec:
    parts = tuple(_field_codec(part, hint) for part, hint in _field_hints(class_))
    is_record = _kept(class_)

    def encode_fields(record: Any) -> dict[str, Any]:
        is_record(record)
        return {part.name: part.encode(getattr(record, part.name)) for part in parts}

    def decode_fields(value: Any) -> Any:
        stored: Mapping[str, Any] = _is_map(value)
        arguments: dict[str, Any] = {}
        for part in parts:
            if part.name in stored:
                arguments[part.name] = part.decode(stored[part.name])
            elif part.required:
                raise _Misfit(f"no {part.name}")
        return class_(**arguments)

    return encode_fields, decode_fields


def _field_hints(class_: type[Any]) -> list[tuple[Field[Any], Any]]:
    hints = get_type_hints(class_)
    return [(part, hints[part.name]) for part in fields(class_)]


def _field_codec(part: Field[Any], hint: Any) -> _FieldCodec:
    encode_value, decode_value = _codec_of(hint)
    required = part.default is MISSING and part.default_factory is MISSING
    return _FieldCodec(part.name, encode_value, decode_value, required)


_RECORDS: dict[str, _Codec] = {name: _dataclass_codec(kind) for name, kind in KINDS.items()}
