"""The relay: calls, forks, new offers, ends and limits, without sockets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.media.relay import RelayLimits
from sip.media_engine import REASONS, Digit, MediaEnded, MediaKey, MediaReady
from sip.sdp import parse_sdp
from tests.sip.media.stage import AUDIO, DOOR, MONITOR, VIDEO, RelayStage, failed, ports, rtcp, rtp, sdp
from tests.sip.media.test_telephone_event import press

OFFER = sdp(DOOR, (AUDIO, 11800), (VIDEO, 11802))
ANSWER = sdp(MONITOR, (AUDIO, 5000), (VIDEO, 5002))
DOOR_AUDIO, MONITOR_AUDIO = (DOOR, 11800), (MONITOR, 5000)


def answered(stage: RelayStage) -> tuple[int, int]:
    """An audio and video call. Returns the audio ports that face the door and the monitor."""
    facing_monitor = ports(stage.offer(OFFER))
    facing_door = ports(stage.answer(ANSWER))
    return facing_door[0], facing_monitor[0]


def test_a_call_is_relayed_both_ways_with_rtcp() -> None:
    stage = RelayStage()
    offered = stage.offer(OFFER)
    assert isinstance(offered, MediaReady)
    assert b"c=IN IP4 198.51.100.1\r\n" in offered.sdp
    assert b"o=- 1 1 IN IP4 192.0.2.99" in offered.sdp
    back = stage.answer(ANSWER)
    to_door, to_monitor = ports(back), ports(offered)
    assert len({*to_door, *to_monitor}) == 4
    for index, (door, monitor) in enumerate(zip((11800, 11802), (5000, 5002), strict=True)):
        assert stage.send(to_door[index], (DOOR, door)) == [(MONITOR, monitor)]
        assert stage.send(to_monitor[index], (MONITOR, monitor)) == [(DOOR, door)]
        assert stage.send(to_door[index] + 1, (DOOR, door + 1), rtcp()) == [(MONITOR, monitor + 1)]
        assert stage.send(to_monitor[index] + 1, (MONITOR, monitor + 1), rtcp()) == [(DOOR, door + 1)]


def test_only_the_right_source_is_learned_and_then_only_that_one() -> None:
    stage = RelayStage()
    to_door, to_monitor = answered(stage)
    assert stage.send(to_monitor, ("192.0.2.66", 5000)) == []
    assert stage.send(to_monitor, (MONITOR, 61_000)) == [DOOR_AUDIO]  # behind a NAT: another port than it says
    assert stage.send(to_door, DOOR_AUDIO) == [(MONITOR, 61_000)]
    assert stage.send(to_monitor, (MONITOR, 62_000)) == []
    assert stage.send(to_monitor, ("192.0.2.66", 61_000)) == []
    assert stage.relay.refused["foreign source"] == 3


def test_the_signalling_address_counts_and_a_private_address_gets_nothing_unasked() -> None:
    stage = RelayStage()
    (to_monitor,) = ports(stage.offer(sdp("192.168.1.9", (AUDIO, 11800)), source=DOOR))
    (to_door,) = ports(stage.answer(sdp(MONITOR, (AUDIO, 5000))))
    assert stage.send(to_monitor, MONITOR_AUDIO) == [None]
    assert stage.send(to_door, (DOOR, 40_123)) == [MONITOR_AUDIO]
    assert stage.send(to_monitor, MONITOR_AUDIO) == [(DOOR, 40_123)]


@pytest.mark.parametrize("host", ["127.0.0.1", "169.254.1.1", "10.0.0.1", "media.example.org", "198.51.100.1", "0.0.0.0"])
def test_nothing_is_sent_where_a_party_cannot_be(host: str) -> None:
    stage = RelayStage()
    (to_monitor,) = ports(stage.offer(sdp(host, (AUDIO, 40_050))))
    stage.answer(sdp(MONITOR, (AUDIO, 5000)))
    assert stage.send(to_monitor, MONITOR_AUDIO) == [None]


def test_a_port_of_the_relay_is_never_a_peer() -> None:
    stage = RelayStage()
    (to_monitor,) = ports(stage.offer(sdp("198.51.100.1", (AUDIO, 11800)), source="198.51.100.1"))
    (to_door,) = ports(stage.answer(sdp(MONITOR, (AUDIO, 5000))))
    assert stage.send(to_door, ("198.51.100.1", to_monitor)) == []
    assert stage.send(to_door, ("198.51.100.1", 11800)) == [MONITOR_AUDIO]


def test_everyone_who_rings_sees_the_visitor_who_hears_one() -> None:
    stage = RelayStage()
    monitors = [f"203.0.113.{number}" for number in (11, 12, 13)]
    facing = []
    for number, host in enumerate(monitors):
        branch, tag = b"b%d" % number, b"m%d" % number
        facing.append(ports(stage.offer(OFFER, branch, toward=host)))
        early = stage.answer(sdp(host, (AUDIO, 5000), (VIDEO, 5002)), branch, tag, source=host, final=False)
    to_door = ports(early)
    assert stage.send(to_door[1], (DOOR, 11802)) == [(host, 5002) for host in monitors]
    assert stage.send(to_door[0], DOOR_AUDIO) == [(host, 5000) for host in monitors]
    assert stage.send(facing[1][0], (monitors[1], 5000)) == [DOOR_AUDIO]  # the first that sends is heard
    assert stage.send(facing[0][0], (monitors[0], 5000)) == []
    assert stage.send(facing[2][1], (monitors[2], 5002)) == []
    assert stage.send(facing[2][1] + 1, (monitors[2], 5003), rtcp()) == [(DOOR, 11803)]  # asks for a whole picture
    assert stage.send(facing[2][1], (monitors[2], 5002), rtcp()) == [(DOOR, 11802)]  # the same with rtcp-mux
    stage.answer(sdp(monitors[2], (AUDIO, 5000), (VIDEO, 5002)), b"b2", b"m2", source=monitors[2])
    assert stage.send(to_door[1], (DOOR, 11802)) == [(monitors[2], 5002)]
    assert stage.send(facing[2][0], (monitors[2], 5000)) == [DOOR_AUDIO]
    assert (False, facing[0][0]) not in stage.terminals
    assert len(stage.terminals) == 8


def test_asking_for_a_picture_is_not_speaking() -> None:
    stage = RelayStage()
    facing = [ports(stage.offer(OFFER, branch, toward=MONITOR)) for branch in (b"b1", b"b2")]
    assert stage.send(facing[0][1], (MONITOR, 5002), rtcp()) == [(DOOR, 11802)]
    assert stage.send(facing[1][0], MONITOR_AUDIO) == [DOOR_AUDIO]
    assert stage.send(facing[0][0], MONITOR_AUDIO) == []


def test_when_the_one_that_is_heard_gives_up_another_may_speak() -> None:
    stage = RelayStage()
    facing = [ports(stage.offer(OFFER, branch, toward=MONITOR))[0] for branch in (b"b1", b"b2")]
    assert stage.send(facing[0], MONITOR_AUDIO) == [DOOR_AUDIO]
    assert stage.send(facing[1], MONITOR_AUDIO) == []
    stage.delete(branch=b"b1")
    assert stage.send(facing[1], MONITOR_AUDIO) == [DOOR_AUDIO]


def test_the_door_keeps_its_ports_from_stage_to_stage() -> None:
    stage = RelayStage()
    stage.offer(OFFER, b"b1")
    early = ports(stage.answer(ANSWER, b"b1", b"m1", final=False))
    stage.delete(branch=b"b1")
    stage.offer(OFFER, b"b2")
    assert ports(stage.answer(ANSWER, b"b2", b"m2")) == early


@pytest.mark.parametrize(
    "key", [(b"door", b"", b""), (b"door", b"monitor", b""), (b"monitor", b"door", b""), (b"door", b"", b"b1")], ids=str
)
def test_every_end_closes_every_port(key: tuple[bytes, bytes, bytes]) -> None:
    stage = RelayStage()
    answered(stage)
    stage.delete(*key)
    assert not stage.terminals
    assert len(stage.relay) == 0
    stage.delete(*key)


def test_a_rejected_medium_is_closed_and_can_be_offered_again() -> None:
    stage = RelayStage()
    stage.offer(OFFER)
    assert ports(stage.answer(sdp(MONITOR, (AUDIO, 5000), (VIDEO, 0))))[1] == 0
    assert len(stage.terminals) == 4
    again = MediaKey(b"call", b"monitor", b"door")
    video = ports(stage.offer(ANSWER, key=again, source=MONITOR, toward=DOOR))[1]
    back = ports(stage.answer(OFFER, key=again, source=DOOR))[1]
    assert stage.send(video, (DOOR, 11802)) == [(MONITOR, 5002)]
    assert stage.send(back, (MONITOR, 5002)) == [(DOOR, 11802)]


def test_a_new_offer_lets_a_party_move_and_only_that() -> None:
    stage = RelayStage()
    to_door, to_monitor = answered(stage)
    stage.send(to_door, DOOR_AUDIO)
    stage.send(to_monitor, MONITOR_AUDIO)
    key = MediaKey(b"call", b"monitor", b"door")
    elsewhere = "203.0.113.77"
    moved = stage.offer(sdp(elsewhere, (AUDIO, 6000), (VIDEO, 6002)), key=key, source=elsewhere, toward=DOOR)
    assert ports(moved)[0] == to_door  # the door is told the ports it has
    assert ports(stage.answer(OFFER, key=key, source=DOOR))[0] == to_monitor
    assert stage.send(to_door, DOOR_AUDIO) == [(elsewhere, 6000)]
    assert stage.send(to_monitor, MONITOR_AUDIO) == []
    assert stage.send(to_monitor, (elsewhere, 6500)) == [DOOR_AUDIO]
    assert stage.send(to_door, (DOOR, 12_000)) == [(elsewhere, 6500)]  # so was the door by its answer
    assert stage.send(to_door, DOOR_AUDIO) == []


def test_a_new_offer_from_the_same_place_does_not_open_the_door_for_long() -> None:
    stage = RelayStage()
    to_door, _ = answered(stage)
    stage.send(to_door, DOOR_AUDIO)
    stage.offer(OFFER, key=MediaKey(b"call", b"door", b"monitor"))
    assert stage.send(to_door, DOOR_AUDIO) == [MONITOR_AUDIO]
    for _ in range(11):
        stage.relay.tick()
    assert stage.send(to_door, (DOOR, 12_000)) == []


def test_an_offer_in_the_answer_and_an_answer_in_the_ack() -> None:
    stage = RelayStage()
    key = MediaKey(b"call", b"monitor", b"door", b"b1")
    to_door = ports(stage.offer(ANSWER, key=key, source=MONITOR, toward=DOOR))[0]
    to_monitor = ports(stage.answer(OFFER, key=MediaKey(b"call", b"monitor", b"door"), source=DOOR))[0]
    assert stage.send(to_door, DOOR_AUDIO) == [MONITOR_AUDIO]
    assert stage.send(to_monitor, MONITOR_AUDIO) == [DOOR_AUDIO]


def test_ipv4_and_ipv6_meet() -> None:
    stage = RelayStage()
    monitor = "2001:db8::99"
    offered = stage.offer(sdp(DOOR, (AUDIO, 11800)), toward=monitor)
    assert isinstance(offered, MediaReady)
    assert b"c=IN IP6 2001:db8::1\r\n" in offered.sdp
    back = stage.answer(sdp(monitor, (AUDIO, 5000)), source=monitor)
    assert isinstance(back, MediaReady)
    assert b"c=IN IP4 198.51.100.1\r\n" in back.sdp
    assert stage.send(ports(back)[0], DOOR_AUDIO) == [(monitor, 5000)]
    assert stage.send(ports(offered)[0], (monitor, 5000, 0, 0), ipv6=True) == [DOOR_AUDIO]


def test_keys_are_told_with_who_pressed_them() -> None:
    stage = RelayStage()
    to_door, to_monitor = answered(stage)
    for data in press(11, 1000):
        stage.send(to_monitor, MONITOR_AUDIO, data)
    assert stage.outcomes == [Digit(b"call", b"monitor", b"door", "#", 100)]
    for data in press(5, 1000):
        stage.send(to_door, DOOR_AUDIO, data)
    assert stage.outcomes[1:] == [Digit(b"call", b"door", b"monitor", "5", 100)]


def test_keys_in_encrypted_media_and_of_strangers_are_not_read() -> None:
    stage = RelayStage()
    stage.offer(sdp(DOOR, (AUDIO, 11800), transport=b"RTP/SAVP"))
    (to_door,) = ports(stage.answer(sdp(MONITOR, (AUDIO, 5000), transport=b"RTP/SAVP")))
    for data in press(11, 1000):
        assert stage.send(to_door, DOOR_AUDIO, data) == [MONITOR_AUDIO]
        assert stage.send(to_door, ("192.0.2.66", 11800), data) == []
    assert stage.outcomes == []


def test_what_is_no_rtp_is_dropped_and_teaches_nothing() -> None:
    stage = RelayStage()
    to_door, _ = answered(stage)
    for data in (b"", b"\0" * 20, b"\x16\xfe\xff" + b"\0" * 60, rtp()[:11], rtp(b"x" * 1489), b"\r\n\r\n"):
        assert stage.send(to_door, (DOOR, 9999) if len(data) < 1500 else DOOR_AUDIO, data) == []
    assert stage.send(to_door, DOOR_AUDIO, rtp(b"x" * 1488)) == [MONITOR_AUDIO]


def test_a_stream_has_a_rate() -> None:
    stage = RelayStage()
    to_door, _ = answered(stage)
    passed = sum(bool(stage.send(to_door, DOOR_AUDIO)) for _ in range(600))
    assert passed == 500
    stage.relay.tick()
    assert stage.send(to_door, DOOR_AUDIO) == [MONITOR_AUDIO]
    assert stage.relay.refused["rate"] == 100


def test_a_flooded_port_runs_out_of_patience_until_the_tick() -> None:
    stage = RelayStage()
    to_door, _ = answered(stage)
    for _ in range(2000):
        stage.send(to_door, ("192.0.2.66", 1))
    assert stage.terminals[False, to_door].patience <= 0
    stage.relay.tick()
    assert stage.terminals[False, to_door].patience > 0


def test_ports_used_up_is_said_and_nothing_is_kept() -> None:
    stage = RelayStage(pairs=3)
    assert ports(stage.offer(sdp(DOOR, (AUDIO, 11800))))
    assert failed(stage.offer(OFFER, key=MediaKey(b"other", b"door", b"", b"b"))) == ("ports used up", 503)
    assert len(stage.relay) == 1
    assert len(stage.terminals) == 4
    assert ports(stage.offer(sdp(DOOR, (AUDIO, 11800)), b"b2"))
    assert failed(stage.offer(sdp(DOOR, (AUDIO, 11800)), b"b3")) == ("ports used up", 503)


def test_calls_and_forks_are_bounded() -> None:
    stage = RelayStage(limits=RelayLimits(calls=1, forks=2))
    for branch in (b"b1", b"b2"):
        assert ports(stage.offer(OFFER, branch))
    assert failed(stage.offer(OFFER, b"b3")) == ("sessions used up", 503)
    assert failed(stage.offer(OFFER, key=MediaKey(b"other", b"door", b"", b"b"))) == ("sessions used up", 503)


UNSUPPORTED = [
    sdp(DOOR, (AUDIO, 11800), transport=b"UDP/TLS/RTP/SAVPF"),
    sdp(DOOR, (b"image", 11800), transport=b"udptl"),
    sdp("224.2.2.2", (AUDIO, 11800)),
    sdp(DOOR, (AUDIO, 11800)).replace(b"audio 11800", b"audio 11800/2"),
    sdp(DOOR, *[(AUDIO, 11800 + 2 * index) for index in range(5)]),
]


@pytest.mark.parametrize("body", UNSUPPORTED, ids=range(len(UNSUPPORTED)))
def test_what_the_relay_cannot_carry_is_488(body: bytes) -> None:
    stage = RelayStage()
    assert failed(stage.offer(body)) == ("unsupported", 488)
    assert not stage.terminals


def test_garbage_is_488_and_an_answer_to_nothing_too() -> None:
    stage = RelayStage()
    assert failed(stage.offer(b"garbage")) == ("garbage", 488)
    assert failed(stage.answer(ANSWER)) == ("unknown call", 488)
    stage.offer(OFFER)
    assert failed(stage.answer(sdp(MONITOR, (AUDIO, 5000)))) == ("garbage", 488)


def test_other_media_are_turned_off_beside_audio() -> None:
    stage = RelayStage()
    offered = stage.offer(OFFER + b"m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n")
    assert ports(offered)[2] == 0


def test_a_silent_call_ends_by_itself() -> None:
    stage = RelayStage(limits=RelayLimits(silent_seconds=3, ringing_seconds=5, held_seconds=7))
    to_door, _ = answered(stage)
    stage.relay.tick()
    stage.relay.tick()
    stage.send(to_door, DOOR_AUDIO)
    for _ in range(3):
        stage.relay.tick()
    assert stage.outcomes == []
    stage.relay.tick()
    assert stage.outcomes == [MediaEnded(b"call", b"door", b"monitor")]
    assert not stage.terminals


def test_a_held_call_may_be_silent_for_longer() -> None:
    stage = RelayStage(limits=RelayLimits(silent_seconds=3, held_seconds=7))
    answered(stage)
    stage.offer(OFFER.replace(b"c=IN IP4 " + DOOR.encode(), b"c=IN IP4 0.0.0.0"), key=MediaKey(b"call", b"door", b"monitor"))
    for _ in range(6):
        stage.relay.tick()
    assert len(stage.relay) == 1
    stage.relay.tick()
    assert len(stage.relay) == 0


def test_an_offer_in_a_dialog_from_before_a_restart_begins_anew() -> None:
    stage = RelayStage()
    key = MediaKey(b"call", b"monitor", b"door")
    (to_door, _) = ports(stage.offer(ANSWER, key=key, source=MONITOR, toward=DOOR))
    (to_monitor, _) = ports(stage.answer(OFFER, key=key, source=DOOR))
    assert stage.send(to_door, DOOR_AUDIO) == [MONITOR_AUDIO]
    assert stage.send(to_monitor, MONITOR_AUDIO) == [DOOR_AUDIO]
    stage.delete(b"door", b"monitor")
    assert not stage.terminals


TAGS = st.sampled_from([b"door", b"m1", b"m2", b""])
BODIES = st.sampled_from(
    [OFFER, ANSWER, sdp(DOOR, (AUDIO, 11800)), sdp(MONITOR, (AUDIO, 5000), (VIDEO, 0)), sdp("::1", (AUDIO, 5000)), b"garbage"]
)


@given(
    st.lists(st.tuples(st.integers(0, 4), TAGS, TAGS, st.sampled_from([b"", b"b1", b"b2"]), BODIES, st.booleans()), max_size=25)
)
def test_whatever_the_order_no_port_is_lost(steps: list[tuple[int, bytes, bytes, bytes, bytes, bool]]) -> None:
    stage = RelayStage(pairs=6, limits=RelayLimits(calls=3, forks=3))
    for what, from_tag, to_tag, branch, body, final in steps:
        key = MediaKey(b"call", from_tag, to_tag, branch)
        if what == 0:
            outcome = stage.offer(body, key=key)
        elif what == 1:
            outcome = stage.answer(body, key=key, final=final)
        elif what == 2:
            stage.delete(from_tag, to_tag, branch)
            continue
        else:
            for terminal in list(stage.terminals.values()):
                for sink in terminal.receive(rtp(), (DOOR if final else MONITOR, 5000 + what)):
                    assert sink in stage.terminals.values(), "a closed port is still a sink"
            continue
        if isinstance(outcome, MediaReady):
            parse_sdp(outcome.sdp)
        else:
            assert outcome.reason in REASONS
        assert len(stage.free) + len(stage.terminals) // 2 == 12
    stage.relay.close()
    assert not stage.terminals
    assert len(stage.free) == 12
