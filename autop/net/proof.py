"""`Proofs`: whether a request comes from the device whose file it asks for. Who does not prove it learns nothing.

An unknown MAC walks the same path as a known one with a wrong token: one look-up, one sealed token opened, one comparison.
"""

import hmac
from dataclasses import dataclass

from autop.identify import Asked, FirmwareFile, MacFile, PhonebookFile
from autop.net.operator_lines import Records
from registry.records import Device
from registry.store import Stored
from registry.vault import Vault

_DECOY = "autop-decoy"


@dataclass(frozen=True, slots=True)
class Presented:
    """What came with a request beside its target. `peer`: the address it came from, as text; empty where nobody knows."""

    peer: str = ""


NOTHING = Presented()


class Proofs:
    """Compares what requests present with what the registry holds."""

    def __init__(self, records: Records, vault: Vault) -> None:
        self._records = records
        self._vault = vault
        self._decoy = vault.seal(b"\0" * 26, _DECOY)

    async def proven(self, asked: Asked | None, presented: Presented) -> Stored[Device] | None:
        """The device whose token is in the target. Every other case does the same work and returns None.

        Raises BadSeal (the record is damaged) and RegistryError.
        """
        mac, token = ("", "")
        if isinstance(asked, MacFile | PhonebookFile | FirmwareFile):
            mac, token = asked.mac.text, asked.token
        device = await self._records.get(Device, mac)
        if device is None:
            expected = self._vault.open(self._decoy, _DECOY)
        else:
            expected = self._vault.open(device.record.sealed_token, f"device-token:{mac}")
        right = hmac.compare_digest(expected, token.encode())
        return device if right and device is not None else None
