"""Presence: by which way, since when, last seen; and what a registration says once the channel is gone."""

from typing import Any

import pytest

from gateway.presence import CHANNEL_LIMITS, PresenceBook
from registry.mac import MacAddress
from tests.gateway.command_world import device_record

MAC = MacAddress("0C1105000001")
ACCOUNT = f"account-{MAC}"
DEVICE = device_record(MAC)


class Node:
    """A book, and what it asks of the node."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.heard: float | None = None
        self.is_registered = self.on_connector = False
        self.book = PresenceBook(
            registered=lambda _account: self.is_registered,
            heard=lambda _mac: self.heard,
            on_connector=lambda _mac: self.on_connector,
            wall=lambda: self.now,
        )

    def at(self, now: float) -> "Node":
        self.now = now
        return self

    def channel(self, up: bool) -> None:
        self.heard = 0.0 if up else None
        self.book.turned(MAC, up)

    def registers(self) -> None:
        self.is_registered = True
        self.book.turned(ACCOUNT, True)
        self.book.seen(ACCOUNT)

    def says(self) -> tuple[Any, ...]:
        found = self.book.of(DEVICE)
        return found.online, found.ways, found.since, found.last_seen


def test_nothing_is_known_at_first() -> None:
    assert Node().says() == (False, (), None, None)


def test_ways_since_and_last_seen() -> None:
    node = Node()
    node.at(1010.0).registers()
    node.at(1020.0).channel(True)
    node.heard = 4.0
    assert node.at(1030.0).says() == (True, ("channel", "sip"), 1010.0, 1026.0)
    node.on_connector = True
    assert node.says()[1] == ("channel", "connector", "sip")


def test_a_refresh_is_no_coming() -> None:
    node = Node()
    node.at(1010.0).registers()
    node.at(1100.0).registers()
    assert node.says() == (True, ("sip",), 1010.0, 1100.0)


def test_a_registration_counts_no_more_than_its_devices_lost_channel_until_it_is_refreshed() -> None:
    node = Node()
    node.at(1010.0).registers()
    node.at(1020.0).channel(True)
    node.at(1060.0).channel(False)
    assert node.says() == (False, (), 1060.0, 1010.0)
    assert node.book.of(DEVICE).registered
    node.at(1100.0).registers()
    assert node.says()[:2] == (True, ("sip",))
    node.at(1200.0).channel(True)
    assert node.says()[:3] == (True, ("channel", "sip"), 1010.0)


def test_a_cut_is_seen_within_30_seconds() -> None:
    longest_ping = CHANNEL_LIMITS.ping_after * (1 + CHANNEL_LIMITS.ping_spread)
    assert longest_ping < CHANNEL_LIMITS.dead_after < 30.0


@pytest.mark.parametrize("gone", [1050.0, 1300.0])
def test_offline_since_the_last_way_went(gone: float) -> None:
    node = Node()
    node.at(1010.0).registers()
    node.at(gone).is_registered = False
    node.book.turned(ACCOUNT, False)
    assert node.says() == (False, (), gone, 1010.0)
