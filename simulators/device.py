"""What every simulated device does: boot from its autop URL alone, register, open its channel, poll, restart what changed."""

import asyncio
import contextlib
import ssl
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from registry.mac import MacAddress
from simulators.agent_events import AgentEvent
from simulators.device_config import ChannelSettings, DeviceConfig, Provisioning
from simulators.flash import Flash, FlashFailed
from simulators.happenings import Happenings
from simulators.line import SipAccount
from simulators.maintenance import Maintenance, Rebooted
from simulators.sip_endpoint import SipEndpoint
from tunnel.handshake import Identity
from tunnel.net.agent import Agent, CallTarget, Results
from tunnel.net.local_service import LocalService

RETRY_FIRST = 1.0
RETRY_MOST = 60.0
"""Seconds between tries to fetch the configuration: RETRY_FIRST * 2^n at most, a random half of it off."""


@dataclass(frozen=True, slots=True)
class ConfigFetched:
    """An autop request was answered. `applied` is False where the bytes were those applied before."""

    size: int
    etag: str
    applied: bool


@dataclass(frozen=True, slots=True)
class ConfigFailed:
    """An autop request failed; the next try is in `retry_in` seconds."""

    why: str
    retry_in: float


@dataclass(frozen=True, slots=True)
class ChannelChanged:
    """The channel to the gateway went up or down."""

    up: bool


