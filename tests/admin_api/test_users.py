"""Users, their app accounts and ring plans; plans follow users and devices, also when both change at once."""

import asyncio

import pytest

from admin_api import roster
from admin_api.plans import ring_plan
from registry.call_types import TooManyTargets
from registry.mac import MacAddress
from registry.records import Account, AccountOwner, Device, DeviceKind, Site, SiteRoster, User
from registry.ring_plan import RingPlan
from tests.admin_api.world import FOREIGN, HOME, NoTurns, World, a_world, allow, device, fields, monitor, problem, user


async def targets(world: World, number: str) -> set[str] | None:
    """The accounts that ring for a number of the home site; None if there is no plan."""
    plan = await world.store.get(RingPlan, f"{HOME}/{number}")
    return None if plan is None else {target.address for stage in plan.record.stages for target in stage.targets}


async def put(world: World, n: int, body: dict[str, object]) -> tuple[str, str]:
    """Add a device; its MAC and account."""
    mac = f"0C1105{n:06X}"
    await allow(world, mac)
    async with world.client() as client:
        made = await client.put(f"/devices/{mac}", json=body)
    assert made.status_code == 201, made.text
    return mac, made.json()["account"]["username"]


async def test_plan_follows_devices_users_and_app() -> None:
    world = await a_world()
    async with world.client() as client:
        ada = (await client.post("/users", json=user(app=True))).json()
        bob = (await client.post("/users", json=user(number="102"))).json()
        assert await targets(world, "101") == {ada["app_account"]}
        assert await targets(world, "102") == set()
        mac, kitchen = await put(world, 1, monitor(ada["id"]))
        _, guard = await put(world, 2, {**device(name="Guard"), "kind": 3, "model": "R48G"})
        await put(world, 3, device())
        assert await targets(world, "101") == {ada["app_account"], kitchen, guard}
        assert await targets(world, "102") == {guard}
        etag = (await client.get(f"/devices/{mac}")).headers["etag"]
        assert (await client.patch(f"/devices/{mac}", json={"owner": bob["id"]}, headers={"If-Match": etag})).status_code == 200
        assert await targets(world, "101") == {ada["app_account"], guard}
        assert await targets(world, "102") == {guard, kitchen}
        etag = (await client.get(f"/users/{bob['id']}")).headers["etag"]
        moved = await client.patch(f"/users/{bob['id']}", json={"number": "103"}, headers={"If-Match": etag})
        assert await targets(world, "102") is None
        assert await targets(world, "103") == {guard, kitchen}
        owns = await client.delete(f"/users/{bob['id']}", headers={"If-Match": moved.headers["etag"]})
        assert problem(owns) == "owns-devices"
        assert mac in owns.json()["detail"]
        assert (await client.delete("/devices/0C1105000002", headers={"If-Match": "*"})).status_code == 204
        assert await targets(world, "101") == {ada["app_account"]}
        assert (await client.delete(f"/users/{ada['id']}", headers={"If-Match": "*"})).status_code == 204
        assert await targets(world, "101") is None
        assert await world.store.get(Account, ada["app_account"]) is None
        listed = (await client.get("/ring-plans?site=home")).json()["items"]
        assert [(plan["number"], [t["address"] for t in plan["stages"][0]["targets"]]) for plan in listed] == [("103", [kitchen])]
    held = await world.store.get(SiteRoster, HOME)
    assert held is not None
    assert (held.record.devices, held.record.users) == (2, 1)


async def test_plans_are_right_after_concurrent_changes() -> None:
    """Monitors, guard phones and users at once: whatever the order, every plan holds what it should."""
    world = await a_world()
    world.app.state.turns = NoTurns()
    async with world.client() as client:
        owners = [(await client.post("/users", json=user(number=str(200 + n)))).json()["id"] for n in range(4)]
    bodies = [monitor(owners[n % 4], name=f"M{n}") for n in range(8)] + [
        {**device(name=f"G{n}"), "kind": 3, "model": "R48G"} for n in range(3)
    ]
    more = [user(number=str(300 + n)) for n in range(4)]
    async with world.client() as client:
        jobs = [put(world, n, body) for n, body in enumerate(bodies)]
        answers = await asyncio.gather(*jobs, *(client.post("/users", json=body) for body in more))
    names = [answer[1] for answer in answers if isinstance(answer, tuple)]
    guards = set(names[8:])
    for n in range(4):
        assert await targets(world, str(200 + n)) == guards | {names[n], names[n + 4]}
        assert await targets(world, str(300 + n)) == guards
    held = await world.store.get(SiteRoster, HOME)
    assert held is not None
    assert (held.record.devices, held.record.users) == (11, 8)


async def test_more_plans_than_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster, "PLANS_AT_ONCE", 3)
    world = await a_world()
    async with world.client() as client:
        for n in range(10):
            assert (await client.post("/users", json=user(number=str(n)))).status_code == 201
    _, guard = await put(world, 1, {**device(name="Guard"), "kind": 3, "model": "R48G"})
    assert [await targets(world, str(n)) for n in range(10)] == [{guard}] * 10
    held = await world.store.get(SiteRoster, HOME)
    assert held is not None
    assert not held.record.plans_due


