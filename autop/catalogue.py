"""The models, one row each, and the profile of each device kind (akuvox-devices.md sections 8 and 9).

A table, never a formula: R20A, C310, X937, R28SV823 and DB01 break the rule "number = model". To add a model, add a row;
leave what no source tells at its default, so that nothing is guessed. Kinds are the ones the manual lets an installer
choose; a device record's own kind decides which profile renders it.
"""

import difflib
from collections.abc import Mapping

from autop.errors import UnknownModel
from autop.profiles.access_control import AccessControl
from autop.profiles.base import ButtonKey, Model, Profile
from autop.profiles.door_phone import DoorPhone
from autop.profiles.guard_phone import GuardPhone
from autop.profiles.indoor_monitor import IndoorMonitor
from registry.records import DeviceKind

_MULTI = DeviceKind.MULTI_TENANT_DOOR_PHONE
_SINGLE = DeviceKind.SINGLE_TENANT_DOOR_PHONE
_MONITOR = DeviceKind.INDOOR_MONITOR
_GUARD = DeviceKind.GUARD_PHONE
_ACCESS = DeviceKind.ACCESS_CONTROL

_DOOR_PHONES = DoorPhone()

PROFILES: Mapping[DeviceKind, Profile] = {
    _MULTI: _DOOR_PHONES,
    _SINGLE: _DOOR_PHONES,
    _MONITOR: IndoorMonitor(),
    _GUARD: GuardPhone(),
    _ACCESS: AccessControl(),
}


def _common(number: str) -> str:
    return f"r000000000{number}"


_ROWS = (
    # Ours: simulated devices, and any firmware that implements docs/tunnel-protocol.md.
    Model("PORTICO-SIM-DOOR", _MULTI, has_channel=True),
    Model("PORTICO-SIM-MONITOR", _MONITOR, has_channel=True, check_sync=True),
    # Door phones.
    Model("R20", _SINGLE, 20, _common("020"), ".rom"),
    Model("R20A", _SINGLE, 320, _common("020P"), ".rom"),
    Model("R20B", _SINGLE, 220),
    Model("R20K", _MULTI, 220),
    Model("R26", _SINGLE, None, _common("026P"), ".rom"),
    Model("R26V2", _SINGLE, 226, _common("226"), ".rom"),
    Model("R27", _MULTI, None, _common("027P"), ".rom", button=ButtonKey.SPEED_DIAL),
    Model("R27-OEM", _MULTI, 327, _common("327"), ".rom", button=ButtonKey.SPEED_DIAL, gmt_prefix=False),
    Model("QDB-27C-H", _MULTI, 227, button=ButtonKey.SPEED_DIAL, gmt_prefix=False),
    Model("R28", _MULTI, None, _common("028"), ".rom"),
    Model("R28SV823", _MULTI, 228, _common("028"), ".rom"),
    Model("R29", _MULTI, 29, _common("029"), ".zip"),
    Model("R29C", _MULTI, 29),
    Model("E10", _SINGLE, None, _common("110"), ".rom"),
    Model("E11", _SINGLE, None, _common("111"), ".rom"),
    Model("E12", _SINGLE),
    Model("E18C", _SINGLE, account="Account", backup_server="OUTPROXY.Server"),
    Model("X912", _MULTI, 912, _common("912"), ".rom"),
    Model("X915", _MULTI, 915, _common("915"), ".zip"),
    Model("X915V2", _MULTI, 2915),
    Model("X916", _MULTI, 916, _common("916"), ".zip"),
    Model("S532", _MULTI, dtmf_type=2),
    Model("S535", _MULTI, 535),
    Model("S539", _MULTI, 539, _common("539"), ".zip"),
    Model("DB01", _SINGLE, 201, "r0000000000201P", ".rom"),
    # Guard and desk phones: only the MAC file is known.
    Model("R50P", _GUARD, 50, check_sync=True),  # sold as SP-R50P; the source names SP-R50
    Model("R50V3", _GUARD, 150, "", ".rom"),
    Model("R67", _GUARD, 67, "", ".rom"),
    # Indoor monitors.
    Model("IT80", _MONITOR, 80, _common("080"), ".rom", check_sync=True),
    Model("IT81", _MONITOR, 81, _common("081"), ".rom", check_sync=True),
    Model("IT83", _MONITOR, 83, check_sync=True),
    Model("IT88", _MONITOR, 88, _common("088"), ".zip", check_sync=True),
    Model("C310", _MONITOR, 310, _common("062"), ".rom", check_sync=True),
    Model("C313", _MONITOR, 113, _common("113"), ".rom", check_sync=True),
    Model("C313V2", _MONITOR, 213, _common("213"), ".rom", check_sync=True),
    Model("C313V3", _MONITOR, 313, _common("313"), ".rom", check_sync=True),
    Model("C313-2V2", _MONITOR, 212, _common("212"), ".rom", check_sync=True),
    Model("C313W-LP2", _MONITOR, 311, _common("311"), ".rom", check_sync=True),
    Model("C315", _MONITOR, 115, check_sync=True),
    Model("C316", _MONITOR, 316, _common("316"), ".zip", check_sync=True),
    Model("X933", _MONITOR, 933, _common("933"), ".zip", check_sync=True),
    Model("X937", _MONITOR, 937, _common("933"), ".zip", check_sync=True),
    Model("S562", _MONITOR, 562, _common("562"), ".rom", check_sync=True),
    Model("IPH81", _MONITOR, 581, _common("581"), ".zip", check_sync=True),
    Model("PH59", _MONITOR, 259, _common("259"), ".zip", check_sync=True),
    Model("PG71", _MONITOR, 71, _common("071"), ".zip", check_sync=True),
    # Access control.
    Model("A01", _ACCESS, 101, _common("101"), ".rom"),
    Model("A03", _ACCESS, 103, _common("103"), ".rom"),
    Model("A05", _ACCESS, 105, _common("105"), ".rom"),
    Model("A05V2", _ACCESS, 205, _common("205"), ".rom"),
    Model("A06", _ACCESS, 106, _common("106"), ".rom"),
    Model("A08", _ACCESS, 108, _common("108"), ".rom"),
    Model("A092", _ACCESS, 92, _common("092"), ".rom"),
    Model("A094", _ACCESS, 92, _common("092"), ".rom"),
)

CATALOGUE: Mapping[str, Model] = {row.name: row for row in _ROWS}
COMMON_FILES: frozenset[str] = frozenset(row.common_file for row in _ROWS if row.common_file)


def model(name: str) -> Model:
    """The row of this model name, whatever its case. Raises UnknownModel with the nearest names."""
    found = CATALOGUE.get(name.upper())
    if found is None:
        raise UnknownModel(name, tuple(difflib.get_close_matches(name.upper(), CATALOGUE, n=3)))
    return found


def known_models() -> dict[str, DeviceKind]:
    """Every model name with its usual kind: what an admin API checks a device's model against."""
    return {row.name: row.kind for row in _ROWS}


def firmware_fits(row: Model, version: str) -> bool:
    """Whether firmware `version` (M.C.x.y) is for this model: its M is the row's. Never true where the row has no number."""
    return row.firmware is not None and version.startswith(f"{row.firmware}.")
