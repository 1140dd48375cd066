"""Starting, stopping and being killed, as an operator meets it: `python -m gateway` as its own process."""

import json
import os
import re
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.tls import local_certificates
from tests.system.fleet import add_devices, add_site, each_calls_the_next
from tests.system.peers import LISTENERS, ROOT, RunningGateway, free_udp_port, loopback_config, needs, wait_until
from tests.system.sipp_load import register

pytestmark = pytest.mark.system


def portico(*arguments: str, deadline: float = 30.0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=deadline, stdin=subprocess.DEVNULL, check=False
    )


def test_help_names_the_commands_and_the_next_step() -> None:
    for arguments in ((), ("--help",)):
        done = portico(*arguments)
        assert done.returncode == 0
        for word in ("run", "demo", "check-config", "simulate", "token", "backup", "restore", "portico demo"):
            assert word in done.stdout


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[listen]\nsip_udpp = 1\n", r"listen\.sip_udpp: unknown key.*Did you mean 'sip_udp'.*Allowed here: .*autop_https"),
        ("[listen]\nsip_udp = 99999\n", r"listen\.sip_udp: .*65535.*99999"),
        ("[log]\nlevel = 'loud'\n", r"log\.level: .*'info'"),
        ("[listen\n", "not valid TOML"),
    ],
)
def test_a_wrong_configuration_names_file_key_and_what_is_allowed(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "portico.toml"
    file.write_text(text)
    for command in (("run", "--state", str(tmp_path / "s")), ("check-config",)):
        done = portico(*command, "--config", str(file))
        assert done.returncode == 2
        assert str(file) in done.stderr
        assert re.search(expected, done.stderr), done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "s").exists()


def test_check_config_prints_every_default(tmp_path: Path) -> None:
    done = portico("check-config", "--defaults")
    assert done.returncode == 0
    file = tmp_path / "portico.toml"
    file.write_text(done.stdout)
    checked = portico("check-config", "--config", str(file))
    assert checked.returncode == 0
    assert f"portico run --config {file}" in checked.stdout


@pytest.mark.parametrize("listener", LISTENERS)
def test_a_taken_port_is_named(tmp_path: Path, listener: str) -> None:
    kind = socket.SOCK_DGRAM if listener == "sip_udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        port = taken.getsockname()[1]
        config = loopback_config().replace(f"{listener} = 0\n", f"{listener} = {port}\n")
        (tmp_path / "portico.toml").write_text(config)
        done = portico("run", "--config", str(tmp_path / "portico.toml"), "--state", str(tmp_path / "state"))
    assert done.returncode == 1
    assert f"listen.{listener}: 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_state_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for place in (str(tmp_path / "file"), "/proc/portico"):
        done = portico("run", "--state", place)
        assert done.returncode == 1
        assert f"state folder {place}" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_second_gateway_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    with RunningGateway(tmp_path) as gateway:
        done = portico("run", "--state", str(gateway.state))
    assert done.returncode == 1
    assert "another gateway" in done.stderr


def test_a_start_killed_at_any_moment_is_finished_by_the_next(tmp_path: Path) -> None:
    """Kill the first start again and again, each time a little later, until one gets through."""
    config = tmp_path / "portico.toml"
    config.write_text(loopback_config())
    state = tmp_path / "state"
    command = [sys.executable, "-m", "gateway", "run", "--config", str(config), "--state", str(state)]
    marks = ("lock", "master.key", "portico.sqlite", "node.secret", "tls/ca.key", "tls/ca.pem", "tls/server.pem", "admin-token")
    for mark in marks:
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            place = state / mark
            wait_until(mark, place.exists, 20.0, alive=lambda p=process: p.poll() is None)  # type: ignore[misc]
            process.kill()
    with RunningGateway(tmp_path) as gateway:
        assert gateway.admin("GET", "/sites").status == 200


def test_a_truncated_draft_and_an_empty_database_are_no_obstacle(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "master.key.draft").write_bytes(b"ha")
    (state / "portico.sqlite").write_bytes(b"")
    (state / "tls").mkdir()
    (state / "tls" / "ca.key.draft").write_bytes(b"--")
    with RunningGateway(tmp_path) as gateway:
        assert gateway.admin("GET", "/sites").status == 200


