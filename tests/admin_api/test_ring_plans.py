"""Numbers and who rings: departments, ring rules of sites and users, plans of one's own, and what is refused or warned of."""

import asyncio
from typing import Any

import pytest

from admin_api.plans import RULES
from registry.call_types import CustomPlan
from registry.records import Site, SiteRoster
from registry.ring_plan import OnReject, RingPlan
from registry.store import Put
from tests.admin_api.test_users import put
from tests.admin_api.world import FOREIGN, HOME, NoTurns, World, a_world, device, fields, monitor, problem, user

ANY = {"If-Match": "*"}


async def plan(world: World, number: str) -> list[tuple[list[str], int]] | None:
    found = await world.store.get(RingPlan, f"{HOME}/{number}")
    if found is None:
        return None
    return [([target.address for target in stage.targets], stage.ring_seconds) for stage in found.record.stages]


def guard(**changes: Any) -> dict[str, Any]:
    return {**device(name="Guard"), "kind": 3, "model": "R48G", **changes}


async def test_call_type_landlines_and_ring_rules_make_the_plan() -> None:
    world = await a_world()
    async with world.client() as client:
        body = user(app=True, call_type=5, country_code="49", landlines=["030123456", "+15551234", "110"])
        ada = (await client.post("/users", json=body)).json()
        _, kitchen = await put(world, 1, monitor(ada["id"]))
        _, desk = await put(world, 2, guard())
        app = ada["app_account"]
        landlines = [(["+4930123456"], 20), (["+15551234"], 20), (["110"], 20)]
        assert ada["warnings"] == ["No trunk takes the landline 110: enter it as + and 7 to 15 digits, or set the country code."]
        assert await plan(world, "101") == [([kitchen, desk], 20), ([app], 20), *landlines]
        assert (await client.patch("/sites/home", json={"ring_seconds": 30, "on_reject": "end"}, headers=ANY)).status_code == 200
        assert [seconds for _, seconds in await plan(world, "101") or ()] == [30] * 5
        stored = await world.store.get(RingPlan, f"{HOME}/101")
        assert stored is not None
        assert stored.record.on_reject is OnReject.END
        own = {"ring_seconds": 45, "on_reject": "next-stage", "call_type": 3}
        assert (await client.patch(f"/users/{ada['id']}", json=own, headers=ANY)).status_code == 200
        assert await plan(world, "101") == [([kitchen, desk], 45), ([app], 45)]
        assert (await client.patch("/sites/home", json={"app_first": True}, headers=ANY)).status_code == 200
        assert await plan(world, "101") == [([app], 45), ([kitchen, desk], 45), *[(names, 45) for names, _ in landlines]]
        for bad in ({"ring_seconds": 0}, {"ring_seconds": 301}, {"on_reject": "maybe"}, {"app_grace_hours": -1}):
            assert fields(await client.patch("/sites/home", json=bad, headers=ANY)).keys() == {f"/{next(iter(bad))}"}
        bad_user = {"ring_seconds": 301, "on_reject": "x", "app_until": "tomorrow"}
        found = fields(await client.patch(f"/users/{ada['id']}", json=bad_user, headers=ANY))
        assert found.keys() == {"/ring_seconds", "/on_reject", "/app_until"}


async def test_app_until_is_kept_in_utc_and_cleared_by_null() -> None:
    world = await a_world()
    async with world.client() as client:
        path = f"/users/{(await client.post('/users', json=user(app=True))).json()['id']}"
        until = (await client.patch(path, json={"app_until": "2027-01-31T01:00:00+01:00"}, headers=ANY)).json()["app_until"]
        assert until == "2027-01-31T00:00:00.000Z"
        assert (await client.get(path)).json()["app_until"] == until
        assert (await client.patch(path, json={"app_until": None}, headers=ANY)).json()["app_until"] is None
        bad = await client.patch(path, json={"app_until": "2027-02-30T00:00:00Z"}, headers=ANY)
        assert fields(bad).keys() == {"/app_until"}


