"""Phones' media ends as UDP sockets, and a media engine asked as the proxy asks it."""

import asyncio
import socket
from collections.abc import Sequence

from sip.media_engine import (
    MediaAnswer,
    MediaDelete,
    MediaEngine,
    MediaFailed,
    MediaKey,
    MediaOffer,
    MediaOutcome,
    MediaReady,
)
from sip.sdp import MediaLine, parse_sdp
from tests.sip.media.stage import AUDIO, VIDEO, rtp, sdp

LOOPBACK = "127.0.0.1"
ARRIVAL = 5.0
"""Seconds a packet has to arrive."""
Address = tuple[str, int]


class End:
    """A UDP socket of a phone."""

    def __init__(self, host: str = LOOPBACK) -> None:
        self.host = host
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((host, 0))
        self.port: int = self.socket.getsockname()[1]
        self._arrived: asyncio.Queue[tuple[bytes, Address]] = asyncio.Queue()
        asyncio.get_running_loop().add_reader(self.socket.fileno(), self._readable)

    def send(self, data: bytes, to: Address) -> None:
        self.socket.sendto(data, to)

    async def receive(self) -> bytes:
        """The next packet. Raises TimeoutError when none comes."""
        async with asyncio.timeout(ARRIVAL):
            return (await self._arrived.get())[0]

    def waiting(self) -> int:
        """Packets that have arrived and were not looked at."""
        return self._arrived.qsize()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.socket.fileno())
        self.socket.close()

    def _readable(self) -> None:
        data, source = self.socket.recvfrom(65535)
        self._arrived.put_nowait((data, source[:2]))


class Phone:
    """One device's media: RTP and RTCP of audio and video. `told` is the place that the gateway's SDP names for each."""

    def __init__(self, tag: bytes, host: str = LOOPBACK) -> None:
        self.tag = tag
        self.host = host
        self.audio, self.audio_rtcp, self.video, self.video_rtcp = (End(host) for _ in range(4))
        self.told: list[MediaLine] = []

    def sdp(self) -> bytes:
        """Audio and video; RTCP ports are named, as they do not follow the RTP ports."""
        lines = sdp(self.host, (AUDIO, self.audio.port), (VIDEO, self.video.port)).split(b"m=video")
        audio, video = (b"a=rtcp:%d\r\n" % end.port for end in (self.audio_rtcp, self.video_rtcp))
        return lines[0] + audio + b"m=video" + lines[1] + video

    def hears(self, body: bytes) -> None:
        """An SDP came from the gateway."""
        self.told = parse_sdp(body).media

    def place(self, index: int, rtcp: bool = False) -> Address:
        """Where this phone sends audio (0) or video (1)."""
        line = self.told[index]
        return line.host, line.rtcp_port if rtcp else line.port

    def say(self, index: int = 0, octets: bytes = b"voice", payload_type: int = 0) -> bytes:
        """Send one packet of audio (0) or video (1). Returns it."""
        data = rtp(octets, payload_type)
        (self.audio, self.video)[index].send(data, self.place(index))
        return data

    def close(self) -> None:
        for end in (self.audio, self.audio_rtcp, self.video, self.video_rtcp):
            end.close()


class MediaSite:
    """Gives an engine requests and waits for their outcomes. `told` is the engine's listener."""

    def __init__(self) -> None:
        self.engine: MediaEngine
        self.other: asyncio.Queue[MediaOutcome] = asyncio.Queue()
        self._number = 0
        self._awaited: dict[int, asyncio.Future[MediaReady | MediaFailed]] = {}

    def told(self, outcome: MediaOutcome) -> None:
        if isinstance(outcome, MediaReady | MediaFailed):
            self._awaited.pop(outcome.number).set_result(outcome)
        else:
            self.other.put_nowait(outcome)

    async def try_offer(self, key: MediaKey, offerer: Phone, toward: str, body: bytes | None = None) -> MediaReady | MediaFailed:
        self._number += 1
        offer = MediaOffer(key, self._number, offerer.sdp() if body is None else body, offerer.host, toward)
        return await self._outcome(offer)

    async def offer(self, key: MediaKey, offerer: Phone, receiver: Phone) -> None:
        """The offerer's SDP reaches the receiver."""
        ready = await self.try_offer(key, offerer, receiver.host)
        assert isinstance(ready, MediaReady), ready
        receiver.hears(ready.sdp)

    async def answer(self, key: MediaKey, answerer: Phone, offerer: Phone, final: bool = True) -> None:
        """The answerer's SDP reaches the offerer."""
        self._number += 1
        answer = MediaAnswer(key, self._number, answerer.sdp(), answerer.host, final)
        ready = await self._outcome(answer)
        assert isinstance(ready, MediaReady), ready
        offerer.hears(ready.sdp)

    def delete(self, key: MediaKey) -> None:
        self.engine.request(MediaDelete(key))

    async def _outcome(self, request: MediaOffer | MediaAnswer) -> MediaReady | MediaFailed:
        awaited = self._awaited[request.number] = asyncio.get_running_loop().create_future()
        self.engine.request(request)
        async with asyncio.timeout(ARRIVAL):
            outcome: MediaReady | MediaFailed = await awaited
            return outcome


async def ring(site: MediaSite, door: Phone, phones: Sequence[Phone], call_id: bytes = b"call") -> None:
    """The door's offer reaches all phones, and each answers with early media (183)."""
    for phone in phones:
        await site.offer(MediaKey(call_id, door.tag, b"", b"z9hG4bK" + phone.tag), door, phone)
    for phone in phones:
        await site.answer(MediaKey(call_id, door.tag, phone.tag, b"z9hG4bK" + phone.tag), phone, door, final=False)


async def connected(site: MediaSite, caller: Phone, callee: Phone, call_id: bytes = b"call") -> None:
    """A call that is answered at once."""
    await site.offer(MediaKey(call_id, caller.tag, b"", b"z9hG4bK1"), caller, callee)
    await site.answer(MediaKey(call_id, caller.tag, callee.tag, b"z9hG4bK1"), callee, caller)
