"""What SIP asks about door devices, answered from memory: `sip.directory.DoorDirectory` over the read model and the catalogue."""

from autop.catalogue import CATALOGUE
from registry.read_model import MISSING, ReadModel
from registry.records import AccessMethod, Device
from sip.directory import UNKNOWN, Absent, DoorFacts
from sip.dtmf import RELAY


class DoorBook:
    """Peeks for the SIP core. What memory does not know, `MemoryDirectory.fetch` loads."""

    def __init__(self, read_model: ReadModel) -> None:
        self._read_model = read_model

    def door(self, username: str) -> DoorFacts | Absent | None:
        stored = self._read_model.peek_unique(Device, "account", username)
        if stored is MISSING:
            return UNKNOWN
        if stored is None or not stored.record.kind.is_door:
            return None
        return door_facts(stored.record)


def door_facts(device: Device) -> DoorFacts:
    """Codes and their access, and the form of INFO that the device's model takes."""
    row = CATALOGUE.get(device.model.upper())
    codes = tuple((one.dtmf_code, AccessMethod.DTMF in one.access_methods) for one in device.relays if one.dtmf_code)
    return DoorFacts(codes, row.dtmf_info.encode("ascii") if row is not None else RELAY)
