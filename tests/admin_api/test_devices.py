"""Devices: library, PUT twice, conditions, what is generated, what is never shown."""

import asyncio
import json
import re

import pytest

from admin_api.ports import Presence
from autop.cfg_format import MASK
from registry.mac import MacAddress
from registry.records import Account, Device, LibraryMac, RemoteSession, Role, SiteRoster
from registry.ring_plan import RingPlan
from registry.store import Delete
from tests.admin_api.world import FOREIGN, HOME, World, a_world, allow, device, fields, monitor, problem, user

MAC = "0C1105000001"


async def test_first_put_makes_everything_and_shows_secrets_once() -> None:
    world = await a_world()
    await allow(world, MAC)
    async with world.client(Role.INSTALLER, HOME) as client:
        made = await client.put("/devices/0c-11-05-00-00-01", json=device(relays=[{"name": "Door", "dtmf_code": "#1"}]))
        assert made.status_code == 201
        body = made.json()
        assert body["mac"] == MAC
        assert made.headers["location"] == f"/api/v1/devices/{MAC}"
        shown = await client.get(f"/devices/{MAC}")
    assert re.fullmatch(r"[1-9][0-9]{8}", body["account"]["username"])
    assert re.fullmatch(r"[0-9A-Za-z]{24}", body["account"]["password"])
    assert re.fullmatch(r"[0-9A-Za-z]{16}", body["web_password"])
    assert re.fullmatch(r"https://gw\.test:8443/autop/[a-z2-7]{32}/", body["autop_url"])
    stored = (await world.store.get(Device, MAC)).record  # type: ignore[union-attr]
    account = (await world.store.get(Account, body["account"]["username"])).record  # type: ignore[union-attr]
    assert account.owner == stored.id
    assert world.vault.open_text(account.sealed_password, f"account:{account.username}") == body["account"]["password"]
    assert f"/{world.vault.open_text(stored.sealed_token, f'device-token:{MAC}')}/" in body["autop_url"]
    assert world.vault.open_text(stored.sealed_web_password, f"device-web:{MAC}") == body["web_password"]
    assert len(world.vault.open(stored.sealed_channel_key, f"device-channel:{MAC}")) == 32
    assert shown.headers["etag"] == made.headers["etag"] == f'"{(await world.store.get(Device, MAC)).version}"'  # type: ignore[union-attr]
    assert shown.json()["account"] == {"username": body["account"]["username"]}
    for secret in (body["account"]["password"], body["web_password"], body["autop_url"]):
        assert secret not in shown.text


async def test_put_twice_is_once_and_a_change_needs_if_match() -> None:
    world = await a_world()
    await allow(world, MAC)
    async with world.client() as client:
        first = await client.put(f"/devices/{MAC}", json=device())
        again = await client.put(f"/devices/{MAC}", json=device())
        assert (first.status_code, again.status_code) == (201, 200)
        assert again.headers["etag"] == first.headers["etag"]
        assert "web_password" not in again.json()
        before = await world.store.sequence()
        assert problem(await client.put(f"/devices/{MAC}", json=device(name="Other"))) == "precondition-required"
        stale = await client.put(f"/devices/{MAC}", json=device(name="Other"), headers={"If-Match": '"1"'})
        assert problem(stale) == "precondition-failed"
        weak = await client.put(f"/devices/{MAC}", json=device(name="Other"), headers={"If-Match": "W/" + first.headers["etag"]})
        assert problem(weak) == "precondition-failed"
        only_new = await client.put(f"/devices/{MAC}", json=device(), headers={"If-None-Match": "*"})
        assert problem(only_new) == "precondition-failed"
        assert await world.store.sequence() == before
        changed = await client.put(f"/devices/{MAC}", json=device(name="Other"), headers={"If-Match": first.headers["etag"]})
        assert changed.status_code == 200
        assert changed.headers["etag"] != first.headers["etag"]
        account = await world.store.get(Account, first.json()["account"]["username"])
        assert account is not None
        assert account.record.display_name == "Other"


async def test_if_match_on_nothing_fails() -> None:
    world = await a_world()
    await allow(world, MAC)
    async with world.client() as client:
        assert problem(await client.put(f"/devices/{MAC}", json=device(), headers={"If-Match": "*"})) == "precondition-failed"
        assert (await client.put(f"/devices/{MAC}", json=device(), headers={"If-None-Match": "*"})).status_code == 201


async def test_two_writers_with_one_etag_one_wins() -> None:
    world = await a_world()
    await allow(world, MAC)
    async with world.client() as client:
        etag = (await client.put(f"/devices/{MAC}", json=device())).headers["etag"]
        answers = await asyncio.gather(
            *(client.patch(f"/devices/{MAC}", json={"name": f"N{n}"}, headers={"If-Match": etag}) for n in range(8))
        )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7


