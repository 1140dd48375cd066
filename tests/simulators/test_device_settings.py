"""What a simulated device makes of configurations: those autop renders, partial ones, odd ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autop.cfg_format import read_as_device
from autop.render import render
from registry.records import DeviceKind
from simulators.device_config import ChannelSettings, DeviceConfig
from simulators.device_settings import Settings, device_config
from simulators.line import SipAccount
from simulators.relays import DoorRelay
from tests.autop import examples


def holding(*files: bytes) -> Settings:
    settings = Settings()
    for file in files:
        settings.apply(read_as_device(file).settings)
    return settings


def config_of(kind: DeviceKind) -> DeviceConfig:
    return device_config(holding(render(examples.device(kind, autop_commands=()), examples.facts())))


@pytest.mark.parametrize("kind", list(DeviceKind), ids=lambda kind: kind.name.lower())
def test_every_kind_learns_its_account_from_the_file(kind: DeviceKind) -> None:
    found = config_of(kind).account
    assert found == SipAccount("400000001", examples.facts().sip_password, "sip.gate.example", 5060, "Main entrance", 300, "tcp")


def test_a_door_phone_learns_relays_button_channel_and_web_password() -> None:
    found = config_of(DeviceKind.MULTI_TENANT_DOOR_PHONE)
    assert found.relays == (DoorRelay("Front door", "1", 5), DoorRelay("Relay B", "2", 10), DoorRelay("Relay C", "3", 3))
    assert found.button_numbers == ("101",)
    assert found.web_password == "wE7rT2yU9iO4pA1s"
    assert found.channel == ChannelSettings("channel.gate.example", 7443, bytes(range(32)))
    assert found.poll_at == (2, 58, 50)


def test_a_monitor_learns_what_its_unlock_buttons_send() -> None:
    found = config_of(DeviceKind.INDOOR_MONITOR)
    assert found.unlock_codes == ("1", "2", "3")
    assert found.relays == ()


def test_what_is_taken_away_is_gone() -> None:
    full = render(examples.device(), examples.facts())
    bare = render(examples.blank_device(DeviceKind.MULTI_TENANT_DOOR_PHONE), examples.BLANK_FACTS)
    found = device_config(holding(full, bare))
    assert found.account is None
    assert found.button_numbers == ()
    assert [relay.code for relay in found.relays] == ["", "", ""]


def test_a_file_changes_only_the_keys_it_names_whatever_their_case() -> None:
    settings = holding(render(examples.device(), examples.facts()))
    assert settings.apply({"Config.Account1.General.Username": "77"}) == 1
    found = device_config(settings)
    assert found.account is not None
    assert found.account.username == "77"
    assert found.button_numbers == ("101",)


def test_an_unnumbered_account() -> None:
    file = render(examples.device(DeviceKind.SINGLE_TENANT_DOOR_PHONE, model="E18C", autop_commands=()), examples.facts())
    found = device_config(holding(file)).account
    assert found is not None
    assert found.username == "400000001"


@pytest.mark.parametrize("text", ["", "x", "-1", "٣", "1_0", "9999999999", "1e3"])
def test_a_number_that_is_none(text: str) -> None:
    settings = Settings()
    settings.apply({"Config.A.B.C": text})
    assert settings.number("A.B.C", 7) == 7


ACTED_ON = [
    "Config.Account1.GENERAL.Enable",
    "Config.Account1.SIP.Server",
    "Config.Account1.SIP.Port",
    "Config.Portico.CHANNEL.Enable",
    "Config.Portico.CHANNEL.Server",
    "Config.Portico.CHANNEL.Port",
    "Config.Portico.CHANNEL.Key",
    "Config.Autoprovision.MODE.Mode",
    "Config.Autoprovision.SCHEDULE.DayOfWeek",
    "Config.Autoprovision.SCHEDULE.HourOfDay",
    "Config.DoorSetting.DTMF.Code2",
]


@given(st.dictionaries(st.sampled_from(ACTED_ON), st.sampled_from(["", "0", "1", "3", "99", "zz", "00ff", "host"])))
def test_no_combination_of_values_is_an_exception(values: dict[str, str]) -> None:
    settings = Settings()
    settings.apply(values)
    device_config(settings)


def test_no_secret_in_a_repr() -> None:
    settings = holding(render(examples.device(), examples.facts()))
    shown = repr(settings) + repr(device_config(settings))
    assert examples.facts().sip_password not in shown
    assert examples.facts().web_password not in shown
    assert bytes(range(32)).hex() not in shown
