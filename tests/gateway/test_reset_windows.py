"""The window through which a reset device comes back: opened once, and not in place of one that will do."""

from typing import Any

import pytest

from gateway.reset_windows import WINDOW_SECONDS, ResetWindows
from registry.command_states import sent
from registry.commands import CommandName, CommandWay
from registry.enrolment import Enrolment, EnrolmentWindow
from registry.memory import MemoryStore
from registry.store import Put
from tests.gateway.command_world import device_record
from tests.registry.test_command_states import MAC, command

RESET = command(CommandName.RESET)
AGAIN = sent(RESET, CommandWay.CHANNEL, "n", 900.0)
DEVICE = device_record(MAC)


class Opened:
    """`Enrolments`, as far as it is asked."""

    def __init__(self) -> None:
        self.times = 0

    async def open_for_device(self, mac: Any, *, id: str, opened_by: str, seconds: float) -> None:
        assert (mac, id, opened_by, seconds) == (MAC, RESET.id[-16:], f"command/{RESET.id}", WINDOW_SECONDS)
        self.times += 1


def window(ends: float, id_: str = "w-1") -> EnrolmentWindow:
    return EnrolmentWindow(id_, "home", "me", 0.0, ends, b"sealed", MAC)


def enrolled(confirmed: float | None, id_: str = "w-1") -> Enrolment:
    return Enrolment(MAC, "home", id_, "192.0.2.1", 1.0, confirmed)


@pytest.mark.parametrize(
    ("records", "made", "times"),
    [
        ([], RESET, 1),
        ([window(10_000.0)], RESET, 0),
        ([window(1100.0)], RESET, 1),  # too short for what is left
        ([window(10_000.0), enrolled(500.0)], RESET, 1),  # used up
        ([window(10_000.0), enrolled(None)], RESET, 0),
        ([window(10_000.0), enrolled(500.0, "older")], RESET, 0),
        ([window(10_000.0), enrolled(950.0)], AGAIN, 0),  # it is back since the reset was sent
        ([window(10_000.0), enrolled(850.0)], AGAIN, 1),
        ([], AGAIN, 1),
    ],
)
async def test_when_a_window_is_opened(records: list[Any], made: Any, times: int) -> None:
    store, opened = MemoryStore(), Opened()
    await store.batch([Put(record) for record in records])
    await ResetWindows(store, lambda: opened, lambda: 1000.0).open(made, DEVICE)  # type: ignore[arg-type, return-value]
    assert opened.times == times
