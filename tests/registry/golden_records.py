"""One full record of every class, and the golden files that pin how it was ever stored.

`tests/golden/records/<Class>-<n>.hex` is written once and never edited. After a change of a class add the next number:

    python -m tests.registry.golden_records     writes a new file for each class whose stored bytes are not pinned yet
"""

import textwrap
from pathlib import Path
from typing import Any

from registry.call_types import CustomPlan, Rule, StageRule, Who
from registry.codec import KINDS, encode
from registry.commands import (
    CollectedLog,
    Command,
    CommandGroup,
    CommandName,
    CommandState,
    CommandWay,
    Priority,
)
from registry.configuration import (
    AuthorityFetched,
    AutopCommands,
    AutopRevision,
    DeviceFetches,
    Fetch,
    FetchedFile,
    OneTimeAutop,
    OneTimeOrder,
)
from registry.connector import Connector, ConnectorSeen, DeviceAddress, SiteConnectors, SiteKey
from registry.enrolment import Enrolment, EnrolmentWindow, TokenRotation
from registry.firmware import (
    DeviceUpgrade,
    DeviceUpgradeState,
    FirmwareImage,
    FirmwareUpgrade,
    ResetStep,
    UpgradeState,
)
from registry.location import AorBindings, AorPush, Binding, PushParameters
from registry.logs import AuditEntry, CallEvent, CallRecord, CallResult, CallStep, DoorEvent
from registry.mac import MacAddress
from registry.records import (
    AccessMethod,
    Account,
    AccountOwner,
    ApiToken,
    AppLink,
    ContactDisplay,
    Department,
    Device,
    DeviceKind,
    IdempotencyKey,
    LibraryMac,
    Relay,
    RemoteSession,
    Role,
    Site,
    SiteRoster,
    Transmission,
    User,
)
from registry.relay_state import RelayState, SwitchedRelay
from registry.ring_plan import OnReject, RingPlan, Stage, Target, TargetKind
from registry.schedule import Schedule, Window
from registry.trunk import SiteLandlines, Trunk, TrunkGateway, TrunkTransport
from registry.web_certificate import WebCertificate

FOLDER = Path(__file__).parents[1] / "golden" / "records"
MAC = MacAddress("0C1105AABBCC")
EVENINGS = Schedule((Window(frozenset((0, 4)), 18 * 60, 22 * 60 + 30), Window(frozenset((6,)), 0, 1440)), True)