async def test_two_first_puts_make_one_device() -> None:
    world = await a_world()
    await allow(world, MAC)
    async with world.client() as client:
        answers = await asyncio.gather(*(client.put(f"/devices/{MAC}", json=device()) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]
    assert (await world.store.get(SiteRoster, HOME)).record.devices == 1  # type: ignore[union-attr]
    assert len((await world.store.list(Account, "site", HOME)).items) == 1


async def test_library_decides_and_foreign_looks_like_unknown() -> None:
    world = await a_world()
    await allow(world, "0C1105000002", FOREIGN)
    await allow(world, "0C1105000003")
    async with world.client() as everywhere, world.client(Role.INSTALLER, HOME) as client:
        assert (await everywhere.put("/devices/0C1105000003", json=device(FOREIGN))).status_code == 201
        unknown = await client.put("/devices/0C1105000001", json=device())
        reserved = await client.put("/devices/0C1105000002", json=device())
        used = await client.put("/devices/0C1105000003", json=device())
        assert problem(unknown) == "mac-not-in-library"
        texts = {
            answer.text.replace(mac, "MAC")
            for answer, mac in ((unknown, MAC), (reserved, "0C1105000002"), (used, "0C1105000003"))
        }
        assert len(texts) == 1
        assert problem(await client.put("/devices/0C1105000002", json=device(FOREIGN))) == "not-found"


async def test_library_entry_taken_away_in_between_stops_the_device() -> None:
    world = await a_world()
    await allow(world, MAC)
    batch = world.store.batch

    async def first_removes(writes, *, durable=True):  # type: ignore[no-untyped-def]
        world.store.batch = batch  # type: ignore[method-assign]
        await batch([Delete(LibraryMac, MAC)])
        return await batch(writes, durable=durable)

    world.store.batch = first_removes  # type: ignore[method-assign]
    async with world.client() as client:
        assert problem(await client.put(f"/devices/{MAC}", json=device())) == "mac-not-in-library"
    assert await world.store.get(Device, MAC) is None


async def test_every_field_error_at_once() -> None:
    world = await a_world()
    await allow(world, MAC)
    body = device(
        name="Tür & Tor",
        colour="red",
        button_number="12a",
        relays=[{"name": "a=b", "hold_seconds": 0, "dtmf_code": "x"}, {"nam": 1}],
        users_may_monitor="yes",
        transmission="sctp",
        autop_commands=["nonsense", "Config.Account1.GENERAL.Pwd = x"],
    )
    async with world.client() as client:
        found = fields(await client.put(f"/devices/{MAC}", json=body))
        assert found.keys() == {
            "/name",
            "/colour",
            "/button_number",
            "/relays/0/name",
            "/relays/0/hold_seconds",
            "/relays/0/dtmf_code",
            "/relays/1/name",
            "/relays/1/nam",
            "/users_may_monitor",
            "/transmission",
            "/autop_commands/0",
            "/autop_commands/1",
        }
        assert "not of the form" in found["/autop_commands/0"]
        assert "Pwd is set by the gateway" in found["/autop_commands/1"]
        found = fields(await client.put(f"/devices/{MAC}", json=device(model="R2O", department="none", owner="nobody")))
        assert found.keys() == {"/model", "/department", "/owner"}
        assert "R20A" in found["/model"]
        assert fields(await client.put(f"/devices/{MAC}", json=device(kind=2))).keys() == {"/kind"}
        assert fields(await client.put(f"/devices/{MAC}", json=monitor(users_may_monitor=True))).keys() == {"/users_may_monitor"}
        five = [{"name": f"R{n}"} for n in range(5)]
        assert fields(await client.put(f"/devices/{MAC}", json=device(relays=five))).keys() == {"/relays"}


@pytest.mark.parametrize("mac", ["0C11050000", "٠C1105000001", "0C1105000001%0A", "0C:11:05-00:00:01", "x" * 300])
async def test_malformed_mac(mac: str) -> None:
    world = await a_world()
    async with world.client() as client:
        assert problem(await client.get(f"/devices/{mac}")) == "malformed-mac"


async def test_patch_keeps_clears_and_replaces() -> None:
    world = await a_world()
    await allow(world, MAC)
    async with world.client() as client:
        made = await client.put(f"/devices/{MAC}", json=device(button_number="7", network_group="A"))
        match = {"If-Match": made.headers["etag"]}
        assert problem(await client.patch(f"/devices/{MAC}", json={"name": "x"})) == "precondition-required"
        bad = await client.patch(f"/devices/{MAC}", json={"name": None, "kind": "x", "what": 1}, headers=match)
        assert fields(bad).keys() == {"/name", "/kind", "/what"}
        done = await client.patch(f"/devices/{MAC}", json={"button_number": None, "users_may_monitor": True}, headers=match)
        assert done.status_code == 200
        assert (done.json()["button_number"], done.json()["network_group"], done.json()["users_may_monitor"]) == ("", "A", True)
        moved = await client.patch(f"/devices/{MAC}", json={"site": FOREIGN}, headers={"If-Match": done.headers["etag"]})
        assert problem(moved) == "site-fixed"


async def test_secret_autop_values_are_masked_and_kept() -> None:
    world = await a_world()
    await allow(world, MAC)
    lines = ["Config.DoorSetting.RTSP.Password = hush", "Config.Settings.GENERAL.Name = shown"]
    async with world.client() as client:
        made = await client.put(f"/devices/{MAC}", json=device(autop_commands=lines))
        view = (await client.get(f"/devices/{MAC}")).json()["autop_commands"]
        assert view == [f"Config.DoorSetting.RTSP.Password = {MASK}", lines[1]]
        changed = await client.patch(
            f"/devices/{MAC}", json={"autop_commands": [view[0]]}, headers={"If-Match": made.headers["etag"]}
        )
        assert changed.status_code == 200
    stored = await world.store.get(Device, MAC)
    assert stored is not None
    assert stored.record.autop_commands == (lines[0],)


async def test_delete_ends_account_sessions_and_plan() -> None:
    world = await a_world()
    await allow(world, MAC)
    async with world.client() as client:
        owner = (await client.post("/users", json=user())).json()["id"]
        made = await client.put(f"/devices/{MAC}", json=monitor(owner))
        session = (await client.post(f"/devices/{MAC}/remote-sessions")).json()
        plan = await world.store.get(RingPlan, f"{HOME}/101")
        assert plan is not None
        assert [target.address for target in plan.record.stages[0].targets] == [made.json()["account"]["username"]]
        assert problem(await client.delete(f"/devices/{MAC}")) == "precondition-required"
        gone = await client.delete(f"/devices/{MAC}", headers={"If-Match": made.headers["etag"]})
        assert gone.status_code == 204
        assert problem(await client.get(f"/devices/{MAC}")) == "not-found"
    assert await world.store.get(Account, made.json()["account"]["username"]) is None
    ended = await world.store.get(RemoteSession, session["id"])
    assert ended is not None
    assert ended.record.end_reason == "device deleted"
    plan = await world.store.get(RingPlan, f"{HOME}/101")
    assert plan is not None
    assert plan.record.stages == ()
    assert (await world.store.get(SiteRoster, HOME)).record.devices == 0  # type: ignore[union-attr]


async def test_status_and_online_column() -> None:
    world = await a_world()
    await allow(world, MAC)
    world.presences[MAC] = Presence(registered=True, last_seen=1_790_000_000.5)
    async with world.client(Role.READ_ONLY, HOME) as client, world.client() as writer:
        await writer.put(f"/devices/{MAC}", json=device())
        status = (await client.get(f"/devices/{MAC}/status")).json()
        assert status == {
            "mac": MAC,
            "online": True,
            "registered": True,
            "channel": False,
            "connector": False,
            "ways": ["sip"],
            "since": None,
            "last_seen": "2026-09-21T14:13:20.500Z",
            "token_rotation": None,
            "enrolled": None,
            "relays": [],
        }
        assert [item["online"] for item in (await client.get("/devices")).json()["items"]] == [True]


async def test_no_secret_in_lists_audit_or_logs(caplog: pytest.LogCaptureFixture) -> None:
    world: World = await a_world()
    secrets: list[str] = []
    async with world.client() as client:
        for n in range(3):
            mac = MacAddress(f"0C11050000A{n}")
            await allow(world, mac.text)
            body = (await client.put(f"/devices/{mac}", json=device(name=f"Gate {n}"))).json()
            secrets += [body["account"]["password"], body["web_password"], body["autop_url"].split("/")[-2]]
        person = (await client.post("/users", json=user(app=True))).json()
        token = (await client.post("/tokens", json={"name": "t", "role": "read-only"})).json()
        link = (await client.post("/devices/0C11050000A0/remote-sessions")).json()["link"]
        secrets += [person["account"]["password"], token["token"], link.rpartition("/")[2]]
        paths = ["/devices", "/users?site=home", "/audit", "/tokens", "/remote-sessions?site=home", "/ring-plans?site=home"]
        texts = [(await client.get(path)).text for path in paths]
        texts += [(await client.get("/devices/0C11050000A0")).text, (await client.get(f"/users/{person['id']}")).text]
        assert all(len(json.loads(text)) for text in texts)
    texts += [
        caplog.text,
        repr((await world.store.list(Device, "all", "")).items),
        repr((await world.store.list(Account, "site", HOME)).items),
    ]
    assert len(secrets) == 12
    for secret in secrets:
        assert not any(secret in text for text in texts)


async def test_of_equal_keys_the_last_is_kept_and_the_answer_says_so() -> None:
    world = await a_world()
    await allow(world, MAC)
    lines = ["Config.A.B.C = 1", "# note", "Config.a.b.c = 2"]
    async with world.client() as client:
        made = await client.put(f"/devices/{MAC}", json=device(autop_commands=lines))
        assert made.json()["autop_commands"] == lines[1:]
        assert made.json()["autop_dropped"] == [{"row": 1, "key": "Config.A.B.C", "won_by": 3}]
        again = await client.put(f"/devices/{MAC}", json=device(autop_commands=lines))
        assert (again.status_code, again.headers["etag"]) == (200, made.headers["etag"])
        assert (await client.get(f"/devices/{MAC}")).json()["autop_dropped"] == []
