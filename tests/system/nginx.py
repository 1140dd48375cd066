"""nginx serving static files over TLS: the peer that autop's figures stand beside. One process, as Debian ships it otherwise."""

import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.system.peers import LOOPBACK, free_tcp_port, program, wait_until

_CONFIG = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    types {{ text/plain cfg; }}
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {host}:{port} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        root {root};
    }}
}}
"""


class RunningNginx:
    """One nginx in a folder of its own, serving what stands below `root`. Use with `with`."""

    def __init__(self, folder: Path, root: Path, certificate: Path, key: Path) -> None:
        self.address = LOOPBACK, free_tcp_port()
        host, port = self.address
        self._config = folder / "nginx.conf"
        self._config.write_text(_CONFIG.format(folder=folder, host=host, port=port, certificate=certificate, key=key, root=root))
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "nginx is not running"
        return self._process.pid

    def __enter__(self) -> Self:
        command = [program("nginx") or "nginx", "-c", str(self._config), "-p", str(self._folder), "-e", "stderr"]
        self._process = process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        wait_until("nginx", self._listens, 10.0, alive=lambda: process.poll() is None)
        return self

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(self.address) == 0

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10.0)
