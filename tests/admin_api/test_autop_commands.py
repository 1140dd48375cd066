"""Autop commands by scope, their revisions, dry runs, One-Time Autop, and a device's configuration as an operator sees it."""

from typing import Any

import httpx
import pytest

from autop.cfg_format import MASK
from autop.delivery import Fetched, Standing, note
from autop.fingerprint import strong_etag
from autop.net.one_time import OneTimeDelivery, deflate, open_order
from registry.configuration import (
    AutopCommands,
    AutopRevision,
    DeviceFetches,
    FetchedFile,
    OneTimeAutop,
    fetched_file_key,
)
from registry.location import AorBindings
from registry.logs import AuditEntry
from registry.mac import MacAddress
from registry.records import Device, Role
from registry.store import Put, Stored
from tests.admin_api.world import FOREIGN, HOME, World, a_world, allow, device, fields, problem

MACS = [f"0C110500000{n}" for n in range(1, 5)]
MAC = MACS[0]
KEY = "Config.Settings.LOGLEVEL.Level"


async def a_house(**changes: Any) -> tuple[World, httpx.AsyncClient]:
    """Two door phones, one in a department and network group, and a monitor of another model."""
    world = await a_world()
    for mac in MACS:
        await allow(world, mac)
    async with world.client() as client:
        department = (await client.post("/departments", json={"site": HOME, "name": "Wing"})).json()["id"]
        await client.put(f"/devices/{MAC}", json=device(department=department, network_group="Haus A", **changes))
        await client.put(f"/devices/{MACS[1]}", json=device())
        await client.put(f"/devices/{MACS[2]}", json=device(kind=2, model="C313"))
        await client.put(f"/devices/{MACS[3]}", json=device(FOREIGN))
    return world, world.client()


async def configuration(client: httpx.AsyncClient, mac: str = MAC) -> dict[str, Any]:
    answer = await client.get(f"/devices/{mac}/configuration")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def level_of(client: httpx.AsyncClient, mac: str) -> tuple[str, str, list[str]] | None:
    lines = (await configuration(client, mac))["lines"]
    return next(((one["value"], one["layer"], one["over"]) for one in lines if one["key"] == KEY), None)


async def test_scopes_reach_their_devices_and_later_layers_win() -> None:
    world, client = await a_house()
    async with client:
        department = (await client.get(f"/devices/{MAC}")).json()["department"]
        paths = [
            ("/autop-commands/platform/all", "platform", MACS),
            ("/autop-commands/model/r29", "model", [MACS[0], MACS[1], MACS[3]]),
            (f"/autop-commands/network-group/{HOME}?group=Haus%20A", "network-group", [MAC]),
            (f"/autop-commands/site/{HOME}", "site-commands", MACS[:3]),
            (f"/autop-commands/department/{department}", "department-commands", [MAC]),
            (f"/autop-commands/device/{MAC}", "device-commands", [MAC]),
        ]
        layers: list[str] = []
        for path, layer, reached in paths:
            before = await client.get(path)
            assert before.json()["lines"] == []
            etag = {"If-Match": before.headers["etag"]}
            made = await client.put(path, json={"lines": [f"{KEY} = {layer}"]}, headers=etag)
            assert made.status_code == 200, made.text
            assert (await client.get(path)).headers["etag"] == made.headers["etag"]
            for mac in MACS:
                found = await level_of(client, mac)
                assert ((found or ("",))[0] == layer) is (mac in reached), (layer, mac)
            assert await level_of(client, MAC) == (layer, layer, layers)
            layers.append(layer)
        stored = [await world.store.get(AutopCommands, key) for key in ("platform", "model/R29", f"network-group/{HOME}/Haus A")]
        assert all(one is not None and KEY.encode() not in one.record.sealed_lines for one in stored)


async def test_rows_are_refused_with_path_and_reason_and_duplicates_told() -> None:
    _, client = await a_house()
    async with client:
        path = f"/autop-commands/site/{HOME}"
        lines = [f"{KEY} = 1", "nonsense", "Config.Account1.SIP.Server = elsewhere", "Config.Autoprovision.GENERAL.Url = x"]
        refused = await client.put(path, json={"lines": lines})
        found = fields(refused)
        assert found.keys() == {"/lines/1", "/lines/2", "/lines/3"}
        assert "not of the form" in found["/lines/1"]
        assert "register at this gateway" in found["/lines/2"]
        assert "elsewhere" not in refused.text
        assert fields(await client.put(path, json={"lines": ["#"] * 201})).keys() == {"/lines"}
        assert fields(await client.put(path, json={"lines": ["#" + "x" * 900] * 9})).keys() == {"/lines"}
        made = (await client.put(path, json={"lines": [f"{KEY} = 1", "# n", "Config.Settings.loglevel.LEVEL = 2"]})).json()
        assert made["lines"] == ["# n", "Config.Settings.loglevel.LEVEL = 2"]
        assert made["dropped"] == [{"row": 1, "key": KEY, "won_by": 3}]