def test_what_was_acknowledged_survives_kill_9_and_the_token_stays(tmp_path: Path) -> None:
    gateway = RunningGateway(tmp_path).start()
    site = add_site(gateway, "Kept")
    (device,) = add_devices(gateway, site, 1)
    token = (gateway.state / "admin-token").read_text()
    gateway.kill()
    with gateway:
        assert (gateway.state / "admin-token").read_text() == token
        assert gateway.ask("GET", f"/devices/{device.mac}")["site"] == site


def test_sigterm_and_ctrl_c_end_cleanly(tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        gateway = RunningGateway(tmp_path).start()
        os.kill(gateway.pid, number)
        gateway.stop()
        assert not (gateway.state / "ready.json").exists()


def test_sighup_serves_a_new_certificate_and_keeps_the_old_if_it_is_bad(tmp_path: Path) -> None:
    with RunningGateway(tmp_path) as gateway:

        def served() -> str:
            return ssl.get_server_certificate(gateway.address("autop_https"))

        before = served()
        certificate = gateway.state / "tls" / "server.pem"
        key = gateway.state / "tls" / "server.key"
        good = certificate.read_bytes()
        certificate.write_bytes(b"garbage")
        os.kill(gateway.pid, signal.SIGHUP)
        wait_until("refusal", lambda: "certificates not reloaded" in gateway.log_file.read_text(), 10.0)
        assert served() == before
        certificate.write_bytes(good)
        assert key.exists()
        local_certificates(gateway.state / "tls", ("127.0.0.1", "renewed.example"), datetime.now(UTC) + timedelta(seconds=1))
        os.kill(gateway.pid, signal.SIGHUP)
        wait_until("new certificate", lambda: served() != before, 10.0)


def test_a_record_that_cannot_be_read_does_not_stop_the_node(tmp_path: Path) -> None:
    gateway = RunningGateway(tmp_path).start()
    site = add_site(gateway, "North")
    devices = add_devices(gateway, site, 3)
    gateway.stop()
    with sqlite3.connect(gateway.state / "portico.sqlite") as database:
        changed = database.execute(
            "UPDATE records SET body = x'00' WHERE kind = 'Device' AND key = ?", (devices[0].mac,)
        ).rowcount
        assert changed == 1
    with gateway:
        assert gateway.admin("GET", f"/devices/{devices[0].mac}").status == 404
        assert gateway.admin("GET", f"/devices/{devices[1].mac}").status == 200


def test_malformed_sip_is_answered_or_dropped_and_counted_never_an_error(tmp_path: Path) -> None:
    hostile = [
        b"",
        b"\x00" * 100,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00" + os.urandom(200),
        b"INVITE sip:a@b SIP/2.0\r\n",
        b"INVITE sip:a@b SIP/2.0\r\nVia: x\r\nVia : y\r\n\r\n",
        b"REGISTER sip:x SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKa\r\nCSeq: \xff REGISTER\r\n\r\n",
        b"A" * 65000,
        "INVITE sip:ü@b SIP/2.0\r\nVia: ß\r\n\r\n".encode(),
    ]
    options = (
        b"OPTIONS sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK%d;rport\r\nMax-Forwards: 70\r\n"
        b"From: <sip:a@b>;tag=1\r\nTo: <sip:127.0.0.1>\r\nCall-ID: c%d\r\nCSeq: %s OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
    with RunningGateway(tmp_path) as gateway, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(5)
        peer.connect(gateway.address("sip_udp"))
        for number, datagram in enumerate(hostile):
            peer.send(datagram)
            peer.send(options % (number, number, b"1"))
            while not (answer := peer.recv(65536)).startswith(b"SIP/2.0 200"):
                assert answer.startswith(b"SIP/2.0 4"), answer[:60]
        peer.send(options % (99, 99, b"one"))
        assert peer.recv(65536).startswith(b"SIP/2.0 400")
        host, port = gateway.address("metrics")
        with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as page:
            text = page.read().decode()
        rows = [line for line in text.splitlines() if line.startswith("portico_sip_parse_errors_total{")]
        counted = sum(float(row.rpartition(" ")[2]) for row in rows)
        assert counted >= 6
        assert "portico_unhandled_errors_total{" not in text


@pytest.mark.parametrize(("setting", "offered"), [("", ["SHA-512-256", "SHA-256", "MD5"]), ('algorithms = ["MD5"]', ["MD5"])])
def test_the_digest_algorithms_offered_are_the_configured_ones(tmp_path: Path, setting: str, offered: list[str]) -> None:
    register_request = (
        b"REGISTER sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKr;rport\r\nMax-Forwards: 70\r\n"
        b"From: <sip:1@127.0.0.1>;tag=1\r\nTo: <sip:1@127.0.0.1>\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\n"
        b"User-Agent: " + 300 * b"x" + b"\r\nContent-Length: 0\r\n\r\n"  # long enough for all three (sip/amplification.py)
    )
    with (
        RunningGateway(tmp_path, loopback_config(more=f"[sip]\n{setting}\n")) as gateway,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
    ):
        peer.settimeout(5)
        peer.connect(gateway.address("sip_udp"))
        peer.send(register_request)
        answer = peer.recv(65536).decode()
    assert answer.startswith("SIP/2.0 401")
    assert re.findall(r"algorithm=([A-Z0-9-]+)", answer) == offered


def test_backup_of_a_running_gateway_starts_elsewhere(tmp_path: Path) -> None:
    with RunningGateway(tmp_path) as gateway:
        site = add_site(gateway, "North")
        (device,) = add_devices(gateway, site, 1)
        done = portico("backup", str(tmp_path / "b.tar.gz"), "--state", str(gateway.state))
        assert done.returncode == 0, done.stderr
    (tmp_path / "other").mkdir()
    other = RunningGateway(tmp_path / "other")
    done = portico("restore", str(tmp_path / "b.tar.gz"), "--state", str(other.state))
    assert done.returncode == 0, done.stderr
    with other:
        assert other.ask("GET", f"/devices/{device.mac}")["site"] == site


def test_a_token_from_the_command_line(tmp_path: Path) -> None:
    with RunningGateway(tmp_path) as gateway:
        site = add_site(gateway, "North")
        done = portico("token", "--state", str(gateway.state), "--role", "read-only", "--site", site)
        assert done.returncode == 0, done.stderr
        secret = done.stdout.strip()
        assert gateway.admin("GET", f"/sites/{site}", token=secret).status == 200
        assert gateway.admin("POST", "/sites", {"name": "x"}, token=secret).status == 403
        wrong = portico("token", "--state", str(gateway.state), "--role", "king")
        assert wrong.returncode == 1
        assert "role" in wrong.stderr
    absent = portico("token", "--state", str(tmp_path / "none"))
    assert absent.returncode == 1
    assert "portico run" in absent.stderr


@needs("curl")
def test_the_next_steps_it_prints_work_as_printed(tmp_path: Path) -> None:
    with RunningGateway(tmp_path) as gateway:
        said = gateway.output_file.read_text()
        assert f"shown this once (it is also in {gateway.state / 'admin-token'})" in said
        token, *calls = [line.strip() for line in said.splitlines() if line.startswith(("  T=", "  curl "))]
        assert len(calls) == 3
        site = ""
        for call in calls:
            command = f"{token}\n{call.replace('curl', 'curl -sS --fail-with-body', 1).replace('<site id>', site)}"
            done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=30, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            site = site or json.loads(done.stdout)["id"]
        assert gateway.ask("GET", "/devices/0C1105AABBCC")["site"] == site


@needs("sipp")
def test_a_removed_device_is_gone_at_once_for_sip_and_autop(tmp_path: Path) -> None:
    """Removing a device ends its bindings now, not when they would expire."""
    with RunningGateway(tmp_path) as gateway:
        site = add_site(gateway, "North")
        (device,) = add_devices(gateway, site, 1)
        assert register(gateway.address("sip_udp"), tmp_path, each_calls_the_next([device]), free_udp_port())
        wait_until("registration", lambda: gateway.ask("GET", f"/devices/{device.mac}/status")["registered"], 10.0)
        version = gateway.admin("GET", f"/devices/{device.mac}").headers["etag"]
        host, port = gateway.address("admin")
        secret = (gateway.state / "admin-token").read_text().strip()
        gone = urllib.request.Request(f"http://{host}:{port}/api/v1/devices/{device.mac}", method="DELETE")
        gone.add_header("Authorization", f"Bearer {secret}")
        gone.add_header("If-Match", version)
        with urllib.request.urlopen(gone, timeout=10) as answer:
            assert answer.status == 204
        wait_until("end of its binding", lambda: metric(gateway, "portico_sip_bindings") == 0, 5.0)


def metric(gateway: RunningGateway, name: str) -> float:
    host, port = gateway.address("metrics")
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as page:
        rows = [line for line in page.read().decode().splitlines() if line.startswith(f"{name} ")]
    return float(rows[0].rpartition(" ")[2])
