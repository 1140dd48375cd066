"""Every route x every role x own, foreign and unknown things. The table below is written by hand: a new route fails until it
stands here, and a permission that changes fails until somebody means it."""

import hashlib
from collections.abc import Mapping
from typing import Any

import pytest

from admin_api.app import guarded_routes
from admin_api.problems import PREFIX
from registry.commands import CollectedLog, log_context
from registry.configuration import DeviceFetches, Fetch
from registry.mac import MacAddress
from registry.records import Role
from registry.store import Put
from registry.web_certificate import WebCertificate
from tests.admin_api.world import FOREIGN, HOME, World, a_world, allow, device, problem, user

ROLES = {"D": Role.DISTRIBUTOR, "I": Role.INSTALLER, "S": Role.SUB_INSTALLER, "P": Role.PROPERTY_MANAGER, "R": Role.READ_ONLY}
PUBLIC = "public"

# method, path, who may, and how a thing of a site is named in the path (None: the route names no thing).
TABLE: list[tuple[str, str, str, str | None]] = [
    ("POST", "/tokens", "DI", None),
    ("GET", "/tokens", "DI", None),
    ("GET", "/tokens/{token}", "DI", "token"),
    ("DELETE", "/tokens/{token}", "DI", "token"),
    ("POST", "/mac-library", "D", None),
    ("GET", "/mac-library", "DIS", None),
    ("GET", "/mac-library/{mac}", "DIS", "mac"),
    ("DELETE", "/mac-library/{mac}", "D", "mac"),
    ("POST", "/sites", "DI", None),
    ("GET", "/sites", "DISPR", None),
    ("GET", "/sites/{site}", "DISPR", "site"),
    ("PATCH", "/sites/{site}", "DI", "site"),
    ("DELETE", "/sites/{site}", "DI", "site"),
    ("POST", "/departments", "DISP", None),
    ("GET", "/departments", "DISPR", None),
    ("GET", "/departments/{department}", "DISPR", "department"),
    ("PATCH", "/departments/{department}", "DISP", "department"),
    ("DELETE", "/departments/{department}", "DISP", "department"),
    ("PUT", "/devices/{mac}", "DIS", "mac"),
    ("GET", "/devices", "DISPR", None),
    ("GET", "/devices/{mac}", "DISPR", "mac"),
    ("PATCH", "/devices/{mac}", "DIS", "mac"),
    ("DELETE", "/devices/{mac}", "DIS", "mac"),
    ("GET", "/devices/{mac}/status", "DISPR", "mac"),
    ("POST", "/devices/{mac}/token-rotation", "DIS", "mac"),
    ("GET", "/devices/{mac}/token-rotation", "DISPR", "mac"),
    ("POST", "/enrolment-windows", "DIS", None),
    ("GET", "/enrolment-windows", "DIS", None),
    ("GET", "/enrolment-windows/{window}", "DIS", "window"),
    ("GET", "/enrolment-windows/{window}/devices", "DIS", "window"),
    ("DELETE", "/enrolment-windows/{window}", "DIS", "window"),
    ("GET", "/devices/{mac}/configuration", "DISPR", "mac"),
    ("GET", "/devices/{mac}/configuration/versions", "DISPR", "mac"),
    ("GET", "/devices/{mac}/configuration/versions/{etag}", "DISPR", "mac"),
    ("GET", "/devices/{mac}/one-time-autop", "DISPR", "mac"),
    ("DELETE", "/devices/{mac}/one-time-autop", "DIS", "mac"),
    ("GET", "/autop-commands/{level}/{of}", "DISPR", "of"),
    ("PUT", "/autop-commands/{level}/{of}", "DIS", "of"),
    ("GET", "/autop-commands/{level}/{of}/revisions", "DISPR", "of"),
    ("POST", "/autop-commands/{level}/{of}/rollback", "DIS", "of"),
    ("POST", "/autop-commands/{level}/{of}/dry-run", "DIS", "of"),
    ("POST", "/autop-commands/{level}/{of}/one-time", "DIS", "of"),
    ("POST", "/devices/{mac}/relays/{relay}/open", "DISP", "mac"),
    ("POST", "/devices/{mac}/commands", "DISP", "mac"),
    ("GET", "/devices/{mac}/commands", "DISP", "mac"),
    ("GET", "/commands", "DISP", None),
    ("GET", "/commands/{command}", "DISP", "command"),
    ("GET", "/commands/{command}/log", "DIS", "command"),
    ("DELETE", "/commands/{command}", "DISP", "command"),
    ("POST", "/command-groups", "DISP", None),
    ("GET", "/command-groups", "DISP", None),
    ("GET", "/command-groups/{group}", "DISP", "group"),
    ("GET", "/command-groups/{group}/commands", "DISP", "group"),
    ("DELETE", "/command-groups/{group}", "DISP", "group"),
    ("POST", "/users", "DISP", None),
    ("PUT", "/users/{user}", "DISP", "user"),
    ("GET", "/users", "DISPR", None),
    ("GET", "/users/{user}", "DISPR", "user"),
    ("PATCH", "/users/{user}", "DISP", "user"),
    ("DELETE", "/users/{user}", "DISP", "user"),
    ("GET", "/ring-plans", "DISPR", None),
    ("GET", "/users/{user}/ring-plan", "DISPR", "user"),
    ("PUT", "/users/{user}/ring-plan", "DISP", "user"),
    ("DELETE", "/users/{user}/ring-plan", "DISP", "user"),
    ("GET", "/users/{user}/apps", "DISPR", "user"),
    ("POST", "/users/{user}/apps", "DISP", "user"),
    ("GET", "/apps/{app}", "DISPR", "app"),
    ("PATCH", "/apps/{app}", "DISP", "app"),
    ("DELETE", "/apps/{app}", "DISP", "app"),
    ("POST", "/trunks", "DI", None),
    ("GET", "/trunks", "DI", None),
    ("GET", "/trunks/{trunk}", "DI", "trunk"),
    ("PATCH", "/trunks/{trunk}", "DI", "trunk"),
    ("DELETE", "/trunks/{trunk}", "DI", "trunk"),
    ("GET", "/trunks/{trunk}/status", "DI", "trunk"),
    ("GET", "/sites/{site}/landlines", "DI", "site"),
    ("PUT", "/sites/{site}/landlines", "DI", "site"),
    ("POST", "/firmware", "D", None),
    ("GET", "/firmware", "DIS", None),
    ("GET", "/firmware/{image}", "DIS", "image"),
    ("PUT", "/firmware/{image}/content", "D", "image"),
    ("PATCH", "/firmware/{image}", "D", "image"),
    ("DELETE", "/firmware/{image}", "D", "image"),
    ("POST", "/upgrades", "DIS", None),
    ("GET", "/upgrades", "DIS", None),
    ("GET", "/upgrades/{upgrade}", "DIS", "upgrade"),
    ("GET", "/upgrades/{upgrade}/devices", "DIS", "upgrade"),
    ("PATCH", "/upgrades/{upgrade}", "DIS", "upgrade"),
    ("DELETE", "/upgrades/{upgrade}", "DIS", "upgrade"),
    ("POST", "/sites/{site}/connectors", "DI", "site"),
    ("GET", "/sites/{site}/connectors", "DIS", "site"),
    ("GET", "/connectors/{connector}", "DIS", "connector"),
    ("POST", "/connectors/{connector}/rotate", "DI", "connector"),
    ("DELETE", "/connectors/{connector}", "DI", "connector"),
    ("GET", "/devices/{mac}/live", "DISPR", "mac"),
    ("GET", "/devices/{mac}/configuration/held", "DISPR", "mac"),
    ("GET", "/devices/{mac}/lan-address", "DISPR", "mac"),
    ("PUT", "/devices/{mac}/lan-address", "DIS", "mac"),
    ("DELETE", "/devices/{mac}/lan-address", "DIS", "mac"),
    ("POST", "/devices/{mac}/remote-sessions", "DIS", "mac"),
    ("GET", "/devices/{mac}/remote-sessions", "DIS", "mac"),
    ("GET", "/remote-sessions", "DIS", None),
    ("GET", "/remote-sessions/{session}", "DIS", "session"),
    ("DELETE", "/remote-sessions/{session}", "DIS", "session"),
    ("POST", "/devices/{mac}/forwards", "DI", "mac"),
    ("GET", "/devices/{mac}/web-certificate", "DIS", "mac"),
    ("DELETE", "/devices/{mac}/web-certificate", "DIS", "mac"),
    ("GET", "/call-log", "DISPR", None),
    ("GET", "/door-log", "DISPR", None),
    ("GET", "/audit", "DI", None),
    ("GET", "/events", "DISPR", None),
    ("GET", "/problems", PUBLIC, None),
    ("GET", "/problems/{code}", PUBLIC, None),
]
GUARDED = [row for row in TABLE if row[2] != PUBLIC]
THINGS = [row for row in GUARDED if row[3] not in (None, "image")]  # an image is no site's: who may see one sees all
UNKNOWN = {
    "token": "none",
    "mac": "0C11050000FF",
    "site": "none",
    "department": "none",
    "user": "none",
    "session": "none",
    "connector": "none",
    "app": "none",
    "trunk": "none",
    "of": "none",
    "image": "none",
    "upgrade": "none",
    "window": "none",
    "command": "none",
    "group": "none",
}
ETAG = "ab" * 32
RELAYS = [{"name": "Door"}]
LINES = {"lines": ["Config.Settings.LOGLEVEL.Level = 3"]}
FIRMWARE = b"firmware" * 10
SHA256 = hashlib.sha256(FIRMWARE).hexdigest()


