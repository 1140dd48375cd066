"""/trunks and /sites/{site}/landlines: what is refused, what is never shown, who sees what."""

import json
from typing import Any

from admin_api.ports import TrunkGatewayPresence, TrunkPresence
from registry.logs import AuditEntry
from registry.records import Role
from registry.trunk import SiteLandlines, Trunk, trunk_secret
from tests.admin_api.world import FOREIGN, HOME, World, a_world, fields, problem

SECRET = "s3cret-of-the-carrier"


def trunk(**changes: Any) -> dict[str, Any]:
    """A good body."""
    body = {
        "name": "Carrier",
        "gateways": [{"host": "SIP.Carrier.example"}, {"host": "192.0.2.9", "port": 5070, "transport": "tcp"}],
        "registrar": "carrier.example",
        "username": "4930123",
        "password": SECRET,
        "country_code": "49",
        "allowed_prefixes": ["+49", "!+49900"],
    }
    return {**body, **changes}


async def stored(world: World, key: str) -> Trunk:
    found = await world.store.get(Trunk, key)
    assert found is not None
    return found.record


async def test_the_password_is_sealed_and_never_shown() -> None:
    world = await a_world()
    async with world.client() as client:
        made = await client.post("/trunks", json=trunk(), headers={"Idempotency-Key": "1"})
        assert made.status_code == 201
        key = made.json()["id"]
        assert made.json()["gateways"][0] == {"host": "sip.carrier.example", "port": 0, "transport": "udp"}
        tag = {"If-Match": made.headers["etag"]}
        changed = await client.patch(f"/trunks/{key}", json={"max_calls": 3}, headers=tag)
        answers = [made, changed, await client.get(f"/trunks/{key}"), await client.get("/trunks"), await client.get("/audit")]
    assert [answer.status_code for answer in answers] == [201, 200, 200, 200, 200]
    assert all(SECRET not in answer.text for answer in answers)
    assert changed.json()["has_password"] is True
    assert changed.json()["password"] is None
    record = await stored(world, key)
    assert world.vault.open_text(record.sealed_password, trunk_secret(key)) == SECRET
    assert SECRET not in repr(record)
    entries = [found.record for found in (await world.store.list(AuditEntry, "all", "")).items]
    entries.sort(key=lambda one: one.action, reverse=True)
    assert [(one.action, json.loads(one.detail).get("changed")) for one in entries] == [
        ("trunk.created", None),
        ("trunk.changed", ["max_calls"]),
    ]


async def test_an_absent_password_stays_null_clears_and_another_place_wants_it_anew() -> None:
    world = await a_world()
    async with world.client() as client:
        made = await client.post("/trunks", json=trunk())
        path = f"/trunks/{made.json()['id']}"
        tag = {"If-Match": made.headers["etag"]}
        elsewhere = await client.patch(path, json={"gateways": [{"host": "evil.example"}]}, headers=tag)
        assert list(fields(elsewhere)) == ["/password"]
        assert list(fields(await client.patch(path, json={"registrar": "evil.example"}, headers=tag))) == ["/password"]
        fewer = await client.patch(path, json={"gateways": [{"host": "192.0.2.9"}]}, headers=tag)
        assert fewer.json()["has_password"] is True
        tag = {"If-Match": fewer.headers["etag"]}
        moved = await client.patch(path, json={"gateways": [{"host": "new.example"}], "password": "other"}, headers=tag)
        assert moved.status_code == 200
        assert list(fields(await client.patch(path, json={"password": None}, headers={"If-Match": "*"}))) == ["/password"]
        gone = await client.patch(path, json={"password": None, "username": "", "registrar": ""}, headers={"If-Match": "*"})
        assert gone.json()["has_password"] is False


async def test_every_fault_is_told_at_once() -> None:
    world = await a_world()
    bad = trunk(
        gateways=[{"host": "no host", "port": 70000, "transport": "sctp"}, {"host": "1.2.3.999"}],
        caller_id="030123",
        country_code="049",
        allowed_prefixes=["0049", "+0"],
        max_calls=0,
        username='a"b',
        realm='"',
        colour="red",
    )
    async with world.client() as client:
        assert set(fields(await client.post("/trunks", json=bad))) == {
            "/gateways/0/host",
            "/gateways/0/port",
            "/gateways/0/transport",
            "/gateways/1/host",
            "/caller_id",
            "/country_code",
            "/allowed_prefixes/0",
            "/allowed_prefixes/1",
            "/max_calls",
            "/username",
            "/realm",
            "/colour",
        }
        together = trunk(password=None, national_prefix="0", country_code="", sites=["nowhere"])
        assert set(fields(await client.post("/trunks", json=together))) == {"/password", "/country_code", "/sites/0"}
        assert set(fields(await client.post("/trunks", json=trunk(allowed_prefixes=[])))) == {"/allowed_prefixes"}


