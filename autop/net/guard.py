"""`Guard`: stands before the files and watches for sweeps. Guesses from a throttled source are answered late and enrol nobody.

What is late depends on the source and on the target's form only, never on whether a MAC exists. The refusal of a common file is
never late: honest devices ask for it before their own, and nobody gets one. Late is also the challenge that a login begins with:
a device that logs in beside a scanner waits that second, once, as the configuration it then gets names a URL with a token.
"""

from collections.abc import Callable
from dataclasses import replace

from autop.identify import Asked, AuthorityFile, BootstrapFile, CommonFile, FirmwareFile, MacFile, OwnFile, PhonebookFile
from autop.net.configurations import Configurations, File, Refused, SentAway
from autop.net.image import OpenImage
from autop.net.proof import NOTHING, Presented
from autop.observer import Reason
from autop.sweep import Sweep, Sweeps
from registry.mac import MacAddress

Own = MacFile | OwnFile | PhonebookFile | AuthorityFile | FirmwareFile | BootstrapFile
"""What is asked for in a device's name."""
Found = File | OpenImage | Refused
_MISSES = (
    Reason.NO_PROOF,
    Reason.NO_LOGIN,
    Reason.ENROL_UNKNOWN,
    Reason.ENROL_NO_PROOF,
    Reason.ENROL_DONE,
    Reason.ENROL_SECOND_ADDRESS,
)
"""Not ENROL_OVER: a building whose window has ended goes on asking under a token that was right."""


class Guard:
    """A source of files for listeners, like the `Configurations` behind it."""

    def __init__(
        self, configurations: Configurations, sweeps: Sweeps, *, told: Callable[[Sweep], None], clock: Callable[[], float]
    ) -> None:
        """`told` hears of each source that becomes throttled; `clock` never goes back."""
        self._files = configurations
        self._sweeps = sweeps
        self._told = told
        self._clock = clock

    async def find(self, asked: Asked | None, presented: Presented = NOTHING) -> Found:
        """What `Configurations.find` says, and when it is to be said."""
        now, peer = self._clock(), presented.peer
        throttled = self._sweeps.is_throttled(peer, now)
        found = await self._files.find(asked, replace(presented, is_throttled=True) if throttled else presented)
        if isinstance(asked, CommonFile):
            return found
        if asked is not None:
            self._count(asked, presented, found, now)
        if throttled and isinstance(found, Refused) and not isinstance(found, SentAway):
            return replace(found, is_late=True)
        return found

    def served_known(self, mac: MacAddress, peer: str) -> None:
        """A device got its file without `find`: it counts as proven at this address all the same."""
        self._proven(mac.text, peer, self._clock())

    def _proven(self, mac: str, peer: str, now: float) -> None:
        self._sweeps.proven(peer, hash(mac), now, hash((mac, "", ())))

    def _count(self, asked: Own, presented: Presented, found: Found, now: float) -> None:
        mac = asked.mac.text
        if not isinstance(found, Refused) or isinstance(found, SentAway) or found.reason is Reason.THROTTLED:
            self._proven(mac, presented.peer, now)
        elif found.reason in _MISSES:
            tried = mac, "" if isinstance(asked, OwnFile) else asked.token, presented.authorizations
            for sweep in self._sweeps.missed(presented.peer, hash(tried), now):
                self._told(sweep)
