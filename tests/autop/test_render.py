"""Golden files per kind, full and blank; determinism; and that no profile writes a key no source has."""

import hashlib
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autop import catalogue
from autop.cfg_format import read_as_device
from autop.errors import RejectedValue, UnknownModel
from autop.render import Zone, render
from autop.settings import camera_password
from registry.mac import MacAddress
from registry.records import AccessMethod, DeviceKind, Relay, Transmission
from tests.autop import examples

GOLDEN = Path(__file__).parent.parent / "golden" / "autop"
KINDS = list(DeviceKind)
SOURCES = {
    DeviceKind.MULTI_TENANT_DOOR_PHONE: "door-phone",
    DeviceKind.SINGLE_TENANT_DOOR_PHONE: "door-phone",
    DeviceKind.INDOOR_MONITOR: "indoor-monitor",
    DeviceKind.GUARD_PHONE: "sp-phone",
    DeviceKind.ACCESS_CONTROL: "door-phone",
}
IN_EVERY_KIND = {
    # akuvox-devices.md sections 1, 3 and 4, flag [A], not kept to one kind there.
    "Config.Account<n>.NAT.Rport",
    "Config.Account<n>.NAT.UdpKeepEnable",
    "Config.Account<n>.NAT.UdpKeepInterval",
    "Config.Account<n>.REG.Timeout",
    "Config.Autoprovision.GENERAL.Url",
    "Config.Autoprovision.MODE.Mode",
    "Config.Autoprovision.SCHEDULE.DayOfWeek",
    "Config.Autoprovision.SCHEDULE.HourOfDay",
    "Config.Autoprovision.SCHEDULE.MinuteOfHour",
    "Config.Autoprovision.SCHEDULE.SecondOfMinute",
    "Config.Firmware.Url",
    "Config.Settings.WEB_LOGIN.Password",
}


def check_golden(name: str, rendered: bytes) -> None:
    """Compare with tests/golden/autop/<name>; PORTICO_WRITE_GOLDEN=1 writes it, for a human to read the diff."""
    path = GOLDEN / name
    if os.environ.get("PORTICO_WRITE_GOLDEN"):
        path.write_bytes(rendered)
    assert rendered.decode() == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name.lower())
def test_every_field_set(kind: DeviceKind) -> None:
    check_golden(f"{kind.name.lower()}-full.cfg", render(examples.device(kind), examples.facts()))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name.lower())
def test_every_optional_field_blank(kind: DeviceKind) -> None:
    check_golden(f"{kind.name.lower()}-blank.cfg", render(examples.blank_device(kind), examples.BLANK_FACTS))


def test_a_relay_that_dtmf_may_not_trigger_has_no_code_at_the_door_nor_at_the_monitor() -> None:
    card = Relay("Roof", "7", access_methods=frozenset((AccessMethod.CARD,)))
    both = (Relay("Door", "1"), card)
    door = read_as_device(render(examples.device(relays=both), examples.facts())).settings
    assert [door[f"Config.DoorSetting.DTMF.Code{place}"] for place in (1, 2)] == ["1", ""]
    monitor = examples.device(DeviceKind.INDOOR_MONITOR)
    shown = read_as_device(render(monitor, replace(examples.facts(), door_relays=both))).settings
    assert [shown[f"Config.DoorSetting.RELAY.{item}"] for item in ("DTMFCode", "DTMFCode2")] == ["1", ""]


def test_every_golden_file_belongs_to_a_test() -> None:
    expected = {f"{kind.name.lower()}-{fill}.cfg" for kind in KINDS for fill in ("full", "blank")}
    assert {path.name for path in GOLDEN.glob("*.cfg")} == expected


def known_keys(source: str) -> set[str]:
    lines = (GOLDEN / "known-keys.txt").read_text().splitlines()
    rows = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return {key for key, sources in rows if source in sources.split(",")}


@pytest.mark.parametrize("name", catalogue.CATALOGUE)
def test_only_keys_that_a_source_has_for_the_kind(name: str) -> None:
    row = catalogue.model(name)
    device = examples.device(row.kind, model=name, autop_commands=())
    written = read_as_device(render(device, examples.facts())).settings
    known = known_keys(SOURCES[row.kind])
    own = {key for key in written if key.startswith("Config.Portico.CHANNEL.")}
    assert bool(own) == row.has_channel
    for key in written.keys() - own:
        general = re.sub(r"^Config\.Account\d?\.", "Config.Account<n>.", key)
        assert {key, general} & known or general in IN_EVERY_KIND, key


def test_same_facts_same_bytes() -> None:
    one, other = render(examples.device(), examples.facts()), render(examples.device(), examples.facts())
    assert one == other
    assert b"\r" not in one
    assert one.endswith(b"\n")
    one.decode("utf-8")


