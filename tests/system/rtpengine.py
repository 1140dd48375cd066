"""An rtpengine of our own: in the foreground, without its kernel module, on a free port and a port range, as a child process."""

import signal
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.system.peers import LOOPBACK, free_udp_port, program, udp_port_is_bound, wait_until

START_DEADLINE = 15.0


def has_ipv6() -> bool:
    """Whether ::1 can be used here."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True


class RunningRtpengine:
    """With `with`: listening inside the block, and gone afterwards. Skips the test where it does not start."""

    def __init__(self, folder: Path, ports: tuple[int, int], port: int = 0, threads: int = 1) -> None:
        self.address = (LOOPBACK, port or free_udp_port())
        self.log_file = folder / "rtpengine.log"
        self._command = [str(program("rtpengine")), "--config-file=none", "--foreground", "--log-stderr", "--log-level=4"]
        self._command += ["--table=-1", f"--listen-ng={LOOPBACK}:{self.address[1]}", f"--interface={LOOPBACK}"]
        self._command += ["--interface=::1"] if has_ipv6() else []
        self._command += [f"--port-min={ports[0]}", f"--port-max={ports[1]}", "--delete-delay=0"]
        self._command += [f"--num-threads={threads}"] if threads else []
        # The others let a stranger take over a call in its first three seconds (docs/decisions/0010).
        self._command += ["--endpoint-learning=immediate"]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "rtpengine is not running"
        return self._process.pid

    def __enter__(self) -> Self:
        with self.log_file.open("ab") as log:
            self._process = process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            wait_until(
                f"rtpengine on port {self.address[1]}",
                lambda: udp_port_is_bound(self.address[1]),
                START_DEADLINE,
                alive=lambda: process.poll() is None,
            )
        except (TimeoutError, ChildProcessError) as error:
            self.kill()
            pytest.skip(f"rtpengine does not start here: {error}. {self.log_file.read_text(errors='replace')[-500:]}")
        return self

    def pause(self) -> None:
        """It says nothing any more, as a machine that hangs."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """SIGKILL. Harmless when it has ended."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()
