"""A site's devices and their facts as the autop tests use them, and a small registry that serves them."""

import itertools
from dataclasses import dataclass, field, replace
from typing import Any

from autop.observer import Outcome, Reason
from autop.render import Facts, Zone
from autop.settings import AutopSettings, Contact
from registry.mac import MacAddress
from registry.records import Account, AccountOwner, Device, DeviceKind, Relay, Site, Transmission
from registry.store import Stored
from registry.vault import Vault

SETTINGS = AutopSettings(
    sip_host="sip.gate.example",
    autop_url="https://autop.gate.example:8443/autop",
    registration_seconds=300,
    sip_udp_port=5060,
    sip_tcp_port=5060,
    sip_tls_port=5061,
    channel_host="channel.gate.example",
    channel_port=7443,
    channel_ca_sha256="ab" * 32,
    ntp_servers=("ntp.gate.example", "ntp2.gate.example"),
    backup_sip_host="backup.gate.example",
    syslog_host="log.gate.example",
    syslog_port=5514,
)
BARE_SETTINGS = AutopSettings(sip_host="192.0.2.1", autop_url="https://192.0.2.1:8443/autop", registration_seconds=1800)

TOKEN = "mfrggzdfmztwq2lknnwg23tpoa"
MAC = MacAddress("0C1105AABBCC")
RELAYS = (Relay("Front door", "1", 5), Relay("Garage", "2", 10), Relay("Side gate", "3", 3))

MODELS = {
    DeviceKind.MULTI_TENANT_DOOR_PHONE: "PORTICO-SIM-DOOR",
    DeviceKind.SINGLE_TENANT_DOOR_PHONE: "R27",
    DeviceKind.INDOOR_MONITOR: "PORTICO-SIM-MONITOR",
    DeviceKind.GUARD_PHONE: "R50V3",
    DeviceKind.ACCESS_CONTROL: "A08",
}


def vault() -> Vault:
    """A vault whose nonces are counted, so that a test repeats exactly."""
    counter = itertools.count(1)
    return Vault(bytes(range(32)), lambda size: next(counter).to_bytes(size))


def device(kind: DeviceKind = DeviceKind.MULTI_TENANT_DOOR_PHONE, **changes: Any) -> Device:
    """A device of this kind with every optional field set."""
    full = Device(
        mac=MAC,
        id="d-1",
        site="s-1",
        kind=kind,
        model=MODELS[kind],
        name="Main entrance",
        account="400000001",
        sealed_token=b"",
        sealed_channel_key=b"",
        sealed_web_password=b"",
        transmission=Transmission.TCP,
        relays=RELAYS if kind.is_door else (),
        button_number="101",
        autop_commands=("Config.Settings.LOGLEVEL.Level = 3", "Config.Account1.REG.Timeout = 120"),
    )
    return replace(full, **changes)


def blank_device(kind: DeviceKind) -> Device:
    """A device of this kind with every optional field blank."""
    return device(kind, name="", account="", transmission=Transmission.UDP, relays=(), button_number="", autop_commands=())


def account(**changes: Any) -> Account:
    """The account of `device()`."""
    full = Account("400000001", "s-1", AccountOwner.DEVICE, "d-1", "Main entrance", b"")
    return replace(full, **changes)


def facts(**changes: Any) -> Facts:
    """Facts with every field set."""
    full = Facts(
        settings=SETTINGS,
        token=TOKEN,
        account=account(),
        sip_password="k3Jq9sXw7TzPb2VnM5cRdLhA",
        web_password="wE7rT2yU9iO4pA1s",
        channel_key=bytes(range(32)),
        zone=Zone(180, "Moscow"),
        door_relays=RELAYS,
        contacts=(Contact("Main entrance", "400000001"), Contact("Flat 101", "400000002")),
        http_api=True,
    )
    return replace(full, **changes)


BLANK_FACTS = Facts(settings=BARE_SETTINGS, token=TOKEN)


class FakeRecords:
    """Records by kind and key, each with a version that rises with every write; counts the reads."""

    def __init__(self) -> None:
        self._held: dict[tuple[type[Any], str], Stored[Any]] = {}
        self._version = 0
        self.reads = 0

    def put(self, record: Any) -> None:
        self._version += 1
        self._held[type(record), record.key] = Stored(record, self._version)

    async def get(self, kind: type[Any], key: str) -> Any:
        self.reads += 1
        return self._held.get((kind, key))


def sealed_device(secrets: Vault, mac: MacAddress = MAC, token: str = TOKEN, **changes: Any) -> Device:
    """`device()` with sealed secrets, as the admin API would write it."""
    return device(
        mac=mac,
        sealed_token=secrets.seal_text(token, f"device-token:{mac}"),
        sealed_channel_key=secrets.seal(bytes(range(32)), f"device-channel:{mac}"),
        sealed_web_password=secrets.seal_text("wE7rT2yU9iO4pA1s", f"device-web:{mac}"),
        **changes,
    )


def small_site(secrets: Vault) -> FakeRecords:
    """A registry with one site, one door phone and its account."""
    records = FakeRecords()
    records.put(Site("s-1", "House", "Europe/Moscow"))
    records.put(sealed_device(secrets))
    records.put(account(sealed_password=secrets.seal_text("k3Jq9sXw7TzPb2VnM5cRdLhA", "account:400000001")))
    return records


@dataclass
class Recorder:
    """An observer that keeps what it was told."""

    answers: list[tuple[Outcome, Reason]] = field(default_factory=list)
    fetches: list[tuple[str, str, str, float]] = field(default_factory=list)

    def answered(self, outcome: Outcome, reason: Reason, peer: str = "") -> None:
        self.answers.append((outcome, reason))

    def fetched(self, mac: MacAddress, etag: str, peer: str, wall: float) -> None:
        self.fetches.append((mac.text, etag, peer, wall))