async def test_conditions_scopes_and_roles() -> None:
    world, client = await a_house()
    async with client, world.client(Role.INSTALLER, FOREIGN) as foreign, world.client(Role.READ_ONLY, HOME) as reader:
        path, body = f"/autop-commands/site/{HOME}", {"lines": [f"{KEY} = 1"]}
        assert (await client.put(path, json=body)).status_code == 200
        assert (await client.put(path, json=body)).status_code == 200
        assert problem(await client.put(path, json={"lines": []})) == "precondition-required"
        assert problem(await client.put(path, json={"lines": []}, headers={"If-Match": '"1"'})) == "precondition-failed"
        for hidden in (path, f"/autop-commands/device/{MAC}", f"/autop-commands/network-group/{HOME}?group=x"):
            assert problem(await foreign.get(hidden)) == "not-found"
            assert problem(await foreign.put(hidden, json=body)) == "not-found"
        assert problem(await foreign.put("/autop-commands/platform/all", json=body)) == "forbidden"
        assert problem(await reader.put(path, json=body)) == "forbidden"
        assert (await reader.get(path)).json()["lines"] == body["lines"]
        assert fields(await client.get(f"/autop-commands/network-group/{HOME}")).keys() == {"?group"}
        assert fields(await client.get(f"{path}?group=x")).keys() == {"?group"}
        assert problem(await client.get("/autop-commands/model/R2D2")) == "not-found"
        assert problem(await client.get("/autop-commands/platform/some")) == "not-found"
        assert fields(await client.get("/autop-commands/planet/all")).keys() == {"path/level"}


@pytest.mark.parametrize("path", [f"/autop-commands/site/{HOME}", f"/autop-commands/device/{MAC}"])
async def test_revisions_and_rollback_keep_secrets(path: str) -> None:
    world, client = await a_house()
    async with client:

        async def put(lines: list[str]) -> None:
            etag = (await client.get(path)).headers["etag"]
            assert (await client.put(path, json={"lines": lines}, headers={"If-Match": etag})).status_code == 200

        await put(["Config.DoorSetting.MOTION_DETECT.Password = hush", f"{KEY} = 1"])
        await put([f"Config.DoorSetting.MOTION_DETECT.Password = {MASK}", f"{KEY} = 2"])
        await put([])
        listed = (await client.get(f"{path}/revisions")).json()["items"]
        assert [one["revision"] for one in listed] == [3, 2, 1]
        assert listed[1]["lines"] == [f"Config.DoorSetting.MOTION_DETECT.Password = {MASK}", f"{KEY} = 2"]
        assert listed[0]["by"].startswith("token")
        etag = (await client.get(path)).headers["etag"]
        assert problem(await client.post(f"{path}/rollback", json={"revision": 2})) == "precondition-required"
        missing = await client.post(f"{path}/rollback", json={"revision": 9}, headers={"If-Match": etag})
        assert problem(missing) == "not-found"
        back = await client.post(f"{path}/rollback", json={"revision": 2}, headers={"If-Match": etag})
        assert back.json()["lines"] == listed[1]["lines"]
        shown = await world.ports.configurations.preview(MacAddress(MAC))
        assert shown is not None
        assert b"Config.DoorSetting.MOTION_DETECT.Password = hush\n" in shown.file.body
        assert b"LOGLEVEL.Level = 2\n" in shown.file.body
        assert len((await client.get(f"{path}/revisions")).json()["items"]) == 4


async def test_revisions_are_bounded() -> None:
    world, client = await a_house()
    async with client:
        path = f"/autop-commands/site/{HOME}"
        for n in range(25):
            etag = (await client.get(path)).headers["etag"]
            await client.put(path, json={"lines": [f"{KEY} = {n}"]}, headers={"If-Match": etag})
        found = await world.store.list(AutopRevision, "scope", f"site/{HOME}", limit=100)
        assert [one.record.number for one in found.items] == list(range(6, 26))


