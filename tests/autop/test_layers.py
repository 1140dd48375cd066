"""Layers: golden files that name the layer of every line, one per case; and what holds for any layers at all."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autop.cfg_format import parse_commands, read_as_device
from autop.layers import Composed, Layer, lay
from autop.render import OneTime, compose, render
from registry.records import DeviceKind
from tests.autop import examples

GOLDEN = Path(__file__).parent.parent / "golden" / "autop" / "layers"
KEY = "Config.Settings.LOGLEVEL.Level"
OPERATOR = [layer for layer in Layer if layer not in (Layer.SITE, Layer.DEVICE, Layer.DEVICE_COMMANDS, Layer.ONE_TIME)]


def shown(lines: tuple[Composed, ...]) -> str:
    rows = []
    for line in lines:
        came = " over ".join([line.layer.label, *(under.label for under in reversed(line.over))])
        rows.append(f"{line.key} = {line.value}  # {came}\n")
    return "".join(rows)


def everywhere(value: str = "{}") -> tuple[tuple[Layer, tuple[str, ...]], ...]:
    return tuple((layer, (f"{KEY} = {value.format(layer.label)}",)) for layer in OPERATOR)


CASES: dict[str, tuple[DeviceKind, dict[str, Any], dict[str, Any]]] = {
    "door-without-commands": (DeviceKind.MULTI_TENANT_DOOR_PHONE, {"autop_commands": ()}, {}),
    "monitor-without-commands": (DeviceKind.INDOOR_MONITOR, {"autop_commands": ()}, {}),
    "guard-without-commands": (DeviceKind.GUARD_PHONE, {"autop_commands": ()}, {}),
    "one-key-in-every-layer": (
        DeviceKind.ACCESS_CONTROL,
        {"autop_commands": (f"{KEY} = device-commands",)},
        {"commands": everywhere(), "one_time": OneTime("a1", (f"{KEY} = one-time",))},
    ),
    "particular-wins-over-general": (
        DeviceKind.SINGLE_TENANT_DOOR_PHONE,
        {"autop_commands": ("Config.Account1.REG.Timeout = 90",)},
        {
            "commands": (
                (Layer.PLATFORM, ("Config.Account1.REG.Timeout = 60", "Config.Settings.SNTP.NTPServer1 = own.ntp")),
                (Layer.MODEL, ("Config.Settings.SNTP.TimeZone = GMT+9:00", "Config.Account1.NAT.Rport = 0")),
                (Layer.NETWORK_GROUP, ("Config.Settings.GENERAL.DirectIP = 1", "Config.Account1.GENERAL.Label = group")),
                (Layer.SITE_COMMANDS, ("Config.account1.general.label = site", "Config.Account1.REG.Timeout = 70")),
                (Layer.DEPARTMENT_COMMANDS, ("Config.Account1.REG.Timeout = 80", "Config.Firmware.X = new")),
            )
        },
    ),
    "an-empty-value-is-a-value": (
        DeviceKind.ACCESS_CONTROL,
        {"autop_commands": ("Config.DoorSetting.DTMF.Code1 =",)},
        {"commands": ((Layer.SITE_COMMANDS, ("Config.DoorSetting.DTMF.Code1 = 9",)),)},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_line_with_its_layer(case: str) -> None:
    """PORTICO_WRITE_GOLDEN=1 writes the files, for a human to read the diff."""
    kind, device, facts = CASES[case]
    composed = shown(compose(examples.device(kind, **device), examples.facts(**facts)))
    path = GOLDEN / f"{case}.txt"
    if os.environ.get("PORTICO_WRITE_GOLDEN"):
        path.write_text(composed, encoding="utf-8")
    assert composed == path.read_text(encoding="utf-8")


def test_every_golden_file_belongs_to_a_case() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(CASES)


def test_each_operator_layer_wins_until_a_later_one_speaks() -> None:
    given_, device = everywhere(), examples.device(autop_commands=())
    for end in range(1, len(given_) + 1):
        (line,) = [one for one in compose(device, examples.facts(commands=given_[:end])) if one.key == KEY]
        assert line.value == line.layer.label == OPERATOR[end - 1].label
        assert line.over == tuple(OPERATOR[: end - 1])


def test_a_one_time_file_has_other_bytes_each_time_and_the_same_settings() -> None:
    device, lines = examples.device(), (f"{KEY} = 7",)
    plain = render(device, examples.facts())
    first, second = (render(device, examples.facts(one_time=OneTime(id_, lines))) for id_ in ("a1", "b2"))
    assert first == render(device, examples.facts(one_time=OneTime("a1", lines)))
    assert len({plain, first, second}) == 3
    read = read_as_device(first)
    assert (read.skipped, read.settings) == (0, read_as_device(plain).settings | {KEY: "7"})
    nothing = render(device, examples.facts(one_time=OneTime("c3", ("# only a comment",))))
    assert nothing.partition(b"\n")[2] == plain


keys = st.sampled_from([f"Config.{group}.{item}.x" for group in ("A", "a", "B") for item in ("C", "c", "D")])
values = st.text("012", max_size=2)
layers = st.lists(st.tuples(st.sampled_from(list(Layer)), st.dictionaries(keys, values, max_size=4)), max_size=6)


@given(st.dictionaries(keys, values, max_size=5), layers)
def test_any_layers(profile: dict[str, str], entered: list[tuple[Layer, dict[str, str]]]) -> None:
    kind = DeviceKind.ACCESS_CONTROL  # every key drawn here is of the device's layer in a profile
    profile = dict({key.lower(): (key, value) for key, value in profile.items()}.values())
    found = lay(kind, profile.items(), entered)
    folded = [line.key.lower() for line in found]
    assert len(set(folded)) == len(folded), "no key twice"
    assert folded[: len(profile)] == [key.lower() for key in profile], "the profile's lines stay where they are"
    expected: dict[str, tuple[Layer, str]] = {key.lower(): (Layer.DEVICE, value) for key, value in profile.items()}
    for layer, settings in sorted(entered, key=lambda one: one[0]):
        for key, value in settings.items():
            if key.lower() not in expected or layer >= expected[key.lower()][0]:
                expected[key.lower()] = (layer, value)
    assert {line.key.lower(): (line.layer, line.value) for line in found} == expected
    assert all(list(line.over) == sorted(line.over) and (not line.over or line.over[-1] <= line.layer) for line in found)


@given(st.dictionaries(keys, values, max_size=5), layers, st.randoms())
def test_the_order_of_naming_is_nothing(
    profile: dict[str, str], entered: list[tuple[Layer, dict[str, str]]], chance: Any
) -> None:
    once = list(dict(entered).items())
    again = once[:]
    chance.shuffle(again)
    assert lay(DeviceKind.INDOOR_MONITOR, profile.items(), once) == lay(DeviceKind.INDOOR_MONITOR, profile.items(), again)


@given(layers)
def test_laying_one_after_the_other_is_laying_all(entered: list[tuple[Layer, dict[str, str]]]) -> None:
    """A line's value depends on nothing but the highest layer that names its key."""
    whole = {line.key.lower(): line.value for line in lay(DeviceKind.GUARD_PHONE, (), entered)}
    for key, value in whole.items():
        only = [(layer, {k: v for k, v in settings.items() if k.lower() == key}) for layer, settings in entered]
        (line,) = lay(DeviceKind.GUARD_PHONE, (), only)
        assert line.value == value


def test_what_is_composed_is_what_is_parsed() -> None:
    lines = render(examples.device(), examples.facts(commands=everywhere("{}"))).decode().splitlines()
    assert not parse_commands(lines).faults
