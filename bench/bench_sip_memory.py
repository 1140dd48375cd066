"""Resident memory of the SIP layer per registered UDP device: many phones, one binding each, one core, no sockets.

Each registers with a challenge, a fiftieth of a second after the one before, so that transactions and nonces come and go as in a
node. Counted is what the process grew by, per phone, once the last transaction is over: the binding, its flow as the UDP socket
keeps it, its place in the deadline heap, the cached H(A1), the nonces still remembered. Accounts and phones are there before.
"""

import argparse
import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.bench_sip_core import with_md5
from bench.outcome import Outcome
from sip.events import Send
from sip.flow import Flow
from sip.message import Response
from sip.parser import parse
from tests.sip.phones import Phone, Stage

PAGE = 4096
PACE = 0.02
"""Seconds between two registrations: 100,000 phones in half of an hour and a bit."""


def run(console: Console, arguments: Sequence[str]) -> Outcome:
    """Measure, and give the table and figures."""
    parser = argparse.ArgumentParser(prog="bench sip_memory")
    parser.add_argument("--phones", type=int, default=100_000)
    options = parser.parse_args(arguments)
    stage = Stage()
    phones = [
        stage.phone("P", str(1_000_000 + index), host=f"10.{index >> 16}.{index >> 8 & 255}.{index & 255}")
        for index in range(options.phones)
    ]
    # What a core holds once, and what the allocator takes in advance, is not a phone's.
    flows: dict[tuple[str, int], Flow] = {}
    now = _register(stage, phones[:1000], flows, 1.0)
    before = _resident()
    console.print(f"registering {len(phones) - 1000} phones")
    now = _register(stage, phones[1000:], flows, now)
    _let_time_pass(stage, now + 60.0)
    after = _resident()
    census = stage.core.census()
    assert census.bindings == len(phones)
    assert census.server_transactions == census.client_transactions == 0
    each = (after - before) / (len(phones) - 1000)
    table = Table("registered phones", "octets each", title="Resident memory of the SIP layer per registered UDP device")
    table.add_row(str(len(phones)), f"{each:.0f}")
    return Outcome("sip_memory", [table], {"phones": len(phones), "octets_each": each}, usable=True)


def _register(stage: Stage, phones: Sequence[Phone], flows: dict[tuple[str, int], Flow], now: float) -> float:
    """REGISTER, 401, REGISTER, 200 for each. Returns the time after it."""
    for phone in phones:
        now += PACE
        _let_time_pass(stage, now)
        # As the UDP socket does: a flow object per address, kept.
        flow = flows[(phone.flow.host, phone.flow.port)] = Flow("udp", phone.flow.local, phone.flow.host, phone.flow.port)
        data = phone.register()
        stage.core.receive(data, flow, now)
        challenge = _answer(stage.core.take())
        stage.core.receive(with_md5(phone, data, challenge), flow, now)
        assert _answer(stage.core.take()).status == 200
    return now


def _answer(outputs: Sequence[Any]) -> Response:
    message = parse([one for one in outputs if isinstance(one, Send)][-1].data)
    assert isinstance(message, Response)
    return message


def _let_time_pass(stage: Stage, end: float) -> None:
    while (deadline := stage.core.next_deadline()) is not None and deadline <= end:
        stage.core.on_deadline(deadline)
        stage.core.take()


def _resident() -> int:
    """Octets of this process in memory, garbage collected."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