def test_two_devices_poll_at_different_seconds_of_the_night() -> None:
    times = set()
    for number in range(500):
        mac = MacAddress(f"0C1105{number:06X}")
        settings = read_as_device(render(examples.device(mac=mac), examples.facts())).settings
        hour, minute, second = (
            int(settings[f"Config.Autoprovision.SCHEDULE.{item}"]) for item in ("HourOfDay", "MinuteOfHour", "SecondOfMinute")
        )
        assert 1 <= hour < 5
        assert 0 <= minute < 60
        assert 0 <= second < 60
        times.add((hour, minute, second))
    # 500 devices over 14,400 seconds: 9 pairs are expected to meet, 40 would be no spread.
    assert len(times) > 460


def test_the_last_autop_command_wins_in_place() -> None:
    commands = ("Config.Account1.General.Username = other", "Config.Account1.REG.Timeout = 60", "config nonsense")
    plain = render(examples.device(autop_commands=()), examples.facts()).decode().splitlines()
    with_commands = render(examples.device(autop_commands=commands), examples.facts()).decode().splitlines()
    changed = [(old, new) for old, new in zip(plain, with_commands, strict=True) if old != new]
    assert changed == [
        ("Config.Account1.GENERAL.UserName = 400000001", "Config.Account1.GENERAL.UserName = other"),
        ("Config.Account1.REG.Timeout = 300", "Config.Account1.REG.Timeout = 60"),
    ]


@pytest.mark.parametrize(
    ("transmission", "port", "code"),
    [
        (Transmission.UDP, "5060", "0"),
        (Transmission.TCP, "5060", "1"),
        (Transmission.TLS, "5061", "2"),
        (Transmission.DNS_SRV, None, "3"),
    ],
)
def test_transmission_chooses_the_port(transmission: Transmission, port: str | None, code: str) -> None:
    written = read_as_device(render(examples.device(transmission=transmission), examples.facts())).settings
    assert written.get("Config.Account1.SIP.Port") == port
    assert written["Config.Account1.SIP.TransType"] == code


def test_a_transmission_the_node_does_not_offer_is_refused() -> None:
    with pytest.raises(RejectedValue, match="TLS"):
        render(
            examples.device(transmission=Transmission.TLS), examples.facts(settings=replace(examples.SETTINGS, sip_tls_port=0))
        )


def test_a_disabled_account_loses_its_password() -> None:
    rendered = render(examples.device(), examples.facts(account=examples.account(enabled=False)))
    written = read_as_device(rendered).settings
    assert written["Config.Account1.GENERAL.Enable"] == "0"
    assert written["Config.Account1.GENERAL.Pwd"] == ""
    assert examples.facts().sip_password.encode() not in rendered


def test_an_account_without_a_display_name_shows_the_devices() -> None:
    both = [examples.account(display_name=""), examples.account(display_name="Shown")]
    shown = [read_as_device(render(examples.device(), examples.facts(account=each))).settings for each in both]
    assert [each["Config.Account1.GENERAL.Label"] for each in shown] == ["Main entrance", "Shown"]
    nameless = render(examples.device(name=""), examples.facts(account=both[0]))
    assert b"GENERAL.Label = 400000001\n" in nameless


def test_the_account_prefix_follows_the_model() -> None:
    device = examples.device(DeviceKind.SINGLE_TENANT_DOOR_PHONE, model="E18C", autop_commands=())
    written = read_as_device(render(device, examples.facts())).settings
    assert written["Config.Account.SIP.Server"] == "sip.gate.example"
    assert not any(key.startswith("Config.Account1.") for key in written)


def test_a_group_button_has_eight_places_and_older_firmware_one_number() -> None:
    numbers = ";".join(str(number) for number in range(101, 112))
    new = read_as_device(render(examples.device(model="R20A", button_number=numbers), examples.facts())).settings
    old = read_as_device(render(examples.device(model="R27", button_number=numbers), examples.facts())).settings
    assert new["Config.Programable.SOFTKEY01.LocalParam1"] == "101;102;103;104;105;106;107;108"
    assert old["Config.Features.SPEEDDIAL.Num01"] == "101"


@pytest.mark.parametrize("code", ["12", "1234"])
def test_codes_of_several_digits_leave_the_option_alone(code: str) -> None:
    device = examples.device(relays=(Relay("Gate", code), Relay("Garage", "5")))
    written = read_as_device(render(device, examples.facts())).settings
    assert written["Config.DoorSetting.DTMF.Code1"] == code
    assert "Config.DoorSetting.DTMF.Option" not in written


def test_the_backup_server_has_a_key_of_its_own_where_the_model_has_another() -> None:
    device = examples.device(DeviceKind.SINGLE_TENANT_DOOR_PHONE, model="E18C")
    written = read_as_device(render(device, examples.facts())).settings
    assert written["Config.Account.OUTPROXY.Server"] == "backup.gate.example"
    assert "Config.Account.SIP.Server2" not in written
    plain = examples.facts(settings=replace(examples.SETTINGS, backup_sip_host=""))
    gone = read_as_device(render(examples.device(), plain)).settings
    assert gone["Config.Account1.SIP.Server2"] == ""
    assert "Config.Account1.REG.Timeout2" not in gone


