"""SDP: what a relay must know is read, what it changes is changed, every other octet stays, and garbage is one error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.errors import MalformedSdp
from sip.sdp import MAX_LINES, MAX_MEDIA, MAX_OCTETS, Sdp, parse_sdp, rewrite

DOOR = (
    b"v=0\r\no=- 20 20 IN IP4 192.168.1.9\r\ns=-\r\nc=IN IP4 192.168.1.9\r\nt=0 0\r\n"
    b"m=audio 11800 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"
    b"a=rtcp:11805 IN IP4 192.168.1.9\r\na=sendonly\r\n"
    b"m=video 11802 RTP/SAVPF 104\r\nc=IN IP4 192.168.1.10\r\na=rtcp-mux\r\na=x-unheard-of:192.168.1.9\r\n"
    b"m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"
)


def test_what_a_relay_must_know_is_read() -> None:
    sdp = parse_sdp(DOOR)
    audio, video, data = sdp.media
    assert (audio.kind, audio.port, audio.rtcp_port, audio.host) == (b"audio", 11800, 11805, "192.168.1.9")
    assert (audio.transport, audio.is_rtp, audio.direction, audio.is_held) == (b"RTP/AVP", True, b"sendonly", True)
    assert audio.telephone_events == {101: 8000}
    assert (video.host, video.rtcp_port, video.rtcp_mux, video.is_rtp) == ("192.168.1.10", 11803, True, True)
    assert (video.direction, video.is_held, data.is_rtp) == (b"sendrecv", False, False)


def test_addresses_and_ports_are_rewritten_and_nothing_else() -> None:
    changed = rewrite(parse_sdp(DOOR), "2001:db8::5", [(30000, 30001), (30002, 30003), (0, 0)])
    expected = (
        DOOR.replace(b"c=IN IP4 192.168.1.9\r\n", b"c=IN IP6 2001:db8::5\r\n")
        .replace(b"audio 11800", b"audio 30000")
        .replace(b"rtcp:11805 IN IP4 192.168.1.9", b"rtcp:30001 IN IP6 2001:db8::5")
        .replace(b"video 11802", b"video 30002")
        .replace(b"c=IN IP4 192.168.1.10", b"c=IN IP6 2001:db8::5")
        .replace(b"application 9", b"application 0")
    )
    assert changed == expected
    assert b"o=- 20 20 IN IP4 192.168.1.9\r\n" in changed
    assert b"a=x-unheard-of:192.168.1.9" in changed


def test_a_line_that_is_off_stays_and_hold_stays_hold() -> None:
    raw = b"v=0\nc=IN IP4 0.0.0.0\nm=audio 5000 RTP/AVP 0\nm=video 0 RTP/AVP 96\nc=IN IP4 1.2.3.4\n\n"
    sdp = parse_sdp(raw)
    assert sdp.media[0].is_held
    assert rewrite(sdp, "198.51.100.1", [(7000, 7001), (7002, 7003)]) == raw.replace(b"5000", b"7000")


def test_a_host_name_is_no_address_but_is_rewritten() -> None:
    sdp = parse_sdp(b"v=0\r\nc=IN IP4 media.example.org\r\nm=audio 5000 RTP/AVP 0")
    assert sdp.media[0].host == ""
    assert rewrite(sdp, "198.51.100.1", [(7000, 7001)]) == b"v=0\r\nc=IN IP4 198.51.100.1\r\nm=audio 7000 RTP/AVP 0"


def test_ipv6_is_put_in_its_usual_form_and_a_ttl_stays() -> None:
    sdp = parse_sdp(b"v=0\r\nc=IN IP6 2001:DB8:0:0::1\r\nm=audio 5000/2 RTP/AVP 0\r\nc=IN IP4 224.2.36.42/127\r\n")
    assert (sdp.addresses[0].host, sdp.media[0].host, sdp.media[0].port_count) == ("2001:db8::1", "224.2.36.42", 2)
    assert b"c=IN IP4 192.0.2.1/127" in rewrite(sdp, "192.0.2.1", [(2, 3)])
    assert b"audio 2/2 " in rewrite(sdp, "192.0.2.1", [(2, 3)])


def test_ports_that_do_not_fit_are_our_mistake() -> None:
    with pytest.raises(ValueError, match="zip"):
        rewrite(parse_sdp(DOOR), "192.0.2.1", [(1, 2)])


GARBAGE = [
    b"",
    b"v=1\r\n",
    b"v=01\r\n",
    b"hello",
    b"v=0\r\n\r\nm=audio 1 RTP/AVP 0\r\n",
    b"v=0\r\nc=IN IP4 1.2.3.4\r\nm=audio 70000 RTP/AVP 0\r\n",
    b"v=0\r\nc=IN IP4 1.2.3.4\r\nm=audio -1 RTP/AVP 0\r\n",
    b"v=0\r\nc=IN IP4 1.2.3.4\r\nm=audio \xb2 RTP/AVP 0\r\n",
    b"v=0\r\nc=IN IP4 1.2.3.4\r\nm=audio 5000/x RTP/AVP 0\r\n",
    b"v=0\r\nc=IN IP4 1.2.3.4\r\nm=audio 5000 RTP/AVP\r\n",
    b"v=0\r\nc=IN IP4 1.2.3.4\r\nm= 5000 RTP/AVP 0\r\n",
    b"v=0\r\nm=audio 5000 RTP/AVP 0\r\n",
    b"v=0\r\nc=IN IP4 ::1\r\n",
    b"v=0\r\nc=IN IP6 1.2.3.4\r\n",
    b"v=0\r\nc=IN IP4 \r\n",
    b"v=0\r\nc=IN IP4 a;b\r\n",
    b"v=0\r\nc=IN ATM 1.2.3.4\r\n",
    b"v=0\r\nnot a line\r\n",
    b"v=0\r\nx\r\n",
    b"v=0\r\ns=\0\r\n",
    b"v=0\r\nc=IN IP4 1.2.3.4\r\nm=audio 5000 RTP/AVP 0\r\na=rtcp:x\r\n",
    b"v=0\r\nc=IN IP4 1.2.3.4\r\nm=audio 5000 RTP/AVP 0\r\na=rtpmap:300 telephone-event/8000\r\n",
    b"v=0\r\nc=IN IP4 1.2.3.4\r\nm=audio 5000 RTP/AVP 0\r\na=rtpmap:101 telephone-event\r\n",
    b"v=0\r\n" + b"a=x\r\n" * MAX_LINES,
    b"v=0\r\nc=IN IP4 1.2.3.4\r\n" + b"m=audio 5000 RTP/AVP 0\r\n" * (MAX_MEDIA + 1),
    b"v=0\r\n" + b"s=" + b"x" * MAX_OCTETS,
]


@pytest.mark.parametrize("raw", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_one_error(raw: bytes) -> None:
    with pytest.raises(MalformedSdp):
        parse_sdp(raw)


@given(st.data())
def test_a_mutilated_description_parses_or_is_malformed_and_is_rewritten_to_what_parses(data: st.DataObject) -> None:
    raw = bytearray(DOOR)
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(raw)))
        raw[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    try:
        sdp = parse_sdp(bytes(raw))
    except MalformedSdp:
        return
    ports = [(40000 + 2 * index, 40001 + 2 * index) for index in range(len(sdp.media))]
    again = parse_sdp(rewrite(sdp, "198.51.100.7", ports))
    assert [one.port for one in again.media] == [port if old.port else 0 for old, (port, _) in zip(sdp.media, ports, strict=True)]
    assert {one.host for one in again.media if one.port} <= {"198.51.100.7", "0.0.0.0", "::"}
    assert without_places(again) == without_places(sdp)


@given(st.binary(max_size=200))
def test_any_octets_are_parsed_or_malformed(raw: bytes) -> None:
    for text in (raw, b"v=0\r\n" + raw, b"v=0\r\nc=IN IP4 1.2.3.4\r\nm=audio 2 RTP/AVP 0\r\na=" + raw):
        try:
            parse_sdp(text)
        except MalformedSdp:
            continue


def without_places(sdp: Sdp) -> bytes:
    """The description with every address and port that may be rewritten cut out."""
    spans = [one.span for one in sdp.addresses if not one.is_hold]
    for media in sdp.media:
        if media.port:
            spans.append(media.port_span)
            spans += [one.span for one in media.addresses if not one.is_hold]
            spans += [media.rtcp_span] if media.rtcp_span else []
            spans += [media.rtcp_address.span] if media.rtcp_address and not media.rtcp_address.is_hold else []
    raw = bytearray(sdp.raw)
    for start, end in sorted(spans, reverse=True):
        del raw[start:end]
    return bytes(raw)
