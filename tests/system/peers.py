"""Meeting real peers: which programs are here, free ports, and a gateway running as its own process.

A gateway under test is `python -m gateway run` as an operator starts it. It says where it listens through `--ready-file`, its
admin API is the only way in, and it must end a SIGTERM with exit code 0 and a log without an error.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOOPBACK = "127.0.0.1"
START_DEADLINE = 30.0
"""Seconds a gateway has from exec to its ready file; two busy cores included."""
STOP_DEADLINE = 10.0
"""Seconds a gateway has from SIGTERM to its exit."""
POLL = 0.02
"""Seconds between two looks at something another process does (a file, a port): it has no event for us."""


def debian_packages() -> dict[str, str]:
    """Program -> Debian package, from the one list that `make test` installs."""
    lines = (ROOT / "tools" / "debian-packages.txt").read_text().splitlines()
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    return {program: package for package, program, *_ in rows}


def program(name: str) -> str | None:
    """Where a program is, looked for in the system's folders too (a user's PATH leaves out /usr/sbin)."""
    return shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip a test where a program is missing, with the package that brings it. KeyError for one not in the list."""
    packages = debian_packages()
    absent = sorted({packages[name] for name in programs if program(name) is None})
    return pytest.mark.skipif(bool(absent), reason=f"needs Debian's {' and '.join(absent)} (apt-get install {' '.join(absent)})")


