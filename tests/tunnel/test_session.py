"""Remote Control sessions: one use, in time, with the cookie; dead after the end, however the clock steps."""

import dataclasses
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import StaleVersion
from registry.mac import MacAddress
from registry.memory import MemoryStore
from registry.records import RemoteSession
from registry.store import Put
from tunnel import session as rules
from tunnel.errors import SessionRefused

MAC = MacAddress("0C1105AABBCC")


def entropy(seed: int = 1) -> rules.Entropy:
    return random.Random(seed).randbytes


def fresh(wall: float = 1000.0) -> tuple[RemoteSession, str]:
    made = rules.new_session(mac=MAC, site="s", opened_by="anna", wall=wall, entropy=entropy())
    return made.record, made.link_path.removeprefix(rules.OPEN_PATH)


def used(wall: float = 1000.0) -> tuple[RemoteSession, str]:
    record, ticket = fresh(wall)
    return rules.open_with_ticket(record, ticket, wall + 1, entropy(2))


def test_a_new_session_keeps_no_secret_and_is_not_alive_yet() -> None:
    record, ticket = fresh()
    assert rules.is_session_id(record.id)
    assert len(record.id) == 32, "160 bits"
    assert ticket not in repr(record)
    assert ticket not in dataclasses.astuple(record)
    assert not rules.is_alive(record, 1000.0)
    assert not rules.admits(record, "", 1000.0)
    assert (record.ticket_expires, record.expires, record.idle_seconds) == (1060.0, 4600.0, 900)


def test_the_ticket_opens_once() -> None:
    record, ticket = fresh()
    opened, cookie = rules.open_with_ticket(record, ticket, 1059.9, entropy(2))
    assert rules.admits(opened, cookie, 1060.0)
    assert cookie not in repr(opened)
    with pytest.raises(SessionRefused):
        rules.open_with_ticket(opened, ticket, 1059.9, entropy(3))


@pytest.mark.parametrize(
    ("ticket", "wall"),
    [
        ("right", 1060.0),
        ("right", 10_000.0),
        ("right", 994.0),
        ("", 1001.0),
        ("A" * 43, 1001.0),
        ("A" * 42 + "\u00e9", 1001.0),
        ("A" * 10_000, 1001.0),
    ],
)
def test_a_wrong_late_or_early_ticket_opens_nothing(ticket: str, wall: float) -> None:
    record, right = fresh()
    with pytest.raises(SessionRefused):
        rules.open_with_ticket(record, right if ticket == "right" else ticket, wall, entropy(2))


def test_the_cookie_holds_until_the_end_and_no_clock_step_prolongs_it() -> None:
    record, cookie = used()
    assert rules.admits(record, cookie, 4599.9)
    assert not rules.admits(record, cookie, 4600.0)
    assert not rules.admits(record, cookie, 900.0)
    assert rules.seconds_left(record, 4000.0) == 600.0
    assert rules.seconds_left(record, -50_000.0) == 3600.0
    assert rules.seconds_left(record, 5000.0) == 0.0


@pytest.mark.parametrize("cookie", ["", "A" * 43, "\u00e9" * 43, "x" * 100])
def test_another_cookie_does_not(cookie: str) -> None:
    record, _ = used()
    assert not rules.admits(record, cookie, 1002.0)


def test_a_closed_session_is_dead_and_stays_closed() -> None:
    record, cookie = used()
    ended = rules.closed(record, "revoked", 2000.0)
    assert not rules.admits(ended, cookie, 2000.0)
    assert rules.closed(ended, "again", 3000.0) is ended
    unused, ticket = fresh()
    with pytest.raises(SessionRefused):
        rules.open_with_ticket(rules.closed(unused, "revoked", 1001.0), ticket, 1002.0, entropy())


@pytest.mark.parametrize("text", ["", "a" * 31, "a" * 33, "A" * 32, "a" * 31 + "1", "a" * 31 + "\n", "\uff41" * 32])
def test_what_is_no_session_id(text: str) -> None:
    assert not rules.is_session_id(text)


async def test_create_and_close_in_the_store() -> None:
    store = MemoryStore()
    made = await rules.create_session(store, mac=MAC, site="s", opened_by="anna", wall=1000.0, entropy=entropy())
    record, path = made.record, made.link_path
    stored = await store.get(RemoteSession, record.id)
    assert stored is not None
    assert stored.record == record
    opened, cookie = rules.open_with_ticket(record, path.removeprefix(rules.OPEN_PATH), 1001.0, entropy(2))
    await store.batch([Put(opened, expect=stored.version)])
    with pytest.raises(StaleVersion):
        await store.batch([Put(opened, expect=stored.version)])
    ended = await rules.close_session(store, record.id, reason="revoked", wall=1500.0)
    assert ended is not None
    assert (ended.ended, ended.end_reason) == (1500.0, "revoked")
    assert not rules.admits(ended, cookie, 1500.0)
    assert await rules.close_session(store, record.id, reason="again", wall=1600.0) == ended
    assert await rules.close_session(store, "a" * 32, reason="x", wall=1.0) is None


@pytest.mark.parametrize(
    ("method", "target", "page"),
    [
        (b"GET", b"/", "GET /"),
        (b"POST", b"/fcgi/do?id=1&action=login&password=x", "POST /fcgi/do"),
        (b"GET", b"/web/0123456789abcdef/a;jsessionid=x", "GET /web/*/a"),
        (b"GET", b"/t/eyJhbGciOiJIUzI1NiJ9-abcdef_ghij/x#y", "GET /t/*/x"),
        (b"PUT", b"/\xff\x00\x1b[31m", "PUT /\ufffd??[31m"),
        (b"brew it", b"/" + b"a/" * 500, "other /" + "a/" * 59 + "a"),
    ],
)
def test_what_the_audit_calls_a_request(method: bytes, target: bytes, page: str) -> None:
    assert rules.page_of(method, target) == page


@given(st.binary(max_size=30), st.binary(max_size=300))
def test_no_query_and_no_control_character_gets_into_the_audit(method: bytes, path: bytes) -> None:
    page = rules.page_of(method, path + b"?password=hunter2")
    assert "hunter2" not in page
    assert page.isprintable()
    assert len(page) <= 11 + rules.MAX_PATH


def test_use_adds_up_and_pages_are_bounded() -> None:
    record = rules.new_session(mac=MAC, site="s", opened_by="token:t-1", wall=1000.0, entropy=entropy()).record
    assert rules.login_of(record) == "t-1"
    assert rules.login_of(rules.opened_from(record, "192.0.2.1")) == "t-1"
    for turn in range(3):
        record = rules.with_use(record, requests=2, to_device=10, to_visitor=20, pages=[f"GET /{n}" for n in range(turn * 30)])
    assert (record.requests, record.bytes_to_device, record.bytes_to_visitor) == (6, 30, 60)
    assert record.pages == tuple(f"GET /{n}" for n in range(rules.MAX_PAGES))