async def test_a_dry_run_counts_and_changes_nothing() -> None:
    world, client = await a_house()
    async with client:
        await client.put(f"/autop-commands/device/{MACS[1]}", json={"lines": [f"{KEY} = 3"]}, headers={"If-Match": "*"})
        before = await world.store.sequence()
        path = f"/autop-commands/site/{HOME}/dry-run"
        body = {"lines": [f"{KEY} = 3", "Config.DoorSetting.MOTION_DETECT.Password = hush"]}
        found = (await client.post(path, json=body)).json()
        assert (found["devices"], found["changed"], found["failed"]) == (3, 3, 0)
        secret = {"key": "Config.DoorSetting.MOTION_DETECT.Password", "before": None, "after": MASK}
        by_mac = {one["mac"]: one["changes"] for one in found["items"]}
        assert by_mac[MACS[1]] == [secret]
        assert by_mac[MAC] == [{"key": KEY, "before": None, "after": "3"}, secret]
        only = (await client.post("/autop-commands/model/C313/dry-run", json={**body, "site": HOME})).json()
        assert [one["mac"] for one in only["items"]] == [MACS[2]]
        nothing = (await client.post(f"/autop-commands/device/{MACS[1]}/dry-run", json={"lines": [f"{KEY} = 3"]})).json()
        assert (nothing["devices"], nothing["changed"]) == (1, 0)
        assert fields(await client.post("/autop-commands/platform/all/dry-run", json=body)).keys() == {"/site"}
        assert fields(await client.post(path, json={"lines": ["x"]})).keys() == {"/lines/0"}
        assert await world.store.sequence() == before


async def test_one_time_waits_is_seen_and_is_cancelled() -> None:
    world, client = await a_house()
    async with client:
        path = f"/autop-commands/site/{HOME}/one-time"
        lines = [f"{KEY} = 1", f"{KEY} = 7"]
        made = await client.post(path, json={"lines": lines})
        assert made.status_code == 201
        assert (made.json()["devices"], made.json()["lines"]) == (3, lines[1:])
        assert made.json()["dropped"] == [{"row": 1, "key": KEY, "won_by": 2}]
        assert await world.store.get(OneTimeAutop, MACS[3]) is None
        await client.post(f"/autop-commands/device/{MAC}/one-time", json={"lines": ["Config.A.B.Pwd = hush"]})
        waiting = await client.get(f"/devices/{MAC}/one-time-autop")
        assert [one["lines"] for one in waiting.json()["orders"]] == [lines[1:], [f"Config.A.B.Pwd = {MASK}"]]
        assert await level_of(client, MAC) == ("7", "one-time", [])
        assert (await configuration(client))["one_time"] is True
        for bad in (["#"], [f"Config.A.B.Pwd = {MASK}"]):
            assert problem(await client.post(path, json={"lines": bad})) == "invalid-fields"
        assert problem(await client.post("/autop-commands/platform/all/one-time", json={"lines": lines})) == "invalid-fields"

        delivery = OneTimeDelivery(world.store, world.vault)
        await delivery.offer(MacAddress(MAC), lambda one_time: one_time.id.encode())
        await client.post(f"/autop-commands/device/{MAC}/one-time", json={"lines": [f"{KEY} = 9"]})
        waiting = await client.get(f"/devices/{MAC}/one-time-autop")
        assert [one["under_way"] for one in waiting.json()["orders"]] == [True, True, False]
        assert problem(await client.delete(f"/devices/{MAC}/one-time-autop")) == "precondition-required"
        etag = {"If-Match": waiting.headers["etag"]}
        assert (await client.delete(f"/devices/{MAC}/one-time-autop", headers=etag)).status_code == 204
        etag = {"If-Match": (await client.get(f"/devices/{MAC}/one-time-autop")).headers["etag"]}
        assert problem(await client.delete(f"/devices/{MAC}/one-time-autop", headers=etag)) == "under-way"
        audit = [one.record.action for one in (await world.store.list(AuditEntry, "site", HOME, limit=100)).items]
        assert audit.count("one-time-autop.ordered") == 3
        assert audit.count("one-time-autop.cancelled") == 1


async def test_what_waits_is_bounded() -> None:
    _, client = await a_house()
    async with client:
        path = f"/autop-commands/device/{MAC}/one-time"
        for _ in range(10):
            assert (await client.post(path, json={"lines": [f"{KEY} = 1"]})).status_code == 201
        assert problem(await client.post(path, json={"lines": [f"{KEY} = 1"]})) == "too-much-waits"


async def fetch(world: World, body: bytes, at: float, **changes: Any) -> str:
    """As the fetch book keeps it."""
    etag = strong_etag(body).strip(b'"').decode()
    mac = MacAddress(MAC)
    before = await world.store.get(DeviceFetches, MAC)
    record = note(before.record if before else None, Fetched(mac, HOME, etag, at, "192.0.2.9", **{"complete": True, **changes}))
    sealed = world.vault.seal(deflate(body), f"fetched:{MAC}/{etag}")
    await world.store.batch([Put(record), Put(FetchedFile(mac, etag, sealed))])
    return etag


