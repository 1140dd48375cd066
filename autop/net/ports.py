"""What an autop listener is given by the node: where files come from, who hears of fetches, and the places of strangers."""

from typing import Protocol

from autop.identify import Asked
from autop.net.configurations import File, Refused
from autop.net.image import OpenImage
from autop.net.proof import Presented


class FileSource(Protocol):
    """Where files come from (`Configurations`)."""

    async def find(self, asked: Asked | None, presented: Presented) -> File | OpenImage | Refused: ...


class FetchSink(Protocol):
    """Told of every fetch of a configuration that ended well. Called on the event loop; must not block."""

    def fetched(self, file: File, peer: str, wall: float, *, complete: bool, held: str) -> None:
        """`complete`: the peer's TCP has acknowledged every byte of the file; else the client said (304) that it has them.
        `held`: the one entity tag, without quotes, that it named and that is not the file's; empty for none."""
        ...


class Seat(Protocol):
    """The place that a stranger holds at the node's acceptor."""

    def release(self) -> None:
        """The peer is known, or gone. Further calls do nothing."""
        ...
