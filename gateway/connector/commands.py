"""`Commands`: what the gateway asks for (CALL) as requests of the devices' HTTP API, and their answers as RESULT."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from gateway.connector.device_api import DeviceApi
from gateway.connector.device_list import DeviceList, Listed
from gateway.connector.refusal import Refusal, Why
from registry.errors import MalformedMac
from registry.mac import MacAddress
from tunnel.messages import Result
from tunnel.net.agent import CallTarget

OPEN_SECONDS = 2.5
"""For a door: the gateway waits 3 s."""
COMMAND_SECONDS = 10.0
CONFIG_SECONDS = 20.0
MAX_KEYS = 64
MAX_KEY = 128
MAX_VALUE = 128
MAX_TEXT = 128
MAX_ACCOUNTS = 16
FACTORY_HOLD = 3
"""Seconds a relay is held where the gateway does not say."""
_SECRET_ENDS = ("pwd", "password", "passwd", "userpasswd")

Command = Callable[[Listed, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


class Commands:
    """See the module."""

    def __init__(self, devices: DeviceList, api: DeviceApi) -> None:
        self._devices = devices
        self._api = api

    def calls(self) -> dict[str, CallTarget]:
        """By the name of the CALL."""
        return {
            "open-relay": self._named(self._open_relay),
            "reboot": self._named(self._reboot),
            "reset": self._named(self._reset),
            "status": self._named(self._status),
            "config-get": self._named(self._config_get),
            "config-set": self._named(self._config_set),
        }

    def _named(self, command: Command) -> CallTarget:
        async def call(body: Mapping[str, Any]) -> Result | Mapping[str, Any]:
            try:
                device = body.get("device")
                return await command(self._devices.get(device if isinstance(device, str) else ""), body)
            except NotKept as lost:
                return Result(b"", False, {"error": Why.NOT_KEPT.word, **lost.body})
            except Refusal as refusal:
                said = {"said": refusal.said} if refusal.said else {}
                return Result(b"", False, {"error": refusal.why.word, **said})

        return call

    async def _open_relay(self, device: Listed, body: Mapping[str, Any]) -> Mapping[str, Any]:
        relay, hold = _whole(body.get("relay"), 1, 8), _whole(body.get("hold", FACTORY_HOLD), 1, 3600)
        order = {"mode": 0, "num": relay, "level": 0, "delay": hold}
        await self._api.ask(device, "relay", "trig", order, OPEN_SECONDS)
        return {"opened": True}

    async def _reboot(self, device: Listed, _body: Mapping[str, Any]) -> Mapping[str, Any]:
        await self._api.ask(device, "system", "reboot", {}, COMMAND_SECONDS)
        return {}

    async def _reset(self, device: Listed, _body: Mapping[str, Any]) -> Mapping[str, Any]:
        await self._api.ask(device, "config", "reset_factory", {}, COMMAND_SECONDS)
        return {}

    async def _status(self, device: Listed, _body: Mapping[str, Any]) -> Mapping[str, Any]:
        info = await self._api.ask(device, "system", "info", {}, COMMAND_SECONDS)
        said = info.get("Status")
        about = said if isinstance(said, dict) else info
        mac = _text(about.get("MAC"))
        if mac and not _is_mac(mac, device.mac):
            raise Refusal(Why.WRONG_DEVICE)
        state = await self._api.ask(device, "system", "status", {}, COMMAND_SECONDS)
        accounts = {name: _text(one.get("Status")) for name, one in {**info, **state}.items() if _is_account(name, one)}
        return {
            "model": _text(about.get("Model")),
            "firmware": _text(about.get("FirmwareVersion")),
            "hardware": _text(about.get("HardwareVersion")),
            "mac": mac,
            "accounts": dict(list(accounts.items())[:MAX_ACCOUNTS]),
        }

    async def _config_get(self, device: Listed, body: Mapping[str, Any]) -> Mapping[str, Any]:
        keys = body.get("keys")
        if not isinstance(keys, list) or not 1 <= len(keys) <= MAX_KEYS or not all(_is_key(key) for key in keys):
            raise Refusal(Why.MALFORMED)
        return {"values": await self._read(device, keys)}

    async def _config_set(self, device: Listed, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Write, read back. What was lost is written again, each key alone: some firmware drops keys that come together."""
        values = body.get("values")
        if not isinstance(values, dict) or not 1 <= len(values) <= MAX_KEYS:
            raise Refusal(Why.MALFORMED)
        if not all(_is_key(key) and isinstance(one, str) and len(one) <= MAX_VALUE for key, one in values.items()):
            raise Refusal(Why.MALFORMED)
        await self._api.ask(device, "config", "set", values, CONFIG_SECONDS)
        lost, unproven = _compared(values, await self._read(device, values))
        if lost and len(values) > 1:
            for key in lost:
                await self._api.ask(device, "config", "set", {key: values[key]}, CONFIG_SECONDS)
            lost, unproven = _compared(values, await self._read(device, values))
        outcome = {"kept": len(values) - len(lost) - len(unproven), "unproven": unproven, "lost": lost}
        if lost:
            raise NotKept(outcome)
        return outcome

    async def _read(self, device: Listed, keys: Mapping[str, str] | list[str]) -> dict[str, str]:
        """What the device says these keys hold, in the caller's spelling. Devices answer with their whole configuration."""
        said = await self._api.ask(device, "config", "get", {}, CONFIG_SECONDS)
        folded = {key.lower(): value for key, value in said.items() if isinstance(value, str | int)}
        return {key: str(folded[key.lower()])[:MAX_VALUE] for key in keys if key.lower() in folded}


class NotKept(Exception):
    """The device took a configuration and does not hold it."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        super().__init__("not kept")
        self.body = body


def _compared(wanted: Mapping[str, str], held: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The keys that did not stick, and those that nobody can compare: passwords, which devices show scrambled."""
    differing = [key for key, value in wanted.items() if held.get(key) != value]
    unproven = [key for key in differing if _is_secret(key) and held.get(key)]
    return [key for key in differing if key not in unproven], unproven


def _is_secret(key: str) -> bool:
    return key.rpartition(".")[2].lower().endswith(_SECRET_ENDS)


def _is_key(key: object) -> bool:
    return isinstance(key, str) and 0 < len(key) <= MAX_KEY and key.isascii() and key.isprintable()


def _is_account(name: str, said: object) -> bool:
    return isinstance(said, dict) and len(name) <= MAX_TEXT and name.startswith("Account") and "Status" in said


def _is_mac(text: str, mac: MacAddress) -> bool:
    try:
        return MacAddress.parse(text) == mac
    except MalformedMac:
        return False


def _text(value: object) -> str:
    """A text of the device as it may be passed on: printable, short."""
    return value[:MAX_TEXT] if isinstance(value, str) and value.isprintable() else ""


def _whole(value: object, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise Refusal(Why.MALFORMED)
    return value
