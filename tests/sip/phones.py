"""Peers for tests of the SIP core: what a phone says, as bytes, and a stage with a gateway core and some phones around it."""

from itertools import count
from typing import Any

from registry.ring_plan import RingPlan
from registry.trunk import SiteLandlines
from sip.core import SipCore
from sip.digest import answer
from sip.directory import UNKNOWN, Absent, AccountFacts, DoorFacts, PushDirectory
from sip.events import Fetch, Flow, Send
from sip.limits import SipLimits
from sip.media_rule import MediaRule
from sip.message import Message, Request, Response
from sip.parser import parse
from sip.responses import make_response
from sip.timers import Timers
from sip.trunk_core import TrunkCore
from tests.playbook import Playbook

GATEWAY = ("192.0.2.1", 5060)
_SERIAL = count(1)


def entropy(seed: int = 0) -> Any:
    """A source of octets that repeats exactly."""
    state = count(seed)

    def draw(length: int) -> bytes:
        out = b""
        while len(out) < length:
            out += (next(state) * 2654435761 % 2**32).to_bytes(4, "big")
        return out[:length]

    return draw


class Accounts:
    """A Directory over dicts; names in `unknown` are not in memory until `learn`."""

    def __init__(self) -> None:
        self.accounts: dict[str, AccountFacts] = {}
        self.plans: dict[tuple[str, str], RingPlan] = {}
        self.doors: dict[str, DoorFacts] = {}
        self.limits: dict[str, SiteLandlines] = {}
        self.unknown: set[str] = set()

    def account(self, username: str) -> AccountFacts | Absent | None:
        return UNKNOWN if username in self.unknown else self.accounts.get(username)

    def ring_plan(self, site: str, number: str) -> RingPlan | Absent | None:
        return UNKNOWN if f"{site}/{number}" in self.unknown else self.plans.get((site, number))

    def door(self, username: str) -> DoorFacts | Absent | None:
        return UNKNOWN if f"door {username}" in self.unknown else self.doors.get(username)

    def landlines(self, site: str) -> SiteLandlines | Absent | None:
        return UNKNOWN if f"landlines of {site}" in self.unknown else self.limits.get(site)


