"""What a device says of itself, asked now over its site's connector: `/devices/{mac}/live`, `/devices/{mac}/configuration/held`.

Everything else the API shows is inferred from what devices fetch and register; this is their own word, over their local HTTP API.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field

from admin_api.calls import Call, CallOf, parse_mac
from admin_api.devices import find_device
from admin_api.permissions import Permission
from admin_api.problems import Problem, documented, not_found, shown
from admin_api.routing import needs, router
from autop.cfg_format import is_secret, masked
from autop.errors import AutopError
from registry.errors import BadSeal
from registry.mac import MacAddress

routes = router()
KEYS_AT_ONCE = 64
"""Keys of one question (docs/tunnel-protocol.md section 11)."""
SECONDS = 25.0
_PROBLEMS = ("malformed-mac", "not-found", "device-refused", "device-unreachable", "device-silent")


class LiveView(BaseModel):
    """A device, as it describes itself."""

    mac: str
    way: str = Field(description="How it was asked: `connector` (or `channel`, once a firmware answers there).")
    model: str
    firmware: str
    hardware: str
    accounts: dict[str, str] = Field(description="The state of each SIP account in the device's own words; `2` is registered.")


class HeldLine(BaseModel):
    """A setting that the device holds otherwise than it should."""

    key: str
    wanted: str
    held: str


class HeldView(BaseModel):
    """The device's configuration beside the one it would fetch now."""

    mac: str
    way: str
    etag: str = Field(description="Of the configuration it is compared with.")
    kept: int = Field(description="Settings that it holds as they should be.")
    differing: list[HeldLine]
    unproven: list[str] = Field(description="Secrets, which devices show scrambled: nobody can compare them.")
    unknown: list[str] = Field(description="Keys that the device does not have: spellings of other firmware, mostly.")


@routes.get("/devices/{mac}/live", tags=["devices"], responses=documented(*_PROBLEMS))
@needs(Permission.DEVICES_READ)
async def get_live(call: CallOf, mac: str) -> LiveView:
    """Ask the device for its model, versions and registrations."""
    device = (await find_device(call, parse_mac(mac))).record
    way, said = await _ask(call, device.mac, "status", {})
    accounts = said.get("accounts")
    return LiveView(
        mac=device.mac.text,
        way=way,
        **{name: _text(said.get(name)) for name in ("model", "firmware", "hardware")},
        accounts={_text(key): _text(value) for key, value in accounts.items()} if isinstance(accounts, dict) else {},
    )


@routes.get("/devices/{mac}/configuration/held", tags=["configurations"], responses=documented(*_PROBLEMS, "not-renderable"))
@needs(Permission.DEVICES_READ)
async def get_held(call: CallOf, mac: str) -> HeldView:
    """Read the device's configuration back and compare it with the one it would fetch now. Secrets are masked."""
    device = (await find_device(call, parse_mac(mac))).record
    try:
        preview = await call.ports.configurations.preview(device.mac)
    except (AutopError, BadSeal) as error:
        raise Problem("not-renderable", f"{device.mac}: {error}.") from None
    if preview is None:
        raise not_found("device", mac)
    wanted = {line.key: line.value for line in preview.lines}
    way, held = "", dict[str, str]()
    try:
        async with asyncio.timeout(SECONDS):
            for start in range(0, len(wanted), KEYS_AT_ONCE):
                keys = list(wanted)[start : start + KEYS_AT_ONCE]
                way, said = await _ask(call, device.mac, "config-get", {"keys": keys})
                values = said.get("values")
                held |= {key: _text(values[key]) for key in keys if key in values} if isinstance(values, dict) else {}
    except TimeoutError:
        raise Problem("device-silent") from None
    unlike = [key for key in held if held[key] != wanted[key]]
    unproven = [key for key in unlike if is_secret(key) and held[key]]
    differing = [
        HeldLine(key=key, wanted=masked(key, wanted[key]), held=masked(key, held[key])) for key in unlike if key not in unproven
    ]
    return HeldView(
        mac=device.mac.text,
        way=way,
        etag=preview.file.hash,
        kept=len(held) - len(unlike),
        differing=differing,
        unproven=unproven,
        unknown=[key for key in wanted if key not in held],
    )


async def _ask(call: Call, mac: MacAddress, name: str, body: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Raises Problems `device-unreachable`, `device-refused`, `device-silent`."""
    try:
        answer = await call.ports.devices.ask(mac, name, body)
    except TimeoutError:
        raise Problem("device-silent") from None
    if answer is None:
        raise Problem("device-unreachable")
    if not answer.ok:
        words = [_text(answer.body.get(key)) for key in ("error", "said")]
        raise Problem("device-refused", f"Over the {answer.way}: {shown(': '.join(filter(None, words)))}.")
    return answer.way, answer.body


def _text(value: object) -> str:
    """A device's text, fit to be shown."""
    return value[:128] if isinstance(value, str) and value.isprintable() else ""
