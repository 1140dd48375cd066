"""The rtpengine client: instances, repeats, order, failover and ends, without sockets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.media.bencode import Value, decode, encode
from sip.media.ng_client import InstanceTurned, NgClient, NgLimits, Transmit
from sip.media.ng_commands import command
from sip.media_engine import (
    REASONS,
    MediaAnswer,
    MediaDelete,
    MediaFailed,
    MediaKey,
    MediaOffer,
    MediaOutcome,
    MediaReady,
    MediaRequest,
)
from tests.sip.media.stage import AUDIO, DOOR, MONITOR, sdp

BODY = sdp(DOOR, (AUDIO, 11800))


def offer(number: int, call: bytes = b"call", branch: bytes = b"b1", to_tag: bytes = b"") -> MediaOffer:
    return MediaOffer(MediaKey(call, b"door", to_tag, branch), number, BODY, DOOR, MONITOR)


def answer(number: int, to_tag: bytes = b"m1", branch: bytes = b"b1", final: bool = True) -> MediaAnswer:
    return MediaAnswer(MediaKey(b"call", b"door", to_tag, branch), number, BODY, MONITOR, final)


class NgStage:
    """Plays the shell and the instances. Those in `dead` say nothing."""

    def __init__(self, instances: int = 1) -> None:
        self.now = 100.0
        self.client = NgClient([f"192.0.2.{index}:2223" for index in range(instances)], b"12345678", self.now)
        self.dead: set[int] = set()
        self.reply: dict[bytes, Value] = {b"result": b"ok", b"sdp": b"changed"}
        self.commands: list[tuple[int, dict[bytes, Value]]] = []
        self.datagrams: list[Transmit] = []
        self.outcomes: list[MediaOutcome] = []
        self.turned: list[InstanceTurned] = []
        self.holds = False
        self.run(0.0)

    def request(self, *requests: MediaRequest) -> None:
        for one in requests:
            self.client.request(one, self.now)
        self.pump()

    def run(self, seconds: float) -> None:
        """Let time pass, stopping at every deadline."""
        end = self.now + seconds
        while (due := self.client.next_deadline()) is not None and due <= end:
            self.now = max(due, self.now)
            self.client.on_deadline(self.now)
            self.pump()
        self.now = end

    def pump(self) -> None:
        while outputs := self.client.take():
            for output in outputs:
                if isinstance(output, Transmit):
                    self.sent(output)
                elif isinstance(output, InstanceTurned):
                    self.turned.append(output)
                else:
                    self.outcomes.append(output)

    def sent(self, output: Transmit) -> None:
        cookie, _, body = output.data.partition(b" ")
        said = decode(body)
        assert isinstance(said, dict)
        if said[b"command"] != b"ping":
            self.commands.append((output.instance, said))
            self.datagrams.append(output)
        if output.instance in self.dead or (self.holds and said[b"command"] != b"ping"):
            return
        reply = {b"result": b"pong"} if said[b"command"] == b"ping" else self.reply
        self.client.received(output.instance, cookie + b" " + encode(reply), self.now)

    def said(self) -> list[bytes]:
        return [said[b"command"] for _, said in self.commands]  # type: ignore[misc]


def test_an_offer_says_what_rtpengine_must_know() -> None:
    said = command(offer(1))
    assert said == {
        b"command": b"offer",
        b"call-id": b"call",
        b"from-tag": b"door",
        b"via-branch": b"b1",
        b"sdp": BODY,
        b"flags": [b"strict-source"],
        b"replace": [b"origin"],
        b"received-from": [b"IP4", DOOR.encode()],
        b"address-family": b"IP4",
    }


def test_a_nat_an_ipv6_receiver_and_a_browser_are_told() -> None:
    behind = offer(1)._replace(sdp=sdp("192.168.1.9", (AUDIO, 11800)), toward="2001:db8::9", transport=b"UDP/TLS/RTP/SAVPF")
    said = command(behind)
    assert said[b"flags"] == [b"strict-source", b"SIP-source-address"]
    assert (said[b"address-family"], said[b"transport-protocol"], said[b"ICE"]) == (b"IP6", b"UDP/TLS/RTP/SAVPF", b"force")
    assert (said[b"rtcp-mux"], said[b"SDES"]) == ([b"offer"], [b"off"])
    plain = command(behind._replace(transport=b"RTP/AVP"))
    assert (plain[b"ICE"], plain[b"rtcp-mux"], plain[b"SDES"]) == (b"remove", [b"demux"], [b"off"])
    assert b"SIP-source-address" not in command(behind._replace(sdp=b"garbage"))[b"flags"]  # type: ignore[operator]


def test_a_browser_may_send_from_any_address_and_nobody_else() -> None:
    theirs = sdp(DOOR, (AUDIO, 9000), transport=b"UDP/TLS/RTP/SAVPF")
    assert command(offer(1)._replace(sdp=theirs))[b"flags"] == []
    assert command(answer(2)._replace(sdp=theirs))[b"flags"] == []
    both = theirs + b"m=video 9002 RTP/AVP 99\r\n"
    assert command(offer(1)._replace(sdp=both))[b"flags"] == [b"strict-source"]
    rejected = theirs.replace(b"9000", b"0")
    assert command(offer(1)._replace(sdp=rejected))[b"flags"] == [b"strict-source"]


def test_offer_answer_delete() -> None:
    stage = NgStage()
    stage.request(offer(1), answer(2), MediaDelete(MediaKey(b"call", b"m1", b"door")))
    assert stage.said() == [b"offer", b"answer", b"delete"]
    assert stage.outcomes == [MediaReady(1, offer(1).key, b"changed"), MediaReady(2, answer(2).key, b"changed")]
    assert len(stage.client) == 0


def test_one_command_of_a_call_at_a_time_and_repeats_until_it_is_answered() -> None:
    stage = NgStage()
    stage.holds = True
    stage.request(offer(1), answer(2), offer(3, b"another"))
    assert stage.said() == [b"offer", b"offer"]
    stage.run(0.5)
    assert stage.said() == [b"offer", b"offer"] * 3
    assert len({output.data for output in stage.datagrams}) == 2  # the same cookie: rtpengine answers a repeat as before
    stage.holds = False
    first = stage.datagrams[0]
    stage.client.received(0, first.data.partition(b" ")[0] + b" " + encode(stage.reply), stage.now)
    stage.pump()
    assert stage.said()[-1] == b"answer"
    assert [one.number for one in stage.outcomes if isinstance(one, MediaReady)] == [1, 2]


def test_a_dead_instance_is_left_for_the_next_one_and_comes_back() -> None:
    stage = NgStage(instances=2)
    stage.request(offer(1))
    used = stage.commands[0][0]
    stage.dead.add(used)
    stage.request(offer(2, b"call", b"b2"))  # this call is with it
    stage.run(1.0)
    assert stage.outcomes[-1] == MediaFailed(2, offer(2, branch=b"b2").key, "engine down", 503)
    assert stage.turned == [InstanceTurned(used, False)]
    others = [b"c%d" % number for number in range(20)]
    stage.request(*(offer(10 + number, call) for number, call in enumerate(others)))
    assert {instance for instance, said in stage.commands if said[b"call-id"] in others} == {1 - used}
    stage.dead.clear()
    stage.run(2.5)
    assert stage.turned[-1] == InstanceTurned(used, True)
    assert stage.client.alive == (True, True)


def test_a_new_call_goes_to_the_next_instance_when_the_first_says_nothing() -> None:
    stage = NgStage(instances=3)
    stage.dead = {0, 1}
    calls = [b"c%d" % number for number in range(12)]
    stage.request(*(offer(number, call) for number, call in enumerate(calls)))
    stage.run(3.0)
    assert sorted(one.number for one in stage.outcomes if isinstance(one, MediaReady)) == list(range(12))
    assert {one.instance for one in stage.turned if not one.alive} == {0, 1}


def test_all_dead_is_a_clear_failure_in_time() -> None:
    stage = NgStage(instances=2)
    stage.dead = {0, 1}
    stage.request(offer(1))
    stage.run(2.0)
    assert stage.outcomes == [MediaFailed(1, offer(1).key, "engine down", 503)]
    stage.request(offer(2, b"other"))
    assert stage.outcomes[1:] == [MediaFailed(2, offer(2, b"other").key, "engine down", 503)]
    assert len(stage.client) == 0


def test_calls_are_spread_and_a_restart_finds_them() -> None:
    first, second = NgStage(instances=3), NgStage(instances=3)
    calls = [b"c%d" % number for number in range(60)]
    for call in calls:
        first.request(offer(1, call))
        second.request(MediaDelete(MediaKey(call, b"door")))
    places = {bytes(said[b"call-id"]): instance for instance, said in first.commands}  # type: ignore[arg-type]
    assert all(places[bytes(said[b"call-id"])] == instance for instance, said in second.commands)  # type: ignore[arg-type]
    assert min(list(places.values()).count(instance) for instance in range(3)) >= 8


def test_the_losing_branches_are_deleted_when_one_answers() -> None:
    stage = NgStage()
    for number in range(3):
        stage.request(offer(number, branch=b"b%d" % number), answer(10 + number, b"m%d" % number, b"b%d" % number, final=False))
    stage.request(answer(20, b"m1", b"b1"))
    deleted = [(said[b"via-branch"], said[b"to-tag"]) for _, said in stage.commands if said[b"command"] == b"delete"]
    assert sorted(deleted) == [(b"b0", b"m0"), (b"b2", b"m2")]
    assert len(stage.client) == 1
    before = len(stage.commands)
    stage.request(*(MediaDelete(MediaKey(b"call", b"door", b"", branch)) for branch in (b"b0", b"b2")))
    assert len(stage.commands) == before  # the proxy's own deletes of the same: twice is once
    stage.request(MediaDelete(MediaKey(b"call", b"door", b"m1")))
    assert len(stage.client) == 0


@pytest.mark.parametrize(
    ("reply", "reason", "status"),
    [
        ({b"result": b"error", b"error-reason": b"Failed to parse SDP"}, "engine refused", 488),
        ({b"result": b"error", b"error-reason": b"Unknown call-id"}, "unknown call", 488),
        ({b"result": b"error", b"error-reason": b"Ran out of ports"}, "ports used up", 503),
        ({b"result": b"load limit", b"message": b"x"}, "engine busy", 503),
        ({b"result": b"ok"}, "engine refused", 488),
    ],
)
def test_what_rtpengine_refuses(reply: dict[bytes, Value], reason: str, status: int) -> None:
    stage = NgStage()
    stage.reply = reply
    stage.request(offer(1))
    assert stage.outcomes == [MediaFailed(1, offer(1).key, reason, status)]
    assert len(stage.client) == 0


def test_a_full_instance_is_left_for_another() -> None:
    stage = NgStage(instances=2)
    stage.holds = True
    stage.request(offer(1))
    first = stage.datagrams[0]
    stage.holds = False
    stage.client.received(first.instance, first.data.partition(b" ")[0] + b" " + encode({b"result": b"load limit"}), stage.now)
    stage.pump()
    assert [instance for instance, _ in stage.commands] == [first.instance, 1 - first.instance]
    assert isinstance(stage.outcomes[0], MediaReady)


def test_a_forged_or_late_answer_is_nothing() -> None:
    stage = NgStage(instances=2)
    stage.holds = True
    stage.request(offer(1))
    sent = stage.datagrams[0]
    cookie = sent.data.partition(b" ")[0]
    good = encode(stage.reply)
    for instance, data in (
        (1 - sent.instance, cookie + b" " + good),
        (sent.instance, b"x " + good),
        (sent.instance, cookie + b" d3:"),
        (sent.instance, cookie + b" " + encode([1])),
        (sent.instance, b""),
    ):
        stage.client.received(instance, data, stage.now)
    stage.pump()
    assert stage.outcomes == []
    assert stage.client.refused["stray datagram"] == 5


def test_what_waits_is_bounded_but_for_deletes() -> None:
    stage = NgStage()
    stage.client._limits = NgLimits(queued=2)
    stage.holds = True
    stage.request(*(offer(number) for number in range(5)), MediaDelete(MediaKey(b"call", b"door")))
    assert [one.number for one in stage.outcomes if isinstance(one, MediaFailed)] == [3, 4]
    stage.holds = False
    stage.run(0.5)
    assert stage.said()[-1] == b"delete"
    assert len(stage.client) == 0


def test_a_call_nobody_ends_is_forgotten() -> None:
    stage = NgStage()
    stage.request(offer(1))
    stage.run(4 * 3600.0 + 1)
    assert len(stage.client) == 0


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["offer", "answer", "delete", "time"]),
        st.sampled_from([b"c1", b"c2"]),
        st.sampled_from([b"", b"b1", b"b2"]),
        st.sampled_from([b"", b"m1"]),
        st.sampled_from(
            [b"ok", b"error", b"load limit", b"", b"silence"],
        ),
    ),
    max_size=20,
)


@given(STEPS)
def test_every_offer_and_answer_has_exactly_one_outcome(steps: list[tuple[str, bytes, bytes, bytes, bytes]]) -> None:
    stage = NgStage(instances=2)
    asked = []
    for number, (what, call, branch, to_tag, reply) in enumerate(steps):
        key = MediaKey(call, b"door", to_tag, branch)
        stage.dead = {0, 1} if reply == b"silence" else set()
        stage.reply = {b"result": reply, b"sdp": b"changed"}
        if what == "time":
            stage.run(0.3)
        elif what == "delete":
            stage.request(MediaDelete(key))
        else:
            asked.append(number)
            stage.request(
                MediaOffer(key, number, BODY, DOOR, MONITOR) if what == "offer" else MediaAnswer(key, number, BODY, MONITOR, True)
            )
    stage.dead = {0, 1}
    stage.run(60.0)
    done = [one for one in stage.outcomes if isinstance(one, MediaReady | MediaFailed)]
    assert sorted(one.number for one in done) == asked
    assert all(one.reason in REASONS for one in done if isinstance(one, MediaFailed))