class Phone:
    """One user agent on one address. It builds messages; the stage carries them."""

    def __init__(self, letter: str, user: str, host: str, port: int = 5060, password: bytes = b"", via_port: int = 0) -> None:
        self.letter = letter
        self.user = user
        self.flow = Flow("udp", "5060", host, port)
        self.password = password or b"secret-" + user.encode()
        shown = f"[{host}]".encode() if ":" in host else host.encode()
        self.contact = b"sip:%b@%b:%d" % (user.encode(), shown, port)
        self.sent_by = b"%b:%d" % (shown, via_port or port)
        self.inbox: list[Request | Response] = []
        self.cseq = 0
        self.nc = 0

    def request(
        self,
        method: bytes,
        uri: bytes,
        *,
        to: bytes = b"",
        tag: bytes = b"",
        call_id: bytes = b"",
        cseq: int = 0,
        branch: bytes = b"",
        headers: tuple[bytes, ...] = (),
        rport: bool = True,
        body: bytes = b"",
        max_forwards: int | None = 70,
        sender: bytes = b"",
    ) -> bytes:
        """A request, headers in the common order; `headers` are whole lines put behind the usual ones."""
        serial = next(_SERIAL)
        if not cseq:
            self.cseq += 1
        lines = [
            b"%b %b SIP/2.0" % (method, uri),
            b"Via: SIP/2.0/UDP %b;branch=%b%b" % (self.sent_by, branch or b"z9hG4bKt%d" % serial, b";rport" if rport else b""),
        ]
        if max_forwards is not None:
            lines.append(b"Max-Forwards: %d" % max_forwards)
        lines += [
            b"From: <sip:%b@gw.test>;tag=%b" % (sender or self.user.encode(), tag or b"t%d" % serial),
            b"To: " + (to or b"<" + uri + b">"),
            b"Call-ID: " + (call_id or b"call-%d" % serial),
            b"CSeq: %d %b" % (cseq or self.cseq, method),
            *headers,
            b"Content-Length: %d" % len(body),
        ]
        return b"\r\n".join(lines) + b"\r\n\r\n" + body

    def register(self, *headers: bytes, contact: bytes = b"", expires: int = 3600, call_id: bytes = b"", cseq: int = 0) -> bytes:
        """A REGISTER without credentials."""
        lines = (b"Contact: " + (contact or b"<" + self.contact + b">"), b"Expires: %d" % expires, *headers)
        uri = b"<sip:%b@gw.test>" % self.user.encode()
        return self.request(
            b"REGISTER", b"sip:gw.test", to=uri, headers=lines, call_id=call_id or b"reg-" + self.user.encode(), cseq=cseq
        )

    def with_credentials(
        self, data: bytes, challenge: Response, *, nc: int = 1, username: bytes = b"", fresh: bool = True
    ) -> bytes:
        """The same request again, answering the challenge: new branch, next CSeq."""
        request = parse(data)
        assert isinstance(request, Request)
        name = b"www-authenticate" if challenge.status == 401 else b"proxy-authenticate"
        value = answer(
            challenge.all(name),
            username=username or self.user.encode(),
            password=self.password,
            method=request.method,
            uri=request.uri,
            entropy=entropy(7),
            nc=nc,
        )
        request.append(b"authorization" if challenge.status == 401 else b"proxy-authorization", value)
        if fresh:
            self.cseq = request.cseq[0] + 1
            request.replace(b"cseq", b"%d %b" % (self.cseq, request.method))
            via = request.top_via
            request.set_top(b"via", via.raw.replace(via.branch, b"z9hG4bKt%d" % next(_SERIAL)))
        return request.to_bytes()

    def reply(
        self,
        request: Request,
        status: int,
        *,
        tag: bytes = b"",
        headers: tuple[tuple[bytes, bytes], ...] = (),
        body: bytes = b"",
    ) -> bytes:
        """A response to a request that came; dialog-making ones carry Contact and the Record-Routes."""
        extra = [(b"record-route", value) for value in request.all(b"record-route")] if 100 < status < 300 else []
        extra.append((b"contact", b"<" + self.contact + b">"))
        extra += headers
        to_tag = b"" if status == 100 else tag or b"tag-" + self.letter.encode()
        response = make_response(request, status, to_tag=to_tag, extra=extra)
        response.body = body
        return response.to_bytes()

    def in_dialog(
        self,
        method: bytes,
        answered: Response,
        invite: Request,
        *,
        cseq: int = 0,
        headers: tuple[bytes, ...] = (),
        body: bytes = b"",
    ) -> bytes:
        """A request of the caller inside the dialog that `answered` (a 2xx or 1xx to `invite`) made."""
        contact = answered.get(b"contact") or b""
        routes = [b"Route: " + value for value in reversed(answered.all(b"record-route"))]
        return self.request(
            method,
            contact.strip(b"<>"),
            to=answered.get(b"to") or b"",
            tag=invite.from_tag,
            call_id=invite.call_id,
            cseq=cseq or (invite.cseq[0] if method == b"ACK" else invite.cseq[0] + 1),
            headers=(*routes, *headers),
            body=body,
        )

    def in_dialog_as_callee(
        self, method: bytes, invite: Request, *, tag: bytes = b"", headers: tuple[bytes, ...] = (), body: bytes = b""
    ) -> bytes:
        """A request of the callee inside the dialog that its 2xx to `invite` (as it received it) made."""
        routes = [b"Route: " + value for value in invite.all(b"record-route")]
        contact = (invite.get(b"contact") or b"").strip(b"<>")
        data = self.request(
            method,
            contact,
            to=invite.get(b"from") or b"",
            tag=tag or b"tag-" + self.letter.encode(),
            call_id=invite.call_id,
            headers=(*routes, *headers),
            body=body,
        )
        return data.replace(b"From: <sip:%b@gw.test>" % self.user.encode(), b"From: <sip:%b@gw.test>" % self.user.encode())