def a_trunk(site: str) -> dict[str, Any]:
    """The body of a trunk for one site."""
    return {"name": "Carrier", "gateways": [{"host": "192.0.2.1"}], "sites": [site], "allowed_prefixes": ["+49"]}


async def a_full_world() -> tuple[World, dict[str, str]]:
    """A world with one thing of each sort at the foreign site, and how each is named in a path."""
    world = await a_world()
    mac = "0C1105000009"
    await allow(world, mac, FOREIGN)
    async with world.client() as client:
        department = (await client.post("/departments", json={"site": FOREIGN, "name": "Floor 1"})).json()["id"]
        someone = (await client.post("/users", json=user(FOREIGN, app=True))).json()
        plan = body_of("PUT", "/users/{user}/ring-plan", FOREIGN)
        assert (await client.put(f"/users/{someone['id']}/ring-plan", json=plan)).status_code == 201
        assert (await client.put(f"/devices/{mac}", json=device(FOREIGN, relays=RELAYS))).status_code == 201
        locked = body_of("POST", "/devices/{mac}/commands", FOREIGN)
        command = (await client.post(f"/devices/{mac}/commands", json=locked)).json()["id"]
        group = (await client.post("/command-groups", json=body_of("POST", "/command-groups", FOREIGN))).json()["id"]
        trunk = (await client.post("/trunks", json=a_trunk(FOREIGN))).json()["id"]
        session = (await client.post(f"/devices/{mac}/remote-sessions")).json()["id"]
        connector = (await client.post(f"/sites/{FOREIGN}/connectors", json={"name": "Cellar"})).json()["id"]
        assert (await client.put(f"/autop-commands/site/{FOREIGN}", json=LINES)).status_code == 200
        assert (await client.post(f"/autop-commands/site/{FOREIGN}/one-time", json=LINES)).status_code == 201
        assert (await client.post(f"/devices/{mac}/token-rotation")).status_code == 201
        window = (await client.post("/enrolment-windows", json={"site": FOREIGN, "minutes": 60})).json()["id"]
        image = {"model": "R29", "version": "29.30.10.465", "sha256": SHA256, "size": len(FIRMWARE)}
        made = await client.post("/firmware", json=image)
        octets = {"Content-Type": "application/octet-stream"}
        await client.put(f"{made.headers['location'].removeprefix(PREFIX)}/content", content=FIRMWARE, headers=octets)
        upgrade = (await client.post("/upgrades", json={"site": FOREIGN, "image": made.json()["id"]})).json()["id"]
    fetches = DeviceFetches(MacAddress(mac), FOREIGN, (Fetch(ETAG, 1.0, 1.0, "192.0.2.7"),))
    log = CollectedLog(command, world.vault.seal(b"a line", log_context(command)))
    pinned = WebCertificate(MacAddress(mac), FOREIGN, "ab" * 32, 1.0, "token:t")
    await world.store.batch([Put(fetches), Put(log), Put(pinned)])
    return world, {
        "token": "read-only-foreign",
        "mac": mac,
        "site": FOREIGN,
        "department": department,
        "user": someone["id"],
        "app": someone["app_account"],
        "session": session,
        "connector": connector,
        "trunk": trunk,
        "of": FOREIGN,
        "image": SHA256[:24],
        "upgrade": upgrade,
        "window": window,
        "command": command,
        "group": group,
    }


