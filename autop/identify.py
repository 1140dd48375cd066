"""Whom a request is about: a request target in, a MAC file or common file with its token out, or one refusal.

The grammar is what devices ask for, and nothing else exists: `/autop/<token>/<file>`, where the file is a MAC in any
spelling or a common file's name, `.cfg` in any case; a MAC with `.xml`, the device's phonebook; or `<MAC>-<image>.rom` (or
`.zip`), its firmware; and `/autop/<MAC>.cfg` without a token, for devices that prove themselves otherwise. A token that begins
with `enrol-` is an enrolment token and leads to bootstrap configurations only. Every other target, whatever its trick, is the
same `None`: the caller cannot even learn why, so neither can the client (reliability-and-security.md S20, S22).
"""

import re
from dataclasses import dataclass, field

from autop.catalogue import COMMON_FILES
from autop.enrolment import PREFIX
from registry.errors import MalformedMac
from registry.mac import MacAddress

# Every part is bounded, so the whole is (281 bytes), and a long target fails at the first part that is too long.
# Two slashes before the file are allowed: a device whose URL ends in one may append another before the name.
_TARGET = re.compile(rb"(?:(?i:https?)://[A-Za-z0-9.:\[\]-]{1,120})?/autop/(?:([A-Za-z0-9_-]{16,64})/)?/?([A-Za-z0-9.:%-]{1,80})")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_IMAGE = re.compile(rb"([0-9A-F]{12})-([0-9a-f]{24})(\.(?:rom|zip))", re.IGNORECASE)
_FILE = re.compile(rb"([A-Za-z0-9:. -]{12,17})\.(cfg|xml|pem)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class MacFile:
    """A device's own configuration, asked for under `token`."""

    token: str = field(repr=False)
    mac: MacAddress


@dataclass(frozen=True, slots=True)
class OwnFile:
    """A device's own configuration, asked for without a token: the proof is a login or a client certificate."""

    mac: MacAddress


@dataclass(frozen=True, slots=True)
class CommonFile:
    """A model's common file, asked for under `token`. `name` is without `.cfg`, in the catalogue's case."""

    token: str = field(repr=False)
    name: str


@dataclass(frozen=True, slots=True)
class PhonebookFile:
    """A device's contacts, asked for under `token`."""

    token: str = field(repr=False)
    mac: MacAddress


@dataclass(frozen=True, slots=True)
class AuthorityFile:
    """The certificate authority that a device is to check servers by, asked for under its `token`."""

    token: str = field(repr=False)
    mac: MacAddress


@dataclass(frozen=True, slots=True)
class FirmwareFile:
    """An image for a device, asked for under `token`. `extension` has its point."""

    token: str = field(repr=False)
    mac: MacAddress
    image: str
    extension: str


@dataclass(frozen=True, slots=True)
class BootstrapFile:
    """A device's bootstrap configuration, asked for under an enrolment token."""

    token: str = field(repr=False)
    mac: MacAddress


Asked = MacFile | OwnFile | CommonFile | PhonebookFile | AuthorityFile | FirmwareFile | BootstrapFile

_COMMON_BY_NAME = {name.lower(): name for name in COMMON_FILES}


def identify(target: bytes) -> Asked | None:
    """What a request target asks for, or None for everything that is not exactly a file of ours."""
    found = _TARGET.fullmatch(target)
    if found is None:
        return None
    file = _FILE.fullmatch(_unescaped(found[2]))
    if found[1] is None:
        return _own(file)
    token = found[1].decode("ascii")
    if file is None:
        image = _IMAGE.fullmatch(found[2])
        if image is None or token.startswith(PREFIX):
            return None
        return _firmware(token, *(part.decode("ascii") for part in image.groups()))
    name = file[1].decode("ascii")
    is_config = file[2].lower() == b"cfg"
    common = _COMMON_BY_NAME.get(name.lower())
    if common is not None:
        return CommonFile(token, common) if is_config else None
    try:
        mac = MacAddress.parse(name)
    except MalformedMac:
        return None
    if token.startswith(PREFIX):
        return BootstrapFile(token, mac) if is_config else None
    if file[2].lower() == b"pem":
        return AuthorityFile(token, mac)
    return MacFile(token, mac) if is_config else PhonebookFile(token, mac)


def _own(file: re.Match[bytes] | None) -> OwnFile | None:
    if file is None or file[2].lower() != b"cfg":
        return None
    try:
        return OwnFile(MacAddress.parse(file[1].decode("ascii")))
    except MalformedMac:
        return None


def _firmware(token: str, mac: str, image: str, extension: str) -> FirmwareFile:
    return FirmwareFile(token, MacAddress.parse(mac), image.lower(), extension.lower())


def _unescaped(name: bytes) -> bytes:
    # Once only: what is still escaped afterwards fails the grammar, so double encoding leads nowhere.
    return _ESCAPE.sub(lambda escape: bytes((int(escape[1], 16),)), name)
