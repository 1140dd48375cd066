"""The bodies of `/autop-commands` and of a device's configuration."""

from typing import Annotated

from pydantic import BaseModel, Field

from admin_api.autop_lines import DROPPED, AutopLines, DroppedLine
from admin_api.models import Body, OptionalName, Timestamp, Whole

LINES = "Config.<Group>.<SECTION>.<Item> = value; # begins a comment. Secret values are shown as ********, which keeps them."


class CommandsBody(Body):
    """Autop commands of one scope."""

    lines: Annotated[AutopLines, Field(description=LINES)]


class CommandsView(BaseModel):
    """Autop commands as they are in force."""

    level: str
    of: str
    group: str
    lines: list[str] = Field(description=LINES)
    dropped: list[DroppedLine] = Field(default=[], description=DROPPED)


class RevisionView(BaseModel):
    """The lines a scope had from a time on."""

    revision: int
    at: Timestamp
    by: str
    lines: list[str]


class RollbackBody(Body):
    """Back to an earlier revision."""

    revision: Annotated[Whole, Field(ge=1)]


class OneTimeBody(Body):
    """Lines that every device of the scope gets exactly once, whatever it fetched before."""

    lines: Annotated[AutopLines, Field(min_length=1, description=LINES)]


class OneTimeView(BaseModel):
    """One-Time Autop as it was ordered."""

    id: str
    devices: int = Field(description="How many devices it waits for.")
    lines: list[str]
    dropped: list[DroppedLine] = Field(default=[], description=DROPPED)


class WaitingView(BaseModel):
    """One-Time Autop that waits for one device."""

    mac: str
    orders: list["OrderView"]


class OrderView(BaseModel):
    """One order of it."""

    id: str
    at: Timestamp
    by: str
    under_way: bool = Field(description="It was sent; no complete fetch of these bytes is known yet.")
    lines: list[str]


class DryRunBody(Body):
    """Lines that a scope might get."""

    lines: Annotated[AutopLines, Field(description=LINES)]
    site: Annotated[OptionalName, Field(description="The site to try it on; needed where the scope is of no site.")] = ""


class LineChange(BaseModel):
    """One line of a file that differs. `before` or `after` null: the line is not there."""

    key: str
    before: str | None
    after: str | None


class DeviceChange(BaseModel):
    """What would change on one device."""

    mac: str
    changes: list[LineChange]
    error: str = Field("", description="Why this device cannot be given a file; empty if it can.")


class DryRunView(BaseModel):
    """What a change would do. Nothing was changed."""

    devices: int = Field(description="Devices of the scope at the site.")
    changed: int = Field(description="Devices whose file would be another one.")
    failed: int = Field(description="Devices that could not be given a file.")
    items: list[DeviceChange] = Field(description="The first 100 that would change or fail.")
    dropped: list[DroppedLine] = Field(default=[], description=DROPPED)


class ComposedLine(BaseModel):
    """One line of a configuration with the layer it came from."""

    key: str
    value: str = Field(description="Masked if secret.")
    layer: str
    over: list[str] = Field(description="Layers that it was taken over from, in their order.")


class FetchView(BaseModel):
    """One version that the device fetched."""

    etag: str = Field(description="SHA-256 of the exact bytes, hexadecimal.")
    first: Timestamp
    last: Timestamp
    address: str
    transport: str = Field(description='"http" (also over TLS) or "tftp".')
    times: int
    confirmed: str | None = Field(description="When it last said that it has these bytes; null if it never did.")


class ConfigurationView(BaseModel):
    """What a device would fetch now, and what is known of what it has."""

    mac: str
    etag: str = Field(description="SHA-256 of the exact bytes, hexadecimal.")
    size: int
    standing: str = Field(description="never-fetched, pending, fetched, applied (inferred) or drift.")
    one_time: bool = Field(description="One-Time Autop is part of it.")
    under_way: bool = Field(description="A One-Time file was sent and is not known to be complete; until then it is sent again.")
    lines: list[ComposedLine]
    fetched: FetchView | None = Field(description="What it fetched last.")
    drift: str | None = Field(description="The version it said it holds, where that is another one than it fetched last.")
    difference: list[LineChange] | None = Field(description="From what it fetched last to this; null where that is not known.")


class FetchedFileView(FetchView):
    """One version with its lines, as the device got them, secrets masked. `lines` null: its bytes were too many to be kept."""

    mac: str
    lines: list[str] | None