def named(path: str, thing: str | None, names: Mapping[str, str]) -> str:
    """The path with the thing's name in it."""
    path = path.replace("{level}", "site").replace("{etag}", ETAG)
    return path if thing is None else path.replace("{" + thing + "}", names[thing])


def body_of(method: str, path: str, site: str) -> Any:
    """A body that is good for the route, so that nothing but access is refused."""
    bodies: dict[tuple[str, str], Any] = {
        ("POST", "/tokens"): {"name": "t", "role": "read-only", "sites": [site]},
        ("POST", "/mac-library"): {"mac": "0C1105000011", "site": site},
        ("POST", "/sites"): {"name": "New"},
        ("POST", "/departments"): {"site": site, "name": "D"},
        ("POST", "/users"): user(site, "999"),
        ("POST", "/trunks"): a_trunk(site),
        ("PUT", "/sites/{site}/landlines"): {"max_calls": 1},
        ("PUT", "/devices/{mac}"): device(site),
        ("PUT", "/users/{user}"): user(site, "998"),
        ("PUT", "/users/{user}/ring-plan"): {"stages": [{"targets": [{"kind": "guards"}]}]},
        ("POST", "/users/{user}/apps"): {},
        ("POST", "/devices/{mac}/remote-sessions"): {},
        ("POST", "/devices/{mac}/forwards"): {"service": "ssh"},
        ("POST", "/sites/{site}/connectors"): {"name": "Attic"},
        ("POST", "/connectors/{connector}/rotate"): {},
        ("PUT", "/devices/{mac}/lan-address"): {"address": "192.168.1.20"},
        ("PUT", "/autop-commands/{level}/{of}"): LINES,
        ("POST", "/autop-commands/{level}/{of}/rollback"): {"revision": 1},
        ("POST", "/autop-commands/{level}/{of}/dry-run"): LINES,
        ("POST", "/autop-commands/{level}/{of}/one-time"): LINES,
        ("POST", "/devices/{mac}/relays/{relay}/open"): {"account": "app", "page": "home"},
        ("POST", "/devices/{mac}/commands"): {"name": "lockdown"},
        ("POST", "/command-groups"): {"site": site, "name": "lockdown"},
        ("POST", "/firmware"): {"model": "R29", "version": "29.30.10.466", "sha256": "ab" * 32, "size": 1},
        ("POST", "/enrolment-windows"): {"site": site, "minutes": 60},
        ("POST", "/upgrades"): {"site": site, "image": SHA256[:24]},
        ("PATCH", "/firmware/{image}"): {"log": "New"},
        ("PATCH", "/upgrades/{upgrade}"): {"hours": 3},
    }
    return bodies.get((method, path), {"name": "Changed"} if method == "PATCH" else None)


