"""Which keys open a relay, for how long."""

from simulators.relays import DoorRelay, RelayBank, Switched

GATE = DoorRelay("Gate", "#", 3)
GARAGE = DoorRelay("Garage", "21", 5)
CELLAR = DoorRelay("Cellar", "1", 2)


def press(bank: RelayBank, keys: str, now: float = 100.0, call: str = "c1") -> list[int | None]:
    return [bank.key(call, key, now) for key in keys]


def test_a_code_opens_its_relay_for_its_time() -> None:
    bank = RelayBank([GATE, GARAGE])
    assert press(bank, "#") == [1]
    assert bank.take() == [Switched(1, "Gate", opened=True)]
    assert bank.is_open(1)
    assert not bank.is_open(2)
    assert bank.next_deadline() == 103.0
    bank.on_deadline(102.9)
    assert bank.is_open(1)
    bank.on_deadline(103.0)
    assert bank.take() == [Switched(1, "Gate", opened=False)]
    assert not bank.is_open(1)
    assert bank.next_deadline() is None


def test_wrong_codes_open_nothing() -> None:
    bank = RelayBank([GATE, GARAGE])
    assert press(bank, "1234567890*ABCD2") == [None] * 16
    assert bank.take() == []
    assert bank.next_deadline() is None


def test_the_longest_code_wins_and_keys_start_afresh_after_it() -> None:
    bank = RelayBank([GARAGE, CELLAR])
    assert press(bank, "21") == [None, 1]
    assert press(bank, "1") == [2]
    assert press(bank, "931") == [None, None, 2]


def test_keys_of_two_calls_do_not_mix() -> None:
    bank = RelayBank([GARAGE])
    assert bank.key("a", "2", 1.0) is None
    assert bank.key("b", "1", 1.0) is None
    assert bank.key("a", "1", 1.0) == 1
    assert bank.key("b", "2", 1.0) is None
    bank.call_over("b")
    assert bank.key("b", "1", 1.0) is None


def test_a_relay_without_a_code_is_opened_by_no_key() -> None:
    bank = RelayBank([DoorRelay("Gate", "", 3)])
    assert press(bank, "0123456789*#ABCD") == [None] * 16


def test_opening_again_holds_from_then_on() -> None:
    bank = RelayBank([GATE])
    assert bank.open(1, 10.0)
    assert bank.open(1, 12.0)
    bank.on_deadline(13.0)
    assert bank.is_open(1)
    bank.on_deadline(15.0)
    assert not bank.is_open(1)


def test_there_is_no_relay_zero_or_beyond_the_last() -> None:
    bank = RelayBank([GATE])
    assert not bank.open(0, 1.0)
    assert not bank.open(2, 1.0)
    assert bank.take() == []


def test_reconfiguring_keeps_an_open_relay_that_still_exists() -> None:
    bank = RelayBank([GATE, GARAGE])
    bank.open(1, 1.0)
    bank.open(2, 1.0)
    bank.take()
    bank.reconfigure([GATE])
    assert bank.is_open(1)
    assert not bank.is_open(2)
    bank.on_deadline(100.0)
    assert bank.take() == [Switched(1, "Gate", opened=False)]
