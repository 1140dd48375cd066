"""The demo as its own process beside a running gateway: its steps as they come, and a clean end."""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from types import TracebackType
from typing import Any, Self

from tests.system.peers import ROOT, RunningGateway

STEP_DEADLINE = 60.0
"""Seconds until the demo's next line; its own steps give up long before."""
END_DEADLINE = 15.0


class RunningDemo:
    """`python -m simulators demo --json` against a gateway. `steps` holds its lines by name once `play` has returned."""

    def __init__(self, gateway: RunningGateway, *flags: str) -> None:
        self._command = [sys.executable, "-m", "simulators", "demo", "--json", "--resident-seconds", "0.2", *flags]
        self._command += ["--ready-file", str(gateway.folder / "ready.json")]
        self._process: subprocess.Popen[bytes] | None = None
        self.steps: dict[str, dict[str, Any]] = {}

    def play(self) -> dict[str, dict[str, Any]]:
        """Start it and read its steps up to the result. Raises AssertionError with the step that failed."""
        process = self._process = subprocess.Popen(self._command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert process.stdout is not None
        pipe, held = process.stdout.fileno(), b""
        with selectors.DefaultSelector() as readable:
            readable.register(pipe, selectors.EVENT_READ)
            while "result" not in self.steps:
                assert readable.select(STEP_DEADLINE), f"the demo says nothing any more after {list(self.steps)}"
                data = os.read(pipe, 65536)
                assert data, f"the demo ended with {process.wait(END_DEADLINE)} after {list(self.steps)}"
                *lines, held = (held + data).split(b"\n")
                for line in lines:
                    step = json.loads(line)
                    assert step["ok"], step
                    self.steps[step["step"]] = step
        return self.steps

    def wait(self) -> int:
        """Its exit status (with `--once`)."""
        assert self._process is not None
        return self._process.wait(END_DEADLINE)

    def stop(self) -> int:
        """SIGTERM, and its exit status."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait(END_DEADLINE)

    def __enter__(self) -> Self:
        try:
            self.play()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._process is not None
        try:
            began = time.monotonic()
            status = self.stop()
            if kind is None:
                assert status == 0, f"the demo ended with {status}"
                assert time.monotonic() - began < END_DEADLINE
        finally:
            self._end()

    def _end(self) -> None:
        """Leave nothing behind, however it went."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
