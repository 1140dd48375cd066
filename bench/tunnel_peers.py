"""What the tunnel's benchmarks run: nginx behind, `ssh -R -tt` through an sshd of its own as the peer, and Portico's two ends."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.system.peers import LOOPBACK, ROOT, free_tcp_port, process_cpu_seconds, program, wait_until

NEEDED = {"nginx": "nginx-light", "wrk": "wrk", "sshd": "openssh-server", "ssh": "openssh-client", "curl": "curl"}
SMALL, MEDIUM, BIG = 1_024, 100_000, 200_000_000
START = 20.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One way to the web server: its name, the port a client dials, and the processes that carry the bytes."""

    name: str
    port: int
    pids: Sequence[int] = ()

    def cpu(self) -> float:
        """CPU seconds of both ends so far."""
        return sum(process_cpu_seconds(pid) for pid in self.pids)


def check_programs() -> None:
    """Raises SystemExit naming the packages that are absent."""
    absent = [package for name, package in NEEDED.items() if program(name) is None]
    if absent:
        raise SystemExit(f"this benchmark needs {' '.join(absent)}: type 'sudo apt-get install {' '.join(absent)}'")


def spawn(stack: ExitStack, *command: str, log: Path) -> subprocess.Popen[bytes]:
    """A process that ends with the stack; its output goes to `log`."""
    with log.open("ab") as out:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={**os.environ})
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return process


def listening(port: int) -> bool:
    """Whether an IPv4 TCP port is being listened at."""
    rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(int(row.split()[1].rpartition(":")[2], 16) == port and row.split()[3] == "0A" for row in rows)


def nginx(stack: ExitStack, folder: Path) -> Entry:
    """The web server behind every tunnel: three files, one worker."""
    root = folder / "www"
    root.mkdir()
    for name, size in (("small.html", SMALL), ("page100k.bin", MEDIUM), ("big.bin", BIG)):
        (root / name).write_bytes(os.urandom(1_000) * (size // 1_000) + bytes(size % 1_000))
    port = free_tcp_port()
    user = "user root;\n" if os.geteuid() == 0 else ""
    conf = folder / "nginx.conf"
    conf.write_text(
        f"{user}daemon off;\nworker_processes 1;\npid {folder}/nginx.pid;\nerror_log {folder}/nginx.err;\n"
        "events { worker_connections 10240; }\nhttp {\naccess_log off; sendfile on; keepalive_requests 10000000;\n"
        f"client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;\n"
        f"uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n"
        f"server {{ listen {LOOPBACK}:{port} backlog=4096; root {root}; }}\n}}\n"
    )
    process = spawn(stack, str(program("nginx")), "-c", str(conf), "-p", str(folder), log=folder / "nginx.log")
    wait_until("nginx", lambda: listening(port), START, alive=lambda: process.poll() is None)
    return Entry("direct", port)


def ssh(stack: ExitStack, folder: Path, target: int, *, relay: tuple[float, float] | None = None) -> Entry:
    """`ssh -R -tt` (a terminal switches TCP_NODELAY on) to an sshd made for this run, perhaps over a slow link."""
    keys = [folder / "host_key", folder / "user_key"]
    for key in keys:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    own, entry = free_tcp_port(), free_tcp_port()
    conf = folder / "sshd_config"
    conf.write_text(
        f"Port {own}\nListenAddress {LOOPBACK}\nHostKey {keys[0]}\nAuthorizedKeysFile {keys[1]}.pub\nStrictModes no\n"
        f"PasswordAuthentication no\nUsePAM no\nAllowTcpForwarding yes\nPermitRootLogin yes\nPidFile {folder}/sshd.pid\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    server = spawn(stack, str(program("sshd")), "-D", "-f", str(conf), log=folder / "sshd.log")
    wait_until("sshd", lambda: listening(own), START, alive=lambda: server.poll() is None)
    port = own if relay is None else slow_link(stack, folder, own, *relay)
    options = [f"-o{word}" for word in ("ExitOnForwardFailure=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null")]
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    command = ["ssh", "-tt", "-F", "none", *options, "-i", str(keys[1]), "-p", str(port)]
    forward = ["-R", f"{LOOPBACK}:{entry}:{LOOPBACK}:{target}", f"{user}@{LOOPBACK}", "sleep 36000"]
    client = spawn(stack, *command, *forward, log=folder / "ssh.log")
    wait_until("ssh -R", lambda: listening(entry), START, alive=lambda: client.poll() is None)
    return Entry("ssh -R -tt", entry, (server.pid, client.pid))


def portico(stack: ExitStack, folder: Path, target: int, *, relay: tuple[float, float] | None = None) -> Entry:
    """A gateway's channel listener and an agent, a process each, with a plain TCP entry."""
    ends = gateway_end(stack, folder)
    port = ends["channel"] if relay is None else slow_link(stack, folder, ends["channel"], *relay)
    device = end(stack, folder, "agent", port, target)
    wait_until("channel", lambda: said(folder, "gateway").get("online", 0) == 1, START, alive=lambda: device.poll() is None)
    return Entry("portico", ends["entry"], (ends["pid"], device.pid))


def gateway_end(stack: ExitStack, folder: Path) -> dict[str, int]:
    """The gateway's ports (`channel`, `entry`) and its `pid`."""
    process = end(stack, folder, "gateway")
    return {**said(folder, "gateway"), "pid": process.pid}


def slow_link(stack: ExitStack, folder: Path, port: int, rate: float, delay: float) -> int:
    """The port of a relay to `port` that carries `rate` bytes a second with `delay` seconds each way."""
    end(stack, folder, "relay", port, float(rate), float(delay))
    return said(folder, "relay")["port"]


def end(stack: ExitStack, folder: Path, role: str, *numbers: float) -> subprocess.Popen[bytes]:
    """Start one of `bench/tunnel_ends.py` and wait until it is up."""
    command = [sys.executable, "-m", "bench.tunnel_ends", role, str(folder), *(str(number) for number in numbers)]
    process = spawn(stack, *command, log=folder / f"{role}.log")
    wait_until(role, lambda: bool((folder / f"{role}.json").exists()), 600, alive=lambda: process.poll() is None)
    return process


def said(folder: Path, role: str) -> dict[str, int]:
    """What the end wrote of itself."""
    found: dict[str, int] = json.loads((folder / f"{role}.json").read_text())
    return found
