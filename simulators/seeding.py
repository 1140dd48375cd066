"""Sets a site up through the admin API, as a management plane would: idempotent, and careful with what is shown only once."""

import contextlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from simulators.admin_client import AdminClient, AdminProblem

CONFLICT = 409
NOT_FOUND = 404
NEEDS_IF_MATCH = 428


@dataclass(frozen=True, slots=True)
class DeviceSecrets:
    """What the API shows once when a device is added. `autop_path` is the path of its autop URL: the token is in it."""

    autop_path: str = field(repr=False)
    web_password: str = field(repr=False)


class SecretsFile:
    """The installer's notebook: autop URLs and web passwords by MAC, one JSON object a line, readable by its owner only.

    The last line of a MAC counts. A line that cannot be read (a killed run) is as if it were not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._devices: dict[str, DeviceSecrets] = {}
        with contextlib.suppress(FileNotFoundError):
            for line in path.read_text("utf-8", "replace").split("\n"):
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    held = json.loads(line)
                    self._devices[held["mac"]] = DeviceSecrets(held["autop_path"], held["web_password"])

    def get(self, mac: str) -> DeviceSecrets | None:
        """The secrets of a device, None if they were never noted."""
        return self._devices.get(mac)

    def put(self, mac: str, secrets: DeviceSecrets) -> None:
        """Note the secrets of a device; on disk when this returns."""
        self._devices[mac] = secrets
        line = {"mac": mac, "autop_path": secrets.autop_path, "web_password": secrets.web_password}
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            # The line break comes first: a run killed in the middle of a line spoils that line only.
            stream.write("\n" + json.dumps(line))
            stream.flush()
            os.fsync(stream.fileno())


class Seeder:
    """Makes sure that things exist, and tells what it made in `made`."""

    def __init__(self, admin: AdminClient, secrets: SecretsFile) -> None:
        self._admin = admin
        self._secrets = secrets
        self.made: list[str] = []

    async def site(self, name: str) -> str:
        """The id of the site of that name."""
        async for site in self._admin.items("/sites"):
            if site["name"] == name:
                return str(site["id"])
        self.made.append(f"site {name}")
        return str((await self._admin.call("POST", "/sites", {"name": name})).body["id"])

    async def in_library(self, macs: list[str], site: str) -> None:
        """The MACs are in the MAC library, for that site."""
        for mac in macs:
            try:
                await self._admin.call("GET", f"/mac-library/{mac}")
            except AdminProblem as problem:
                if problem.status != NOT_FOUND:
                    raise
                await self._admin.call("POST", "/mac-library", {"mac": mac, "site": site})
                self.made.append(f"MAC {mac} in the library")

    async def users(self, site: str, wanted: list[dict[str, Any]]) -> dict[str, str]:
        """Number -> id of the users, who are made where the site has none of their number."""
        found = {user["number"]: str(user["id"]) async for user in self._admin.items("/users", site=site)}
        for body in wanted:
            if body["number"] not in found:
                answer = await self._admin.call("POST", "/users", {"site": site, **body})
                found[body["number"]] = str(answer.body["id"])
                self.made.append(f"user {body['first_name']} {body['last_name']}")
        return found

    async def device(self, mac: str, body: dict[str, Any]) -> DeviceSecrets:
        """The device exists and its secrets are known.

        A device whose secrets were lost is deleted and added again: they are shown only once. One that somebody changed since
        is left as it is.
        """
        known = self._secrets.get(mac)
        try:
            answer = await self._admin.call("PUT", f"/devices/{mac}", body)
        except AdminProblem as problem:
            if problem.status != NEEDS_IF_MATCH:
                raise
            if known is not None:
                return known
            answer = await self._admin.call("GET", f"/devices/{mac}")
        if answer.status != 201 and known is not None:
            return known
        if answer.status != 201:
            await self._admin.call("DELETE", f"/devices/{mac}", headers={"If-Match": answer.etag or "*"})
            answer = await self._admin.call("PUT", f"/devices/{mac}", body)
        self.made.append(f"device {mac} ({body['name']})")
        secrets = DeviceSecrets(urlsplit(answer.body["autop_url"]).path, answer.body["web_password"])
        self._secrets.put(mac, secrets)
        return secrets
