"""The built-in relay in a loop as a node's: `python -m bench.media_relay CALLS CALLERS_PORT CALLEES_PORT MESSAGES`.

It sets up the calls, says the ports as the load wants them (`bench/rtp_load.py`), relays until standard input ends, and says what
it counted. MESSAGES a second of SIP's work are done in the same loop, each as long as one takes (0: the relay has it for itself).
"""

import asyncio
import json
import sys
import time

import uvloop

from bench.media_calls import connect_calls
from sip.media_engine import MediaOutcome
from sip.net.rtp import RelayAddress, RtpRelay

LOOPBACK = "127.0.0.1"
PORTS = (20_000, 23_999)
MESSAGE_SECONDS = 150e-6


async def main(calls: int, callers_port: int, callees_port: int, messages: int) -> None:
    """Relay until told to stop."""
    outcomes: asyncio.Queue[MediaOutcome] = asyncio.Queue()
    relay = RtpRelay([RelayAddress(LOOPBACK, LOOPBACK)], PORTS, outcomes.put_nowait)
    await relay.start()
    streams = await connect_calls(relay, outcomes, calls, callers_port, callees_port)
    print(json.dumps(streams), flush=True)
    loop = asyncio.get_running_loop()
    if messages:
        _work(loop, 1.0 / messages, loop.time())
    await loop.run_in_executor(None, sys.stdin.read)
    print(json.dumps({"packets": relay.packets, "refused": dict(relay.refused), "send_errors": relay.send_errors}), flush=True)
    await relay.stop()


def _work(loop: asyncio.AbstractEventLoop, every: float, due: float) -> None:
    end = time.perf_counter() + MESSAGE_SECONDS
    while time.perf_counter() < end:
        pass
    loop.call_at(due + every, _work, loop, every, due + every)


if __name__ == "__main__":
    uvloop.run(main(*map(int, sys.argv[1:])))
