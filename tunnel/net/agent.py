"""`Agent`: the device's end of the channel: dials the gateway, stays connected, serves its own fixed list of services.

Used by the simulators, and by the connector for devices that have no channel of their own.
"""

import asyncio
import hashlib
import socket
import ssl
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from tunnel.errors import Code, LinkDown, PeerError, TunnelError
from tunnel.frames import ALPN, EVENT_ID_SIZE, Frame, Limits, Side
from tunnel.handshake import AgentHandshake, Identity, Welcome
from tunnel.messages import Call, DeviceEvent, Result
from tunnel.mux import Mux
from tunnel.net.link import TLS_DEADLINE, Link, tune
from tunnel.net.local_service import LocalService, serve_tls
from tunnel.net.pipe import StreamPipe
from tunnel.net.splice import connect
from tunnel.outputs import LinkFailed, PeerLeaving

HANDSHAKE_DEADLINE = 30.0
CONNECT_DEADLINE = 5.0
"""Seconds the local service gets to take a connection."""
BACKOFF_FIRST = 1.0
BACKOFF_MOST = 60.0
STABLE = 60.0
"""Seconds a link must have been up for the back-off to begin anew."""
EVENT_REPEAT = 15.0
MAX_EVENTS = 256
"""Events that wait for the gateway; the next one is refused, so that a long outage does not eat the device's memory."""
REMEMBERED_RESULTS = 64


Serve = Callable[[StreamPipe, str], Awaitable[None]]
"""serve(pipe, service) answers one offered stream and carries it to its end; `pipe.device` names the device that is meant."""
CallTarget = Callable[[Mapping[str, Any]], Awaitable[Result | Mapping[str, Any]]]

Results = OrderedDict[bytes, Result | None]
"""The answers to the last CALLs by their ids; None where it is still being done."""


def backoff(failures: int, chance: float, first: float = BACKOFF_FIRST, most: float = BACKOFF_MOST) -> float:
    """Seconds until the next try after `failures` in a row, with full jitter; `chance` in [0, 1)."""
    return chance * min(most, first * 2.0 ** min(failures, 30))


