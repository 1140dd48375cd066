"""The config text: strict for operators, lenient as devices are, one writer, and what comes between them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autop.cfg_format import (
    MAX_FILE,
    check_value,
    is_key,
    is_secret,
    label,
    parse_commands,
    parse_line,
    read_as_device,
    write,
)
from autop.errors import MalformedLine, RejectedValue

part = st.text("ABCXYZabcxyz019_-", min_size=1, max_size=12)
keys = st.builds(lambda parts: "Config." + ".".join(parts), st.lists(part, min_size=2, max_size=3))
values = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=60).map(lambda text: text.strip(" \t"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Config.A.B.C = v", ("Config.A.B.C", "v")),
        ("Config.A.B.C=v", ("Config.A.B.C", "v")),
        ("  Config.A.B.C\t=\tv w  ", ("Config.A.B.C", "v w")),
        ("Config.A.B.C =", ("Config.A.B.C", "")),
        ("Config.Firmware.Url = http://x/?a=b&c=%20", ("Config.Firmware.Url", "http://x/?a=b&c=%20")),
        ("Config.Autoprovision.01.NeedPop-up = 0", ("Config.Autoprovision.01.NeedPop-up", "0")),
        ("Config.A.B.C = Дверь", ("Config.A.B.C", "Дверь")),
    ],
)
def test_a_line_an_operator_may_write(line: str, expected: tuple[str, str]) -> None:
    assert parse_line(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Config = v",
        "Config.A = v",
        "Config.A.B.C.D = v",
        "config.A.B.C = v",
        "Config.A..C = v",
        "Config.A.B.C v",
        "Config.A.B C = v",
        "# Config.A.B.C = v",
        "Config.A.B.C = v\n",
        "Config.A.B.C = v\nConfig.A.B.D = w",
        "Config.A.B.C = v\r",
        "Config.A.B.C = v\x00",
        "Config.A.B.C = v\x85w",
        "Config.A.B.C = v\u2028w",
        "Config.A.B.C = \ud800",
        "Config.Ａ.B.C = v",
        "Config.A.B.C1\u0661 = v",
        "Config.A.B." + "C" * 41 + " = v",
        "Config.A.B.C = " + "v" * 1020,
        "Config.Account1.GENERAL.Label = 50%",
        "Config.Account1.GENERAL.Pwd = a&b",
        "Config.Account1.GENERAL.Pwd = " + "p" * 64,
        "Config.Autoprovision.GENERAL.Url = https://" + "x" * 120,
    ],
)
def test_a_line_an_operator_may_not_write(line: str) -> None:
    with pytest.raises(MalformedLine) as wrong:
        parse_line(line, 7)
    assert wrong.value.row == 7
    assert "p" * 64 not in str(wrong.value)


def test_the_longest_line() -> None:
    line = "Config.A.B.C = " + "v" * 1009
    assert len(line) == 1024
    assert parse_line(line)[1] == "v" * 1009
    with pytest.raises(MalformedLine, match="1024"):
        parse_line(line + "v")
    with pytest.raises(RejectedValue, match="1024"):
        write({"Config.A.B.C": "v" * 1010})


def test_commands_report_every_fault_and_every_replaced_row() -> None:
    found = parse_commands(
        [
            "Config.A.B.C = 1",
            "nonsense",
            "",
            "# a comment",
            "config.a.b.c = lower case is no key",
            "Config.A.B.D = 2",
            "Config.A.b.c = 3",
        ]
    )
    assert found.settings == {"Config.A.B.D": "2", "Config.A.b.c": "3"}
    assert found.replaced == (1,)
    assert [fault.row for fault in found.faults] == [2, 5]


def test_write_is_one_line_a_setting() -> None:
    assert write({"Config.A.B.C": "x y", "Config.A.B.D": ""}) == b"Config.A.B.C = x y\nConfig.A.B.D = \n"


@pytest.mark.parametrize("key", ["", "Config.A", "Config.A.B.C\n", "Config.A.B.C = x\nConfig.A.B.D", "x.A.B.C"])
def test_write_refuses_what_is_no_key(key: str) -> None:
    with pytest.raises(RejectedValue):
        write({key: "v"})


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "\x00", "\x1b", "\x7f", "\x9b", " a", "a\t", "\ud800", "x" * 2000])
def test_write_refuses_what_is_no_value(value: str) -> None:
    with pytest.raises(RejectedValue) as refused:
        write({"Config.A.B.C": value})
    assert "Config.A.B.C" in str(refused.value)


@pytest.mark.parametrize("item", ["Label", "DisplayName", "UserName", "AuthName", "Pwd", "Password", "Password02", "RelayNameA"])
@pytest.mark.parametrize("mark", list("%'=&"))
def test_the_characters_that_labels_and_passwords_reject(item: str, mark: str) -> None:
    with pytest.raises(RejectedValue):
        check_value(f"Config.A.B.{item}", f"a{mark}b")
    assert check_value("Config.A.B.Url", f"a{mark}b") == f"a{mark}b"


def test_label_repairs() -> None:
    assert label(" Tom & Jerry's = 50% \n\x00 flat\t7 ") == "Tom Jerry s 50 flat 7"
    assert label("%%%") == ""
    assert label("é" * 100) == "é" * 63


@given(st.text())
def test_a_label_is_always_writable(text: str) -> None:
    assert check_value("Config.A.B.Label", label(text)) == label(text)


def test_secrets_are_known_by_their_item() -> None:
    masked = ["Config.Account1.GENERAL.Pwd", "Config.Settings.WEB_LOGIN.Password02", "Config.Portico.CHANNEL.Key"]
    assert all(is_secret(key) for key in [*masked, "Config.DoorSetting.DTMF.Code1", "Config.DoorSetting.CLOUDSERVER.Token"])
    assert not is_secret("Config.Account1.GENERAL.UserName")


def test_a_device_skips_what_it_cannot_read() -> None:
    file = (
        b"\xef\xbb\xbf#!version:1.0.0.1\n# comment\nConfig.A.B.C = 1\r\nwrapped comment text without mark\n\n"
        b"Config.A.B.D=\xff\xfe\nconfig.a.b.c = lower case key\nConfig.a.b.C=2\nConfig.A.B.E =\nConfig.A.B.F = x\x00y"
    )
    read = read_as_device(file)
    assert read.settings == {"Config.A.B.C": "2", "Config.A.B.E": ""}
    assert read.skipped == 5


def test_a_device_reads_no_more_than_a_megabyte() -> None:
    line = b"\nConfig.A.B.C = 1"
    assert MAX_FILE == 1024 * 1024
    assert read_as_device(b"#" * (MAX_FILE - len(line)) + line).settings == {"Config.A.B.C": "1"}
    assert read_as_device(b"#" * (MAX_FILE - len(line) + 1) + line + b"23").settings == {"Config.A.B.C": ""}


def test_a_line_of_a_megabyte_of_blanks_costs_no_time() -> None:
    assert read_as_device(b"Config.A.B.C =" + b" " * 900_000 + b"x" + b" " * 90_000).settings == {"Config.A.B.C": "x"}


@given(st.binary(max_size=300))
def test_a_device_survives_any_bytes(file: bytes) -> None:
    read = read_as_device(file)
    assert all(is_key(key) for key in read.settings)


@given(st.dictionaries(keys, values, max_size=8))
def test_what_is_written_is_read(settings: dict[str, str]) -> None:
    settings = dict({key.lower(): (key, value) for key, value in settings.items()}.values())  # no key in two cases
    try:
        written = write(settings)
    except RejectedValue:
        return  # an item such as Label may have been drawn with a value it rejects
    assert read_as_device(written).settings == settings
    assert parse_commands(written.decode().removesuffix("\n").split("\n")).settings == settings


@given(st.dictionaries(keys, values, max_size=4), st.binary(max_size=60))
def test_a_truncated_file_keeps_its_whole_lines(settings: dict[str, str], rest: bytes) -> None:
    file = b"".join(f"{key} = {value}\n".encode() for key, value in settings.items()) + rest
    for end in range(len(file)):
        whole = read_as_device(file[: file.rfind(b"\n", 0, end) + 1])
        cut = read_as_device(file[:end])
        assert whole.settings.keys() <= cut.settings.keys()
        assert len(cut.settings) - len(whole.settings) <= 1
        assert cut.skipped - whole.skipped <= 1