class Device:
    """One device. Everything it knows of the gateway comes from `provisioning` (its autop URL) and what that fetches.

    `tls` is the context for its channel, which stays shut unless `with_channel`, `sip_tls` the one for SIP over TLS (None: it has
    no such account); `flash` is what it is upgraded in (None: it ignores firmware); `enrolment_url` is where its
    network sends it after a reset ("": nowhere, and it waits for somebody to come); `entropy(n)` gives n random bytes, `wall()`
    wall-clock seconds. What happens is in `happenings`, and told to `on_each`. `boot`, `shut_down` and `cut_power` are the
    owner's; all must run in one loop.
    """

    model = "Portico Simulator"

    def __init__(
        self,
        mac: MacAddress,
        provisioning: Provisioning,
        *,
        tls: ssl.SSLContext,
        entropy: Callable[[int], bytes],
        wall: Callable[[], float],
        on_each: Callable[[object], None] | None = None,
        with_channel: bool = True,
        sip_tls: ssl.SSLContext | None = None,
        flash: Flash | None = None,
        enrolment_url: str = "",
    ) -> None:
        self.mac = mac
        self.happenings = Happenings(on_each)
        self.config: DeviceConfig | None = None
        self.sip: SipEndpoint | None = None
        self.agent: Agent | None = None
        self._provisioning = provisioning
        self._with_channel = with_channel
        self._flash = flash
        self._enrolment_url = enrolment_url
        self.maintenance = Maintenance(self)
        self._results: Results = OrderedDict()
        self._installing: asyncio.Task[None] | None = None
        self._tls = tls
        self._sip_tls = sip_tls
        self._entropy = entropy
        self._wall = wall
        self._link: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._sip_told = asyncio.Event()
        self._channel_started = asyncio.Event()
        self._channel_stopped = asyncio.Event()

    async def boot(self) -> None:
        """Fetch the configuration, trying until it works, and start what it says. The caller bounds the wait."""
        failures = 0
        while True:
            try:
                await self.poll()
                break
            except (OSError, ValueError) as failed:
                wait = min(RETRY_MOST, RETRY_FIRST * 2.0 ** min(failures, 16)) * (0.5 + 0.5 * self._chance())
                failures += 1
                self.happenings.add(ConfigFailed(str(failed) or type(failed).__name__, wait))
                await asyncio.sleep(wait)
        self.spawn(self._poll_daily())

    async def poll(self) -> bool:
        """Ask for the configuration once, as soon as no call is under way (devices do so only while they are idle); apply it if
        its bytes are new. Raises OSError or ValueError if that fails."""
        while self.sip is not None and self.sip.busy:
            self._sip_told.clear()
            await self._sip_told.wait()
        fetched = await self._provisioning.fetch()
        self.happenings.add(ConfigFetched(fetched.size, fetched.etag, fetched.config is not None))
        if fetched.config is None:
            return False
        before, self.config = self.config, fetched.config
        await self.apply(before, fetched.config)
        return True

    async def apply(self, before: DeviceConfig | None, now: DeviceConfig) -> None:
        """Restart what a new configuration changed. Subclasses add their own parts."""
        if self._flash is not None and now.firmware_url and self._installing is None:
            self._installing = asyncio.get_running_loop().create_task(self._install(self._flash, now.firmware_url))
        if before is None or before.account != now.account:
            await self._start_sip(now.account)
        if before is None or before.channel != now.channel:
            await self._start_channel(now.channel)

    def going_down(self) -> None:
        """A restart is near: the channel takes no order that it would interrupt."""
        if self.agent is not None:
            self.agent.takes_calls = False

    async def restart(self, *, reset: bool = False) -> None:
        """Go down and boot again; `reset`: as from the factory, with what its network tells it. The caller bounds the wait."""
        kept = None if reset else self.config
        await self._go_off(0.0)
        self.config = kept
        self.happenings.add(Rebooted(reset))
        if reset:
            if not self._enrolment_url:
                return
            self._provisioning.factory_reset(self._enrolment_url)
        elif kept is not None:
            await self.apply(None, kept)
        await self.boot()

    async def shut_down(self, grace: float = 2.0) -> None:
        """Switch off in good order: take the binding back, close the channel."""
        await self._stop(grace)

    async def cut_power(self) -> None:
        """Vanish: nobody is told."""
        await self._stop(0.0)

    @property
    def registered(self) -> bool:
        """Whether the registrar holds our binding, as far as the device knows."""
        return self.sip is not None and self.sip.registered

    # For subclasses

    def services(self) -> Mapping[str, LocalService]:
        """What the gateway may connect to through the channel, by service id. The device's own list, never the gateway's."""
        return {}

    def calls(self) -> Mapping[str, CallTarget]:
        """What the gateway may ask for through the channel, by name."""
        return self.maintenance.calls()

    def on_sip(self, event: AgentEvent) -> None:
        """Something happened on the SIP side. Called after it is in `happenings`."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something until it is done or the device goes off."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def report(self, name: str, body: Mapping[str, Any]) -> None:
        """Tell the gateway through the channel; returns once it is kept there, over however many channels that takes.

        The body must hold what makes a repetition known (`event_id`).
        """
        while True:
            while self.agent is None:
                await self._channel_started.wait()
            stopped = asyncio.ensure_future(self._channel_stopped.wait())
            sending = asyncio.ensure_future(self.agent.send_event(name, body))
            try:
                await asyncio.wait({sending, stopped}, return_when=asyncio.FIRST_COMPLETED)
                if sending.done():
                    return sending.result()
            finally:
                sending.cancel()
                stopped.cancel()

    # Inside

    async def _install(self, flash: Flash, url: str) -> None:
        """Fetch an image, restart with whatever it makes of the device, and register and ask for the configuration anew."""
        try:
            installed = await flash.install(url)
        except FlashFailed as failed:
            self.happenings.add(failed)
            return
        finally:
            self._installing = None
        self.happenings.add(installed)
        await self._start_sip(self.config.account if self.config is not None and flash.talks else None)
        if flash.talks:
            with contextlib.suppress(OSError, ValueError):
                await self.poll()

    async def _start_sip(self, account: SipAccount | None) -> None:
        if self.sip is not None:
            await self.sip.stop()
            self.sip = None
        if account is not None:
            self.sip = SipEndpoint(
                account,
                entropy=self._entropy,
                on_event=self._sip_event,
                user_agent=self.model if self._flash is None else self._flash.user_agent,
                instance_id=f"urn:uuid:00000000-0000-1000-8000-{self.mac.text.lower()}",
                tls=self._sip_tls,
            )
            await self.sip.start()

    def _sip_event(self, event: AgentEvent) -> None:
        self._sip_told.set()
        self.happenings.add(event)
        self.on_sip(event)

    async def _start_channel(self, channel: ChannelSettings | None) -> None:
        await self._stop_channel()
        if channel is None or not self._with_channel:
            return
        self.agent = Agent(
            host=channel.host,
            port=channel.port,
            identity=Identity(self.mac, channel.key),
            tls=self._tls,
            entropy=self._entropy,
            services=self.services(),
            calls=self.calls(),
            results=self._results,
            on_state=lambda state: self.happenings.add(ChannelChanged(state == "up")),
        )
        self._link = asyncio.get_running_loop().create_task(self.agent.run())
        self._channel_stopped.clear()
        self._channel_started.set()

    async def _stop_channel(self) -> None:
        link, self._link, self.agent = self._link, None, None
        self._channel_started.clear()
        self._channel_stopped.set()
        if link is not None:
            link.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await link

    async def _stop(self, grace: float) -> None:
        await self.maintenance.stop()
        await self._go_off(grace)

    async def _go_off(self, grace: float) -> None:
        tasks = [*self._tasks, *([self._installing] if self._installing else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        sip, self.sip = self.sip, None
        if sip is not None:
            await sip.stop(grace)
        await self._stop_channel()

    async def _poll_daily(self) -> None:
        """Modes 3 and 4 of akuvox-devices.md section 3: also every day, or every hour, at the second the configuration says."""
        while self.config is not None and self.config.poll_at is not None:
            await asyncio.sleep(seconds_until(self.config.poll_at, self._wall()))
            with contextlib.suppress(OSError, ValueError):
                await self.poll()

    def _chance(self) -> float:
        return int.from_bytes(self._entropy(4), "big") / 2**32


def seconds_until(time_of_day: tuple[int | None, int, int], wall: float) -> float:
    """Seconds from `wall` to the next time it is hour (None: any), minute, second (UTC: simulated devices set no zone)."""
    hour, minute, second = time_of_day
    now = datetime.fromtimestamp(wall, UTC)
    due = now.replace(hour=now.hour if hour is None else hour, minute=minute, second=second, microsecond=0)
    round_ = timedelta(hours=1) if hour is None else timedelta(days=1)
    return (due - now if due > now else due + round_ - now).total_seconds()
