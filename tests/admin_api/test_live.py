"""What devices say of themselves: their status, and their configuration read back."""

from typing import Any

import pytest

from admin_api.ports import DeviceAnswer
from tests.admin_api.world import World, a_world, allow, device, problem

MAC = "0C1105000001"


async def a_world_with_a_device() -> World:
    world = await a_world()
    await allow(world, MAC)
    async with world.client() as client:
        assert (await client.put(f"/devices/{MAC}", json=device())).status_code == 201
    return world


async def test_a_device_describes_itself() -> None:
    world = await a_world_with_a_device()
    said = {"model": "R29", "firmware": "29.30.10.465", "hardware": 3, "mac": "x", "accounts": {"Account1": "2"}}
    world.devices.answers["status"] = DeviceAnswer("connector", True, said)
    async with world.client() as client:
        found = (await client.get(f"/devices/{MAC}/live")).json()
    assert found == {
        "mac": MAC,
        "way": "connector",
        "model": "R29",
        "firmware": "29.30.10.465",
        "hardware": "",
        "accounts": {"Account1": "2"},
    }


@pytest.mark.parametrize("path", ["live", "configuration/held"])
async def test_a_device_that_does_not_answer(path: str) -> None:
    world = await a_world_with_a_device()
    async with world.client() as client:
        world.devices.away = True
        assert problem(await client.get(f"/devices/{MAC}/{path}")) == "device-unreachable"
        world.devices.away = False
        for name in ("status", "config-get"):
            world.devices.answers[name] = DeviceAnswer("connector", False, {"error": "api_forbidden", "said": "b\u202ead"})
        answer = await client.get(f"/devices/{MAC}/{path}")
        assert problem(answer) == "device-refused"
        assert "api_forbidden" in answer.json()["detail"]
        world.devices.silent = True
        assert problem(await client.get(f"/devices/{MAC}/{path}")) == "device-silent"


async def test_a_configuration_is_read_back_and_compared() -> None:
    world = await a_world_with_a_device()
    async with world.client() as client:
        wanted = {line["key"]: line["value"] for line in (await client.get(f"/devices/{MAC}/configuration")).json()["lines"]}
        name, server, secret = (f"Config.Account1.{item}" for item in ("GENERAL.UserName", "SIP.Server", "GENERAL.Pwd"))
        held: dict[str, Any] = {name: wanted[name], server: "198.51.100.9", secret: "*" * 60, "Config.Other": "1"}
        world.devices.answers["config-get"] = DeviceAnswer("connector", True, {"values": held})
        found = (await client.get(f"/devices/{MAC}/configuration/held")).json()
        etag = (await client.get(f"/devices/{MAC}/configuration")).json()["etag"]
    assert (found["way"], found["kept"], found["etag"]) == ("connector", 1, etag)
    assert found["differing"] == [{"key": server, "wanted": wanted[server], "held": "198.51.100.9"}]
    assert found["unproven"] == [secret]
    assert set(found["unknown"]) == set(wanted) - {name, server, secret}
    asked = [key for _, _, body in world.devices.asked for key in body["keys"]]
    assert asked == list(wanted)
    assert all(len(body["keys"]) <= 64 for _, _, body in world.devices.asked)