class Stage:
    """A gateway core, the accounts of two sites, and the phones; traces name phones by letter."""

    def __init__(
        self,
        *,
        limits: SipLimits | None = None,
        timers: Timers | None = None,
        push: PushDirectory | None = None,
        trunks: TrunkCore | None = None,
        media: MediaRule | None = None,
    ) -> None:
        self.directory = Accounts()
        self.core = SipCore(
            directory=self.directory,
            entropy=entropy(),
            secret=b"a secret of the test's own, long enough",
            realm="portico",
            domains=frozenset((b"gw.test", b"192.0.2.1")),
            advertised={"udp": GATEWAY},
            limits=limits,
            timers=timers,
            push=push,
            doors=self.directory,
            trunks=trunks,
            media=media,
        )
        self.phones: dict[str, Phone] = {}
        self.book = Playbook(self.core, self._name)

    def phone(
        self, letter: str, user: str, *, site: str = "north", host: str = "", port: int = 5060, account: bool = True
    ) -> Phone:
        """A phone with an account in a site."""
        phone = Phone(letter, user, host or f"198.51.100.{len(self.phones) + 10}", port)
        if account:
            self.directory.accounts[user] = AccountFacts(user, site, phone.password)
        return self.add(phone)

    def add(self, phone: Phone) -> Phone:
        self.phones[phone.flow.name] = phone
        return phone

    def registered(self, letter: str, user: str, *headers: bytes, **where: Any) -> Phone:
        """A phone that has registered."""
        phone = self.phone(letter, user, **where)
        self.register(phone, *headers)
        return phone

    def register(self, phone: Phone, *headers: bytes, **how: Any) -> Response:
        """Register with the challenge in between; the final response."""
        data = phone.register(*headers, **how)
        self.book.receive(data, phone.flow).sees(f"{phone.letter} 401 REGISTER")
        self.book.receive(phone.with_credentials(data, self.last(phone)), phone.flow)
        final: Response = self.last(phone)
        self.book.sees(f"{phone.letter} {final.status} REGISTER")
        return final

    def last(self, phone: Phone) -> Any:
        """The last message that reached this phone."""
        return phone.inbox[-1]

    def sent(self, phone: Phone, method: bytes) -> Request:
        """The last request of this method that reached this phone."""
        return next(one for one in reversed(phone.inbox) if isinstance(one, Request) and one.method == method)

    def challenged(self, phone: Phone, data: bytes) -> bytes:
        """The request with credentials, after its 407."""
        method = data.split(b" ", 1)[0].decode()
        self.book.receive(data, phone.flow).sees(f"{phone.letter} 407 {method}")
        return phone.with_credentials(data, self.last(phone))

    def invite(self, phone: Phone, dialled: str, **how: Any) -> bytes:
        """An INVITE that has passed its challenge, ready to be received."""
        headers = (b"Contact: <" + phone.contact + b">", *how.pop("headers", ()))
        return self.challenged(phone, phone.request(b"INVITE", b"sip:%b@gw.test" % dialled.encode(), headers=headers, **how))

    def said(self, kind: type) -> list[Any]:
        """All outputs of a kind so far."""
        return [one for one in self.book.outputs if isinstance(one, kind)]

    def _name(self, output: Any) -> str | None:
        if isinstance(output, Fetch):
            return f"Fetch {output.question}"
        if not isinstance(output, Send):
            return None
        phone = self.phones.get(output.flow.name)
        letter = phone.letter if phone is not None else output.flow.name
        message: Message = parse(output.data)
        if phone is not None:
            phone.inbox.append(message)  # type: ignore[arg-type]
        if isinstance(message, Request):
            return f"{letter} {message.method.decode()}"
        assert isinstance(message, Response)
        return f"{letter} {message.status} {message.cseq[1].decode()}"