def sent(method: str, path: str, site: str) -> dict[str, Any]:
    """The body as httpx takes it."""
    if path.endswith("/content"):
        return {"content": FIRMWARE, "headers": {"Content-Type": "application/octet-stream"}}
    return {"json": body_of(method, path, site)}


async def test_the_table_names_every_route() -> None:
    world = await a_world()
    found = [(method, route.path.removeprefix(PREFIX)) for route in guarded_routes(world.app) for method in route.methods or ()]
    assert sorted(found) == sorted((method, path) for method, path, _, _ in TABLE)


@pytest.mark.parametrize(("method", "path", "who", "thing"), GUARDED, ids=lambda value: str(value))
async def test_roles(method: str, path: str, who: str, thing: str | None) -> None:
    if path == "/events":
        who = "DISPR"  # Its answer has no end: test_events.py reads it for every role.
        return
    world, names = await a_full_world()
    filled = named(path, thing, names)
    query = {"site": FOREIGN} if method == "GET" and "site" in _known_queries(world, method, path) else {}
    refused = set()
    for letter, role in ROLES.items():
        async with world.client(role, FOREIGN) as client:
            answer = await client.request(method, filled, params=query, **sent(method, path, FOREIGN))
        if answer.status_code == 403 and problem(answer) == "opening-refused":
            continue  # The token may open doors; this app may not: test_door_opening.py.
        if answer.status_code == 403:
            assert problem(answer) == "forbidden"
            refused.add(letter)
        else:
            assert answer.status_code in (200, 201, 204, 409, 428), (letter, answer.text)
    expected = set(ROLES) - set(who)
    if (method, path) == ("POST", "/sites"):
        expected |= {"D", "I"}  # These tokens are limited to a site; the unlimited ones create sites in test_sites.py.
    if thing == "image" or path == "/firmware":
        expected |= set() if method == "GET" else {"D"}  # Limited to a site, too; see test_firmware.py.
    assert refused == expected


