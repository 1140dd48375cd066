"""SIPp as load and as judge: the scenarios in `sipp/`, run with a list of users, and what SIPp counted.

Registration and answering share one local port: a gateway that serves devices behind NATs sends a call to where the REGISTER came
from, so `register` runs first on the port that the answering SIPp binds afterwards.
"""

import csv
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.system.peers import LOOPBACK, free_udp_port, program, udp_port_is_bound, wait_until

SCENARIOS = Path(__file__).parent / "sipp"
BIND_DEADLINE = 10.0
"""Seconds SIPp has to bind its port."""


@dataclass(frozen=True, slots=True, repr=False)
class SipUser:
    """A caller or callee: digest user name and password, and whom it calls."""

    username: str
    password: str
    target: str


@dataclass(frozen=True, slots=True)
class SippResult:
    """What one SIPp run counted. `said` is its error log, for the message of a failed assertion."""

    exit_code: int
    successful: int
    failed: int
    retransmissions: int
    unexpected: int
    said: str


def joined(folder: Path, *parts: str) -> Path:
    """A scenario made of files in `sipp/parts/`, one after the other."""
    name = "-".join(parts)
    steps = "\n".join((SCENARIOS / "parts" / f"{part}.xml").read_text() for part in parts)
    file = folder / f"{name}.xml"
    file.write_text(f'<?xml version="1.0" encoding="UTF-8"?>\n<scenario name="{name}">\n{steps}\n</scenario>\n')
    return file


class Sipp:
    """One SIPp process. With `with`: it is up (its port bound) inside, and gone afterwards."""

    def __init__(
        self,
        scenario: str | Path,
        folder: Path,
        *,
        calls: int,
        remote: tuple[str, int] | None = None,
        local_port: int | None = None,
        users: Sequence[SipUser] = (),
        rate: int = 100,
        options: Sequence[str] = (),
    ) -> None:
        """`scenario` names a file in `sipp/`, or is one (`joined`). With `remote` it makes `calls` calls, `rate` a second; else
        it waits for them. `options` are further words for SIPp, as `-t t1`."""
        self.local_port = free_udp_port() if local_port is None else local_port
        # The kernel may name the same port twice: nothing holds it between the asking and the binding.
        control_port = next(port for port in iter(free_udp_port, 0) if port != self.local_port)
        file = scenario if isinstance(scenario, Path) else SCENARIOS / f"{scenario}.xml"
        self._name = f"{file.stem}-{self.local_port}"
        self._folder = folder
        self._cleanup = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._command = [str(program("sipp"))]
        if remote is not None:
            self._command += [f"{remote[0]}:{remote[1]}", "-r", str(rate)]
        if users:
            self._command += ["-inf", str(self._write(users))]
        self._command += ["-sf", str(file), "-i", LOOPBACK, "-p", str(self.local_port)]
        self._command += ["-ci", LOOPBACK, "-cp", str(control_port), "-m", str(calls), "-nostdin", "-buff_size", "1048576"]
        self._command += ["-trace_err", "-error_file", str(self._file("errors")), "-fd", "1"]
        self._command += ["-trace_stat", "-stf", str(self._file("stat")), *options]

    def _file(self, kind: str) -> Path:
        return self._folder / f"{self._name}.{kind}"

    def _write(self, users: Sequence[SipUser]) -> Path:
        # Quoted: SIPp takes a bare value that begins with 0x as hexadecimal.
        rows = [f'{u.username};[authentication username="{u.username}" password="{u.password}"];{u.target}' for u in users]
        file = self._file("users")
        file.write_text("\n".join(["SEQUENTIAL", *rows, ""]))
        return file

    def start(self) -> Self:
        """Start it and wait until it has bound its port."""
        for kind in ("errors", "stat"):
            self._file(kind).unlink(missing_ok=True)
        screen: IO[bytes] = self._cleanup.enter_context(self._file("screen").open("wb"))
        self._process = process = subprocess.Popen(
            self._command, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=screen, stderr=subprocess.STDOUT
        )
        # A SIPp that has already ended may have done all its calls: its result says so.
        try:
            wait_until(
                f"SIPp on port {self.local_port}",
                lambda: process.poll() is not None or self._bound(),
                BIND_DEADLINE,
            )
        except TimeoutError:
            self.kill()
            raise
        return self

    def _bound(self) -> bool:
        # Over TCP SIPp connects when it makes its first call: only its process can be waited for.
        return "t1" in self._command or udp_port_is_bound(self.local_port)

    def result(self, deadline: float) -> SippResult:
        """Wait until it has done its calls. After `deadline` seconds it is stopped, and its exit code is not 0."""
        assert self._process is not None, "SIPp was not started"
        try:
            self._process.wait(deadline)
        except subprocess.TimeoutExpired:
            self.kill()
        return self._result(self._process.returncode)

    def _result(self, code: int) -> SippResult:
        errors = self._file("errors")
        said = errors.read_text(errors="replace")[-4000:] if errors.exists() else ""
        try:
            with self._file("stat").open(newline="") as file:
                last = list(csv.DictReader(file, delimiter=";"))[-1]
        except (FileNotFoundError, IndexError):
            return SippResult(code, 0, 0, 0, 0, said + self._file("screen").read_text(errors="replace")[-2000:])
        return SippResult(
            exit_code=code,
            successful=int(last["SuccessfulCall(C)"]),
            failed=int(last["FailedCall(C)"]),
            retransmissions=int(last["Retransmissions(C)"]),
            unexpected=int(last["OutOfCallMsgs(C)"]) + int(last["DeadCallMsgs(C)"]),
            said=said,
        )

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._cleanup.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()


def register(
    remote: tuple[str, int], folder: Path, users: Sequence[SipUser], port: int, *, times: int | None = None, rate: int = 100
) -> SippResult:
    """Register every user once from `port` (or `times` registrations in all, going round)."""
    times = len(users) if times is None else times
    with Sipp("register", folder, calls=times, remote=remote, local_port=port, users=users, rate=rate) as sipp:
        return sipp.result(30 + 2 * times / rate)


def call(
    remote: tuple[str, int], folder: Path, users: Sequence[SipUser], answer_port: int, *, calls: int, rate: int = 50
) -> tuple[SippResult, SippResult]:
    """Make calls to users that `register` has registered from `answer_port`; gives what the callers and the callees counted."""
    deadline = 30 + 2 * calls / rate
    with (
        Sipp("uas", folder, calls=calls, local_port=answer_port) as callees,
        Sipp("uac_call", folder, calls=calls, remote=remote, users=users, rate=rate) as callers,
    ):
        made = callers.result(deadline)
        return made, callees.result(10 if made.exit_code == 0 else 0)
