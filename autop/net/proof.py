"""`Proofs`: whether a request comes from the device whose file it asks for. Who does not prove it learns nothing.

The proof is the token in the target, or, for a target without one, a login (`Logins`) or a client certificate. An unknown MAC
walks the same path as a known one with a wrong token or password: two look-ups, two sealed tokens opened, two comparisons. A
device that proves itself by its token costs one opening, unless that is being rotated.
"""

import hashlib
import hmac
from dataclasses import dataclass, field

from autop.digest import Verdict
from autop.identify import Asked, AuthorityFile, FirmwareFile, MacFile, OwnFile, PhonebookFile
from autop.net.login import Logins
from autop.net.operator_lines import Records
from autop.observer import Reason
from registry.enrolment import TokenRotation
from registry.mac import MacAddress
from registry.records import Device
from registry.store import Stored
from registry.vault import Vault

_DECOY = "autop-decoy"


@dataclass(frozen=True, slots=True)
class Presented:
    """What came with a request beside its target's meaning. `peer`: the address it came from, as text; empty where nobody knows.

    `authorizations`: the values of Authorization. `certified`: the MACs of a verified client certificate. `is_throttled`: the
    address is one that guesses (`Sweeps`).
    """

    peer: str = ""
    method: bytes = b""
    target: bytes = b""
    authorizations: tuple[bytes, ...] = field(default=(), repr=False)
    certified: frozenset[MacAddress] = frozenset()
    is_tls: bool = False
    is_throttled: bool = False


NOTHING = Presented()


@dataclass(frozen=True, slots=True)
class Proven:
    """The device that a request proved to come from; while its token is being rotated, how, and whether it used the new one."""

    device: Stored[Device]
    rotation: Stored[TokenRotation] | None = None
    by_new: bool = False


class Proofs:
    """Compares what requests present with what the registry holds. `logins` None: nobody is asked for a password."""

    def __init__(self, records: Records, vault: Vault, logins: Logins | None = None) -> None:
        self._records = records
        self._vault = vault
        self._logins = logins
        self._decoy = vault.seal(b"\0" * 32, _DECOY)
        self._nobodys = hashlib.sha256(self._decoy).hexdigest().encode()
        """The password of devices that do not exist: nobody can know it, as the decoy's nonce is random."""

    async def proven(self, asked: Asked | None, presented: Presented) -> Proven | Reason:
        """The device that has proved itself, by its token, present or to be. In every other case why not, after the same work.

        Raises BadSeal (the record is damaged) and RegistryError.
        """
        mac, token = ("", b"")
        if isinstance(asked, MacFile | PhonebookFile | AuthorityFile | FirmwareFile):
            mac, token = asked.mac.text, asked.token.encode()
        elif isinstance(asked, OwnFile):
            mac = asked.mac.text
        # In this order: the end of a rotation moves its token into the device and then removes it, so one of the two is seen.
        rotation = await self._records.get(TokenRotation, mac)
        device = await self._records.get(Device, mac)
        if device is None:
            rotation = None
        if isinstance(asked, OwnFile):
            why_not = self._own(asked, presented, device, rotation)
            return why_not or (Proven(device, rotation) if device is not None else Reason.NO_PROOF)
        if rotation is not None and self._is(rotation.record.sealed_token, mac, token) and device is not None:
            return Proven(device, rotation, by_new=True)
        if self._is(device.record.sealed_token if device is not None else b"", mac, token) and device is not None:
            return Proven(device, rotation)
        if rotation is None:
            self._is(b"", mac, token)
        return Reason.NO_PROOF if mac else Reason.NO_SUCH_FILE

    def challenges(self, presented: Presented, *, stale: bool) -> tuple[bytes, ...]:
        """What a refusal asks for where a target has no token; none: it is refused as everything else is."""
        return self._logins.challenges(is_tls=presented.is_tls, stale=stale) if self._logins is not None else ()

    def _own(
        self, asked: OwnFile, presented: Presented, device: Stored[Device] | None, rotation: Stored[TokenRotation] | None
    ) -> Reason:
        """Why the device is not proven; NONE: it is, if it exists. A login with the new token of a rotation ends nothing: an
        installer may have typed it, and the device goes on with the URL in its configuration."""
        passwords = (
            self._password(device.record.sealed_token if device is not None else b"", asked.mac),
            self._password(rotation.record.sealed_token if rotation is not None else b"", asked.mac),
        )
        if asked.mac in presented.certified:
            return Reason.NONE
        if self._logins is None:
            return Reason.NO_PROOF
        if not presented.authorizations:
            return Reason.NO_LOGIN
        verdict = self._logins.verdict(
            presented.authorizations,
            is_tls=presented.is_tls,
            mac=asked.mac,
            method=presented.method,
            target=presented.target,
            passwords=passwords,
        )
        return {Verdict.RIGHT: Reason.NONE, Verdict.STALE: Reason.STALE_LOGIN}.get(verdict, Reason.NO_PROOF)

    def _password(self, sealed: bytes, mac: MacAddress) -> bytes:
        """The sealed token; for none, what nobody knows."""
        if not sealed:
            self._vault.open(self._decoy, _DECOY)
            return self._nobodys
        return self._vault.open(sealed, f"device-token:{mac}")

    def _is(self, sealed: bytes, mac: str, token: bytes) -> bool:
        """Whether `token` is the sealed one; an empty seal stands for the decoy, which nothing is."""
        if not sealed:
            hmac.compare_digest(self._vault.open(self._decoy, _DECOY), token)
            return False
        return hmac.compare_digest(self._vault.open(sealed, f"device-token:{mac}"), token)
