"""Offers and answers of the simulated devices."""

import pytest

from simulators.sdp import accepts, describe


def test_an_offer_reads_as_rfc_4566_asks() -> None:
    assert describe("192.0.2.7", 42).split(b"\r\n") == [
        b"v=0",
        b"o=- 42 1 IN IP4 192.0.2.7",
        b"s=-",
        b"c=IN IP4 192.0.2.7",
        b"t=0 0",
        b"m=audio 11800 RTP/AVP 0 101",
        b"a=rtpmap:0 PCMU/8000",
        b"a=rtpmap:101 telephone-event/8000",
        b"a=fmtp:101 0-15",
        b"a=sendrecv",
        b"",
    ]
    assert b"c=IN IP6 ::1\r\n" in describe("::1", 1)


@pytest.mark.parametrize(
    ("body", "fits"),
    [
        (describe("127.0.0.1", 1), True),
        (b"v=0\nm=audio 4000 RTP/AVP 8 0\n", True),
        (b"v=0\r\nm=video 4000 RTP/AVP 104\r\nm=audio 4002 RTP/AVP 0\r\n", True),
        (b"", False),
        (b"m=audio", False),
        (b"m=audio 4000 RTP/AVP", False),
        (b"m=audio 0 RTP/AVP 0\r\n", False),
        (b"m=audio 4000 RTP/AVP 8 9\r\n", False),
        (b"m=video 4000 RTP/AVP 0\r\n", False),
    ],
)
def test_only_audio_in_pcmu_is_accepted(body: bytes, fits: bool) -> None:
    assert accepts(body) is fits
