"""A small world for the API's tests: two sites, a token of each role for each, a store in memory, a clock that is set by hand.

Entropy is a counted hash, so every run makes the same secrets.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
from fastapi import FastAPI

from admin_api.app import create_app
from admin_api.auth import token_hash
from admin_api.ports import AdminLimits, AdminPorts, Commanded, DeviceAnswer, Presence, RemoteControl, TrunkPresence
from admin_api.work import Turns
from autop.net.configurations import Configurations
from autop.net.neighbours import SiteNeighbours
from autop.settings import AutopSettings
from registry.door_log import Opening
from registry.mac import MacAddress
from registry.memory import MemoryStore
from registry.records import ApiToken, Device, DeviceKind, LibraryMac, Role, Site, SiteRoster
from registry.store import Page, Put, Record, Store, Stored, Write
from registry.vault import Vault

MODELS = {
    "R29": DeviceKind.MULTI_TENANT_DOOR_PHONE,
    "R20A": DeviceKind.SINGLE_TENANT_DOOR_PHONE,
    "C313": DeviceKind.INDOOR_MONITOR,
    "R48G": DeviceKind.GUARD_PHONE,
    "A05": DeviceKind.ACCESS_CONTROL,
}
R = TypeVar("R", bound=Record)
HOME, FOREIGN = "home", "foreign"
BASE = "http://portico.test/api/v1"


def counted_entropy() -> Callable[[int], bytes]:
    """Entropy that is the same in every run and never repeats within one."""
    drawn = 0

    def draw(count: int) -> bytes:
        nonlocal drawn
        drawn += 1
        return hashlib.shake_256(f"test {drawn}".encode()).digest(count)

    return draw


class YieldingStore(MemoryStore):
    """A store in memory that lets others run before every answer, as one with a disk or a network does."""

    async def get(self, kind: type[R], key: str) -> Stored[R] | None:
        await asyncio.sleep(0)
        return await super().get(kind, key)

    async def get_unique(self, kind: type[R], index: str, value: str) -> Stored[R] | None:
        await asyncio.sleep(0)
        return await super().get_unique(kind, index, value)

    async def list(
        self, kind: type[R], index: str, value: str, *, after: str | None = None, limit: int = 100, newest_first: bool = False
    ) -> Page[R]:
        await asyncio.sleep(0)
        return await super().list(kind, index, value, after=after, limit=limit, newest_first=newest_first)

    async def batch(self, writes: Sequence[Write], *, durable: bool = True) -> tuple[int, ...]:
        await asyncio.sleep(0)
        return await super().batch(writes, durable=durable)


class NoTurns(Turns):
    """Turns that nobody waits for, as between two nodes: only the store keeps order."""

    def of(self, site: str | None) -> AbstractAsyncContextManager[Any]:
        return nullcontext()


@dataclass
class Seen:
    """What the observer was told."""

    requests: list[tuple[str, str, int, float]] = field(default_factory=list)

    def __call__(self, route: str, method: str, code: int, seconds: float) -> None:
        self.requests.append((route, method, code, seconds))


class MemoryShelf:
    """Firmware images' bytes in memory."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.refuses: OSError | None = None
        self.drafts = 0

    def begin(self, size: int) -> "MemoryDraft":
        if self.refuses is not None:
            raise self.refuses
        self.drafts += 1
        return MemoryDraft(self)

    def has(self, image: str) -> bool:
        return image in self.held

    def remove(self, image: str) -> None:
        self.held.pop(image, None)


@dataclass
class Devices:
    """Questions to devices: what was asked, and the answers by the question's name."""

    asked: list[tuple[str, str, Mapping[str, Any]]] = field(default_factory=list)
    answers: dict[str, DeviceAnswer] = field(default_factory=dict)
    silent: bool = False
    away: bool = False

    async def ask(self, mac: MacAddress, name: str, body: Mapping[str, Any]) -> DeviceAnswer | None:
        self.asked.append((mac.text, name, body))
        if self.silent:
            raise TimeoutError
        return None if self.away else self.answers.get(name, DeviceAnswer("connector", True, {}))


class MemoryDraft:
    """One upload."""

    def __init__(self, shelf: MemoryShelf) -> None:
        self._shelf = shelf
        self._content = b""
        self._open = True

    @property
    def size(self) -> int:
        return len(self._content)

    async def write(self, content: bytes) -> None:
        self._content += content

    async def digest(self) -> str:
        return hashlib.sha256(self._content).hexdigest()

    async def keep(self, image: str) -> None:
        self._shelf.held[image] = self._content
        self.discard()

    def discard(self) -> None:
        self._shelf.drafts -= self._open
        self._open = False