def client_context(
    *, ca_file: str | None = None, check: bool = True, certificate: tuple[str, str] | None = None
) -> ssl.SSLContext:
    """TLS for dialling the gateway: a CA file, else the system's trust, else (`check=False`) none.

    Without a check the handshake's proof still fails for a man in the middle, as it covers the certificate seen. `certificate`,
    files of a chain and its key, proves this end's MAC instead of a device key: then the check must stay.
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not check:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(*certificate)
    context.set_alpn_protocols([ALPN])
    return context


class Agent:
    """Keeps one link to the gateway while `run` runs.

    `services` maps a service id to where it is served (host, port, whether over TLS); anything else is refused. A connector gives
    `serve` instead. `calls` maps a call's name to the coroutine that does it. `on_state` hears "up" and "down", `on_failure` why
    there is no link, and in how many seconds the next try is. `tls` as from `client_context`. `entropy(n)` gives n random bytes.
    `results`: the answers given to CALLs so far, where the device remembers them over a restart.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        identity: Identity,
        tls: ssl.SSLContext,
        entropy: Callable[[int], bytes],
        services: Mapping[str, LocalService | tuple[str, int]] | None = None,
        serve: Serve | None = None,
        calls: Mapping[str, CallTarget] | None = None,
        server_name: str | None = None,
        limits: Limits | None = None,
        backoff_first: float = BACKOFF_FIRST,
        backoff_most: float = BACKOFF_MOST,
        event_repeat: float = EVENT_REPEAT,
        on_state: Callable[[str], None] = lambda _state: None,
        on_failure: Callable[[str, float], None] = lambda _error, _pause: None,
        results: "Results | None" = None,
    ) -> None:
        self._host, self._port = host, port
        self._identity = identity
        self._tls = tls
        self._entropy = entropy
        self._services = {name: LocalService(*place) for name, place in (services or {}).items()}
        self._serve = serve
        self._call_targets = dict(calls or {})
        self._server_name = server_name or host
        self._limits = limits or Limits()
        self._backoff = (backoff_first, backoff_most)
        self._event_repeat = event_repeat
        self._on_state = on_state
        self._on_failure = on_failure
        self._link: Link | None = None
        self._ended: asyncio.Future[LinkFailed] | None = None
        self._leaving: PeerLeaving | None = None
        self._turned = asyncio.Event()
        self._events: OrderedDict[bytes, tuple[DeviceEvent, asyncio.Future[None]]] = OrderedDict()
        self._in_flight: set[bytes] = set()
        """Events sent on this link and not acknowledged, taken-back ones included: the gateway counts them too."""
        self._results: Results = OrderedDict() if results is None else results
        for interrupted in [call_id for call_id, result in self._results.items() if result is None]:
            self._results[interrupted] = Result(interrupted, False, {"error": "interrupted"})
        self.takes_calls = True
        """Set it to False before a restart: a CALL that comes then is not begun, and comes again on the next link."""
        self._draining: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.welcome: Welcome | None = None
        self.last_error = ""

    @property
    def connected(self) -> bool:
        return self._link is not None

    async def wait_connected(self) -> None:
        """Return once there is a link."""
        while self._link is None:
            await self._turn()

    async def wait_disconnected(self) -> None:
        """Return once there is none."""
        while self._link is not None:
            await self._turn()

    async def run(self) -> None:
        """Connect, reconnect, for ever. Cancel to stop; everything the agent started ends with it."""
        failures = 0
        loop = asyncio.get_running_loop()
        try:
            while True:
                started = loop.time()
                try:
                    failure = await self._one_link()
                    self.last_error = failure.text
                except (OSError, TunnelError, TimeoutError) as error:
                    self.last_error = str(error) or type(error).__name__
                failures = 0 if loop.time() - started >= STABLE else failures + 1
                pause = self._pause(failures)
                self._on_failure(self.last_error, pause)
                await asyncio.sleep(pause)
        finally:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for link in list(self._draining):
                link.fail(PeerError(Code.NO_ERROR, "the agent stops"))

    async def send_event(self, name: str, body: Mapping[str, Any]) -> None:
        """Report something; returns once the gateway keeps it. Repeated with the same id over any number of links until then.

        Raises LinkDown if MAX_EVENTS wait already, ValueError for what an EVENT cannot carry. Cancelling takes the report back,
        if it is not kept already.
        """
        if len(self._events) >= MAX_EVENTS:
            raise LinkDown("too many events wait for the gateway")
        event = DeviceEvent(self._entropy(EVENT_ID_SIZE), name, dict(body))
        event.pack()
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._events[event.id] = (event, kept)
        try:
            self._send_waiting()
            while not kept.done():
                await asyncio.wait([kept], timeout=self._event_repeat)
                if not kept.done() and event.id in self._in_flight and self._link is not None:
                    self._link.send_event(event)
        finally:
            self._events.pop(event.id, None)

    # ---- one link -------------------------------------------------------------------------------------------

    async def _one_link(self) -> LinkFailed:
        """Dial, prove, serve until it ends."""
        loop = asyncio.get_running_loop()
        welcomed: asyncio.Future[None] = loop.create_future()
        self._leaving = None
        handshake: AgentHandshake | None = None

        def on_frame(frame: Frame) -> None:
            nonlocal handshake
            if handshake is None:
                handshake = self._handshake(link)
            answer = handshake.receive(frame)
            if isinstance(answer, Welcome):
                self._begin(link, answer)
                welcomed.set_result(None)
            else:
                link.send(answer)

        def on_lost(error: PeerError | None) -> None:
            if not welcomed.done():
                welcomed.set_exception(error or ConnectionResetError("the gateway hung up during the handshake"))

        link = Link(on_frame, on_lost)
        self._ended = loop.create_future()
        try:
            async with asyncio.timeout(HANDSHAKE_DEADLINE):
                await self._dial(link)
                await welcomed
            return await asyncio.shield(self._ended)
        finally:
            if link not in self._draining:
                link.fail(PeerError(Code.NO_ERROR, "the agent stops"))
            if welcomed.done() and not welcomed.cancelled():
                welcomed.exception()

    async def _dial(self, link: Link) -> None:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            tune(sock)
            await loop.sock_connect(sock, address)
            await loop.create_connection(
                lambda: link,
                sock=sock,
                ssl=self._tls,
                server_hostname=self._server_name,
                ssl_handshake_timeout=TLS_DEADLINE,
                ssl_shutdown_timeout=TLS_DEADLINE,
            )
        except BaseException:
            sock.close()
            raise

    def _handshake(self, link: Link) -> AgentHandshake:
        seen = link.tls.getpeercert(binary_form=True)
        if link.tls.selected_alpn_protocol() != ALPN or seen is None:
            raise PeerError(Code.VERSION, "ALPN portico/1 expected")
        return AgentHandshake(identity=self._identity, certificate=hashlib.sha256(seen).digest(), entropy=self._entropy)

    def _begin(self, link: Link, welcome: Welcome) -> None:
        limits = replace(self._limits, ping_after=welcome.ping_after, dead_after=welcome.dead_after)
        mux = Mux(
            side=Side.AGENT,
            limits=limits,
            entropy=self._entropy,
            now=asyncio.get_running_loop().time(),
            peer_streams=welcome.max_streams,
        )
        link.start(mux, self)
        self._link = link
        self._in_flight.clear()
        self.welcome = welcome
        self._say("up")
        self._send_waiting()

    def _pause(self, failures: int) -> float:
        chance = int.from_bytes(self._entropy(4), "big") / 2**32
        if self._leaving is not None:
            return self._leaving.retry_after + chance * self._leaving.jitter
        return backoff(failures, chance, *self._backoff)

    # ---- LinkOwner ------------------------------------------------------------------------------------------

    def stream_offered(self, _link: Link, pipe: StreamPipe, service: str) -> None:
        """Looked up here on every OPEN: the list is this end's own, whatever the gateway says."""
        target = self._services.get(service)
        if self._serve is not None:
            self._spawn(self._serve(pipe, service))
        elif target is None:
            pipe.reset(Code.SERVICE_REFUSED)
        elif target.tls:
            self._spawn(serve_tls(pipe, target))
        else:
            self._spawn(connect(pipe, target.host, target.port, target.authority, CONNECT_DEADLINE))

    def event_arrived(self, _link: Link, _event: DeviceEvent) -> None:
        raise AssertionError("the mux lets no EVENT through at the agent")

    def event_acknowledged(self, link: Link, event_id: bytes) -> None:
        if link is not self._link:
            return  # a draining link's late word; the new link repeats what waits
        _, kept = self._events.get(event_id, (None, None))
        if kept is not None and not kept.done():
            kept.set_result(None)
            del self._events[event_id]
        self._in_flight.discard(event_id)
        self._send_waiting()

    def call_arrived(self, link: Link, call: Call) -> None:
        if not self.takes_calls:
            return
        if call.id in self._results:
            known = self._results[call.id]
            if known is not None:
                link.send_result(known)
            return
        self._results[call.id] = None
        while len(self._results) > REMEMBERED_RESULTS:
            self._results.popitem(last=False)
        self._spawn(self._do_call(call))

    def result_arrived(self, _link: Link, _result: Result) -> None:
        raise AssertionError("the mux lets no RESULT through at the agent")

    def peer_leaving(self, link: Link, leaving: PeerLeaving) -> None:
        """Old streams run on until the gateway's drain ends them; `run` dials anew meanwhile, when it was asked to."""
        self._leaving = leaving
        if link is self._link:
            self._link = None
            self._draining.add(link)
            self._finish(LinkFailed(leaving.code, "asked to leave"))
        if not link.open_streams:
            link.fail(PeerError(Code.NO_ERROR, "asked to leave"))

    def link_ended(self, link: Link, failure: LinkFailed) -> None:
        self._draining.discard(link)
        if link is self._link:
            self._link = None
            self._finish(failure)

    # ---- inside ---------------------------------------------------------------------------------------------

    def _finish(self, failure: LinkFailed) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(failure)
        self._say("down")

    async def _do_call(self, call: Call) -> None:
        target = self._call_targets.get(call.name)
        if target is None:
            result = Result(call.id, False, {"error": "unknown_call"})
        else:
            result = await self._result_of(call, target)
        self._results[call.id] = result
        if self._link is not None:
            self._link.send_result(result)

    async def _result_of(self, call: Call, target: CallTarget) -> Result:
        try:
            async with asyncio.timeout(call.deadline_ms / 1000):
                answer = await target(call.body)
        except Exception:  # whatever a target raises, the gateway gets an answer
            return Result(call.id, False, {"error": "failed"})
        return replace(answer, id=call.id) if isinstance(answer, Result) else Result(call.id, True, answer)

    def _send_waiting(self) -> None:
        """Send the oldest events that are not on the wire, as many as the protocol allows unacknowledged."""
        for event, _ in self._events.values():
            if self._link is None or len(self._in_flight) >= self._limits.max_unacked_events:
                return
            if event.id not in self._in_flight:
                self._in_flight.add(event.id)
                self._link.send_event(event)

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _say(self, state: str) -> None:
        self._turned.set()
        self._turned = asyncio.Event()
        self._on_state(state)

    async def _turn(self) -> None:
        await self._turned.wait()
