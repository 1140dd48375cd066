"""The layers a configuration is made of, from general to particular, and the one function that lays them over each other.

A later layer wins key by key; within a layer the operator's line wins over ours. Every line keeps the layer it came from, so that
an operator sees why a device is told what it is told.
"""

import re
from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

from autop.cfg_format import Settings
from autop.profiles.base import Line
from registry.records import DeviceKind


class Layer(IntEnum):
    """In the order in which they are laid over each other (issue 5, point 1)."""

    PLATFORM = 0
    MODEL = 1
    SITE = 2
    NETWORK_GROUP = 3
    DEVICE = 4
    SITE_COMMANDS = 5
    DEPARTMENT_COMMANDS = 6
    DEVICE_COMMANDS = 7
    ONE_TIME = 8

    @property
    def label(self) -> str:
        """As the API spells it."""
        return self.name.lower().replace("_", "-")


class Composed(NamedTuple):
    """One line of a file: key, value, the layer the value came from, and the layers it was taken over from, in their order.

    A tuple, because a file has eighty of them and a dataclass costs four times as much to make.
    """

    key: str
    value: str
    layer: Layer
    over: tuple[Layer, ...] = ()

    def __repr__(self) -> str:
        return f"Composed({self.key}, {self.layer.label})"  # never the value: it may be a secret


_LAYER_OF = tuple(
    (re.compile(rf"Config\.(?:{pattern})", re.ASCII), layer)
    for layer, pattern in (
        (Layer.PLATFORM, r"Account\d*\.(?:SIP\.(?:Server|Port)\d*|OUTPROXY\.Server|REG\.Timeout2?)"),
        (Layer.PLATFORM, r"Settings\.SNTP\.(?:Enable|NTPServer\d)"),
        (Layer.PLATFORM, r"Settings\.LOGLEVEL\.Remote(?:Syslog|Server|ServerPort)"),
        (Layer.PLATFORM, r"Autoprovision\.(?:MODE\.Mode|PNP\.Enable|SCHEDULE\.DayOfWeek)"),
        (Layer.PLATFORM, r"DoorSetting\.CLOUDSERVER\.RpsEnable"),
        (Layer.PLATFORM, r"Settings\.SECURITY\.OnlyAcceptTrusted"),
        (Layer.PLATFORM, r"Portico\.CHANNEL\.(?:Enable|Server|Port|CaSha256)"),
        (Layer.PLATFORM, r"RemotePhoneBook\.REMOTE_PHONE_BOOK0\.DisplayName"),
        (Layer.MODEL, r"Account\d*\.(?:NAT\..*|DTMF\.Type|Audio\d+\..*)"),
        (Layer.MODEL, r"DoorSetting\.RTSP\.(?:Enable|Auth.*|User[Nn]ame)"),
        (Layer.SITE, r"Settings\.SNTP\.(?:TimeZone|Name)"),
        (Layer.SITE, r"Settings\.CALLTIMEOUT\.DialOut"),
        (Layer.SITE, r"DoorSetting\.RELAY\.(?:DTMFCode\d?|TalkingColDisplayName\d)"),
        (Layer.NETWORK_GROUP, r"Settings\.GENERAL\.DirectIP"),
    )
)
_SPEED_DIAL = re.compile(r"Config\.Features\.SPEEDDIAL\..*", re.ASCII)
_known: dict[tuple[DeviceKind, str], Layer] = {}
_MOST_KNOWN = 4096


def layer_of(kind: DeviceKind, key: str) -> Layer:
    """What a line of a profile follows from. Speed dials are the site's on guard phones, a door phone's its button."""
    found = _known.get((kind, key))
    if found is None:
        found = _look_up(kind, key)
        if len(_known) < _MOST_KNOWN:
            _known[kind, key] = found
    return found


def _look_up(kind: DeviceKind, key: str) -> Layer:
    if kind is DeviceKind.GUARD_PHONE and _SPEED_DIAL.fullmatch(key):
        return Layer.SITE
    return next((layer for pattern, layer in _LAYER_OF if pattern.fullmatch(key)), Layer.DEVICE)


def lay(kind: DeviceKind, profile: Iterable[Line], operator: Iterable[tuple[Layer, Settings]]) -> tuple[Composed, ...]:
    """A file's lines: those of `profile` in their order, then what operators add, layer by layer.

    Keys are the same whatever their case, and the first spelling and place stay: an override changes one line of the file and
    nothing else. Pure: the same layers give the same lines, in whatever order `operator` names them.
    """
    lines = {key.lower(): Composed(key, value, layer_of(kind, key)) for key, value in profile}
    for layer, settings in sorted(operator, key=lambda one: one[0]):
        for key, value in settings.items():
            folded = key.lower()
            present = lines.get(folded)
            if present is None:
                lines[folded] = Composed(key, value, layer)
            elif layer >= present.layer:
                over = (*present.over, present.layer)
                lines[folded] = Composed(present.key, value, layer, over)
    return tuple(lines.values())
