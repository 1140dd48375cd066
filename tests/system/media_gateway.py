"""A SipService with a media engine behind it, both real."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sip.media_engine import MediaEngine, MediaOutcome
from sip.media_rule import MediaRule
from tests.system.sip_gateway import Gateway, gateway

MakeEngine = Callable[[Callable[[MediaOutcome], None]], MediaEngine]


@asynccontextmanager
async def media_gateway(
    make: MakeEngine, rule: MediaRule, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[Gateway, tuple[str, int], MediaEngine]]:
    """The gateway, its address, and the engine, which is started."""
    async with gateway(host, media=rule) as (running, address):
        engine = make(running.service.media_told)
        await engine.start()
        running.on_media = engine.request
        try:
            yield running, address, engine
        finally:
            await engine.stop()
