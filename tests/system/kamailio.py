"""A Kamailio of our own: `bench/kamailio/kamailio.cfg` in the foreground on a free port, as its own process tree."""

import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.system.peers import LOOPBACK, ROOT, free_udp_port, program, udp_port_is_bound, wait_until

CONFIG = ROOT / "bench" / "kamailio" / "kamailio.cfg"
PASSWORD = "bench-secret"
"""Every user's password in that configuration."""
START_DEADLINE = 15.0


class RunningKamailio:
    """With `with`: listening inside the block, and gone afterwards. `options` are further command-line words, as `-x fm`."""

    def __init__(
        self,
        folder: Path,
        options: tuple[str, ...] = (),
        config: Path = CONFIG,
        *,
        binary: str = "",
        start_deadline: float = START_DEADLINE,
    ) -> None:
        """`binary` runs instead of the Kamailio that is installed, and it may take so many seconds to come up."""
        self._start_deadline = start_deadline
        self.address = (LOOPBACK, free_udp_port())
        self.log_file = folder / "kamailio.log"
        self._command = [binary or str(program("kamailio")), "-DD", "-E", "-f", str(config), "-Y", str(folder), *options]
        self._command += ["-l", f"udp:{LOOPBACK}:{self.address[1]}"]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The main process; the UDP worker is its child."""
        assert self._process is not None, "Kamailio is not running"
        return self._process.pid

    def __enter__(self) -> Self:
        with self.log_file.open("wb") as log:
            self._process = process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        wait_until(
            f"Kamailio on port {self.address[1]}",
            lambda: udp_port_is_bound(self.address[1]),
            self._start_deadline,
            alive=lambda: process.poll() is None,
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
