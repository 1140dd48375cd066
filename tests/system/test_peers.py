"""The tools the system tests stand on: skipping by name, free ports, waiting, CPU time of another process."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.system import peers

pytestmark = pytest.mark.system


def test_needs_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "program", lambda name: None)
    mark = peers.needs("sipp", "promtool").mark
    assert mark.args == (True,)
    assert mark.kwargs["reason"] == "needs Debian's prometheus and sip-tester (apt-get install prometheus sip-tester)"


def test_needs_skips_nothing_that_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "program", lambda name: "/usr/bin/" + name)
    assert peers.needs("sipp").mark.args == (False,)


def test_needs_knows_only_what_make_test_installs() -> None:
    with pytest.raises(KeyError):
        peers.needs("no-such-program")


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_free_port_can_be_bound(kind: socket.SocketKind) -> None:
    port = peers.free_port(kind)
    with socket.socket(socket.AF_INET, kind) as one:
        one.bind((peers.LOOPBACK, port))


def test_a_bound_udp_port_is_seen() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind((peers.LOOPBACK, 0))
        port = one.getsockname()[1]
        assert peers.udp_port_is_bound(port)
    assert not peers.udp_port_is_bound(port)


def test_waiting_ends_with_the_other_process(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError, match=r"no miracle within 0\.1 s"):
        peers.wait_until("miracle", lambda: False, 0.1)
    with pytest.raises(ChildProcessError, match="ended before miracle"):
        peers.wait_until("miracle", lambda: False, 60, alive=lambda: False)


def test_cpu_time_of_a_process_and_its_children() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass\n"
    parent = (
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}])\n{burn}"
        "print('done', flush=True)\nsys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        # 0.3 s each in the parent and in a child it has waited for, which is known to a tick of 10 ms only.
        assert 0.58 <= peers.process_cpu_seconds(process.pid) < 2
        process.communicate()
    with pytest.raises(ProcessLookupError):
        peers.process_cpu_seconds(process.pid)


def test_cpu_time_agrees_with_our_own_clock() -> None:
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass
    own = peers.process_cpu_seconds(os.getpid()) - sum(os.times()[2:4])
    assert own == pytest.approx(time.process_time(), abs=0.05)
