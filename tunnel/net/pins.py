"""`Pins`: the public keys of devices' own HTTPS pages: taken at the first use by an operator, and never silently another."""

import hmac
from collections.abc import Callable
from dataclasses import replace

from registry.errors import StaleVersion
from registry.records import RemoteSession
from registry.store import Put, Store
from registry.web_certificate import WebCertificate
from tunnel.errors import TunnelError
from tunnel.net.ports import VisitorObserver


class CertificateChanged(TunnelError):
    """The device's page shows another key than the one that is known."""


class Pins:
    """The records are the Store's; `wall()` reads the wall clock."""

    def __init__(self, *, store: Store, observer: VisitorObserver, wall: Callable[[], float]) -> None:
        self._store = store
        self._observer = observer
        self._wall = wall

    async def check(self, session: RemoteSession, spki: bytes) -> None:
        """Before anything of the visitor's reaches the device. Raises CertificateChanged, StoreUnavailable.

        A change is told to the observer once for each new key, not for each request that meets it.
        """
        shown = spki.hex()
        while True:
            stored = await self._store.get(WebCertificate, session.mac.text)
            if stored is None:
                record = WebCertificate(session.mac, session.site, shown, self._wall(), session.opened_by)
            elif hmac.compare_digest(stored.record.spki, shown):
                return
            elif stored.record.other == shown:
                raise CertificateChanged("another key")
            else:
                record = replace(stored.record, other=shown, other_seen=self._wall())
            try:
                await self._store.batch([Put(record, expect=0 if stored is None else stored.version)])
            except StaleVersion:
                continue  # somebody else met the device at the same moment: look again
            if stored is None:
                self._observer.certificate_pinned(session, shown)
                return
            self._observer.certificate_changed(session, stored.record.spki, shown)
            raise CertificateChanged("another key")
