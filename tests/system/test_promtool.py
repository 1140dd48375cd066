"""Prometheus's own checker reads what /metrics says, before and after traffic."""

import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.fleet import add_devices, add_site, each_calls_the_next
from tests.system.peers import RunningGateway, free_udp_port, needs, program
from tests.system.sipp_load import register

pytestmark = [needs("promtool", "sipp"), pytest.mark.system]


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[RunningGateway]:
    with RunningGateway(tmp_path) as running:
        yield running


def metrics(gateway: RunningGateway) -> bytes:
    host, port = gateway.address("metrics")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{host}:{port}/metrics", timeout=20) as answer:
        return bytes(answer.read())


def assert_promtool_is_content(text: bytes) -> None:
    done = subprocess.run([str(program("promtool")), "check", "metrics"], input=text, capture_output=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


def test_metrics_pass_promtool(gateway: RunningGateway, tmp_path: Path) -> None:
    before = metrics(gateway)
    assert b"# HELP portico_" in before
    assert_promtool_is_content(before)
    users = each_calls_the_next(add_devices(gateway, add_site(gateway, "Metrics"), 3))
    assert register(gateway.address("sip_udp"), tmp_path, users, free_udp_port()).successful == 3
    after = metrics(gateway)
    assert after != before
    assert_promtool_is_content(after)


def test_promtool_would_notice() -> None:
    with pytest.raises(AssertionError):
        assert_promtool_is_content(b"# TYPE x_total counter\nx_total 1\nx_total 1\n")