def test_the_common_pin_is_off_unless_a_relay_may_be_opened_by_pin() -> None:
    def lines(*methods: AccessMethod) -> dict[str, str]:
        relay = Relay("Door", "1", access_methods=frozenset(methods))
        return read_as_device(render(examples.device(relays=(relay,)), examples.facts())).settings

    assert lines(AccessMethod.DTMF)["Config.DoorSetting.PASSWORD.PublicKeyEnable"] == "0"
    assert "Config.DoorSetting.PASSWORD.PublicKeyEnable" not in lines(AccessMethod.DTMF, AccessMethod.PIN)


def test_the_cameras_password_follows_from_the_web_password_and_is_another() -> None:
    one, other = (
        read_as_device(render(examples.device(), examples.facts(web_password=text))).settings["Config.DoorSetting.RTSP.Password"]
        for text in ("wE7rT2yU9iO4pA1s", "wE7rT2yU9iO4pA1t")
    )
    assert one != other
    assert len(one) == 16
    assert one == camera_password("wE7rT2yU9iO4pA1s")


def test_dtmf_type_is_written_where_a_source_has_it_for_the_model() -> None:
    assert b"Config.Account1.DTMF.Type = 2\n" in render(examples.device(model="S532"), examples.facts())
    assert b"DTMF.Type" not in render(examples.device(model="R29"), examples.facts())


def test_time_zones_in_both_spellings() -> None:
    assert b"SNTP.TimeZone = GMT-3:30\n" in render(examples.device(), examples.facts(zone=Zone(-210)))
    oem = examples.device(model="R27-OEM")
    assert b"SNTP.TimeZone = +05:45\n" in render(oem, examples.facts(zone=Zone(345, "Kathmandu")))


@pytest.mark.parametrize(
    "hostile", ["a\nConfig.Account1.GENERAL.UserName = root", "a%b'c=d&e", "x" * 500, "\x00\x1b[31m", "\ud800"]
)
def test_a_hostile_label_is_repaired_and_sets_nothing_else(hostile: str) -> None:
    device = examples.device(name=hostile, relays=(Relay(hostile, "1"),), autop_commands=())
    written = read_as_device(render(device, examples.facts(account=examples.account(display_name=hostile))))
    plain = read_as_device(render(examples.device(relays=(Relay("x", "1"),), autop_commands=()), examples.facts()))
    assert written.skipped == 0
    assert written.settings.keys() == plain.settings.keys()
    assert written.settings["Config.Account1.GENERAL.UserName"] == "400000001"
    for key in ("Config.Account1.GENERAL.Label", "Config.DoorSetting.RELAY.RelayNameA"):
        assert len(written.settings[key]) <= 63
        assert not set("%'=&") & set(written.settings[key])


@pytest.mark.parametrize(
    "changes",
    [
        {"sip_password": "a&b"},
        {"sip_password": "p" * 64},
        {"web_password": "a\nConfig.Settings.GENERAL.DirectIP = 1"},
        {"account": examples.account(username="40=1")},
        {"token": "t" * 100},
    ],
)
def test_a_secret_or_address_the_device_would_misread_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(RejectedValue) as refused:
        render(examples.device(), examples.facts(**changes))
    for value in changes.values():
        assert str(value) not in str(refused.value)


def test_a_model_that_left_the_catalogue() -> None:
    with pytest.raises(UnknownModel, match="X915"):
        render(examples.device(model="X9155"), examples.facts())


@given(
    name=st.text(max_size=80),
    relays=st.lists(st.builds(Relay, name=st.text(max_size=20), dtmf_code=st.sampled_from(["", "1", "#", "12"])), max_size=5),
    kind=st.sampled_from(KINDS),
)
def test_whatever_the_names_a_device_reads_back_what_was_written(name: str, relays: list[Relay], kind: DeviceKind) -> None:
    device = examples.device(kind, name=name, relays=tuple(relays), autop_commands=())
    rendered = render(device, examples.facts(account=examples.account(display_name=name)))
    read = read_as_device(rendered)
    assert read.skipped == 0
    assert len(read.settings) == rendered.count(b"\n")
    assert read.settings["Config.Account1.GENERAL.Pwd"] == examples.facts().sip_password


def test_no_secret_in_a_repr() -> None:
    shown = repr(examples.facts()) + repr(examples.device())
    assert examples.TOKEN not in shown
    assert examples.facts().sip_password not in shown
    assert examples.facts().web_password not in shown


def test_the_file_is_small_and_hashes_alike() -> None:
    rendered = render(examples.device(), examples.facts())
    assert len(rendered) < 4096
    assert hashlib.sha256(rendered).digest() == hashlib.sha256(render(examples.device(), examples.facts())).digest()
