"""Where sessions are: each at an origin of its own, by a host name under a wildcard domain, or by a port where there is none."""

import re
from collections.abc import Sequence

from registry.records import RemoteSession
from tunnel.session import is_session_id

_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)


class SessionOrigins:
    """`domain`: sessions are https://<id>.<domain>:<public port>/. `ports`: if any, https://<host>:<one of them>/ instead.

    `public_port` is the one in links, if a proxy or a port mapping makes it another than the bound one.
    """

    def __init__(self, *, domain: str, host: str, ports: Sequence[int] = (), public_port: int | None = None) -> None:
        self._domain = domain.lower()
        self._host = host.lower()
        self.ports = tuple(ports)
        self._public_port = public_port

    def listening(self, port: int) -> None:
        """Connections are accepted at this port."""
        if self._public_port is None:
            self._public_port = port

    @property
    def address(self) -> tuple[str, int]:
        """What a port forward dials. Only after `listening`, or with `public_port`."""
        if self._public_port is None:
            raise RuntimeError("the listener has no port yet")
        return self._host, self._public_port

    def of(self, session: RemoteSession) -> str:
        """The session's origin, for example https://<id>.remote.localhost:9443."""
        if session.port:
            return f"https://{_bracketed(self._host)}:{session.port}"
        port = self.address[1]
        return f"https://{session.id}.{self._domain}" + ("" if port == 443 else f":{port}")

    def label(self, host: bytes) -> str | None:
        """The session that a Host header names, None if it names none."""
        if not host.isascii():
            return None
        name, colon, port = host.decode("ascii").lower().partition(":")
        label, dot, domain = name.partition(".")
        if not dot or domain != self._domain or (colon and not _PORT.fullmatch(port)) or not is_session_id(label):
            return None
        return label

    def by_port(self, host: bytes, port: int) -> bool:
        """Whether a request with this Host, at this port of ours, is for the session that has the port."""
        wanted = f"{_bracketed(self._host)}:{port}".removesuffix(":443")
        return port in self.ports and host.lower().removesuffix(b":443") == wanted.encode("ascii")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
