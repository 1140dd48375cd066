"""`KnownFiles`: files that were found lately, by the exact target that was asked for: a device that polls costs one look-up.

A target holds the token, so whoever names it has given the proof that `Configurations` asked for. What a file is made of is
watched through the change feed: a change of anything that could be in a file, or could end a proof, ends what is known. So an
answer from here is what `find` would give, as long as whoever composes the node hands every change to `changed`.
"""

from weakref import WeakValueDictionary

from autop.identify import Asked, MacFile
from autop.net.configurations import File
from registry.configuration import AuthorityFetched, DeviceFetches, FetchedFile, OneTimeAutop
from registry.connector import Connector, ConnectorSeen, DeviceAddress
from registry.enrolment import TokenRotation
from registry.firmware import DeviceUpgrade
from registry.location import AorBindings
from registry.logs import AuditEntry, CallRecord, DoorEvent
from registry.records import ApiToken, IdempotencyKey, RemoteSession
from registry.store import Change

MIN_TOKEN = 16
"""Characters of a token; what is asked for with less proof is never remembered."""

_OF_ONE_DEVICE = {Kind.__name__ for Kind in (AuthorityFetched, OneTimeAutop, DeviceUpgrade, TokenRotation)}
"""Kinds that touch the file of one device, whose MAC their key names (alone, or behind a slash)."""
_IN_NO_FILE = {
    Kind.__name__
    for Kind in (
        ApiToken,
        AorBindings,  # a file that has the address of a binding is not `lasting`
        AuditEntry,
        CallRecord,
        Connector,  # that a site has one is said by SiteConnectors
        ConnectorSeen,
        DeviceAddress,
        DeviceFetches,
        DoorEvent,
        FetchedFile,
        IdempotencyKey,
        RemoteSession,
    )
}


class KnownFiles:
    """Bounded by the cache of `Configurations`: what that forgets is forgotten here. One target for each device."""

    def __init__(self) -> None:
        self._files: WeakValueDictionary[bytes, File] = WeakValueDictionary()
        self._targets: dict[str, bytes] = {}
        self.changes = 0
        """Rises whenever something is forgotten."""

    def get(self, target: bytes) -> File | None:
        """The file of this target, if nothing has changed since it was found."""
        return self._files.get(target)

    def put(self, target: bytes, asked: Asked | None, file: File, changes: int) -> None:
        """`file` was found for `target`; `changes` had this value before it was looked for."""
        if changes != self.changes or not file.lasting or not isinstance(asked, MacFile) or len(asked.token) < MIN_TOKEN:
            return
        self._drop(file.mac.text)
        self._targets[file.mac.text] = target
        self._files[target] = file

    def changed(self, change: Change) -> None:
        """Forget what this change may have made untrue."""
        if change.kind in _IN_NO_FILE:
            return
        self.changes += 1
        if change.kind in _OF_ONE_DEVICE:
            self._drop(change.key.rpartition("/")[2])
        else:
            self._clear()

    def clear(self) -> None:
        """Forget everything, as after a gap in the change feed."""
        self.changes += 1
        self._clear()

    def _drop(self, mac: str) -> None:
        target = self._targets.pop(mac, None)
        if target is not None:
            self._files.pop(target, None)

    def _clear(self) -> None:
        self._files.clear()
        self._targets.clear()
