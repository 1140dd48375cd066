"""Sets up relayed audio calls with any media engine, as the proxy would."""

import asyncio

from sip.media_engine import MediaAnswer, MediaEngine, MediaKey, MediaOffer, MediaOutcome, MediaReady
from sip.sdp import parse_sdp

LOOPBACK = "127.0.0.1"
DEADLINE = 10.0


async def connect_calls(
    engine: MediaEngine, outcomes: "asyncio.Queue[MediaOutcome]", calls: int, callers_port: int, callees_port: int
) -> list[tuple[int, int]]:
    """Every caller's audio is at one port, every callee's at another. Returns (side, port) of each stream: where callers (0) and
    callees (1) send to. Raises RuntimeError when the engine refuses one."""
    streams = []
    for number in range(calls):
        key = MediaKey(b"bench-%d" % number, b"caller", b"", b"z9hG4bK%d" % number)
        engine.request(MediaOffer(key, 2 * number, _sdp(callers_port), LOOPBACK, LOOPBACK))
        to_callee = await _port(outcomes)
        answered = key._replace(to_tag=b"callee")
        engine.request(MediaAnswer(answered, 2 * number + 1, _sdp(callees_port), LOOPBACK, True))
        streams += [(0, await _port(outcomes)), (1, to_callee)]
    return streams


async def _port(outcomes: "asyncio.Queue[MediaOutcome]") -> int:
    async with asyncio.timeout(DEADLINE):
        outcome = await outcomes.get()
    if not isinstance(outcome, MediaReady):
        raise RuntimeError(str(outcome))
    return parse_sdp(outcome.sdp).media[0].port


def _sdp(port: int) -> bytes:
    return (
        b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        b"m=audio %d RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n" % port
    )
