"""A stage with a carrier: the SIP core beside a trunk core, and the carrier's gateways as phones that have no account."""

import re
from hashlib import md5
from typing import Any

from registry.logs import CallResult
from registry.ring_plan import OnReject, RingPlan, Stage, Target, TargetKind
from registry.trunk import SiteLandlines, Trunk, TrunkGateway
from sip.directory import AccountFacts
from sip.events import CallEnded, Dial, GatewayHeard, Refused
from sip.flow import Flow
from sip.limits import SipLimits
from sip.media_rule import MediaRule
from sip.message import Request
from sip.own_address import OwnAddress
from sip.trunk_core import TrunkCore
from sip.trunk_state import TrunkFacts
from tests.sip import phones
from tests.sip.phones import Phone, entropy

NUMBER = "+49301234567"
OTHER = "+49307654321"
FIRST, SECOND = "192.0.2.71", "192.0.2.72"
PASSWORD = b"between us and the carrier"
CHALLENGE = (b"proxy-authenticate", b'Digest realm="carrier", nonce="abc", algorithm=MD5, qop="auth"')
STALE = (b"proxy-authenticate", b'Digest realm="carrier", nonce="def", algorithm=MD5, qop="auth", stale=true')


def trunk(name: str = "t", gateways: tuple[str, ...] = (FIRST, SECOND), **fields: Any) -> TrunkFacts:
    settings = {"allowed_prefixes": ("+49",), "probe": False, "username": "4930100", "caller_id": "+4930100", **fields}
    return TrunkFacts(Trunk(name, "Carrier", tuple(TrunkGateway(one) for one in gateways), **settings), PASSWORD)


class CarrierStage(phones.Stage):
    """Letters: D the door that calls, M a monitor, C and S the gateways of the trunk."""

    def __init__(self, *trunks: TrunkFacts, limits: SipLimits | None = None, media: MediaRule | None = None) -> None:
        self.trunks = TrunkCore(own=OwnAddress(frozenset((b"gw.test",)), {}), entropy=entropy(99))
        self.trunks.advertise("udp", "192.0.2.1", ("192.0.2.1", 5060))
        self.trunks.advertise("tcp", "192.0.2.1", ("192.0.2.1", 5060))
        super().__init__(trunks=self.trunks, limits=limits, media=media)
        self.configure(*trunks)
        self.first = self.add(Phone("C", "carrier", FIRST))
        self.second = self.add(Phone("S", "carrier", SECOND))
        self.door = self.registered("D", "door")
        self.kind("door", "door")

    def configure(self, *trunks: TrunkFacts) -> None:
        self.trunks.configure(trunks, 0.0)
        self.trunks.on_deadline(0.0)
        self._dialled = [one.gateway for one in self.trunks.take() if isinstance(one, Dial)]

    def connected(self, flow: Flow) -> None:
        """The connection that the trunk core has asked for is up."""
        self._dialled += [one.gateway for one in self.trunks.take() if isinstance(one, Dial)]
        self.trunks.connected(self._dialled[-1], flow, self.book.now)
        self.trunks.take()

    def kind(self, user: str, kind: str) -> None:
        known = self.directory.accounts[user]
        self.directory.accounts[user] = AccountFacts(user, known.site, known.password, kind=kind)

    def plan(self, *stages: tuple[str, ...], number: str = "101", seconds: int = 20, end: bool = False) -> None:
        """A ring plan; what begins with a digit or "+" is a landline."""
        made = tuple(Stage(tuple(_target(name) for name in stage), seconds) for stage in stages)
        on_reject = OnReject.END if end else OnReject.NEXT_STAGE
        self.directory.plans["north", number] = RingPlan("north", number, made, "user", on_reject)

    def limits(self, *prefixes: str, most: int = 2) -> None:
        self.directory.limits["north"] = SiteLandlines("north", prefixes, most)

    def dial(self, number: str = "101", phone: Phone | None = None, **how: Any) -> bytes:
        """The caller's INVITE, sent; its first answer is still to be seen."""
        caller = phone or self.door
        data = self.invite(caller, number, **how)
        self.book.receive(data, caller.flow)
        return data

    def says(self, phone: Phone, status: int, *headers: tuple[bytes, bytes], request: Request | None = None, **how: Any) -> None:
        """A gateway (or a device) answers the last INVITE that it has got."""
        data = phone.reply(request or self.sent(phone, b"INVITE"), status, headers=headers, **how)
        self.book.receive(data, phone.flow)

    def held(self, name: str = "t") -> tuple[int, int]:
        """Legs that the site and the trunk hold."""
        return self.trunks.calls.of_site("north"), self.trunks.calls.of_trunk(name)

    def ended(self) -> CallEnded:
        """The only call that has ended."""
        (one,) = self.said(CallEnded)
        assert isinstance(one, CallEnded)
        return one

    def result(self) -> tuple[CallResult | None, int, tuple[str, ...], str]:
        facts = self.ended().facts
        return facts.result, facts.status, facts.rang, facts.answered_by

    def trace(self) -> list[str]:
        return [f"{one.event} {one.account} {one.reason}".strip() for one in self.ended().facts.trace]

    def refused(self) -> list[tuple[str, int]]:
        """What was counted of landlines."""
        return [(one.reason, one.status) for one in self.said(Refused) if one.reason.startswith("landline")]

    def heard(self) -> list[bool]:
        return [one.alive for one in self.said(GatewayHeard)]


def _target(name: str) -> Target:
    return Target(TargetKind.LANDLINE if name[0] in "+0123456789" else TargetKind.ACCOUNT, name)


def proves(request: Request, header: bytes = b"proxy-authorization") -> bool:
    """Whether the request proves the trunk's password (MD5, qop=auth)."""
    value = (request.get(header) or b"").decode()
    found = dict(re.findall(r'(\w+)="?([^",]+)"?', value))
    if not found:
        return False

    def hashed(text: str) -> str:
        return md5(text.encode(), usedforsecurity=False).hexdigest()

    secret = hashed(f"{found['username']}:{found['realm']}:{PASSWORD.decode()}")
    about = hashed(f"{request.method.decode()}:{found['uri']}")
    expected = hashed(f"{secret}:{found['nonce']}:{found['nc']}:{found['cnonce']}:auth:{about}")
    return bool(found["response"] == expected and found["username"] == "4930100")


def sent_by(phone: Phone) -> Request:
    """An INVITE as the caller counts it: its own CSeq and tag, taken from the answer it has."""
    answered = phone.inbox[-1]
    made = Request(b"INVITE", b"sip:101@gw.test", [], [])
    for name in (b"from", b"call-id", b"cseq"):
        made.append(name, answered.get(name) or b"")
    return made
