"""Two devices with one MAC and key give themselves away by coming back; a device that moves does not."""

from registry.mac import MacAddress
from tunnel.clones import MOST_DEVICES, MOST_RETURNS, REFUSED_FOR, WITHIN, CloneWatch

MAC = MacAddress("0C1105AABBCC")
HOME, AWAY, LTE = "192.0.2.1", "198.51.100.7", "203.0.113.9"


def test_links_that_evict_each_other_in_turn_are_a_clone() -> None:
    watch, found, now = CloneWatch(), [], 0.0
    older, newer = HOME, AWAY
    for _ in range(MOST_RETURNS + 2):
        found.append(watch.replaced(MAC, older, newer, now))
        older, newer = newer, older
        now += 10.0
    assert [bool(one) for one in found] == [False] * MOST_RETURNS + [True, False]
    assert set(found[MOST_RETURNS]) == {HOME, AWAY}
    assert watch.refuses(MAC, now)
    assert not watch.refuses(MacAddress("0C1105AABBCD"), now)
    assert not watch.refuses(MAC, now + REFUSED_FOR)


def test_a_device_that_moves_on_or_restarts_is_none() -> None:
    watch = CloneWatch()
    for number in range(50):
        assert watch.replaced(MAC, f"192.0.2.{number}", f"192.0.2.{number + 1}", number) == ()
        assert watch.replaced(MAC, HOME, HOME, number) == ()
    assert not watch.refuses(MAC, 50.0)


def test_one_that_goes_back_and_forth_slowly_is_none() -> None:
    watch, older, newer = CloneWatch(), HOME, LTE
    for number in range(50):
        assert watch.replaced(MAC, older, newer, number * WITHIN / 2) == ()
        older, newer = newer, older


def test_what_is_remembered_is_bounded() -> None:
    watch = CloneWatch()
    for number in range(MOST_DEVICES + 10):
        watch.replaced(MacAddress(f"{number:012X}"), HOME, AWAY, 0.0)
    assert len(watch._traces) == MOST_DEVICES
