"""docs/tunnel-protocol.md says what the code does: its tables of frames and codes, and the numbers in its text."""

import re
from pathlib import Path

import pytest

from tunnel import clones, pacing
from tunnel.errors import Code
from tunnel.frames import ACK, FIN, RULES, SHARED_DATA, FrameType, Limits
from tunnel.net import agent, link
from tunnel.window import GRANT_SHARE

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "tunnel-protocol.md").read_text()
FLAGS = {"-": 0, "ACK 0x01": ACK, "FIN 0x01": FIN}


def rows(first: str) -> list[list[str]]:
    """The cells of each table row whose first cell matches."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in TEXT.splitlines() if line.startswith("|")]
    return [row for row in cells if re.fullmatch(first, row[0])]


def lengths(payload: str) -> tuple[int, int]:
    """The least and the most of the column "payload": "map <= 1,024", "8, opaque", "4..260: ...", "0..65,536 raw bytes"."""
    numbers = [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*\d|\d", payload)]
    if payload.startswith("map"):
        return 1, numbers[0]
    return (numbers[0], numbers[1]) if ".." in payload else (numbers[0], numbers[0])


def test_the_table_of_frames() -> None:
    table = rows(r"0x[0-9a-f]{2}")
    assert [int(row[0], 16) for row in table] == [int(kind) for kind in FrameType]
    for number, name, stream, flags, payload, *_ in table:
        kind = FrameType(int(number, 16))
        rule = RULES[kind]
        assert name == kind.name
        assert (stream == "n") == rule.on_stream
        assert FLAGS[flags] == rule.flags
        assert lengths(payload) == (rule.least, rule.most), name


def test_the_table_of_codes() -> None:
    assert [(int(row[0]), row[1]) for row in rows(r"\d{1,2}")] == [(int(code), code.name) for code in Code]


@pytest.mark.parametrize(
    ("text", "value", "in_code"),
    [
        ("starts with a credit of {} bytes", "65,536", Limits().initial_window),
        ("(to {} at most here)", "1 MiB", Limits().max_window // 2**20),
        ("once that is a {} of the window", "quarter", GRANT_SHARE),
        ("frames\nof at most {} bytes", "16,384", SHARED_DATA),
        ("At most {} KiB wait", "128", 128 if link.TLS_BUFFER + link.BATCH + SHARED_DATA < 128 * 1024 else 0),
        ("pile up to {} because", "1,024", Limits().max_control_frames),
        ("not taken for {} s with ERROR 8", "30", int(link.WRITE_DEADLINE)),
        ("the allowed queue is {}/8 of the least", "5", int(pacing.QUEUE_SHARE * 8)),
        ("within {} and 50 ms", "5", int(pacing.LEAST_QUEUE * 1000)),
        ("within 5 and {} ms", "50", int(Limits().queue_delay * 1000)),
        ("only after {} late answers", "four", pacing.RECENT),
        ("`ping_after_ms` +-{} %", "20", int(Limits().ping_spread * 100)),
        ("Defaults {} s and 60 s", "25", int(Limits().ping_after)),
        ("Defaults 25 s and {} s", "60", int(Limits().dead_after)),
        ("An OPEN not answered in {} s", "10", int(Limits().open_deadline)),
        ("may run on for {} s", "30", int(Limits().drain)),
        ("random(0, min({} s, 1 s x 2^n))", "60", int(agent.BACKOFF_MOST)),
        ("after {} s, and on each new link", "15", int(agent.EVENT_REPEAT)),
        ("at least the last {}", "64", agent.REMEMBERED_RESULTS),
        ("At most {} EVENTs unacknowledged", "16", Limits().max_unacked_events),
        ("{} times in ten minutes", "three", clones.MOST_RETURNS),
        ("links of that MAC for {} minutes", "ten", int(clones.REFUSED_FOR / 60)),
    ],
)
def test_the_numbers_in_the_text(text: str, value: str, in_code: int) -> None:
    assert text.format(value) in TEXT
    words = {"quarter": 4, "three": 3, "four": 4, "ten": 10}
    assert words[value] == in_code if value in words else int(value.replace(",", "").removesuffix(" MiB")) == in_code
