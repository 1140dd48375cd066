"""Operators' lines of the scopes a device belongs to, from the read model; sealed in the registry, open only while rendering."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from autop.layers import Layer
from registry.configuration import (
    PLATFORM_SCOPE,
    AutopCommands,
    department_scope,
    device_scope,
    group_scope,
    model_scope,
    site_scope,
)
from registry.records import Device
from registry.store import Record, Stored
from registry.vault import Vault

R = TypeVar("R", bound=Record)


class Records(Protocol):
    """What is asked of the read model."""

    async def get(self, kind: type[R], key: str) -> Stored[R] | None: ...


@dataclass(frozen=True, slots=True)
class LinesChange:
    """Lines that a scope might get: what a dry run is about."""

    scope: str
    lines: tuple[str, ...] = field(repr=False)


Entered = tuple[tuple[Layer, Stored[AutopCommands]], ...]


def scopes(device: Device) -> Iterator[tuple[Layer, str]]:
    """The scopes whose lines this device gets, but for its own."""
    yield Layer.PLATFORM, PLATFORM_SCOPE
    yield Layer.MODEL, model_scope(device.model)
    if device.network_group:
        yield Layer.NETWORK_GROUP, group_scope(device.site, device.network_group)
    yield Layer.SITE_COMMANDS, site_scope(device.site)
    if device.department:
        yield Layer.DEPARTMENT_COMMANDS, department_scope(device.department)


async def entered_for(records: Records, device: Device) -> Entered:
    """What stands in these scopes. Raises StoreUnavailable."""
    found = []
    for layer, scope in scopes(device):
        stored = await records.get(AutopCommands, scope)
        if stored is not None:
            found.append((layer, stored))
    return tuple(found)


def opened(entered: Entered, vault: Vault) -> tuple[tuple[Layer, tuple[str, ...]], ...]:
    """The lines by layer, in the clear. Raises BadSeal."""
    return tuple((layer, open_lines(vault, one.record.scope, one.record.sealed_lines)) for layer, one in entered)


def changed(
    device: Device, present: tuple[tuple[Layer, tuple[str, ...]], ...], change: LinesChange
) -> tuple[tuple[Layer, tuple[str, ...]], ...]:
    """`present` as it would be after the change. The device's own lines are not here but in its record."""
    for layer, scope in scopes(device):
        if scope == change.scope:
            return (*(one for one in present if one[0] is not layer), (layer, change.lines))
    return present


def touches(device: Device, change: LinesChange) -> bool:
    """Whether the device belongs to the change's scope."""
    return change.scope == device_scope(device.mac) or any(scope == change.scope for _, scope in scopes(device))


def seal_lines(vault: Vault, scope: str, lines: tuple[str, ...]) -> bytes:
    """Lines as the registry keeps them."""
    return vault.seal_text("\n".join(lines), f"autop:{scope}")


def open_lines(vault: Vault, scope: str, sealed: bytes) -> tuple[str, ...]:
    """What `seal_lines` was given. Raises BadSeal."""
    text = vault.open_text(sealed, f"autop:{scope}")
    return tuple(text.split("\n")) if text else ()
