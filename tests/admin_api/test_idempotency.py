"""Idempotency-Key: one effect, one answer, also for two at once; kept sealed, for a day."""

import asyncio

from admin_api.idempotency import KEPT_SECONDS
from registry.records import ApiToken, IdempotencyKey, LibraryMac, Role, Site
from tests.admin_api.world import HOME, a_world, allow, device, problem, user


async def test_a_repetition_gets_the_first_answer() -> None:
    world = await a_world()
    key = {"Idempotency-Key": "k1"}
    async with world.client() as client, world.client(Role.INSTALLER) as other:
        first = await client.post("/sites", json={"name": "New"}, headers=key)
        again = await client.post("/sites", json={"name": "New"}, headers=key)
        assert (again.status_code, again.text) == (first.status_code, first.text)
        for header in ("etag", "location", "content-type"):
            assert again.headers[header] == first.headers[header]
        assert again.headers["idempotency-replayed"] == "true"
        assert "idempotency-replayed" not in first.headers
        assert (await client.get(first.headers["location"].removeprefix("/api/v1"))).headers["etag"] == first.headers["etag"]
        assert problem(await client.post("/sites", json={"name": "Else"}, headers=key)) == "idempotency-key-reused"
        assert (
            problem(await client.post("/departments", json={"site": HOME, "name": "x"}, headers=key)) == "idempotency-key-reused"
        )
        assert (await other.post("/sites", json={"name": "New"}, headers=key)).json()["id"] != first.json()["id"]
    assert len((await world.store.list(Site, "all", "")).items) == 4


async def test_concurrent_repetitions_have_one_effect() -> None:
    world = await a_world()
    async with world.client() as client:
        answers = await asyncio.gather(
            *(
                client.post("/tokens", json={"name": "t", "role": "read-only"}, headers={"Idempotency-Key": "same"})
                for _ in range(8)
            )
        )
        macs = await asyncio.gather(
            *(client.post("/mac-library", json={"mac": "0C1105000001"}, headers={"Idempotency-Key": "mac"}) for _ in range(8))
        )
        people = await asyncio.gather(*(client.post("/users", json=user(), headers={"Idempotency-Key": "u"}) for _ in range(8)))
    for group in (answers, macs, people):
        assert {answer.status_code for answer in group} == {201}
        assert len({answer.text for answer in group}) == 1
    tokens = (await world.store.list(ApiToken, "all", "", limit=500)).items
    assert [stored.record.name for stored in tokens].count("t") == 1
    assert len((await world.store.list(LibraryMac, "all", "")).items) == 1


async def test_put_with_a_key_shows_its_secrets_again() -> None:
    world = await a_world()
    await allow(world, "0C1105000001")
    async with world.client() as client:
        first = await client.put("/devices/0C1105000001", json=device(), headers={"Idempotency-Key": "p"})
        again = await client.put("/devices/0C1105000001", json=device(), headers={"Idempotency-Key": "p"})
    assert again.status_code == 201
    assert again.text == first.text
    kept = (await world.store.list(IdempotencyKey, "all", "")).items[0].record
    assert first.json()["web_password"].encode() not in kept.sealed_answer
    assert first.json()["web_password"] not in repr(kept)


async def test_refusals_are_not_kept() -> None:
    world = await a_world()
    key = {"Idempotency-Key": "d"}
    body = {"mac": "0C1105000001", "site": "later"}
    async with world.client() as client:
        assert problem(await client.post("/mac-library", json=body, headers=key)) == "invalid-fields"
        assert problem(await client.post("/mac-library", json=body, headers=key)) == "invalid-fields"
        assert (await client.post("/mac-library", json={**body, "site": HOME}, headers=key)).status_code == 201


async def test_keys_end_and_are_forgotten() -> None:
    world = await a_world()
    async with world.client() as client:
        first = await client.post("/sites", json={"name": "A"}, headers={"Idempotency-Key": "k"})
        for n in range(30):
            await client.post("/sites", json={"name": "B"}, headers={"Idempotency-Key": f"other{n}"})
        world.clock[0] += KEPT_SECONDS
        second = await client.post("/sites", json={"name": "A"}, headers={"Idempotency-Key": "k"})
        assert second.status_code == 201
        assert second.json()["id"] != first.json()["id"]
        await client.post("/sites", json={"name": "C"}, headers={"Idempotency-Key": "last"})
    assert len((await world.store.list(IdempotencyKey, "all", "")).items) == 2


async def test_malformed_keys() -> None:
    world = await a_world()
    async with world.client() as client:
        for key in ("", " ", "a b", "x" * 256):
            answer = await client.post("/sites", json={"name": "A"}, headers={"Idempotency-Key": key})
            assert problem(answer) == "malformed-idempotency-key", key
