"""A person's apps: several of one user, a schedule each, linked to users at other sites; every end leaves nothing behind."""

from admin_api.app_accounts import MAX_APPS
from registry.records import Account, Role, User
from registry.ring_plan import RingPlan
from tests.admin_api.test_users import put
from tests.admin_api.world import FOREIGN, HOME, World, a_world, device, fields, problem, user

ANY = {"If-Match": "*"}


async def rings(world: World, site: str, number: str = "101") -> list[str]:
    found = await world.store.get(RingPlan, f"{site}/{number}")
    assert found is not None
    return [target.address for stage in found.record.stages for target in stage.targets]


async def apps_of(world: World, key: str) -> tuple[str, ...]:
    found = await world.store.get(User, key)
    assert found is not None
    return (*found.record.apps, *found.record.linked_apps)


async def test_several_apps_of_one_user_come_and_go() -> None:
    world = await a_world()
    hours = {"windows": [{"days": ["sat"], "start": "10:00", "end": "12:00"}], "do_not_disturb": False}
    async with world.client() as client:
        ada = (await client.post("/users", json=user(app=True))).json()
        path, first = f"/users/{ada['id']}/apps", ada["app_account"]
        made = await client.post(path, json={"name": "Tablet", "schedule": hours})
        second = made.json()["username"]
        assert (made.status_code, made.json()["account"]["username"]) == (201, second)
        account = await world.store.get(Account, second)
        assert account is not None
        opened = world.vault.open_text(account.record.sealed_password, f"account:{second}")
        assert opened == made.json()["account"]["password"]
        assert await rings(world, HOME) == [first, second]
        listed = (await client.get(path)).json()["items"]
        assert [(one["username"], one["name"], one["schedule"]) for one in listed] == [
            (first, "Ada Lovelace", {"windows": [], "do_not_disturb": False}),
            (second, "Tablet", hours),
        ]
        assert "account" not in (await client.get(f"/apps/{second}")).json()
        assert problem(await client.patch(f"/apps/{second}", json={"enabled": False})) == "precondition-required"
        off = await client.patch(f"/apps/{second}", json={"enabled": False}, headers={"If-Match": made.headers["etag"]})
        assert (off.status_code, off.json()["enabled"], off.json()["schedule"]) == (200, False, hours)
        renamed = await client.patch(f"/users/{ada['id']}", json={"first_name": "Augusta"}, headers=ANY)
        assert renamed.status_code == 200
        assert [one["name"] for one in (await client.get(path)).json()["items"]] == ["Augusta Lovelace", "Tablet"]
        assert (await client.delete(f"/apps/{first}", headers=ANY)).status_code == 204
        assert (await client.get(f"/users/{ada['id']}")).json()["app_account"] == second
        assert await rings(world, HOME) == [second]
        assert (await client.patch(f"/users/{ada['id']}", json={"app": False}, headers=ANY)).json()["app_account"] == ""
        assert await world.store.get(Account, second) is None
        assert problem(await client.get(f"/apps/{second}")) == "not-found"


async def test_apps_are_bounded_and_need_the_feature() -> None:
    world = await a_world()
    async with world.client() as client:
        ada = (await client.post("/users", json=user())).json()
        path = f"/users/{ada['id']}/apps"
        for _ in range(MAX_APPS):
            assert (await client.post(path, json={})).status_code == 201
        assert problem(await client.post(path, json={})) == "too-many-apps"
        assert len(set(await rings(world, HOME))) == MAX_APPS
        assert fields(await client.post(path, json={"name": "", "x": 1})).keys() == {"/name", "/x"}
        await client.patch(f"/users/{ada['id']}", json={"intercom_feature": False}, headers=ANY)
        assert await apps_of(world, ada["id"]) == ()
        assert problem(await client.post(path, json={})) == "feature-off"


async def test_a_device_account_is_no_app() -> None:
    world = await a_world()
    async with world.client() as client:
        _, gate = await put(world, 1, device())
        for answer in (await client.get(f"/apps/{gate}"), await client.delete(f"/apps/{gate}", headers=ANY)):
            assert problem(answer) == "not-found"
    assert await world.store.get(Account, gate) is not None