async def test_a_departments_number_rings_its_guards_and_monitors() -> None:
    world = await a_world()
    async with world.client() as client:
        made = await client.post("/departments", json={"site": HOME, "name": "East", "number": "500"})
        assert "Nobody rings when 500 is dialled" in made.json()["warnings"][0]
        assert await plan(world, "500") == []
        east, path = made.json()["id"], f"/departments/{made.json()['id']}"
        member = (await client.post("/users", json=user(department=east))).json()["id"]
        other = (await client.post("/users", json=user(number="102"))).json()["id"]
        _, lobby = await put(world, 1, guard())
        assert await plan(world, "500") == [([lobby], 20)]
        _, own = await put(world, 2, monitor(member, name="Own"))
        _, reception = await put(world, 3, monitor(name="Reception", department=east))
        _, elsewhere = await put(world, 4, monitor(other, name="Else"))
        assert await plan(world, "500") == [([lobby, own, reception], 20)]
        _, desk = await put(world, 5, guard(department=east))
        assert await plan(world, "500") == [([desk, own, reception], 20)]
        await client.patch(f"/users/{other}", json={"department": east}, headers=ANY)
        assert await plan(world, "500") == [([desk, own, reception, elsewhere], 20)]
        await client.patch(path, json={"number": "501"}, headers=ANY)
        assert await plan(world, "500") is None
        assert await plan(world, "501") == [([desk, own, reception, elsewhere], 20)]
        await client.patch(path, json={"number": ""}, headers=ANY)
        assert await plan(world, "501") is None
        listed = {row["number"]: row["warnings"] for row in (await client.get("/ring-plans?site=home")).json()["items"]}
        assert listed == {"101": [], "102": []}


async def test_a_number_is_one_users_or_one_departments() -> None:
    world = await a_world()
    async with world.client() as client:
        east = await client.post("/departments", json={"site": HOME, "name": "East", "number": "500"})
        assert problem(await client.post("/users", json=user(number="500"))) == "number-taken"
        made = await client.post("/users", json=user(number="101"))
        person = f"/users/{made.json()['id']}"
        assert problem(await client.patch(person, json={"number": "500"}, headers=ANY)) == "number-taken"
        west = {"site": HOME, "name": "West"}
        for number in ("101", "500"):
            assert problem(await client.post("/departments", json={**west, "number": number})) == "number-taken"
        taken = await client.patch(f"/departments/{east.json()['id']}", json={"number": "101"}, headers=ANY)
        assert problem(taken) == "number-taken"
        assert (await client.post("/departments", json={"site": FOREIGN, "name": "East", "number": "500"})).status_code == 201
        assert (await client.post("/departments", json=west)).status_code == 201
        await client.patch(f"/departments/{east.json()['id']}", json={"number": ""}, headers=ANY)
        assert (await client.patch(person, json={"number": "500"}, headers=ANY)).status_code == 200


async def test_of_two_who_want_one_number_at_once_one_gets_it() -> None:
    world = await a_world()
    world.app.state.turns = NoTurns()
    async with world.client() as client:
        jobs = [
            client.post("/users", json=user(number="7")),
            client.post("/departments", json={"site": HOME, "name": "E", "number": "7"}),
        ]
        answers = await asyncio.gather(*jobs)
    assert sorted(answer.status_code for answer in answers) == [201, 409]
    found = await world.store.get(RingPlan, f"{HOME}/7")
    assert found is not None
    assert found.record.owner == next(answer.json()["id"] for answer in answers if answer.status_code == 201)


async def test_a_plan_of_ones_own_overrides_the_call_type_and_follows_the_devices() -> None:
    world = await a_world()
    async with world.client() as client:
        ada = (await client.post("/users", json=user(app=True, call_type=0, country_code="49"))).json()
        path = f"/users/{ada['id']}/ring-plan"
        _, kitchen = await put(world, 1, monitor(ada["id"]))
        _, desk = await put(world, 2, guard())
        assert problem(await client.get(path)) == "not-found"
        body = {
            "stages": [
                {"targets": [{"kind": "monitors"}], "ring_seconds": 5},
                {"targets": [{"kind": "account", "address": desk}, {"kind": "apps"}]},
                {"targets": [{"kind": "landline", "address": "030123456"}]},
            ],
            "on_reject": "end",
        }
        made = await client.put(path, json=body)
        assert (made.status_code, made.json()["warnings"]) == (201, [])
        expected = [([kitchen], 5), ([desk, ada["app_account"]], 20), (["+4930123456"], 20)]
        assert await plan(world, "101") == expected
        again = await client.put(path, json=body)
        assert (again.status_code, again.headers["etag"]) == (200, made.headers["etag"])
        assert problem(await client.put(path, json={"stages": body["stages"]})) == "precondition-required"
        seen = (await client.get(path)).json()
        assert seen["stages"][2] == {"targets": [{"kind": "landline", "address": "+4930123456"}], "ring_seconds": None}
        _, study = await put(world, 3, monitor(ada["id"], name="Study"))
        assert await plan(world, "101") == [([kitchen, study], 5), *expected[1:]]
        await client.patch(f"/users/{ada['id']}", json={"intercom_feature": False}, headers=ANY)
        fields_off = fields(await client.put(path, json=body, headers=ANY))
        assert fields_off.keys() == {"/stages/1/targets/1/kind", "/stages/2/targets/0/kind"}
        await client.patch(f"/users/{ada['id']}", json={"intercom_feature": True, "call_type": 3}, headers=ANY)
        assert (await client.delete(path, headers=ANY)).status_code == 204
        assert await plan(world, "101") == [([kitchen, study, desk], 20)]
        await client.put(path, json=body)
        for mac in ("0C1105000001", "0C1105000003"):
            await client.delete(f"/devices/{mac}", headers=ANY)
        assert (await client.delete(f"/users/{ada['id']}", headers=ANY)).status_code == 204
        assert await world.store.get(CustomPlan, ada["id"]) is None