async def test_standing_difference_history_and_no_secret() -> None:
    world, client = await a_house()
    async with client:

        async def body() -> bytes:
            shown = await world.ports.configurations.preview(MacAddress(MAC))
            assert shown is not None
            return shown.file.body

        first = await configuration(client)
        assert (first["standing"], first["fetched"], first["difference"]) == (Standing.NEVER_FETCHED, None, None)
        etag = await fetch(world, await body(), 100.0)
        assert (await configuration(client))["standing"] == Standing.FETCHED
        account = (await client.get(f"/devices/{MAC}")).json()["account"]["username"]
        await world.store.batch([Put(AorBindings(account, "node", ()))])
        applied = await configuration(client)
        assert (applied["standing"], applied["difference"], applied["etag"]) == (Standing.APPLIED, [], etag)
        await client.put(f"/autop-commands/site/{HOME}", json={"lines": [f"{KEY} = 5"]})
        pending = await configuration(client)
        assert (pending["standing"], pending["difference"]) == (
            Standing.PENDING,
            [{"key": KEY, "before": None, "after": "5"}],
        )
        second = await fetch(world, await body(), 200.0, held="ab" * 32)
        drift = await configuration(client)
        assert (drift["standing"], drift["drift"]) == (Standing.DRIFT, "ab" * 32)
        await fetch(world, await body(), 300.0, complete=False)
        assert (await configuration(client))["standing"] == Standing.APPLIED
        versions = (await client.get(f"/devices/{MAC}/configuration/versions")).json()["items"]
        assert [one["etag"] for one in versions] == [second, etag]
        assert versions[0]["address"] == "192.0.2.9"
        old = await client.get(f"/devices/{MAC}/configuration/versions/{etag}")
        assert f"Config.Account1.GENERAL.Pwd = {MASK}" in old.json()["lines"]
        assert problem(await client.get(f"/devices/{MAC}/configuration/versions/{'0' * 64}")) == "not-found"

        answer = await client.get(f"/devices/{MAC}/configuration")
        again = await client.get(f"/devices/{MAC}/configuration", headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.headers["etag"]) == (304, answer.headers["etag"])
        stored = await world.store.get(Device, MAC)
        assert isinstance(stored, Stored)
        for secret in (
            world.vault.open_text(stored.record.sealed_token, f"device-token:{MAC}"),
            world.vault.open_text(stored.record.sealed_web_password, f"device-web:{MAC}"),
        ):
            assert secret.encode() in await body()
            assert secret not in answer.text
            assert secret not in old.text


async def test_what_cannot_be_rendered_says_why() -> None:
    _, client = await a_house()
    async with client:
        await client.patch(f"/devices/{MAC}", json={"transmission": "tls"}, headers={"If-Match": "*"})
        assert (await client.get(f"/devices/{MAC}/configuration")).status_code == 200
        broken = {"lines": ["Config.A.B.C = 1"]}
        assert (await client.post(f"/autop-commands/device/{MAC}/dry-run", json=broken)).json()["failed"] == 0


async def test_a_deleted_device_takes_everything_with_it() -> None:
    world, client = await a_house(autop_commands=[f"{KEY} = 1"])
    async with client:
        etag = await fetch(world, b"Config.A.B.C = 1\n", 100.0)
        await client.post(f"/autop-commands/device/{MAC}/one-time", json={"lines": [f"{KEY} = 1"]})
        waiting = await world.store.get(OneTimeAutop, MAC)
        assert waiting is not None
        assert open_order(world.vault, MacAddress(MAC), waiting.record.orders[0]) == (f"{KEY} = 1",)
        assert (await client.delete(f"/devices/{MAC}", headers={"If-Match": "*"})).status_code == 204
        assert await world.store.get(OneTimeAutop, MAC) is None
        assert await world.store.get(DeviceFetches, MAC) is None
        assert await world.store.get(FetchedFile, fetched_file_key(MacAddress(MAC), etag)) is None
        assert (await world.store.list(AutopRevision, "scope", f"device/{MAC}")).items == ()


async def test_a_deleted_department_and_site_take_their_lines() -> None:
    world, client = await a_house()
    async with client:
        department = (await client.get(f"/devices/{MAC}")).json()["department"]
        for path in (f"department/{department}", f"site/{HOME}", f"network-group/{HOME}?group=x"):
            assert (await client.put(f"/autop-commands/{path}", json={"lines": [f"{KEY} = 1"]})).status_code == 200
        for mac in MACS[:3]:
            await client.delete(f"/devices/{mac}", headers={"If-Match": "*"})
        assert (await client.delete(f"/departments/{department}", headers={"If-Match": "*"})).status_code == 204
        assert (await client.delete(f"/sites/{HOME}", headers={"If-Match": "*"})).status_code == 204
        assert (await world.store.list(AutopCommands, "site", HOME)).items == ()
        assert (await world.store.list(AutopRevision, "scope", f"site/{HOME}")).items == ()
