"""Somebody else writes exactly between what a request read and what it writes. No chance, no timing: the store is told when."""

from collections.abc import Awaitable, Callable
from typing import Any

from registry.records import Device, LibraryMac, Site
from tests.admin_api.world import HOME, NoTurns, World, a_world, allow, device, problem

MAC = "0C1105000001"


async def a_world_of_nodes() -> World:
    """A world in which requests do not take turns, as on two nodes."""
    world = await a_world()
    world.app.state.turns = NoTurns()
    return world


def before_next_batch(world: World, other: Callable[[], Awaitable[Any]]) -> None:
    """Let `other` happen before the next batch is written."""
    batch = world.store.batch

    async def interrupted(writes: Any, *, durable: bool = True) -> Any:
        world.store.batch = batch  # type: ignore[method-assign]
        await other()
        return await batch(writes, durable=durable)

    world.store.batch = interrupted  # type: ignore[method-assign]


async def test_a_device_is_added_while_its_site_is_being_deleted() -> None:
    world = await a_world_of_nodes()
    await allow(world, MAC)
    async with world.client() as client:

        async def add() -> None:
            assert (await client.put(f"/devices/{MAC}", json=device())).status_code == 201

        before_next_batch(world, add)
        assert problem(await client.delete(f"/sites/{HOME}", headers={"If-Match": "*"})) == "not-empty"
    assert await world.store.get(Site, HOME) is not None


async def test_a_site_is_deleted_while_a_device_is_being_added() -> None:
    world = await a_world_of_nodes()
    await allow(world, MAC)
    async with world.client() as client:

        async def delete() -> None:
            assert (await client.delete(f"/sites/{HOME}", headers={"If-Match": "*"})).status_code == 204

        before_next_batch(world, delete)
        assert problem(await client.put(f"/devices/{MAC}", json=device())) == "not-found"
    assert await world.store.get(Device, MAC) is None


async def test_a_change_between_read_and_write_is_never_lost() -> None:
    world = await a_world_of_nodes()
    async with world.client() as client:
        etag = (await client.get(f"/sites/{HOME}")).headers["etag"]

        async def rename() -> None:
            assert (await client.patch(f"/sites/{HOME}", json={"name": "First"}, headers={"If-Match": etag})).status_code == 200

        before_next_batch(world, rename)
        late = await client.patch(f"/sites/{HOME}", json={"name": "Second"}, headers={"If-Match": etag})
        assert problem(late) == "precondition-failed"
        assert (await client.get(f"/sites/{HOME}")).json()["name"] == "First"


async def test_an_equal_request_that_was_first_answers_for_both() -> None:
    """The second looks for its key before the first is done, and for the MAC after it: it gets the first one's answer."""
    world = await a_world_of_nodes()
    get = world.store.get
    answers = []
    async with world.client() as client:

        async def post() -> None:
            answers.append(await client.post("/mac-library", json={"mac": MAC}, headers={"Idempotency-Key": "k"}))

        async def interrupted(kind: Any, key: str) -> Any:
            if kind is LibraryMac:
                world.store.get = get  # type: ignore[method-assign]
                await post()
            return await get(kind, key)

        world.store.get = interrupted  # type: ignore[method-assign]
        await post()
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].text == answers[1].text


async def test_a_department_is_deleted_while_a_device_is_put_into_it() -> None:
    world = await a_world_of_nodes()
    await allow(world, MAC)
    async with world.client() as client:
        key = (await client.post("/departments", json={"site": HOME, "name": "x"})).json()["id"]

        async def delete() -> None:
            assert (await client.delete(f"/departments/{key}", headers={"If-Match": "*"})).status_code == 204

        before_next_batch(world, delete)
        refused = await client.put(f"/devices/{MAC}", json=device(department=key))
    assert problem(refused) == "invalid-fields"
    assert refused.json()["errors"][0]["path"] == "/department"