@pytest.mark.parametrize(("method", "path", "who", "thing"), THINGS, ids=lambda value: str(value))
async def test_foreign_is_like_unknown(method: str, path: str, who: str, thing: str) -> None:
    world, names = await a_full_world()
    before = await world.store.sequence()
    for letter in who:
        async with world.client(ROLES[letter], HOME) as client:
            texts = []
            for name in (names[thing], UNKNOWN[thing]):
                filled = named(path, thing, {thing: name})
                answer = await client.request(
                    method, filled, json=body_of(method, path, FOREIGN), headers={"If-Match": "*"} if method != "PUT" else {}
                )
                assert problem(answer) == "not-found", (letter, answer.text)
                headers = {key: value for key, value in answer.headers.items() if key != "content-length"}
                texts.append((answer.text.replace(name, "NAME"), headers))
            assert texts[0] == texts[1]
    assert await world.store.sequence() == before


@pytest.mark.parametrize(("method", "path", "who", "thing"), GUARDED, ids=lambda value: str(value))
async def test_no_token_no_answer(method: str, path: str, who: str, thing: str | None) -> None:
    world, names = await a_full_world()
    filled = named(path, thing, names)
    answers = []
    for secret in (None, "portico_unknown_" + "x" * 30, "short", "ü" * 30):
        async with world.bearer(None) as client:
            headers = {} if secret is None else {b"Authorization": f"Bearer {secret}".encode()}
            # The body is not even JSON: who is not let in is not told so.
            answers.append(await client.request(method, filled, content=b"{", headers=headers))
    for answer in answers:
        assert problem(answer) == "unauthorized"
        assert answer.headers["www-authenticate"] == 'Bearer realm="portico"'
    assert len({answer.text for answer in answers}) == 1


@pytest.mark.parametrize("path", ["/devices", "/mac-library", "/call-log", "/door-log", "/users", "/departments", "/ring-plans"])
async def test_lists_of_a_foreign_site_are_empty(path: str) -> None:
    world, _ = await a_full_world()
    async with world.client(Role.DISTRIBUTOR, HOME) as client:
        assert (await client.get(path, params={"site": FOREIGN})).json() == {"items": [], "next": None}
        if path in ("/devices", "/mac-library", "/call-log", "/door-log"):
            assert (await client.get(path)).json() == {"items": [], "next": None}
        assert FOREIGN not in (await client.get("/sites")).text
        assert (await client.get("/audit")).json()["items"] == []


async def test_public_pages_explain_every_problem() -> None:
    world = await a_world()
    async with world.bearer(None) as client:
        for item in (await client.get("/problems")).json()["items"]:
            assert (await client.get(f"/problems/{item['code']}")).json() == item
        assert problem(await client.get("/problems/none")) == "not-found"
        assert (await client.get("/openapi.json")).json()["openapi"].startswith("3.1")


_described: dict[str, Any] = {}
"""Every app's paths: describing them takes half a second."""


def _known_queries(world: World, method: str, path: str) -> set[str]:
    if not _described:
        _described.update(world.app.openapi()["paths"])
    operation = _described[PREFIX + path][method.lower()]
    return {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "query"}