async def test_what_a_plan_of_ones_own_may_not_name() -> None:
    world = await a_world()
    async with world.client() as client:
        ada = (await client.post("/users", json=user())).json()
        there = (await client.post("/users", json=user(FOREIGN, app=True))).json()
        _, gate = await put(world, 1, device())
        _, abroad = await put(world, 2, monitor(there["id"], FOREIGN))
        path = f"/users/{ada['id']}/ring-plan"
        names = [gate, abroad, there["app_account"], "nobody", ""]
        stages = [{"targets": [{"kind": "account", "address": name}]} for name in names]
        stages.append({"targets": [{"kind": "landline", "address": "12"}, {"kind": "guards", "address": "x"}]})
        found = fields(await client.put(path, json={"stages": stages}))
        assert found.keys() == {
            *(f"/stages/{n}/targets/0/address" for n in range(6)),
            "/stages/5/targets/1/address",
        }
        assert len({found[f"/stages/{n}/targets/0/address"] for n in range(5)}) == 1
        empty_or_full: list[dict[str, Any]] = [{"stages": []}, {"stages": [{"targets": []}]}, {"stages": stages[:1] * 9}, {}]
        for bad in empty_or_full:
            assert fields(await client.put(path, json=bad))
        full = [{"targets": [{"kind": "landlines"}]} for _ in range(3)]
        await client.patch(f"/users/{ada['id']}", json={"landlines": ["111", "222", "333"]}, headers=ANY)
        assert problem(await client.put(path, json={"stages": full})) == "too-many-targets"
        empty = (await client.put(path, json={"stages": [{"targets": [{"kind": "apps"}]}]})).json()
        assert "Nobody rings" in empty["warnings"][0]
        assert await world.store.get(RingPlan, f"{HOME}/101") is not None


async def test_plans_of_an_earlier_release_are_computed_anew_with_the_sites_next_change(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await a_world()
    async with world.client() as client:
        ada = (await client.post("/users", json=user(app=True, call_type=3))).json()
        _, kitchen = await put(world, 1, monitor(ada["id"]))
        old = RingPlan(HOME, "101", (), ada["id"])
        await world.store.batch([Put(old), Put(SiteRoster(HOME, 1, 1))])
        await client.post("/users", json=user(number="102"))
        assert await plan(world, "101") == [([kitchen], 20), ([ada["app_account"]], 20)]
        held = await world.store.get(SiteRoster, HOME)
        assert held is not None
        assert held.record.rules == RULES
    assert await world.store.get(Site, HOME) is not None


async def test_a_devices_schedule_and_contact_display() -> None:
    world = await a_world()
    hours = {"windows": [{"days": ["mon", "sun"], "start": "22:00", "end": "06:30"}], "do_not_disturb": True}
    async with world.client() as client:
        mac, _ = await put(world, 1, monitor(schedule=hours, contact_display="department"))
        seen = (await client.get(f"/devices/{mac}")).json()
        assert (seen["schedule"], seen["contact_display"]) == (hours, "department")
        again = await client.put(f"/devices/{mac}", json=monitor(schedule=hours, contact_display="department"))
        assert again.status_code == 200
        reset = (await client.patch(f"/devices/{mac}", json={"schedule": None}, headers=ANY)).json()
        assert reset["schedule"] == {"windows": [], "do_not_disturb": False}
        window = {"days": ["mon"], "start": "08:00", "end": "09:00"}
        for bad in (
            {**window, "days": []},
            {**window, "days": ["monday"]},
            {**window, "start": "24:00"},
            {**window, "end": "00:00"},
            {**window, "end": "9:00"},
        ):
            refused = await client.patch(f"/devices/{mac}", json={"schedule": {"windows": [bad]}}, headers=ANY)
            assert fields(refused)
        full = {"windows": [window] * 29}
        assert fields(await client.patch(f"/devices/{mac}", json={"schedule": full}, headers=ANY)).keys() == {"/schedule/windows"}