def free_port(kind: socket.SocketKind, host: str = LOOPBACK) -> int:
    """A port nobody uses, for a peer that cannot bind port 0 itself. Give SOCK_STREAM or SOCK_DGRAM."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def free_udp_port(host: str = LOOPBACK) -> int:
    return free_port(socket.SOCK_DGRAM, host)


def free_tcp_port(host: str = LOOPBACK) -> int:
    return free_port(socket.SOCK_STREAM, host)


def wait_until(what: str, true: Callable[[], bool], seconds: float, alive: Callable[[], bool] = lambda: True) -> None:
    """Look at another process's work until it is done.

    Raises TimeoutError naming `what` after `seconds`, or ChildProcessError once that process is not `alive`.
    """
    deadline = time.monotonic() + seconds
    while not true():
        if not alive():
            raise ChildProcessError(f"ended before {what}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {what} within {seconds:g} s")
        time.sleep(POLL)


def udp_port_is_bound(port: int) -> bool:
    """Whether a process has bound this IPv4 UDP port."""
    rows = Path("/proc/net/udp").read_text().splitlines()[1:]
    return any(int(row.split()[1].rpartition(":")[2], 16) == port for row in rows)


def descendants(pid: int) -> list[int]:
    """The process and all that it has started and that still live."""
    found = [pid]
    for parent in found:
        with suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def process_cpu_seconds(pid: int) -> float:
    """User and system CPU time of a process, its threads, its living children and the children it has waited for, in seconds.

    Living processes are read through their CPU-time clock (Linux's clock_getcpuclockid: utime + stime in nanoseconds), as
    /proc's ticks of 10 ms are too coarse beside 50 us a request. Raises ProcessLookupError when the process itself is gone.
    """
    total = 0.0
    for one in descendants(pid):
        try:
            total += time.clock_gettime(((~one) << 3) | 2)
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")
        except OSError:
            if one == pid:
                raise ProcessLookupError(pid) from None
    return total


@dataclass(frozen=True, slots=True)
class Answer:
    """An admin API answer: the status, the headers with lower-case names, and the body as JSON (None if it is empty)."""

    status: int
    headers: Mapping[str, str]
    json: Any


LISTENERS = ("sip_udp", "sip_tcp", "sip_tls", "sip_ws", "sip_wss", "autop_https", "channel", "remote_control", "admin", "metrics")
"""The listeners of a node on loopback, by their names in the configuration and the ready file."""


def loopback_config(log_level: str = "info", more: str = "") -> str:
    """A configuration with every listener on a free loopback port. `more` is appended: further TOML sections."""
    ports = "".join(f"{name} = 0\n" for name in LISTENERS)
    return f'[listen]\naddress = "{LOOPBACK}"\n{ports}\n[log]\nlevel = "{log_level}"\n\n{more}'


class RunningGateway:
    """One `portico run` on a state folder of its own.

    With `with`, it is up inside the block, and leaving the block asserts a clean stop (see `stop`). Its output is in
    `folder/gateway.out` and its log in `folder/gateway.log`; a second `start` on the same folder is a restart.
    """

    def __init__(
        self, folder: Path, config: str | None = None, *, python: str = sys.executable, start_deadline: float = START_DEADLINE
    ) -> None:
        """`python` runs it, and it may take so many seconds to come up."""
        self._python = python
        self._start_deadline = start_deadline
        self.folder = folder
        self.state = folder / "state"
        self.log_file = folder / "gateway.log"
        self.output_file = folder / "gateway.out"
        self.ready: dict[str, Any] = {}
        self._config_file = folder / "portico.toml"
        self._ready_file = folder / "ready.json"
        self._process: subprocess.Popen[bytes] | None = None
        self._config_file.write_text(loopback_config() if config is None else config)

    @property
    def pid(self) -> int:
        assert self._process is not None, "the gateway is not running"
        return self._process.pid

    def start(self) -> Self:
        """Start it and wait until every listener is up. Raises AssertionError with its log if it ends or takes too long."""
        self._ready_file.unlink(missing_ok=True)
        command = [self._python, "-m", "gateway", "run", "--state", str(self.state)]
        command += ["--config", str(self._config_file), "--ready-file", str(self._ready_file)]
        with self.output_file.open("ab") as out, self.log_file.open("ab") as log:
            self._process = process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=log, env={**os.environ, "NO_COLOR": "1"}
            )
        try:
            wait_until("ready file", self._is_ready, self._start_deadline, alive=lambda: process.poll() is None)
        except (TimeoutError, ChildProcessError) as error:
            self.kill()
            raise AssertionError(f"gateway: {error} (exit code {process.returncode})\n{self.tail()}") from None
        return self

    def _is_ready(self) -> bool:
        try:
            self.ready = json.loads(self._ready_file.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return False
        return True

    def address(self, listener: str) -> tuple[str, int]:
        """Where a listener is, by its name in the ready file (`LISTENERS`)."""
        host, port = self.ready[listener]
        return str(host), int(port)

    def admin(self, method: str, path: str, json_body: Any = None, *, token: str | None = None, version: str = "") -> Answer:
        """Ask the admin API as its first token; `path` is below /api/v1, `version` an ETag to match. An error status is an
        answer, not an exception."""
        host, port = self.address("admin")
        token = Path(self.ready["admin_token_file"]).read_text().strip() if token is None else token
        request = urllib.request.Request(f"http://{host}:{port}/api/v1{path}", method=method)
        request.add_header("Authorization", f"Bearer {token}")
        if version:
            request.add_header("If-Match", version)
        if json_body is not None:
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(json_body).encode()
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as response:
                return _answer(response.status, response.headers.items(), response.read())
        except urllib.error.HTTPError as error:
            with error:
                return _answer(error.code, error.headers.items(), error.read())

    def ask(self, method: str, path: str, json_body: Any = None) -> Any:
        """Ask the admin API and give the JSON of a 2xx answer; any other status fails the test with what was said."""
        answer = self.admin(method, path, json_body)
        assert 200 <= answer.status < 300, f"{method} {path}: {answer.status} {answer.json}"
        return answer.json

    def change(self, method: str, path: str, json_body: Any) -> Any:
        """Change what is there: `ask` with the version that it has now."""
        now = self.admin("GET", path)
        answer = self.admin(method, path, json_body, version=now.headers["etag"])
        assert 200 <= answer.status < 300, f"{method} {path}: {answer.status} {answer.json}"
        return answer.json

    def metric(self, name: str) -> float:
        """The sum of a metric's samples now."""
        host, port = self.address("metrics")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            f"http://{host}:{port}/metrics", timeout=10
        ) as page:
            text = page.read().decode()
        return sum(float(value) for value in re.findall(rf"(?m)^{re.escape(name)}(?:{{[^}}]*}})? (\S+)$", text))

    def log_lines(self) -> list[dict[str, Any]]:
        """The log so far, one dict per line. A line that is not JSON fails the test."""
        lines = self.log_file.read_text(errors="replace").splitlines()
        bad = [line for line in lines if not line.startswith("{")]
        assert not bad, f"the log holds lines that are not JSON: {bad[:5]}"
        return [json.loads(line) for line in lines]

    def tail(self) -> str:
        """The end of its output and log, for a failure's message."""
        return "\n".join(file.read_text(errors="replace")[-3000:] for file in (self.output_file, self.log_file) if file.exists())

    def stop(self) -> None:
        """SIGTERM, then assert: exit code 0 within 10 s, and nothing of level error or above and no traceback in what it said."""
        process, self._process = self._process, None
        assert process is not None, "the gateway is not running"
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"gateway still ran {STOP_DEADLINE:g} s after SIGTERM\n{self.tail()}") from None
        assert code == 0, f"gateway ended SIGTERM with exit code {code}\n{self.tail()}"
        self.assert_quiet()

    def assert_quiet(self) -> None:
        """Assert that it has logged no error and no traceback."""
        errors = [line for line in self.log_lines() if str(line.get("level", "")).lower() in ("error", "critical")]
        assert not errors, f"gateway logged errors: {errors[:5]}"
        said = self.output_file.read_text(errors="replace") + self.log_file.read_text(errors="replace")
        assert not re.search(r"Traceback \(most recent call last\)", said), f"gateway printed a traceback\n{self.tail()}"

    def kill(self) -> None:
        """SIGKILL: what a power cut does to it. Harmless when it has ended."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.stop()
        else:
            self.kill()


def _answer(status: int, headers: Any, body: bytes) -> Answer:
    return Answer(status, {name.lower(): value for name, value in headers}, json.loads(body) if body else None)
