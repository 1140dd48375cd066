"""What TFTP serves: configurations and phonebooks, found as over HTTP (`identify`, `Configurations`), and counted alike.

Names are `autop/<token>/<MAC>.cfg`, with or without a leading slash, or without `autop/`: a device appends the name to
whatever directory it was given. Firmware is not served: it is far beyond what one block at a time is good for, and is on HTTPS.
"""

from collections.abc import Callable
from functools import partial
from typing import Protocol

from autop.identify import Asked, FirmwareFile, OwnFile, identify
from autop.net.configurations import File, Refused
from autop.net.image import OpenImage, UpgradeEar
from autop.net.proof import Presented
from autop.net.tftp import TftpFile
from autop.observer import AutopObserver, Outcome, Reason

_ROOT = b"/autop/"
TRANSPORT = "tftp"


class FileSource(Protocol):
    """Where files come from (`Configurations`)."""

    async def find(self, asked: Asked | None, presented: Presented) -> File | OpenImage | Refused: ...


class FetchSink(Protocol):
    """Told of every fetch of a configuration that is complete (`FetchBook`). Must not block."""

    def fetched(self, file: File, peer: str, wall: float, *, complete: bool, held: str, transport: str) -> None: ...


class TftpConfigurations:
    """`TftpFiles` of a node. `clock_wall` gives the seconds since the epoch; `ear` is told what devices say of
    firmware. `fetches` None: no history."""

    def __init__(
        self,
        *,
        configurations: FileSource,
        observer: AutopObserver,
        clock_wall: Callable[[], float],
        ear: UpgradeEar | None = None,
        fetches: FetchSink | None = None,
    ) -> None:
        self._configurations = configurations
        self._observer = observer
        self._clock_wall = clock_wall
        self._ear = ear
        self._fetches = fetches

    async def find(self, name: bytes, source: str) -> TftpFile | None:
        """The file that a device proved to be its own by the token in its name."""
        found = await self._configurations.find(asked_for(name), Presented(source))
        if isinstance(found, File):
            self._observer.answered(Outcome.SERVED, Reason.NONE)
            return TftpFile(found.body, partial(self._complete, found, source))
        if isinstance(found, Refused):
            self._observer.answered(found.outcome, found.reason, source)
        else:
            found.close()  # an image, which `asked_for` never asks for
        return None

    def _complete(self, file: File, source: str) -> None:
        """The device has acknowledged every octet."""
        if not file.is_configuration:
            return
        wall = self._clock_wall()
        self._observer.fetched(file.mac, file.hash, source, wall)
        if file.live is not None and self._ear is not None:
            self._ear.configuration_fetched(file.mac, file.live, "")  # TFTP has no User-Agent
        if self._fetches is not None:
            self._fetches.fetched(file, source, wall, complete=True, held="", transport=TRANSPORT)


def asked_for(name: bytes) -> Asked | None:
    """What a file name asks for; None for everything that is not served."""
    bare = name.removeprefix(b"/")
    asked = identify((b"/" if bare.startswith(b"autop/") else _ROOT) + bare)
    return None if isinstance(asked, FirmwareFile | OwnFile) else asked  # nobody logs in over TFTP
