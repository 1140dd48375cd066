"""Setting a site up twice makes it once, and secrets that are shown once are not lost."""

import json
import stat
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from simulators.admin_client import AdminClient, AdminProblem, Answer
from simulators.seeding import DeviceSecrets, SecretsFile, Seeder

MAC = "0C1105000001"


class Api(AdminClient):
    """The admin API's rules for these resources, in memory."""

    def __init__(self) -> None:
        self.lists: dict[str, list[dict[str, Any]]] = {"/sites": [], "/users": []}
        self.library: set[str] = set()
        self.devices: dict[str, dict[str, Any]] = {}
        self.requests: list[str] = []
        self.serial = 0

    async def items(self, path: str, **query: str) -> AsyncIterator[Any]:
        for item in self.lists[path]:
            if all(item.get(key) == value for key, value in query.items()):
                yield item

    async def call(self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None) -> Answer:
        self.requests.append(f"{method} {path}")
        if method == "POST" and path in self.lists:
            item = {"id": f"id{len(self.lists[path])}", **body}
            self.lists[path].append(item)
            return Answer(201, item)
        if path == "/mac-library":
            self.library.add(body["mac"])
            return Answer(201, body)
        if path.startswith("/mac-library/"):
            if path.rpartition("/")[2] not in self.library:
                raise AdminProblem(path, 404, {})
            return Answer(200, {})
        return self._device(method, path, body, headers or {})

    def _device(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> Answer:
        present = self.devices.get(path)
        if method == "DELETE":
            assert headers["If-Match"] == '"1"'
            del self.devices[path]
            return Answer(204, None)
        if method == "GET":
            return Answer(200, present, '"1"')
        if present is None:
            self.devices[path] = body
            self.serial += 1
            return Answer(201, {"autop_url": f"https://h:1/autop/token{self.serial}/", "web_password": "pw"}, '"1"')
        if present != body:
            raise AdminProblem(path, 428, {})
        return Answer(200, present, '"1"')


async def seed(api: Api, notes: Path, **device: str) -> tuple[Seeder, DeviceSecrets]:
    seeder = Seeder(api, SecretsFile(notes))
    site = await seeder.site("House")
    await seeder.in_library([MAC], site)
    await seeder.users(site, [{"first_name": "A", "last_name": "B", "number": "101"}])
    return seeder, await seeder.device(MAC, {"name": "Gate", **device})


async def test_everything_is_made_once(tmp_path: Path) -> None:
    api, notes = Api(), tmp_path / "notes"
    first, secrets = await seed(api, notes)
    assert len(first.made) == 4
    assert secrets == DeviceSecrets("/autop/token1/", "pw")
    second, again = await seed(api, notes)
    assert second.made == []
    assert again == secrets
    assert sum(request.startswith("POST") for request in api.requests) == 3


async def test_a_device_somebody_changed_stays_as_it_is(tmp_path: Path) -> None:
    api, notes = Api(), tmp_path / "notes"
    _, secrets = await seed(api, notes)
    api.devices[f"/devices/{MAC}"]["name"] = "Renamed by hand"
    seeder, again = await seed(api, notes)
    assert (seeder.made, again) == ([], secrets)
    assert api.devices[f"/devices/{MAC}"]["name"] == "Renamed by hand"


@pytest.mark.parametrize("renamed", [False, True])
async def test_lost_secrets_make_the_device_anew(tmp_path: Path, renamed: bool) -> None:
    api, notes = Api(), tmp_path / "notes"
    await seed(api, notes)
    notes.unlink()
    if renamed:
        api.devices[f"/devices/{MAC}"]["name"] = "Renamed"
    seeder, secrets = await seed(api, notes)
    assert secrets.autop_path == "/autop/token2/"
    assert seeder.made == [f"device {MAC} (Gate)"]


def test_the_notebook_is_private_and_survives_half_a_line(tmp_path: Path) -> None:
    file = tmp_path / "notes"
    notes = SecretsFile(file)
    notes.put("A", DeviceSecrets("/autop/1/", "x"))
    notes.put("B", DeviceSecrets("/autop/2/", "y"))
    notes.put("A", DeviceSecrets("/autop/3/", "z"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    whole = file.read_bytes()
    for cut in range(len(whole)):
        file.write_bytes(whole[:cut])
        found = SecretsFile(file)
        assert found.get("B") in (None, DeviceSecrets("/autop/2/", "y"))
        found.put("C", DeviceSecrets("/autop/4/", "w"))
        assert SecretsFile(file).get("C") == DeviceSecrets("/autop/4/", "w")
    file.write_bytes(whole)
    assert SecretsFile(file).get("A") == DeviceSecrets("/autop/3/", "z")
    assert "autop" not in repr(SecretsFile(file).get("A"))


@pytest.mark.parametrize(
    "content", [b"[1]\n", b"null\n", b'{"mac": 1}\n', b'"x"\n', b"\xff\xfe\n", json.dumps({"mac": "A"}).encode()]
)
def test_a_spoilt_notebook_is_an_empty_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "notes").write_bytes(content)
    assert SecretsFile(tmp_path / "notes").get("A") is None
