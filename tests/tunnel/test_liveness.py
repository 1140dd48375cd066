"""Silence, pings, death, round trips."""

import pytest

from tunnel.errors import PeerError
from tunnel.liveness import Liveness, Verdict


def made(chance: float = 0.5) -> Liveness:
    return Liveness(0.0, 25.0, 60.0, 0.2, chance)


@pytest.mark.parametrize(("chance", "first"), [(0.0, 20.0), (0.5, 25.0), (0.9999999, 30.0)])
def test_the_first_ping_is_spread(chance: float, first: float) -> None:
    assert made(chance).next_deadline() == pytest.approx(first, abs=0.001)


def test_silence_brings_one_ping_then_death() -> None:
    life = made()
    assert life.on_deadline(24.9) is Verdict.NOTHING
    assert life.on_deadline(25.0) is Verdict.PING
    life.ping(25.0)
    assert life.next_deadline() == 60.0
    assert life.on_deadline(59.9) is Verdict.NOTHING
    assert life.on_deadline(60.0) is Verdict.DEAD


def test_any_byte_is_life_even_without_the_answer() -> None:
    life = made()
    life.ping(25.0)
    life.heard(50.0)
    assert life.on_deadline(85.0) is Verdict.NOTHING
    assert life.next_deadline() == 110.0
    assert life.on_deadline(110.0) is Verdict.DEAD


def test_an_answer_measures_the_round_trip() -> None:
    life = made()
    assert life.answered(life.ping(10.0), 10.25) == pytest.approx(0.25)
    assert life.round_trip == pytest.approx(0.25)


def test_an_answer_nobody_waits_for_is_the_peers_fault() -> None:
    life = made()
    with pytest.raises(PeerError):
        life.answered(bytes(8), 1.0)
    payload = life.ping(1.0)
    with pytest.raises(PeerError):
        life.answered(b"\xff" * 8, 1.1)
    life.answered(payload, 1.2)
    with pytest.raises(PeerError):
        life.answered(payload, 1.3)


def test_probes_are_paced_and_never_two_at_once() -> None:
    life = made()
    assert life.may_probe(0.0)
    payload = life.ping(0.0)
    assert not life.may_probe(10.0)
    life.answered(payload, 0.05)
    assert not life.may_probe(0.09)
    assert life.may_probe(0.1)