SAMPLES: tuple[Any, ...] = (
    Account(
        "door-1",
        "site-1",
        AccountOwner.DEVICE,
        "device-1",
        "Haustür",
        b"\x01sealed",
        enabled=False,
        schedule=EVENINGS,
        links=(AppLink("site-2", "user-9"),),
    ),
    AorBindings(
        "sip:door-1@portico.example",
        "node-1",
        (
            Binding(
                contact="<sip:door-1@192.0.2.7:5060;transport=udp>",
                flow="udp:203.0.113.1:5060:198.51.100.9:40112",
                call_id="abc@192.0.2.7",
                cseq=4_294_967_295,
                expires=1_700_000_000.25,
                q=500,
                instance_id="<urn:uuid:00000000-0000-1000-8000-0C1105AABBCC>",
                reg_id=1,
                path=("<sip:edge.example;lr>",),
                user_agent="Akuvox R29",
            ),
            Binding("<sip:app@192.0.2.8>", "tcp:1", "def", 1, 2.0, gruu_since=1),
        ),
    ),
    AorPush(
        "app-1",
        (PushParameters("fcm", b"\x01prid", "project-1", "<urn:uuid:1>"), PushParameters("apns", b"\x01other")),
    ),
    ApiToken("token-1", "ab" * 32, "Property office", Role.PROPERTY_MANAGER, ("site-1", "site-2"), 1.5, 1_800_000_000.0, True),
    AuditEntry("0001700000000-00000001", 1_700_000_000.0, "token-1", "device.create", "0C1105AABBCC", "site-1", "by PUT"),
    AutopCommands("network-group/site-1/Haus A", "site-1", b"\x01lines"),
    AutopRevision("site/site-1", 7, 1_700_000_000.0, "token-1", b"\x01lines"),
    CallRecord(
        id="0001700000000-00000002",
        site="site-1",
        caller="door-1",
        dialled="101",
        started=1_700_000_000.125,
        rang=("monitor-1", "app-1"),
        answered_by="monitor-1",
        ring_seconds=3.5,
        talk_seconds=42.0,
        result=CallResult.ANSWERED,
        ended_by="door-1",
        status=200,
        call_id="abc@192.0.2.7",
        woken=("app-1",),
        missed=("app-2",),
        trace=(CallStep(0.0, CallEvent.PUSH, "app-1"), CallStep(0.5, CallEvent.PUSH_REFUSED, "app-1", "dead-token")),
    ),
    CollectedLog("018bcfe568" * 3 + "00", b"\x01sealed"),
    Command(
        id="018bcfe568" * 3 + "00",
        mac=MAC,
        site="site-1",
        name=CommandName.OPEN_RELAY,
        created_by="token-1",
        created=1_700_000_000.0,
        deadline=1_700_000_030.0,
        since=1_700_000_001.0,
        not_before=1_700_000_000.5,
        priority=Priority.EMERGENCY,
        group="group-1",
        upgrade="upgrade-1/0C1105000001",
        relay=2,
        on=True,
        transmission="tls",
        state=CommandState.EXECUTED,
        attempts=3,
        way=CommandWay.CHANNEL,
        node="node-2",
        result="opened",
    ),
    CommandGroup("group-1", "site-1", CommandName.LOCKDOWN, "token-1", 1_700_000_000.0, 1_700_000_300.0, 40, True, 2, True),
    Connector(
        "abcdefghij234567",
        "site-1",
        "Cellar",
        (SiteKey(1, b"key", 1_700_000_000.0), SiteKey(2, b"\x00\xff", 1_700_000_100.0)),
        1_700_000_000.0,
        1_700_000_200.5,
    ),
    ConnectorSeen("abcdefghij234567", "site-1", 1_700_000_000.5, "192.0.2.7", True),
    CustomPlan(
        "user-1",
        "site-1",
        (
            StageRule((Rule(Who.MONITORS), Rule(Who.ACCOUNT, "guard-1")), 25),
            StageRule((Rule(Who.LANDLINE, "+4930123456"),)),
        ),
        OnReject.END,
    ),
    Department("department-1", "site-1", "Wing B", "200", ("1", "2")),
    Device(
        mac=MAC,
        id="device-1",
        site="site-1",
        kind=DeviceKind.ACCESS_CONTROL,
        model="A08",
        name="Tür Süd",
        account="door-1",
        sealed_token=b"\x00\xff",
        sealed_channel_key=b"key",
        sealed_web_password=b"password",
        department="department-1",
        network_group="group-1",
        owner="user-1",
        transmission=Transmission.TLS,
        relays=(
            Relay("Door", "#", 5, frozenset((AccessMethod.QR, AccessMethod.CARD, AccessMethod.FACE))),
            Relay("Gate", access_methods=frozenset()),
        ),
        button_number="101",
        users_may_monitor=True,
        autop_commands=("Config.DoorSetting.RELAY.HoldDelayA = 5",),
        created=1_700_000_000.0,
        contact_display=ContactDisplay.DEPARTMENT,
        monitor_after_ring=True,
        schedule=EVENINGS,
    ),
    DeviceAddress(MAC, "site-1", "192.168.1.20"),
    DeviceFetches(
        MAC,
        "site-1",
        (
            Fetch("ab" * 32, 1_700_000_000.0, 1_700_000_100.0, "192.0.2.7", 3, 1_700_000_200.5),
            Fetch("cd" * 32, 1_700_000_300.0, 1_700_000_300.0, "2001:db8::7"),
        ),
        99,
        "ef" * 32,
        1_700_000_400.0,
    ),
    DeviceUpgrade(
        "upgrade-1",
        MAC,
        "site-1",
        "ab" * 12,
        "29.30.10.465",
        7,
        1_700_000_000.5,
        DeviceUpgradeState.EXECUTED,
        "the device told the version",
        "29.30.10.465",
        3,
        1,
        ResetStep.ORDERED,
        "018bcfe568" * 3 + "00",
    ),
    DoorEvent("0001700000000-00000003", "site-1", MAC, "17", 1_700_000_001.0, 1, "dtmf", True, "monitor-1", "abc", "relay 1"),
    FetchedFile(MAC, "cd" * 32, b"\x01file"),
    FirmwareImage("ab" * 12, "ab" * 32, 12_345_678, "R29", "29.30.10.465", "Bells ring", 1_700_000_000.5, 1_700_000_001.0),
    FirmwareUpgrade(
        "upgrade-1",
        "site-1",
        "ab" * 12,
        "R29",
        "29.30.10.465",
        1_700_000_000.0,
        1_700_086_400.0,
        12,
        1_699_999_999.0,
        1_700_000_001.0,
        first_hour=1,
        hours=4,
        first_percent=10,
        max_failed_percent=5,
        reset_after=True,
        allow_older=True,
        state=UpgradeState.PROCESSING,
        cancelled=True,
    ),
    IdempotencyKey("0001700000000-00000004", "cd" * 32, "ef" * 32, b"\x01answer", 1_700_086_400.0),
    LibraryMac(MAC, "distributor-1", "site-1", 1_700_000_000.0),
    AuthorityFetched(MAC, "site-1", "ab" * 32),
    OneTimeAutop(
        MAC,
        "site-1",
        (
            OneTimeOrder("a1b2", 1_700_000_000.0, "token-1", b"\x01lines"),
            OneTimeOrder("c3d4", 1_700_000_001.0, "token-2", b"\x01more"),
        ),
        1,
        "ab" * 32,
        b"\x01file",
    ),
    TokenRotation(MAC, "site-1", b"\x01token", 1_700_000_000.0, "token-1", True),
    EnrolmentWindow("w-1", "site-1", "token-1", 1_700_000_000.0, 1_700_003_600.0, b"\x01token", MAC),
    Enrolment(MAC, "site-1", "w-1", "192.0.2.7", 1_700_000_000.0, 1_700_000_060.0, True),
    RelayState(MAC, "site-1", (SwitchedRelay(1, True, 1_700_000_000.25), SwitchedRelay(2, False, 1_700_000_060.0))),
    RemoteSession(
        id="k3x9",
        mac=MAC,
        site="site-1",
        opened_by="token-1",
        ticket_hash="12" * 32,
        created=1_700_000_000.0,
        ticket_expires=1_700_000_060.0,
        expires=1_700_003_600.0,
        idle_seconds=600,
        cookie_hash="34" * 32,
        used=1_700_000_005.0,
        ended=1_700_000_100.0,
        end_reason="revoked",
        service="ssh",
        port=9_501,
        address="192.0.2.7",
        requests=12,
        bytes_to_device=345,
        bytes_to_visitor=6_789,
        pages=("GET /", "POST /api/web/login"),
    ),
    RingPlan(
        "site-1",
        "101",
        (
            Stage((Target(TargetKind.ACCOUNT, "monitor-1"), Target(TargetKind.ACCOUNT, "app-1")), 15),
            Stage((Target(TargetKind.LANDLINE, "+4930123456"),), 30),
        ),
        "user-1",
        OnReject.END,
    ),
    Site("site-1", "Häuser am Park", "Europe/Berlin", False, 1_700_000_000.0, 35, OnReject.END, True, 24, True),
    SiteConnectors("site-1", ("abcdefghij234567",)),
    SiteLandlines("site-1", ("+49", "!+49900"), 3),
    SiteRoster("site-1", 12, 34, 5, True, 1),
    Trunk(
        id="trunk-1",
        name="Fernamt Süd",
        gateways=(TrunkGateway("sip.carrier.example", 5061, TrunkTransport.TLS), TrunkGateway("192.0.2.20")),
        sites=("site-1", "site-2"),
        priority=5,
        enabled=False,
        domain="carrier.example",
        registrar="reg.carrier.example",
        username="4930123",
        sealed_password=b"\x01sealed",
        realm="carrier",
        expires=300,
        probe=False,
        caller_id="+4930123456",
        country_code="49",
        international_prefix="00",
        national_prefix="0",
        allowed_prefixes=("+49", "!+49900"),
        max_calls=4,
        created=1_700_000_000.0,
    ),
    User(
        id="user-1",
        site="site-1",
        first_name="Zoë",
        last_name="O'Neill",
        number="101",
        department="department-1",
        person_id="P-7",
        email="zoe@example.com",
        country_code="49",
        mobile="1701234567",
        landlines=("+4930123456",),
        floors=("1", "B1"),
        call_type=5,
        ip_call=True,
        intercom_feature=False,
        advanced=True,
        language="de",
        app_account="app-1",
        created=1_700_000_000.0,
        more_apps=("app-2",),
        linked_apps=("app-9",),
        app_until=1_800_000_000.0,
        ring_seconds=45,
        on_reject=OnReject.END,
    ),
    WebCertificate(MAC, "site-1", "ab" * 32, 1_700_000_000.0, "token:t-1", "cd" * 32, 1_700_000_100.0),
)
"""Every field that has a default holds something else here."""


def sample(name: str) -> Any:
    """The full record of the class with this stored name."""
    (found,) = [record for record in SAMPLES if type(record).__name__ == name]
    return found


def golden_files(name: str) -> list[Path]:
    """The files of one class, oldest first."""
    return sorted(FOLDER.glob(f"{name}-*.hex"), key=lambda file: int(file.stem.rpartition("-")[2]))


def read(file: Path) -> bytes:
    """The stored bytes a golden file pins."""
    return bytes.fromhex(file.read_text(encoding="ascii"))


def write_missing() -> None:
    """Add a file for each class whose present bytes are not in its newest one."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in KINDS:
        body = encode(sample(name))
        files = golden_files(name)
        if not files or read(files[-1]) != body:
            target = FOLDER / f"{name}-{len(files) + 1}.hex"
            target.write_text("\n".join(textwrap.wrap(body.hex(), 96)) + "\n", encoding="ascii")
            print(f"new: {target.name}")


if __name__ == "__main__":
    write_missing()
