"""A network of cores in one thread: simulated time, a fixed delay, and a chance for the test to lose or look at datagrams."""

import hashlib
import heapq
from collections.abc import Callable
from typing import Protocol

from simulators.agent_events import AgentEvent
from simulators.line import SipAccount
from simulators.user_agent import UserAgent
from sip.events import Send
from sip.message import Request, Response
from sip.parser import parse

DELAY = 0.01
MAX_STEPS = 20_000
Address = tuple[str, int]


def counted_entropy(seed: str) -> Callable[[int], bytes]:
    """Bytes that differ at every draw and are the same in every run."""
    drawn = 0

    def draw(count: int) -> bytes:
        nonlocal drawn
        drawn += 1
        return hashlib.shake_256(f"{seed}/{drawn}".encode()).digest(count)

    return draw


class Node(Protocol):
    """What stands at an address."""

    def receive(self, data: bytes, source: Address, now: float) -> None: ...

    def next_deadline(self) -> float | None: ...

    def on_deadline(self, now: float) -> None: ...


class Wire:
    """Carries datagrams between nodes until nothing is left to do or a time is reached."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.nodes: dict[Address, Node] = {}
        self.events: dict[Address, list[AgentEvent]] = {}
        self.passed: list[tuple[float, Address, Address, bytes]] = []
        self.lose: Callable[[Address, Address, bytes], bool] = lambda _source, _target, _data: False
        self._queue: list[tuple[float, int, Address, Address, bytes]] = []
        self._serial = 0

    def agent(self, name: str, server: Address, local: Address, *, password: str = "secret", expires: int = 300) -> UserAgent:
        """Put a user agent at `local`."""
        account = SipAccount(name, password, server[0], server[1], name.title(), expires)
        agent = UserAgent(account, server=server, local=local, entropy=counted_entropy(name))
        self.nodes[local] = agent
        self.events[local] = []
        return agent

    def send(self, source: Address, target: Address, data: bytes) -> None:
        """Put a datagram on the wire."""
        self.passed.append((self.now, source, target, data))
        if not self.lose(source, target, data):
            self._serial += 1
            heapq.heappush(self._queue, (self.now + DELAY, self._serial, source, target, data))

    def run(self, seconds: float) -> None:
        """Let time pass. Fails if a deadline is stuck."""
        until = self.now + seconds
        for _ in range(MAX_STEPS):
            self._collect()
            deadlines = [(due, at) for at, node in self.nodes.items() if (due := node.next_deadline()) is not None]
            due, at = min(deadlines, default=(float("inf"), ("", 0)))
            arrival = self._queue[0][0] if self._queue else float("inf")
            if min(due, arrival) > until:
                self.now = until
                return
            if arrival <= due:
                self.now, _, source, target, data = heapq.heappop(self._queue)
                if target in self.nodes:
                    self.nodes[target].receive(data, source, self.now)
            else:
                self.now = max(self.now, due)
                self.nodes[at].on_deadline(self.now)
        raise AssertionError(f"still busy after {MAX_STEPS} steps at {self.now}; a deadline is stuck")

    def messages(self, source: Address | None = None) -> list[Request | Response]:
        """Every SIP message sent, in order, repeats included."""
        return [parse(data) for _, came_from, _, data in self.passed if data.strip() and source in (None, came_from)]

    def summary(self, source: Address | None = None) -> list[str]:
        """Methods and statuses of every message sent."""
        return [f"{m.method.decode()}" if isinstance(m, Request) else f"{m.status}" for m in self.messages(source)]

    def _collect(self) -> None:
        for at, node in self.nodes.items():
            if isinstance(node, UserAgent):
                for output in node.take():
                    if isinstance(output, Send):
                        self.send(at, (output.flow.host, output.flow.port), output.data)
                    else:
                        self.events[at].append(output)
