"""CPU time of the SIP core alone, without sockets: the playbook of a registration and of a full challenged call, many times.

Each step runs for all phones before the next one begins, so that every message meets cold caches, as in a node. What the phones
themselves compute is not counted.
"""

import argparse
import gc
import time
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.outcome import Outcome, spread
from sip.core import SipCore
from sip.events import Send
from sip.message import Request, Response
from sip.parser import parse
from tests.sip.phones import Phone, Stage

SDP = (
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 6004 RTP/AVP 0 101\r\n"
    b"a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
)
Message = tuple[Phone, bytes]


class Run:
    """One round over `count` phones; `spent` is CPU microseconds per step."""

    def __init__(self, count: int) -> None:
        self.stage = Stage()
        self.core: SipCore = self.stage.core
        self.phones = [
            self.stage.phone("P", str(1000 + index), host=f"198.51.{index // 200}.{index % 200 + 1}") for index in range(count)
        ]
        self.now = 1.0
        self.spent: dict[str, float] = {}

    def step(self, name: str, messages: Sequence[Message]) -> list[Any]:
        """Give the core these messages; the last message that each brought out."""
        said: list[list[Any]] = []

        def go() -> None:
            receive, take = self.core.receive, self.core.take
            for phone, data in messages:
                receive(data, phone.flow, self.now)
                said.append(take())

        self.spent[name] = cpu(go) / len(messages) * 1e6
        return [parse([one for one in outputs if isinstance(one, Send)][-1].data) if outputs else None for outputs in said]

    def registrations(self) -> None:
        """REGISTER, 401, REGISTER with MD5, 200."""
        first = [(phone, phone.register(b"User-Agent: bench")) for phone in self.phones]
        challenged = self.step("REGISTER to 401", first)
        second = [(phone, with_md5(phone, data, one)) for (phone, data), one in zip(first, challenged, strict=True)]
        assert all(one.status == 200 for one in self.step("REGISTER to 200", second))

    def calls(self) -> None:
        """INVITE, 407, ACK, INVITE with MD5, 180, 200, ACK, BYE, 200; the first half of the phones call the second."""
        self.now += 100.0
        self.core.on_deadline(self.now)
        self.core.take()
        half = len(self.phones) // 2
        callers, callees = self.phones[:half], self.phones[half : 2 * half]
        first = [(caller, invite(caller, callee)) for caller, callee in zip(callers, callees, strict=True)]
        challenged = self.step("INVITE to 407", first)
        self.step("ACK of the 407", [(one, ack(data, answer)) for (one, data), answer in zip(first, challenged, strict=True)])
        sent = [(one, with_md5(one, data, answer)) for (one, data), answer in zip(first, challenged, strict=True)]
        arrived = self.step("INVITE forwarded", sent)
        for status in (180, 200):
            answers = [(callee, callee.reply(one, status)) for callee, one in zip(callees, arrived, strict=True)]
            got = self.step(f"{status} forwarded", answers)
        dialogs = [(caller, answer, parse(data)) for (caller, data), answer in zip(sent, got, strict=True)]
        for method in (b"ACK", b"BYE"):
            inside = [(caller, caller.in_dialog(method, answer, one)) for caller, answer, one in dialogs]  # type: ignore[arg-type]
            byes = self.step(f"{method.decode()} forwarded", inside)
        self.step("200 to BYE forwarded", [(callee, callee.reply(one, 200)) for callee, one in zip(callees, byes, strict=True)])
        self.spent["timers"] = cpu(self.let_time_pass) / half * 1e6
        assert self.core.census()[:3] == (0, 0, 0)

    def let_time_pass(self) -> None:
        end = self.now + 60.0
        while (deadline := self.core.next_deadline()) is not None and deadline < end:
            self.core.on_deadline(deadline)
            self.core.take()


def cpu(act: Callable[[], None]) -> float:
    """CPU seconds of this process, the garbage collector kept out."""
    gc.collect()
    gc.disable()
    before = time.process_time()
    act()
    spent = time.process_time() - before
    gc.enable()
    return spent


def with_md5(phone: Phone, data: bytes, challenge: Response) -> bytes:
    """Answer the MD5 challenge, as the devices and SIPp do."""
    name = b"www-authenticate" if challenge.status == 401 else b"proxy-authenticate"
    values = [one for one in challenge.all(name) if b"algorithm=MD5" in one]
    challenge.remove(name)
    for value in values:
        challenge.append(name, value)
    return phone.with_credentials(data, challenge)


def invite(caller: Phone, callee: Phone) -> bytes:
    headers = (b"Contact: <" + caller.contact + b">", b"User-Agent: bench", b"Content-Type: application/sdp")
    return caller.request(b"INVITE", b"sip:%b@gw.test" % callee.user.encode(), headers=headers, body=SDP)


def ack(data: bytes, answer: Response) -> bytes:
    """The caller's ACK of a non-2xx answer."""
    sent = parse(data)
    assert isinstance(sent, Request)
    lines = [b"ACK %b SIP/2.0" % sent.uri, b"Via: " + sent.top_via.raw, b"Max-Forwards: 70"]
    lines += [b"From: " + (sent.get(b"from") or b""), b"To: " + (answer.get(b"to") or b""), b"Call-ID: " + sent.call_id]
    return b"\r\n".join([*lines, b"CSeq: %d ACK" % sent.cseq[0], b"Content-Length: 0", b"", b""])


def run(console: Console, arguments: Sequence[str]) -> Outcome:
    """Measure, and give the table and figures."""
    parser = argparse.ArgumentParser(prog="bench sip_core")
    parser.add_argument("--phones", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    rounds: list[dict[str, float]] = []
    for number in range(options.rounds):
        console.print(f"round {number + 1} of {options.rounds}")
        one = Run(options.phones)
        one.registrations()
        one.calls()
        steps = one.spent
        steps["= registration"] = steps["REGISTER to 401"] + steps["REGISTER to 200"]
        steps["= full call"] = sum(value for name, value in steps.items() if name[:1] != "=" and "REGISTER" not in name)
        rounds.append(steps)
    table = Table("step", "CPU us, median", "least", "greatest", title="SIP core alone (no sockets)")
    figures: dict[str, Any] = {}
    for name in rounds[0]:
        found = spread([steps[name] for steps in rounds])
        assert found is not None
        table.add_row(name, f"{found.median:.1f}", f"{found.least:.1f}", f"{found.greatest:.1f}")
        figures[name.removeprefix("= ")] = {"median_us": found.median, "least_us": found.least, "greatest_us": found.greatest}
    return Outcome("sip_core", [table], figures, usable=True)