async def test_a_link_makes_one_app_a_target_at_two_sites_and_ends_with_either_side() -> None:
    world = await a_world()
    async with world.client() as client:
        here = (await client.post("/users", json=user(app=True))).json()
        there = (await client.post("/users", json=user(FOREIGN, app=True))).json()
        other = (await client.post("/users", json=user(FOREIGN, "102"))).json()
        app = here["app_account"]
        linked = await client.patch(f"/apps/{app}", json={"linked_users": [there["id"]]}, headers=ANY)
        assert linked.json()["linked_users"] == [there["id"]]
        assert await rings(world, HOME) == [app]
        assert await rings(world, FOREIGN) == [there["app_account"], app]
        assert await apps_of(world, there["id"]) == (there["app_account"], app)
        moved = await client.patch(f"/apps/{app}", json={"linked_users": [other["id"]]}, headers=ANY)
        assert moved.status_code == 200, moved.text
        assert await rings(world, FOREIGN) == [there["app_account"]]
        assert await rings(world, FOREIGN, "102") == [app]
        assert (await client.delete(f"/users/{other['id']}", headers=ANY)).status_code == 204
        assert (await client.get(f"/apps/{app}")).json()["linked_users"] == []
        await client.patch(f"/apps/{app}", json={"linked_users": [there["id"]]}, headers=ANY)
        await client.patch(f"/users/{there['id']}", json={"intercom_feature": False}, headers=ANY)
        assert await rings(world, FOREIGN) == []
        assert (await client.delete(f"/apps/{app}", headers=ANY)).status_code == 204
        assert await apps_of(world, there["id"]) == ()
        assert await rings(world, HOME) == []


async def test_apps_that_share_linked_users_end_together() -> None:
    world = await a_world()
    async with world.client() as client:
        here = (await client.post("/users", json=user(app=True))).json()
        second = (await client.post(f"/users/{here['id']}/apps", json={})).json()["username"]
        third = (await client.post(f"/users/{here['id']}/apps", json={})).json()["username"]
        one = (await client.post("/users", json=user(FOREIGN))).json()["id"]
        two = (await client.post("/users", json=user(FOREIGN, "102"))).json()["id"]
        for app, to in ((here["app_account"], one), (second, one), (third, two)):
            assert (await client.patch(f"/apps/{app}", json={"linked_users": [to]}, headers=ANY)).status_code == 200
        assert await apps_of(world, one) == (here["app_account"], second)
        assert (await client.delete(f"/users/{here['id']}", headers=ANY)).status_code == 204
        assert (await apps_of(world, one), await apps_of(world, two)) == ((), ())
        assert (await rings(world, FOREIGN), await rings(world, FOREIGN, "102")) == ([], [])


async def test_a_link_needs_a_token_that_sees_both_sites() -> None:
    world = await a_world()
    async with world.client() as client, world.client(Role.DISTRIBUTOR, HOME) as limited:
        app = (await client.post("/users", json=user(app=True))).json()["app_account"]
        there = (await client.post("/users", json=user(FOREIGN))).json()["id"]
        unseen = fields(await limited.patch(f"/apps/{app}", json={"linked_users": [there]}, headers=ANY))
        unknown = fields(await limited.patch(f"/apps/{app}", json={"linked_users": ["nobody"]}, headers=ANY))
        assert unseen == unknown == {"/linked_users/0": "there is no such user"}
        await client.patch(f"/apps/{app}", json={"linked_users": [there]}, headers=ANY)
        assert (await limited.get(f"/apps/{app}")).json()["linked_users"] == []
        assert (await limited.patch(f"/apps/{app}", json={"linked_users": []}, headers=ANY)).status_code == 200
        assert (await client.get(f"/apps/{app}")).json()["linked_users"] == [there]
        async with world.client(Role.DISTRIBUTOR, FOREIGN) as abroad:
            assert problem(await abroad.get(f"/apps/{app}")) == "not-found"
            assert (await abroad.get(f"/users/{there}/apps")).json()["items"] == []
            assert [one["username"] for one in (await client.get(f"/users/{there}/apps")).json()["items"]] == [app]


async def test_what_cannot_be_linked() -> None:
    world = await a_world()
    async with world.client() as client:
        app = (await client.post("/users", json=user(app=True))).json()["app_account"]
        neighbour = (await client.post("/users", json=user(number="102"))).json()["id"]
        off = (await client.post("/users", json=user(FOREIGN, intercom_feature=False))).json()["id"]
        good = (await client.post("/users", json=user(FOREIGN, "102"))).json()["id"]
        twice = (await client.post("/users", json=user(FOREIGN, "103"))).json()["id"]
        wanted = [neighbour, off, good, twice]
        found = fields(await client.patch(f"/apps/{app}", json={"linked_users": wanted}, headers=ANY))
        assert found.keys() == {"/linked_users/0", "/linked_users/1", "/linked_users/3"}
        assert await apps_of(world, good) == ()
