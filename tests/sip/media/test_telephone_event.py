"""A key press is reported once, whatever is repeated, late or lost (RFC 4733)."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from sip.media.telephone_event import DIGITS, PER_SECOND, KeyPresses


def packet(event: int, timestamp: int, length: int, end: bool = False, source: int = 7, head: bytes = b"\x80\x65") -> bytes:
    return head + struct.pack("!HIIBBH", 1, timestamp & 0xFFFFFFFF, source, event, 10 | end << 7, length)


def press(event: int, timestamp: int) -> list[bytes]:
    """A key held 100 ms: five updates, and the end three times."""
    return [packet(event, timestamp, 160 * n) for n in range(1, 6)] + [packet(event, timestamp, 800, end=True)] * 3


def said(packets: list[bytes], keys: KeyPresses | None = None) -> list[tuple[str, int]]:
    keys = keys or KeyPresses()
    return [found for data in packets if (found := keys.packet(data, 8000)) is not None]


def test_each_key_is_said_once() -> None:
    assert said([data for event in range(16) for data in press(event, 1000 * event)]) == [(digit, 100) for digit in DIGITS]


def test_the_same_key_twice_is_two_presses() -> None:
    assert said(press(11, 5000) + press(11, 7000)) == [("#", 100), ("#", 100)]


def test_a_lost_end_is_made_up_for_by_the_next_key_or_the_tick() -> None:
    keys = KeyPresses()
    assert said(press(1, 0)[:5] + press(2, 9000), keys) == [("1", 100), ("2", 100)]
    assert said(press(3, 20_000)[:5], keys) == []
    assert keys.tick() is None  # it may still be held
    assert keys.tick() == ("3", 100)
    assert keys.tick() is None
    assert said(press(3, 20_000)[5:], keys) == []


def test_a_late_packet_of_an_earlier_key_is_nothing() -> None:
    assert said(press(1, 1000) + press(2, 3000) + press(1, 1000)) == [("1", 100), ("2", 100)]


def test_timestamps_wrap() -> None:
    assert said(press(1, 0xFFFFFF00) + press(2, 0x00000400)) == [("1", 100), ("2", 100)]


def test_a_key_held_longer_than_a_duration_can_say_is_one_press() -> None:
    held = [packet(5, 0, 0xFFFF), packet(5, 0xFFFF, 160), packet(5, 0xFFFF, 320, end=True)]
    assert said(held) == [("5", 8191)]


def test_other_events_are_none_of_ours() -> None:
    assert said(press(16, 0) + press(36, 9000)) == []


def test_csrcs_and_extensions_are_stepped_over() -> None:
    data = packet(9, 0, 800, end=True)
    with_both = b"\x91\x65" + data[2:12] + b"csrc" + b"\xbe\xde\x00\x01extn" + data[12:]
    assert said([with_both]) == [("9", 100)]


def test_a_flood_of_keys_is_cut_off_until_the_tick() -> None:
    keys = KeyPresses()
    flood = [packet(1, 100 * n, 50, end=True) for n in range(100)]
    assert len(said(flood, keys)) == PER_SECOND
    keys.tick()
    assert len(said([packet(1, 100_000, 50, end=True)], keys)) == 1


@given(st.lists(st.binary(min_size=12, max_size=40), max_size=20))
def test_any_octets_are_taken(packets: list[bytes]) -> None:
    keys = KeyPresses()
    for data in packets:
        found = keys.packet(data, 8000)
        assert found is None or (found[0] in DIGITS and 0 <= found[1] <= 8191)


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(1, 7)), max_size=10), st.data())
def test_any_loss_short_of_a_whole_key_leaves_each_once(keys: list[tuple[int, int]], data: st.DataObject) -> None:
    arrived: list[bytes] = []
    for index, (event, _) in enumerate(keys):
        packets = press(event, 3000 * index)
        kept = data.draw(st.sets(st.integers(0, 7), min_size=1))
        arrived += [one for at, one in enumerate(packets) if at in kept]
    presses = KeyPresses()
    found = said(arrived, presses)
    found += [late for _ in range(2) if (late := presses.tick()) is not None]
    assert [digit for digit, _ in found] == [DIGITS[event] for event, _ in keys]