@dataclass
class Doors:
    """Commands to doors: what was asked, refused, and what the device is to answer."""

    asked: list[tuple[str, int, bytes, Opening]] = field(default_factory=list)
    refusals: list[tuple[str, int, str, str, str]] = field(default_factory=list)
    permitted: set[str] = field(default_factory=set)
    talks: dict[tuple[str, str], str] = field(default_factory=dict)
    answer: tuple[Commanded, str] = (Commanded.OPENED, "")

    async def permits(self, account: str, device: Device) -> bool:
        return account in self.permitted

    def talking(self, account: str, door: str) -> str:
        return self.talks.get((account, door), "")

    async def open(self, device: Device, relay: int, command: bytes, opening: Opening) -> tuple[Commanded, str]:
        self.asked.append((device.mac.text, relay, command, opening))
        await asyncio.sleep(0)
        return self.answer

    def refused(self, device: Device, relay: int, actor: str, account: str, reason: str) -> None:
        self.refusals.append((device.mac.text, relay, actor, account, reason))


@dataclass
class World:
    """The app and everything it stands on."""

    store: Store
    ports: AdminPorts
    app: FastAPI
    seen: Seen
    clock: list[float]
    presences: dict[str, Presence]
    vault: Vault
    doors: Doors
    devices: "Devices"
    shelf: MemoryShelf
    trunk_presences: dict[str, TrunkPresence] = field(default_factory=dict)
    secrets: dict[tuple[Role, str], str] = field(default_factory=dict)

    def client(self, role: Role = Role.DISTRIBUTOR, site: str = "") -> httpx.AsyncClient:
        """A client with the token of `role`, limited to `site` if one is named."""
        return self.bearer(self.secrets[role, site])

    def bearer(self, secret: str | None) -> httpx.AsyncClient:
        """A client with this secret, or without any."""
        headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url=BASE, headers=headers)


async def a_world(store: Store | None = None, limits: AdminLimits | None = None) -> World:
    """Sites `home` and `foreign`, and a token `portico_<role><site>...` of every role for all sites and for each."""
    entropy, clock, seen, doors = counted_entropy(), [1_790_000_000.0], Seen(), Doors()
    store = store or YieldingStore()
    vault = Vault(bytes(range(32)), entropy)
    presences: dict[str, Presence] = {}
    trunk_presences: dict[str, TrunkPresence] = {}
    ports = AdminPorts(
        store=store,
        vault=vault,
        entropy=entropy,
        wall=lambda: clock[0],
        monotonic=lambda: 0.0,
        autop_url=lambda mac, token: f"https://gw.test:8443/autop/{token}/",
        enrolment_url=lambda token: f"https://gw.test:8443/autop/{token}/",
        remote_control=RemoteControl(
            link=lambda session, path: f"https://{session.id}.remote.localhost:9443{path}",
            ports=(),
            forward_address=lambda: ("gw.test", 9443),
        ),
        presence=lambda found: presences.get(found.mac.text, Presence()),
        trunk_presence=lambda trunk: trunk_presences.get(trunk, TrunkPresence()),
        known_models=lambda: MODELS,
        doors=doors,
        devices=(devices := Devices()),
        configurations=Configurations(
            read_model=store,
            vault=vault,
            settings=AutopSettings("gw.test", "https://gw.test:8443/autop", 300, 5060, 5060, 5061),
            neighbours=SiteNeighbours(store),
        ),
        firmware=(shelf := MemoryShelf()),
        observer=seen,
        limits=limits or AdminLimits(),
    )
    world = World(store, ports, create_app(ports), seen, clock, presences, vault, doors, devices, shelf, trunk_presences)
    for site in (HOME, FOREIGN):
        await store.batch([Put(Site(site, site.title(), created=clock[0]), expect=0), Put(SiteRoster(site), expect=0)])
    for role in Role:
        for site in ("", HOME, FOREIGN):
            secret = f"portico_{role.value.replace('-', '_')}_{site or 'all'}_{'x' * 30}"
            world.secrets[role, site] = secret
            sites = (site,) if site else ()
            key = f"{role.value}-{site or 'all'}"
            await store.batch([Put(ApiToken(key, token_hash(secret.encode()), key, role, sites), expect=0)])
    return world


async def allow(world: World, mac: str, site: str = "") -> None:
    """Put a MAC into the library."""
    await world.store.batch([Put(LibraryMac(MacAddress(mac), site=site))])


def device(site: str = HOME, **changes: Any) -> dict[str, Any]:
    """The body of a door phone."""
    return {"site": site, "kind": 0, "model": "R29", "name": "Gate", **changes}


def monitor(owner: str = "", site: str = HOME, **changes: Any) -> dict[str, Any]:
    """The body of an indoor monitor."""
    return {"site": site, "kind": 2, "model": "C313", "name": "Kitchen", "owner": owner, **changes}


def user(site: str = HOME, number: str = "101", **changes: Any) -> dict[str, Any]:
    """The body of a user."""
    return {"site": site, "first_name": "Ada", "last_name": "Lovelace", "number": number, **changes}


def problem(answer: httpx.Response) -> str:
    """The code of a problem; fails if the answer is none."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body = answer.json()
    assert body["status"] == answer.status_code
    assert body["type"] == f"/api/v1/problems/{body['code']}"
    code: str = body["code"]
    return code


def fields(answer: httpx.Response) -> dict[str, str]:
    """The field errors of a 422, by path."""
    assert problem(answer) == "invalid-fields"
    return {error["path"]: error["message"] for error in answer.json()["errors"]}
