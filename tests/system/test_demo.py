"""The demo and a fleet against a real gateway: every step seen from outside, and again in what the gateway wrote down."""

import json
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simulators.admin_client import AdminClient
from tests.system.demo_house import RunningDemo
from tests.system.peers import ROOT, RunningGateway

pytestmark = pytest.mark.system

STEPS = [
    "seed",
    "door-phone-config",
    "door-phone-register",
    "door-phone-channel",
    "indoor-monitor-config",
    "indoor-monitor-register",
    "indoor-monitor-channel",
    "ring",
    "answer",
    "open",
    "report",
    "hang-up",
    "door-log",
    "call-log",
    "remote-control",
    "result",
]


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[RunningGateway]:
    with RunningGateway(tmp_path) as running:
        yield running


def play_once(gateway: RunningGateway) -> dict[str, dict[str, Any]]:
    demo = RunningDemo(gateway, "--once")
    with demo:
        assert demo.wait() == 0
    return demo.steps


def test_the_main_job_step_by_step(gateway: RunningGateway) -> None:
    steps = play_once(gateway)
    assert list(steps) == STEPS
    door, monitor = steps["door-phone-config"]["account"], steps["indoor-monitor-config"]["account"]
    call, site = steps["ring"]["call_id"], steps["seed"]["site"]

    # What the devices saw.
    assert steps["door-phone-config"]["etag"].startswith('"')
    assert steps["door-phone-config"]["bytes"] > 500
    assert steps["open"] == {**steps["open"], "status": 200, "relay": 1, "by": monitor}
    assert steps["hang-up"]["by"] == "remote"

    # What the gateway wrote down, read by somebody else.
    (called,) = gateway.admin("GET", f"/call-log?site={site}").json["items"]
    assert (called["caller"], called["dialled"], called["answered_by"]) == (door, "101", monitor)
    assert (called["result"], called["rang"], called["ended_by"], called["call_id"]) == ("answered", [monitor], monitor, call)
    # The simulated resident picks up after 0.2 s, presses after 0.2 s and hangs up after another 0.2 s.
    assert 0.19 < called["ring_seconds"] < 2
    assert 0.39 < called["talk_seconds"] < 4
    (opened,) = gateway.admin("GET", f"/door-log?site={site}").json["items"]
    assert (opened["mac"], opened["relay"], opened["method"], opened["opened"]) == ("0C1105000001", 1, "dtmf", True)
    assert (opened["by"], opened["call_id"]) == (monitor, call)
    assert steps["door-log"]["entry"] == opened
    assert steps["call-log"]["entry"] == called
    assert {user["number"] for user in gateway.admin("GET", f"/users?site={site}").json["items"]} == {"101"}


def test_nothing_is_made_twice_and_devices_are_up_only_while_the_demo_runs(gateway: RunningGateway) -> None:
    def seen() -> list[tuple[bool, bool]]:
        found = [gateway.admin("GET", f"/devices/{mac}/status").json for mac in ("0C1105000001", "0C1105000002")]
        return [(status["registered"], status["channel"]) for status in found]

    with RunningDemo(gateway) as first:
        assert seen() == [(True, True), (True, True)]
    assert seen() == [(False, False), (False, False)]
    second = play_once(gateway)
    assert (first.steps["seed"]["made"], second["seed"]["made"]) == (6, 0)
    assert first.steps["seed"]["site"] == second["seed"]["site"]
    assert first.steps["door-phone-config"]["account"] == second["door-phone-config"]["account"]
    assert len(gateway.admin("GET", f"/door-log?site={second['seed']['site']}").json["items"]) == 2


def test_secrets_are_for_their_owner_only_and_outlive_a_restart_on_other_ports(tmp_path: Path) -> None:
    with RunningGateway(tmp_path) as running:
        first = play_once(running)
    notes = tmp_path / "demo-devices.jsonl"
    assert stat.S_IMODE(notes.stat().st_mode) == 0o600
    token = json.loads(notes.read_text().split("\n")[1])["autop_path"].split("/")[2]
    assert len(token) >= 26
    with RunningGateway(tmp_path) as running:
        second = play_once(running)
        assert second["seed"]["made"] == 0
        assert first["door-phone-config"]["account"] == second["door-phone-config"]["account"]
        # Who lost the notes has lost the secrets: the devices are added anew.
        notes.unlink()
        assert play_once(running)["seed"]["made"] == 2
        assert token not in running.log_file.read_text() + running.output_file.read_text()


def run_simulators(*arguments: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "simulators", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False)


async def test_a_failing_step_says_what_and_where_to_look(gateway: RunningGateway) -> None:
    play_once(gateway)
    admin = AdminClient(*gateway.address("admin"), Path(gateway.ready["admin_token_file"]))
    monitor = await admin.call("GET", "/devices/0C1105000002")
    body = {key: monitor.body[key] for key in ("site", "kind", "model", "name")}
    await admin.call("PUT", "/devices/0C1105000002", body, headers={"If-Match": monitor.etag or ""})
    # The monitor is nobody's now: 101 rings no device, so the visitor's call must fail, and the transcript must say so.
    ended = run_simulators("demo", "--once", "--ready-file", str(gateway.folder / "ready.json"))
    assert ended.returncode == 1
    assert "FAIL" in ended.stdout
    assert "CallOver: the call ended with 4" in ended.stdout
    assert "expected: 180 from the monitor" in ended.stdout
    assert "where to look: " in ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr


def test_without_a_gateway_one_sentence_says_what_to_do(tmp_path: Path) -> None:
    ended = run_simulators("demo", "--ready-file", str(tmp_path / "none.json"))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("simulators: ")
    assert "start a gateway first" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_fleet_of_forty_registers_and_calls(gateway: RunningGateway) -> None:
    arguments = ["--devices", "40", "--boot-seconds", "1", "--calls-per-minute", "120", "--minutes", "0.1"]
    arguments += ["--transports", "udp,tcp,tls"]
    ended = run_simulators("fleet", "--ready-file", str(gateway.folder / "ready.json"), *arguments)
    result = json.loads(ended.stdout)
    assert ended.returncode == 0, (result, ended.stderr)
    assert (result["registered"], result["failed"], result["registered_at_end"]) == (40, 0, 40)
    assert (result["calls_ok"], result["calls_skipped"], result["calls_failed"]) == (12, 0, 0)
    sites = gateway.admin("GET", "/sites").json["items"]
    assert [site["name"] for site in sites] == ["Fleet site 1"]
    calls = gateway.admin("GET", f"/call-log?site={sites[0]['id']}").json["items"]
    assert [call["result"] for call in calls] == ["answered"] * 12