async def test_a_limited_token_sees_and_makes_only_trunks_of_its_own_sites() -> None:
    world = await a_world()
    async with world.client() as everywhere:
        keys = {}
        for name, sites in (("all", []), ("home", [HOME]), ("both", [HOME, FOREIGN])):
            keys[name] = (await everywhere.post("/trunks", json=trunk(name=name, sites=sites))).json()["id"]
    async with world.client(Role.INSTALLER, HOME) as client:
        assert [one["name"] for one in (await client.get("/trunks")).json()["items"]] == ["home"]
        assert (await client.get(f"/trunks/{keys['home']}")).status_code == 200
        for name in ("all", "both"):
            for method, path in (("GET", ""), ("GET", "/status"), ("PATCH", ""), ("DELETE", "")):
                body = {"name": "mine"} if method == "PATCH" else None
                answer = await client.request(method, f"/trunks/{keys[name]}{path}", json=body, headers={"If-Match": "*"})
                assert problem(answer) == "not-found"
        assert problem(await client.post("/trunks", json=trunk())) == "forbidden"
        assert list(fields(await client.post("/trunks", json=trunk(sites=[HOME, FOREIGN])))) == ["/sites/1"]
        widened = await client.patch(f"/trunks/{keys['home']}", json={"sites": []}, headers={"If-Match": "*"})
        assert problem(widened) == "forbidden"


async def test_status_is_what_the_node_says() -> None:
    world = await a_world()
    async with world.client() as client:
        key = (await client.post("/trunks", json=trunk())).json()["id"]
        assert (await client.get(f"/trunks/{key}/status")).json() == {
            "registered": None,
            "since": None,
            "failure": "",
            "calls": 0,
            "gateways": [],
        }
        gateways = (TrunkGatewayPresence("192.0.2.9:5070", "down", 0.0),)
        world.trunk_presences[key] = TrunkPresence(False, 60.0, "403", 2, gateways)
        assert (await client.get(f"/trunks/{key}/status")).json() == {
            "registered": False,
            "since": "1970-01-01T00:01:00.000Z",
            "failure": "403",
            "calls": 2,
            "gateways": [{"address": "192.0.2.9:5070", "state": "down", "since": "1970-01-01T00:00:00.000Z"}],
        }


async def test_deleting_needs_the_present_version() -> None:
    world = await a_world()
    async with world.client() as client:
        made = await client.post("/trunks", json=trunk())
        path = f"/trunks/{made.json()['id']}"
        assert problem(await client.delete(path)) == "precondition-required"
        assert problem(await client.delete(path, headers={"If-Match": '"9999"'})) == "precondition-failed"
        assert (await client.delete(path, headers={"If-Match": made.headers["etag"]})).status_code == 204
        assert problem(await client.get(path)) == "not-found"


async def test_landline_limits_have_defaults_a_version_and_end_with_the_site() -> None:
    world = await a_world()
    async with world.client() as client:
        site = (await client.post("/sites", json={"name": "New"})).json()["id"]
        path = f"/sites/{site}/landlines"
        first = await client.get(path)
        assert first.json() == {"site": site, "allowed_prefixes": [], "max_calls": 2}
        wanted = {"allowed_prefixes": ["+49"], "max_calls": 5}
        assert problem(await client.put(path, json=wanted)) == "precondition-required"
        made = await client.put(path, json=wanted, headers={"If-Match": first.headers["etag"]})
        assert made.json() == {"site": site, **wanted}
        assert problem(await client.put(path, json={"max_calls": 0}, headers={"If-Match": first.headers["etag"]})) == (
            "precondition-failed"
        )
        assert (await client.put(path, json=wanted)).headers["etag"] == made.headers["etag"]
        none = await client.put(path, json={"max_calls": 0}, headers={"If-Match": made.headers["etag"]})
        assert none.json() == {"site": site, "allowed_prefixes": [], "max_calls": 0}
        assert (await client.delete(f"/sites/{site}", headers={"If-Match": "*"})).status_code == 204
        assert problem(await client.get(path)) == "not-found"
    assert await world.store.get(SiteLandlines, site) is None
