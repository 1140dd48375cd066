"""The push port: deadlines, bounds, and what is told of each push. Drivers are made up; real ones are in tests/system."""

import asyncio
import logging

import pytest

from gateway.push.http_client import HttpError
from gateway.push.outcome import Notice, Outcome
from gateway.push.sender import PushSender
from sip.directory import PushParameters
from sip.events import Push


class Scripted:
    """A driver that does what it is told: an outcome, an exception, or None to hang for ever."""

    def __init__(self, provider: str, does: Outcome | Exception | None) -> None:
        self.providers = (provider,)
        self.does = does
        self.notices: list[Notice] = []
        self.closed = False

    async def send(self, notice: Notice) -> Outcome:
        self.notices.append(notice)
        if self.does is None:
            await asyncio.Event().wait()
        if isinstance(self.does, Exception):
            raise self.does
        assert self.does is not None
        return self.does

    def close(self) -> None:
        self.closed = True


class Port:
    """A sender, and what it said."""

    def __init__(self, *drivers: Scripted, deadline: float = 0.05, concurrency: int = 64) -> None:
        self.told: asyncio.Queue[tuple[int, bool, str]] = asyncio.Queue()
        self.dead: list[tuple[str, str]] = []
        self.counted: list[tuple[str, str, str]] = []
        self.sender = PushSender(
            drivers,
            told=lambda *said: self.told.put_nowait(said),
            dead=lambda *said: self.dead.append(said),
            count=lambda *said: self.counted.append(said),
            deadline=deadline,
            concurrency=concurrency,
        )

    async def said(self) -> tuple[int, bool, str]:
        return await asyncio.wait_for(self.told.get(), 5)


def push(serial: int, *providers: str) -> Push:
    apps = tuple(PushParameters(provider, f"prid-{provider}", "p", f"i-{provider}") for provider in providers)
    return Push(serial, "call", "app", apps, "c1", "s1", "100", "101", "", 19.6)


@pytest.mark.parametrize(
    ("does", "accepted", "reason"),
    [
        (Outcome.ACCEPTED, True, ""),
        (Outcome.REFUSED, False, "refused"),
        (Outcome.UNAUTHORISED, False, "unauthorised"),
        (HttpError("ConnectionRefusedError", began=False), False, "unreachable"),
        (HttpError("RemoteProtocolError", began=True), False, "refused"),
        (None, False, "timeout"),
    ],
)
async def test_each_push_is_told_once(does: Outcome | Exception | None, accepted: bool, reason: str) -> None:
    port = Port(driver := Scripted("fcm", does))
    port.sender.send(push(7, "fcm"))
    assert await port.said() == (7, accepted, reason)
    assert driver.notices[0].seconds == 20
    assert port.counted == [("fcm", "call", "accepted" if accepted else reason)]
    await port.sender.stop()
    assert port.told.empty()
    assert driver.closed


async def test_a_dead_token_is_told_and_the_other_app_of_the_account_counts() -> None:
    port = Port(Scripted("fcm", Outcome.DEAD_TOKEN), Scripted("apns", Outcome.ACCEPTED))
    port.sender.send(push(1, "fcm", "apns"))
    assert await port.said() == (1, True, "")
    assert port.dead == [("app", "prid-fcm")]


async def test_a_provider_without_a_driver() -> None:
    port = Port(Scripted("fcm", Outcome.ACCEPTED))
    port.sender.send(push(1, "webpush"))
    assert await port.said() == (1, False, "no-driver")
    assert port.counted == [("other", "call", "no-driver")]


async def test_a_service_that_hangs_delays_no_other() -> None:
    port = Port(Scripted("fcm", None), Scripted("apns", Outcome.ACCEPTED), deadline=30.0, concurrency=1)
    for serial in range(10):
        port.sender.send(push(serial, "fcm"))
    port.sender.send(push(99, "apns"))
    assert await port.said() == (99, True, "")
    await port.sender.stop()


async def test_the_wait_for_a_place_counts_for_the_deadline() -> None:
    port = Port(hanging := Scripted("fcm", None), concurrency=1)
    for serial in range(5):
        port.sender.send(push(serial, "fcm"))
    assert {await port.said() for _ in range(5)} == {(serial, False, "timeout") for serial in range(5)}
    assert len(hanging.notices) < 5  # each would have had its turn, had the wait not counted


async def test_how_many_are_under_way_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.push.sender.MAX_WAITING", 1)
    port = Port(Scripted("fcm", None), deadline=30.0)
    port.sender.send(push(1, "fcm"))
    port.sender.send(push(2, "fcm"))
    assert await port.said() == (2, False, "busy")
    await port.sender.stop()


async def test_a_broken_driver_costs_its_push_only_and_its_error_text_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    port = Port(Scripted("fcm", RuntimeError("the token is prid-fcm")))
    with caplog.at_level(logging.DEBUG):
        port.sender.send(push(1, "fcm"))
        assert await port.said() == (1, False, "refused")
    assert "RuntimeError" in caplog.text
    assert "prid" not in caplog.text
    caplog.clear()


async def test_an_earlier_driver_gets_what_two_would_serve() -> None:
    first, second = Scripted("fcm", Outcome.ACCEPTED), Scripted("fcm", Outcome.REFUSED)
    port = Port(first, second)
    port.sender.send(push(1, "fcm"))
    assert await port.said() == (1, True, "")
    assert port.sender.providers() == ("fcm",)
