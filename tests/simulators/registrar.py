"""A registrar for one account, written from RFC 3261 10.3 and RFC 7616 only: no line of it comes from `sip.digest`.

It challenges, checks the digest with hashlib, and answers what the test tells it to.
"""

import hashlib
import re

from sip.message import Request
from sip.parser import parse
from sip.responses import make_response
from tests.simulators.wire import Address, Wire


class ScriptedRegistrar:
    """Grants `granted` seconds, or refuses with `refuse` if set. `expire_nonce` makes the next proof stale."""

    def __init__(self, wire: Wire, at: Address, *, password: str = "secret", algorithm: str = "MD5") -> None:
        self.wire, self.at, self.password, self.algorithm = wire, at, password, algorithm
        self.granted = 60
        self.refuse: tuple[int, str] | None = None
        self.mute = False
        self.serial = 1
        self.stale = False
        self.seen: list[Request] = []
        wire.nodes[at] = self

    def expire_nonce(self) -> None:
        self.serial += 1
        self.stale = True

    def receive(self, data: bytes, source: Address, now: float) -> None:
        if self.mute or not data.strip():
            return
        request = parse(data)
        assert isinstance(request, Request)
        assert request.method == b"REGISTER"
        self.seen.append(request)
        self.wire.send(self.at, source, self._answer(request))

    def next_deadline(self) -> float | None:
        return None

    def on_deadline(self, now: float) -> None:
        raise AssertionError("no deadline was set")

    def _answer(self, request: Request) -> bytes:
        if self.refuse is not None:
            return make_response(
                request, self.refuse[0], to_tag=b"r", extra=[(b"retry-after", self.refuse[1].encode())]
            ).to_bytes()
        if not self._proven(request):
            challenge = f'Digest realm="portico", nonce="n{self.serial}", qop="auth", algorithm={self.algorithm}'
            if self.stale:
                challenge += ", stale=true"
            return make_response(request, 401, to_tag=b"r", extra=[(b"www-authenticate", challenge.encode())]).to_bytes()
        self.stale = False
        expires = min(self.granted, int(request.get(b"expires") or b"0"))
        contact = (request.get(b"contact") or b"") + b";expires=%d" % expires
        extra = [(b"contact", contact)] if expires else []
        return make_response(request, 200, to_tag=b"r", extra=extra).to_bytes()

    def _proven(self, request: Request) -> bool:
        header = request.get(b"authorization")
        if header is None:
            return False
        fields = {name: quoted or plain for name, quoted, plain in re.findall(r'(\w+)=(?:"([^"]*)"|([^,\s]+))', header.decode())}
        if fields["nonce"] != f"n{self.serial}":
            return False
        algorithm = {"MD5": "md5", "SHA-256": "sha256"}[self.algorithm]

        def h(*parts: str) -> str:
            return hashlib.new(algorithm, ":".join(parts).encode()).hexdigest()

        secret = h(fields["username"], "portico", self.password)
        hashed = h("REGISTER", fields["uri"])
        return bool(fields["response"] == h(secret, fields["nonce"], fields["nc"], fields["cnonce"], fields["qop"], hashed))
