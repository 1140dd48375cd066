"""How soon a call to a sleeping app goes on once the app registers: the whole node, a real push service, TCP, 100 calls a second.

Each call: a door's INVITE (challenged), a push to a webhook that accepts at once, the app on a new connection registers
(challenged), gets the waiting INVITE, rings, answers; ACK, BYE. Measured is the time from the app's first REGISTER to the 200 at
the door, and from the INVITE to the push. Doors, apps and push service share one process, which costs more CPU than the gateway.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles

import uvloop
from rich.console import Console
from rich.table import Table

from bench.outcome import Outcome
from tests.system.fleet import AddedDevice, add_devices, add_site
from tests.system.peers import RunningGateway, loopback_config, process_cpu_seconds
from tests.system.push_service import PushService, push_service
from tests.system.stream_peer import StreamPeer
from tests.system.test_wake import INSTANCE, dials

BOUND = 0.5
"""Seconds from the app's REGISTER to the answer at the door (issue 4)."""
CALL_DEADLINE = 15.0


@dataclass(frozen=True, slots=True)
class App:
    """A user's app account, and the number that rings it."""

    username: str
    password: str
    number: bytes


@dataclass(slots=True)
class Measured:
    """Seconds of each call, and what went wrong."""

    push: list[float] = field(default_factory=list)
    answer: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def run(console: Console, arguments: Sequence[str]) -> Outcome:
    """Measure, and give the table and figures."""
    parser = argparse.ArgumentParser(prog="bench wake", description=__doc__)
    parser.add_argument("--rate", type=int, default=100, help="calls a second (default 100)")
    parser.add_argument("--seconds", type=int, default=10, help="how long (default 10)")
    parser.add_argument("--apps", type=int, default=400, help="apps, called in turn (default 400)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="portico-bench-") as folder:
        return uvloop.run(_measure(console, Path(folder), options.rate, options.seconds, options.apps))


async def _measure(console: Console, folder: Path, rate: int, seconds: int, count: int) -> Outcome:
    async with push_service() as service:
        secret = folder / "secret"
        secret.write_text("a secret of the benchmark's own")
        push = f'[push]\nwebhook_url = "{service.url}/wake"\nwebhook_secret_file = "{secret}"\n'
        config = loopback_config("warning", f'[sip]\ndomains = ["gw.test"]\n{push}')
        with RunningGateway(folder, config) as gateway:
            console.print(f"Adding {count} users with apps, each of which registers once and goes away ...")
            site = add_site(gateway, "Bench")
            doors = add_devices(gateway, site, 20)
            apps = [_user(gateway, site, number) for number in range(count)]
            for app in apps:
                (await _awake(gateway, app)).kill()
            cpu, begun = process_cpu_seconds(gateway.pid), time.monotonic()
            measured = await _calls(gateway, service, doors, apps, rate, rate * seconds)
            wall = time.monotonic() - begun
            cpu = process_cpu_seconds(gateway.pid) - cpu
    return _outcome(measured, rate, rate * seconds, wall, cpu)


def _user(gateway: RunningGateway, site: str, index: int) -> App:
    number = str(1000 + index)
    user = {"site": site, "first_name": "Flat", "last_name": number, "number": number, "app": True}
    account = gateway.ask("PUT", f"/users/flat-{number}", user)["account"]
    return App(account["username"], account["password"], number.encode())


async def _awake(gateway: RunningGateway, app: App) -> StreamPeer:
    peer = await StreamPeer.dial(gateway.address("sip_tcp"), app.username)
    peer.phone.password = app.password.encode()
    contact = b'<%b;pn-provider=fcm;pn-prid=token-%b>;+sip.instance="%b"' % (peer.phone.contact, app.number, INSTANCE)
    assert (await peer.answer(await peer.challenged(peer.phone.register(contact=contact)))).status == 200
    return peer


async def _calls(
    gateway: RunningGateway, service: PushService, doors: list[AddedDevice], apps: list[App], rate: int, total: int
) -> Measured:
    measured = Measured()
    pushed: dict[str, asyncio.Future[float]] = {}

    async def receive_pushes() -> None:
        while True:
            asked = (await service.asked.get()).json
            waiting = pushed.get(asked["account"])
            if asked["purpose"] == "call" and waiting is not None and not waiting.done():
                waiting.set_result(time.monotonic())

    receiver = asyncio.create_task(receive_pushes())
    begun, calls = time.monotonic(), []
    for number in range(total):
        await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))
        app = apps[number % len(apps)]
        pushed[app.username] = asyncio.get_running_loop().create_future()
        calls.append(asyncio.create_task(_call(gateway, doors[number % len(doors)], app, pushed[app.username], measured)))
    await asyncio.wait(calls)
    receiver.cancel()
    return measured


async def _call(
    gateway: RunningGateway, door: AddedDevice, app: App, pushed: "asyncio.Future[float]", measured: Measured
) -> None:
    caller = await StreamPeer.dial(gateway.address("sip_tcp"), door.username)
    caller.phone.password = door.password.encode()
    try:
        async with asyncio.timeout(CALL_DEADLINE):
            begun = time.monotonic()
            await dials(caller, app.number)
            measured.push.append(await pushed - begun)
            registering = time.monotonic()
            phone = await _awake(gateway, app)
            arrived = await phone.request()
            phone.reply(arrived, 180)
            phone.reply(arrived, 200)
            while (answered := await caller.response()).status < 200:
                pass
            assert answered.status == 200, answered.status
            measured.answer.append(time.monotonic() - registering)
            caller.send(caller.phone.in_dialog(b"ACK", answered, arrived))
            await phone.request()
            phone.send(phone.own(phone.phone.in_dialog_as_callee(b"BYE", arrived)))
            caller.reply(await caller.request(), 200)
            await phone.response()
            phone.kill()
    except (TimeoutError, AssertionError, OSError) as error:
        measured.failed.append(f"{type(error).__name__} {error}")
    finally:
        caller.kill()


def _outcome(measured: Measured, rate: int, total: int, wall: float, cpu: float) -> Outcome:
    table = Table(title=f"{total} calls at {rate} a second, milliseconds", title_justify="left")
    for column in ("from", "to", "median", "p99", "greatest"):
        table.add_column(column, justify="left" if column in ("from", "to") else "right")
    figures: dict[str, object] = {"calls": total, "rate": rate, "failed": len(measured.failed), "bound": BOUND}
    for name, first, last, values in (
        ("answer", "app's REGISTER", "200 at the door", measured.answer),
        ("push", "door's INVITE", "push at the service", measured.push),
    ):
        if len(values) < 2:
            continue
        cuts = quantiles(values, n=100)
        figures[name] = {"median": cuts[49], "p99": cuts[98], "greatest": max(values)}
        table.add_row(first, last, *[f"{value * 1000:.1f}" for value in (cuts[49], cuts[98], max(values))])
    table.add_section()
    table.add_row("gateway", "CPU per call", f"{cpu / total * 1000:.2f}", "", "")
    table.add_row("failed", "calls", str(len(measured.failed)), "", "")
    figures |= {"wall": wall, "gateway_cpu_per_call": cpu / total, "first_failures": measured.failed[:5]}
    usable = not measured.failed and len(measured.answer) == total
    return Outcome("wake", [table], figures, usable)
