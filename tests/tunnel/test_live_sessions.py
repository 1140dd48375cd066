"""The sessions of a node against guesses, without sockets: ten thousand of each secret, and no session comes of it."""

import hashlib
import itertools
from collections.abc import Callable

import pytest

from registry.mac import MacAddress
from registry.memory import MemoryStore
from registry.records import RemoteSession, Site
from registry.store import Put
from tests.system.tunnel_site import Recorder
from tunnel.errors import SessionRefused
from tunnel.net.sessions import LiveSessions
from tunnel.session import create_session

MAC = MacAddress("0C1105AABBCC")
GUESSES = 10_000


def counted() -> Callable[[int], bytes]:
    numbers = itertools.count()
    return lambda size: hashlib.shake_256(str(next(numbers)).encode()).digest(size)


async def test_guesses_open_nothing() -> None:
    store, recorder, entropy = MemoryStore(), Recorder(), counted()
    sessions = LiveSessions(store=store, observer=recorder, entropy=entropy, wall=lambda: 1000.0)
    await sessions.start()
    made = await create_session(store, mac=MAC, site="s", opened_by="anna", wall=1000.0, entropy=entropy)
    waiting = await create_session(store, mac=MAC, site="s", opened_by="anna", wall=1000.0, entropy=entropy)
    cookie = await sessions.open(made.record.id, made.ticket, "192.0.2.1")
    live = await sessions.admit(made.record.id, cookie)
    found = 0
    for number in range(GUESSES):
        label = made.record.id[:-4] + f"{number:04d}".translate(str.maketrans("0189", "abcd"))
        label = "x" + label[1:] if label == made.record.id else label
        secret = hashlib.sha256(str(number).encode()).hexdigest()[:43]
        for guess in (
            sessions.admit(label, cookie),
            sessions.admit(made.record.id, secret),
            sessions.admit(waiting.record.id, cookie),
            sessions.open(waiting.record.id, secret, "192.0.2.9"),
            sessions.open(label, waiting.ticket, "192.0.2.9"),
        ):
            try:
                await guess
            except SessionRefused:
                continue
            found += 1
    assert found == 0
    assert recorder.sessions == [("opened", "192.0.2.1")]
    assert len(sessions) == 1
    assert await sessions.admit(made.record.id, cookie) is live
    assert await sessions.open(waiting.record.id, waiting.ticket, "192.0.2.1")
    await sessions.stop()


async def test_a_forward_is_no_page_and_a_page_no_forward() -> None:
    store, entropy = MemoryStore(), counted()
    sessions = LiveSessions(store=store, observer=Recorder(), entropy=entropy, wall=lambda: 1000.0)
    await sessions.start()
    site = Site("s", "Site", allow_forward=True)
    await store.batch([Put(site)])
    page = await create_session(store, mac=MAC, site="s", opened_by="anna", wall=1000.0, entropy=entropy)
    forward = await create_session(store, mac=MAC, site="s", opened_by="anna", wall=1000.0, entropy=entropy, service="ssh")
    with pytest.raises(SessionRefused):
        await sessions.open(page.record.id, page.ticket, "192.0.2.1", web=False)
    with pytest.raises(SessionRefused):
        await sessions.open(forward.record.id, forward.ticket, "192.0.2.1")
    cookies = [
        (page.record.id, await sessions.open(page.record.id, page.ticket, "192.0.2.1"), True),
        (forward.record.id, await sessions.open(forward.record.id, forward.ticket, "192.0.2.1", web=False), False),
    ]
    for session, cookie, web in cookies:
        with pytest.raises(SessionRefused):
            await sessions.admit(session, cookie, web=not web)
        assert (await sessions.admit(session, cookie, web=web)).record.id == session
    await sessions.stop()


async def test_a_forward_needs_its_sites_leave() -> None:
    store, entropy = MemoryStore(), counted()
    sessions = LiveSessions(store=store, observer=Recorder(), entropy=entropy, wall=lambda: 1000.0)
    await sessions.start()
    await store.batch([Put(Site("s", "Site"))])
    made = await create_session(store, mac=MAC, site="s", opened_by="anna", wall=1000.0, entropy=entropy, service="rtsp")
    with pytest.raises(SessionRefused):
        await sessions.open(made.record.id, made.ticket, "192.0.2.1", web=False)
    stored = await store.get(RemoteSession, made.record.id)
    assert stored is not None
    assert stored.record.used is None
    await sessions.stop()
