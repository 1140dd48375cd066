"""Autop commands: row errors, keys that are not the operator's, and no key twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autop.commands import MAX_BYTES, MAX_LINES, check_command, faults, owned, settings_of, settle
from autop.errors import MalformedLine


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("Config.Autoprovision.GENERAL.Url = https://elsewhere/", "cut it off"),
        ("Config.autoprovision.mode.mode=0", "cut it off"),
        ("Config.Account1.SIP.Server = other", "register at this gateway"),
        ("Config.Account1.SIP.Server2 = other", "register at this gateway"),
        ("Config.Account2.GENERAL.Pwd = x", "device's own"),
        ("Config.Account.GENERAL.UserName = x", "device's own"),
        ("Config.Account1.SIP.TransType = 0", "transmission"),
        ("Config.Account1.OUTPROXY.Enable = 1", "register at this gateway"),
        ("Config.Portico.CHANNEL.Key = 00", "channel"),
        ("Config.Settings.WEB_LOGIN.Password = x", "password of its own"),
        ("Config.Firmware.Url = http://x/y.rom", "model"),
        ("nonsense", "not of the form"),
        ("Config.A.B.C = \x07", "control characters"),
        ("# \x07", "control characters"),
        ("Config.A.B.Label = a&b", "not allowed here"),
        ("Config.A.B.C = " + "x" * 2000, "longer than"),
    ],
)
def test_a_refused_line_names_its_row_and_reason(line: str, reason: str) -> None:
    (fault,) = faults(["Config.Settings.LOGLEVEL.Level = 3", "", line])
    assert fault.row == 3
    assert reason in fault.reason
    assert "https://elsewhere" not in str(fault)


@pytest.mark.parametrize("line", ["", " \t", "# note", "Config.Account1.REG.Timeout = 60", "Config.Features.DND.Enable=1"])
def test_what_an_operator_may_write(line: str) -> None:
    check_command(line)


def test_bounds_of_all_lines_together() -> None:
    assert [fault.row for fault in faults(["#"] * (MAX_LINES + 1))] == [0]
    assert [fault.row for fault in faults(["#" + "x" * 999] * (MAX_BYTES // 1001 + 1))] == [0]
    assert faults(["#" + "x" * 998] * (MAX_BYTES // 1000)) == ()
    assert [fault.row for fault in faults(["#\ud800"])] == [1]


def test_of_equal_keys_the_last_stays_and_the_others_are_told() -> None:
    lines = ["# relay", "Config.A.B.C = 1", "Config.A.B.D = 2", "config.a.b.C = 3", "Config.A.b.c = 4"]
    with pytest.raises(MalformedLine):
        settle(lines)  # keys begin with Config, as devices write it
    lines[3] = "Config.a.b.C = 3"
    found = settle(lines)
    assert found.lines == ("# relay", "Config.A.B.D = 2", "Config.A.b.c = 4")
    assert [(one.row, one.key, one.by) for one in found.dropped] == [(2, "Config.A.B.C", 5), (4, "Config.a.b.C", 5)]


lines = st.lists(
    st.one_of(
        st.sampled_from(["", "# note"]),
        st.builds("Config.{}.B.{} = {}".format, st.sampled_from("aA"), st.sampled_from("cCd"), st.integers(0, 9)),
    ),
    max_size=12,
)


@given(lines)
def test_settled_lines_mean_the_same_and_are_settled(written: list[str]) -> None:
    found = settle(written)
    assert settings_of(found.lines) == settings_of(tuple(written))
    assert settle(found.lines).dropped == ()
    assert len(found.lines) + len(found.dropped) == len(written)
    rows = [row for row in range(1, len(written) + 1) if row not in {one.row for one in found.dropped}]
    assert [written[row - 1] for row in rows] == list(found.lines)


@given(st.text(max_size=60))
def test_any_text_is_a_line_or_a_fault(text: str) -> None:
    for fault in faults([text]):
        assert fault.row == 1
        assert fault.reason


def test_an_item_that_is_free_is_not_owned() -> None:
    assert owned("Config.Account1.GENERAL.Label") == ""
    assert owned("Config.Account1.SIP.ListenPort") == ""
