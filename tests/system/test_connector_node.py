"""A whole node, `portico connector` as its own process, and two door phones on a LAN that were provisioned by the node: what an
installer does through the admin API and with a browser, and how a site token ends.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from registry.mac import MacAddress
from tests.system.lan import GATEWAY, Lan, LanDevice, lan
from tests.system.peers import ROOT, RunningGateway, loopback_config, needs, wait_until

pytestmark = [pytest.mark.system, needs("curl")]

FRONT, BACK = MacAddress("0C1105AA0011"), MacAddress("0C1105AA0012")
ADDRESSES = {FRONT: "10.77.0.11", BACK: "10.77.0.12"}
RELAYS = [{"name": "Door", "dtmf_code": "#", "hold_seconds": 1, "access_methods": ["dtmf", "app-home"]}]
WITHIN = 20.0


class Connector:
    """One `portico connector`."""

    def __init__(self, gateway: RunningGateway, token: str, folder: Path) -> None:
        """PnP and TFTP are on."""
        self._output = folder / "connector.out"
        self._token = folder / "site-token"
        self._token.write_text(token + "\n")
        self._token.chmod(0o600)
        host, port = gateway.address("channel")
        self._command = [sys.executable, "-m", "gateway", "connector", "--gateway", f"{host}:{port}"]
        self._command += ["--token-file", str(self._token), "--ca", gateway.ready["ca_file"], "--tftp", GATEWAY, "--pnp", "lan0"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(self._command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def use(self, token: str) -> None:
        """Write another token into its file; it counts from the next start."""
        self._token.write_text(token + "\n")

    def said(self) -> str:
        return self._output.read_text() if self._output.exists() else ""

    def end(self, number: int = signal.SIGTERM) -> int:
        process, self._process = self._process, None
        assert process is not None
        process.send_signal(number)
        return process.wait(WITHIN)

    def kill(self) -> None:
        if self._process is not None:
            self.end(signal.SIGKILL)


@dataclass
class Here:
    """Everything that runs."""

    gateway: RunningGateway
    network: Lan
    site: str
    id: str
    token: str
    app: str
    connector: Connector
    front: LanDevice
    back: LanDevice
    urls: dict[MacAddress, str]
    """The autop URLs of the doors."""

    def status(self, mac: MacAddress = FRONT) -> Any:
        return self.gateway.ask("GET", f"/devices/{mac}/status")

    def shown(self) -> Any:
        return self.gateway.ask("GET", f"/connectors/{self.id}")

    def until(self, what: str, true: Any) -> None:
        wait_until(what, true, WITHIN)

    def until_seen(self) -> None:
        """The connector has told that both doors are there."""
        self.until("both doors seen", lambda: all(self.status(mac)["connector"] for mac in ADDRESSES))

    def open_door(self, mac: MacAddress = FRONT) -> Any:
        return self.gateway.admin("POST", f"/devices/{mac}/relays/1/open", {"account": self.app, "page": "home"})


def door(gateway: RunningGateway, network: Lan, mac: MacAddress, site: str, urls: dict[MacAddress, str]) -> LanDevice:
    """Add a door phone, and plug it in."""
    gateway.ask("POST", "/mac-library", {"mac": mac.text, "site": site})
    body = {"site": site, "kind": 0, "model": "R29", "name": f"Door {mac}", "relays": RELAYS}
    made = gateway.ask("PUT", f"/devices/{mac}", body)
    ca = Path(gateway.ready["ca_file"])
    urls[mac] = made["autop_url"]
    return network.device(mac, ADDRESSES[mac], autop_url=made["autop_url"], ca=ca)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    folder = tmp_path_factory.mktemp("node")
    config = loopback_config(more=f'[public]\nhost = "{GATEWAY}"\n').replace('address = "127.0.0.1"', f'address = "{GATEWAY}"')
    with lan() as network, RunningGateway(folder, config) as gateway:
        site = gateway.ask("POST", "/sites", {"name": "House"})["id"]
        made = gateway.ask("POST", f"/sites/{site}/connectors", {"name": "Cellar"})
        person = {"site": site, "first_name": "Ada", "last_name": "King", "number": "101", "app": True}
        app = gateway.ask("POST", "/users", person)["account"]["username"]
        urls: dict[MacAddress, str] = {}
        front, back = (door(gateway, network, mac, site, urls) for mac in ADDRESSES)
        connector = Connector(gateway, made["site_token"], folder)
        found = Here(gateway, network, site, made["id"], made["site_token"], app, connector, front, back, urls)
        try:
            for device in (front, back):
                device.until("Registered")
            connector.start()
            found.until_seen()
            yield found
        finally:
            connector.kill()


def test_a_door_is_opened_by_its_gateway_through_the_connector(here: Here) -> None:
    assert here.status()["channel"] is False
    answer = here.open_door()
    assert answer.status == 200, answer.json
    here.front.until("RelayOpened", relay=1)
    assert here.back.count("RelayOpened") == 0
    entries = here.gateway.ask("GET", f"/door-log?site={here.site}")["items"]
    assert [(entry["mac"], entry["by"]) for entry in entries] == [(FRONT.text, here.app)]


def test_the_device_page_opens_in_a_browser(here: Here, tmp_path: Path) -> None:
    session = here.gateway.ask("POST", f"/devices/{BACK}/remote-sessions", {})
    assert session["online"] is True
    host, port = here.gateway.address("remote_control")
    name = session["link"].split("/")[2].rpartition(":")[0]
    command = ["curl", "-sS", "-L", "-b", "", "-c", str(tmp_path / "jar"), "--cacert", here.gateway.ready["ca_file"]]
    command += ["--resolve", f"{name}:{port}:{host}", session["link"]]
    page = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "login" in page.lower()
    assert "<html" in page.lower()


def test_where_the_device_is_was_learnt_from_its_registration(here: Here) -> None:
    learnt = {"mac": FRONT.text, "address": ADDRESSES[FRONT], "source": "registered"}
    here.until("the registration to be kept", lambda: here.gateway.ask("GET", f"/devices/{FRONT}/lan-address") == learnt)
    # An operator's word goes before it: at this address is the other door, and the connector does not open that one.
    here.gateway.ask("PUT", f"/devices/{FRONT}/lan-address", {"address": ADDRESSES[BACK]})
    here.until("the new list", lambda: here.open_door().json.get("code") == "device-unreachable")
    assert "wrong_device" in here.open_door().json["detail"]
    assert here.back.count("RelayOpened") == 0
    assert here.gateway.admin("DELETE", f"/devices/{FRONT}/lan-address").status == 204
    here.until("the old list", lambda: here.open_door().status == 200)


def test_what_a_device_says_of_itself_and_holds(here: Here) -> None:
    live = here.gateway.ask("GET", f"/devices/{FRONT}/live")
    assert (live["way"], live["firmware"], live["accounts"]) == ("connector", "29.30.1.1", {"Account1": "2"})
    held = here.gateway.ask("GET", f"/devices/{FRONT}/configuration/held")
    assert (held["differing"], held["unknown"]) == ([], [])
    assert "Config.Account1.GENERAL.Pwd" in held["unproven"]
    assert held["kept"] > 20
    here.gateway.change("PATCH", f"/devices/{FRONT}", {"relays": [{**RELAYS[0], "hold_seconds": 7}]})  # not fetched yet
    held = here.gateway.ask("GET", f"/devices/{FRONT}/configuration/held")
    assert {"key": "Config.DoorSetting.RELAY.HoldDelayA", "wanted": "7", "held": "1"} in held["differing"]
    here.gateway.change("PATCH", f"/devices/{FRONT}", {"relays": RELAYS})


def test_a_device_that_can_only_tftp_gets_its_file_through_the_connector(here: Here) -> None:
    token = here.urls[FRONT].rstrip("/").rpartition("/")[2]
    file = here.front.inside("curl", "-s", f"tftp://{GATEWAY}/autop/{token}/{FRONT}.cfg")
    https = ["curl", "-s", "--cacert", here.gateway.ready["ca_file"], f"{here.urls[FRONT]}{FRONT}.cfg"]
    assert file == subprocess.run(https, capture_output=True, text=True, check=True).stdout
    assert "Config.Account1.GENERAL.UserName = " in file
    for name in (f"autop/{token}/{BACK}.cfg", f"{FRONT}.cfg", f"autop/{token}/../../etc/passwd"):
        with pytest.raises(subprocess.CalledProcessError):
            here.front.inside("curl", "-sf", "--path-as-is", "--max-time", "5", f"tftp://{GATEWAY}/{name}")


def test_a_device_out_of_its_box_is_told_where_to_enrol_while_the_operator_lets_it(here: Here) -> None:
    fresh = MacAddress("0C1105AA0013")
    here.gateway.ask("POST", "/mac-library", {"mac": fresh.text, "site": here.site})
    here.gateway.ask("PUT", f"/devices/{fresh}", {"site": here.site, "kind": 0, "model": "R29", "name": "New door"})
    here.gateway.ask("POST", "/enrolment-windows", {"site": here.site, "minutes": 5})
    url = here.back.asks_lan(fresh)
    assert "/autop/enrol-" in url
    assert "Config.Autoprovision.GENERAL.Url = " in here.back.inside("curl", "-sk", f"{url}{fresh}.cfg")
    other = here.gateway.ask("POST", "/sites", {"name": "Elsewhere"})["id"]  # its devices enrol there, not here
    stranger = MacAddress("0C1105AA0014")
    here.gateway.ask("POST", "/mac-library", {"mac": stranger.text, "site": other})
    here.gateway.ask("PUT", f"/devices/{stranger}", {"site": other, "kind": 0, "model": "R29", "name": "Far door"})
    here.gateway.ask("POST", "/enrolment-windows", {"site": other, "minutes": 5})
    assert here.back.asks_lan(stranger, 1.5) == ""
    version = here.gateway.admin("GET", f"/devices/{fresh}").headers["etag"]
    assert here.gateway.admin("DELETE", f"/devices/{fresh}", version=version).status == 204


def test_a_command_goes_through_the_connector(here: Here) -> None:
    order = here.gateway.ask("POST", f"/devices/{BACK}/commands", {"name": "reboot"})
    here.back.until("Restarting", to_factory=False)
    path = f"/commands/{order['id']}"
    here.until("its result", lambda: here.gateway.ask("GET", path)["state"] == "executed")
    assert here.gateway.ask("GET", path)["way"] == "connector"


@pytest.mark.slow
def test_a_command_waits_for_a_device_that_is_off(here: Here) -> None:
    here.network.unplug(here.back)
    wait_until("its absence", lambda: not here.status(BACK)["connector"], 35.0)
    since = len(here.back.said)
    order = here.gateway.ask("POST", f"/devices/{BACK}/commands", {"name": "reboot"})
    path = f"/commands/{order['id']}"
    assert here.gateway.ask("GET", path)["state"] == "pending"
    here.network.plug(here.back)
    wait_until("its result", lambda: here.gateway.ask("GET", path)["state"] == "executed", 35.0)
    here.back.until("Restarting", since)
    assert sum(one["what"] == "Restarting" for one in here.back.said[since:]) == 1
    here.until_seen()


def test_a_connector_that_was_killed_comes_back(here: Here) -> None:
    here.connector.end(signal.SIGKILL)
    here.until("its absence", lambda: not here.shown()["connected"])
    assert here.status()["connector"] is False
    assert here.open_door().json["code"] == "device-unreachable"
    here.connector.start()
    here.until_seen()
    assert here.open_door().status == 200
    assert here.shown()["address"] == GATEWAY


def test_a_new_token_takes_over_when_it_is_used_and_the_old_one_ends(here: Here) -> None:
    new = here.gateway.ask("POST", f"/connectors/{here.id}/rotate")
    assert here.open_door().status == 200  # the old one is still good
    assert here.connector.end() == 0
    here.connector.use(new["site_token"])
    here.connector.start()
    here.until("the hand-over", lambda: here.shown()["token"] == 2 and not here.shown()["rotating"])
    assert here.connector.end() == 0
    here.connector.use(here.token)
    here.connector.start()
    here.until("its refusal", lambda: "not authorised" in here.connector.said())
    here.connector.end()
    here.connector.use(new["site_token"])
    here.connector.start()
    here.until_seen()
    actions = [entry["action"] for entry in here.gateway.ask("GET", f"/audit?limit=500&site={here.site}")["items"]]
    assert {"connector.created", "connector.token-rotated", "connector.token-taken-over"} <= set(actions)


def test_the_installers_page_is_true(here: Here, tmp_path: Path) -> None:
    """docs/connector.md: its commands make a second connector of the site, its configuration starts it, without a privilege."""
    page = (ROOT / "docs" / "connector.md").read_text()
    blocks = dict.fromkeys(("sh", "toml"), "")
    for kind, block in re.findall(r"```(sh|toml)\n(.*?)```", page, re.DOTALL):
        blocks[kind] += block
    make, start = blocks["sh"].strip().rsplit("\n", 1)
    host, port = here.gateway.address("admin")
    secret = Path(here.gateway.ready["admin_token_file"]).read_text().strip()
    environment = {**os.environ, "API": f"http://{host}:{port}/api/v1", "TOKEN": secret, "SITE": here.site}
    subprocess.run(["bash", "-euc", make], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "site-token").stat().st_mode & 0o777 == 0o600
    place, number = here.gateway.address("channel")
    (tmp_path / "ca.pem").write_bytes(Path(here.gateway.ready["ca_file"]).read_bytes())
    (tmp_path / "connector.toml").write_text(blocks["toml"].replace("gate.example:7443", f"{place}:{number}"))
    command = start.replace(
        "portico ", f"PYTHONPATH={ROOT} exec setpriv --bounding-set=-all --inh-caps=-all {sys.executable} -m gateway ", 1
    )
    with subprocess.Popen(["bash", "-c", command], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(3)]
        process.terminate()
        assert process.wait(WITHIN) == 0
    assert "connected" in said[1]
    assert "2 devices of this site, 2 of them with a LAN address" in said[2]


def test_simulated_doors_for_a_connector_to_try(here: Here) -> None:
    """`portico simulate --lan`, at an address of this machine: a connector elsewhere would reach it."""
    address = "10.77.0.50"
    subprocess.run(["ip", "addr", "add", f"{address}/24", "dev", "lan0"], check=True)
    command = [sys.executable, "-m", "gateway", "simulate", "--state", str(here.gateway.state), "--lan", address]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline() + process.stdout.readline()
        assert "1 door phones at 10.77.0.50" in said
        assert "next: make a connector" in said

        def page() -> bool:
            return subprocess.run(["curl", "-sf", "-o", "/dev/null", f"http://{address}/login.html"], check=False).returncode == 0

        here.until("its page", page)
        process.terminate()
        assert process.wait(WITHIN) == 0


def test_a_revoked_token_ends_the_link_within_a_second(here: Here) -> None:
    """The last one: there is no way back."""
    here.until_seen()
    assert here.gateway.admin("DELETE", f"/connectors/{here.id}").status == 204
    begun = time.monotonic()
    here.until("its end", lambda: not here.status()["connector"])
    assert time.monotonic() - begun < 1.0
    assert here.open_door().json["code"] == "device-unreachable"
    here.until("why it was refused", lambda: here.connector.said().count("not authorised") >= 2)
    assert here.connector.end() == 0
    assert here.token.rpartition("_")[2] not in here.gateway.log_file.read_text() + here.connector.said()