async def test_plans_left_due_by_a_crash_are_finished_by_the_next_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster, "PLANS_AT_ONCE", 3)
    world = await a_world()
    async with world.client() as client:
        for n in range(10):
            await client.post("/users", json=user(number=str(n)))

        async def crash(*_arguments: object) -> None:
            raise RuntimeError("killed")

        finish = roster.finish_plans
        monkeypatch.setattr(roster, "finish_plans", crash)
        await allow(world, "0C1105000001")
        with pytest.raises(RuntimeError, match="killed"):
            await client.put("/devices/0C1105000001", json={**device(name="Guard"), "kind": 3, "model": "R48G"})
        guard = (await client.get("/devices/0C1105000001")).json()["account"]["username"]
        found = [await targets(world, str(n)) for n in range(10)]
        assert found.count({guard}) == 3
        monkeypatch.setattr(roster, "finish_plans", finish)
        assert (await client.post("/users", json=user(number="77"))).status_code == 201
    assert [await targets(world, str(n)) for n in range(10)] == [{guard}] * 10


async def test_numbers_and_person_ids_are_unique_per_site() -> None:
    world = await a_world()
    async with world.client() as client:
        first = await client.post("/users", json=user(person_id="7"))
        taken = await client.post("/users", json=user())
        assert problem(taken) == "number-taken"
        assert "101" in taken.json()["detail"]
        assert problem(await client.post("/users", json=user(number="102", person_id="7"))) == "person-id-taken"
        assert (await client.post("/users", json=user(FOREIGN))).status_code == 201
        second = await client.post("/users", json=user(number="102"))
        both = {"If-Match": second.headers["etag"]}
        assert (
            problem(await client.patch(f"/users/{second.json()['id']}", json={"number": "101"}, headers=both)) == "number-taken"
        )
    assert first.status_code == 201


async def test_put_by_own_id_twice() -> None:
    world = await a_world()
    async with world.client() as client:
        first = await client.put("/users/flat-1", json=user(app=True))
        again = await client.put("/users/flat-1", json=user(app=True))
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.headers["etag"] == again.headers["etag"]
        assert "account" not in again.json()
        account = await world.store.get(Account, first.json()["account"]["username"])
        assert account is not None
        assert account.record.owner_kind is AccountOwner.APP
        assert account.record.owner == "flat-1"
        assert problem(await client.put("/users/flat-1", json=user(number="5"))) == "precondition-required"
        assert fields(await client.put("/users/Flat_1", json=user())).keys() == {"path/user"}


async def test_feature_off_forces_monitors_and_ends_the_app() -> None:
    world = await a_world()
    async with world.client() as client:
        made = await client.post("/users", json=user(app=True, call_type=2))
        path, match = f"/users/{made.json()['id']}", {"If-Match": made.headers["etag"]}
        off = (await client.patch(path, json={"intercom_feature": False}, headers=match)).json()
        assert (off["call_type"], off["app"], off["app_account"]) == (6, False, "")
        assert ["call type 2 became 6" in told for told in off["warnings"]] == [True, False, False]
        assert "no app account" in off["warnings"][1]
        assert "Nobody rings when 101 is dialled" in off["warnings"][2]
        assert await world.store.get(Account, made.json()["app_account"]) is None
        both = (await client.post("/users", json=user(number="9", intercom_feature=False, call_type=0, app=True))).json()
        assert (both["call_type"], both["app"], "account" in both) == (6, False, False)
        assert len(both["warnings"]) == 3
        named = await client.post("/users", json=user(number="10", intercom_feature=False))
        assert (named.json()["call_type"], len(named.json()["warnings"])) == (6, 1)
        assert (await client.get(path)).json()["warnings"] == []


async def test_every_user_fault_at_once() -> None:
    world = await a_world()
    bad = user(
        number="123456789",
        first_name="x" * 65,
        last_name="a\nb",
        email="nobody",
        country_code="+49",
        landlines=["1", "2", "3", "4"],
        floors=[str(n) for n in range(11)],
        call_type=7,
        person_id="é",
        mobile="+1",
        language="english",
        ip_call=1,
    )
    async with world.client() as client:
        found = fields(await client.post("/users", json=bad))
        assert found.keys() == {"/" + name for name in bad if name != "site"}
        assert fields(await client.post("/users", json=user(department="none"))).keys() == {"/department"}


def test_plan_is_bounded_and_ordered() -> None:
    def phone(n: int, kind: DeviceKind) -> Device:
        return Device(MacAddress(f"{n:012X}"), str(n), HOME, kind, "C313", "x", f"{n:09d}", b"", b"", b"")

    person, home = User("u", HOME, "A", "B", "1", app_account="app", call_type=0), Site(HOME, "Home")
    monitors = [phone(n, DeviceKind.INDOOR_MONITOR) for n in (2, 1)]
    guards = [phone(3, DeviceKind.GUARD_PHONE)]
    plan = ring_plan(person, home, monitors, guards)
    assert [target.address for target in plan.stages[0].targets] == ["000000001", "000000002", "000000003", "app"]
    assert plan == ring_plan(person, home, monitors[::-1], guards)
    for call_type, rings in ((0, True), (1, False), (2, True), (3, True), (4, False), (5, True), (6, False)):
        typed = ring_plan(User("u", HOME, "A", "B", "1", app_account="app", call_type=call_type), home, [], [])
        assert bool(typed.stages) is rings
    with pytest.raises(TooManyTargets):
        ring_plan(person, home, [phone(n, DeviceKind.INDOOR_MONITOR) for n in range(33)], [])


async def test_too_many_monitors_are_refused_whole() -> None:
    world = await a_world()
    async with world.client() as client:
        owner = (await client.post("/users", json=user())).json()["id"]
        for n in range(32):
            await put(world, n, monitor(owner, name=f"M{n}"))
        await allow(world, "0C11050000FF")
        full = await client.put("/devices/0C11050000FF", json=monitor(owner, name="M33"))
    assert problem(full) == "too-many-targets"
    assert await world.store.get(Device, "0C11050000FF") is None
    held = await world.store.get(SiteRoster, HOME)
    assert held is not None
    assert held.record.devices == 32
