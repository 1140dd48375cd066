"""`Proofs`: whether a request comes from the device whose file it asks for. Who does not prove it learns nothing.

An unknown MAC walks the same path as a known one with a wrong token: two look-ups, two sealed tokens opened, two
comparisons. A device that proves itself costs one opening, unless its token is being rotated.
"""

import hmac
from dataclasses import dataclass

from autop.identify import Asked, FirmwareFile, MacFile, PhonebookFile
from autop.net.operator_lines import Records
from registry.enrolment import TokenRotation
from registry.records import Device
from registry.store import Stored
from registry.vault import Vault

_DECOY = "autop-decoy"


@dataclass(frozen=True, slots=True)
class Presented:
    """What came with a request beside its target. `peer`: the address it came from, as text; empty where nobody knows."""

    peer: str = ""


NOTHING = Presented()


@dataclass(frozen=True, slots=True)
class Proven:
    """The device that a request proved to come from; while its token is being rotated, how, and whether it used the new one."""

    device: Stored[Device]
    rotation: Stored[TokenRotation] | None = None
    by_new: bool = False


class Proofs:
    """Compares what requests present with what the registry holds."""

    def __init__(self, records: Records, vault: Vault) -> None:
        self._records = records
        self._vault = vault
        self._decoy = vault.seal(b"\0" * 32, _DECOY)

    async def proven(self, asked: Asked | None, presented: Presented) -> Proven | None:
        """The device whose token, present or to be, is in the target. Every other case does the same work and returns None.

        Raises BadSeal (the record is damaged) and RegistryError.
        """
        mac, token = ("", b"")
        if isinstance(asked, MacFile | PhonebookFile | FirmwareFile):
            mac, token = asked.mac.text, asked.token.encode()
        # In this order: the end of a rotation moves its token into the device and then removes it, so one of the two is seen.
        rotation = await self._records.get(TokenRotation, mac)
        device = await self._records.get(Device, mac)
        if device is None:
            rotation = None
        if rotation is not None and self._is(rotation.record.sealed_token, mac, token) and device is not None:
            return Proven(device, rotation, by_new=True)
        if self._is(device.record.sealed_token if device is not None else b"", mac, token) and device is not None:
            return Proven(device, rotation)
        if rotation is None:
            self._is(b"", mac, token)
        return None

    def _is(self, sealed: bytes, mac: str, token: bytes) -> bool:
        """Whether `token` is the sealed one; an empty seal stands for the decoy, which nothing is."""
        if not sealed:
            hmac.compare_digest(self._vault.open(self._decoy, _DECOY), token)
            return False
        return hmac.compare_digest(self._vault.open(sealed, f"device-token:{mac}"), token)
