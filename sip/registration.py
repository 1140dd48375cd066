"""What an authenticated REGISTER does: the registrar's answer, the location service, and the push parameters of an app
(RFC 3261 10.3 from step 2, RFC 8599 section 5)."""

from collections.abc import Callable

from sip.directory import AccountFacts, PushDirectory, PushParameters
from sip.errors import MalformedMessage
from sip.events import Output, PushChanged, Refused
from sip.flow import Flow
from sip.gruu import TempGruus
from sip.limits import SipLimits
from sip.location import Location
from sip.message import Request, Response
from sip.push import REFRESH_BEFORE, Asked, PushChange, applied, asked
from sip.registrar import Outcome, register
from sip.replies import Headers
from sip.responses import make_response

EXTENSIONS = frozenset((b"path", b"outbound", b"gruu"))
"""Option tags a REGISTER may require of us (RFC 3327, RFC 5626, RFC 5627)."""


class Registration:
    """Carries out REGISTERs on one location service. `push` None: no app is ever woken, and its parameters are ignored."""

    __slots__ = ("_emit", "_limits", "_location", "_push", "_temporary")

    def __init__(
        self,
        location: Location,
        limits: SipLimits,
        temporary: TempGruus,
        push: PushDirectory | None,
        emit: Callable[[Output], None],
    ) -> None:
        self._temporary = temporary
        self._location = location
        self._limits = limits
        self._push = push
        self._emit = emit

    def answer(self, request: Request, account: AccountFacts, flow: Flow, to_tag: bytes, now: float) -> Response:
        """Change the account's bindings as the request says, or leave all as it is; what to answer."""
        if request.has(b"require") and (unsupported := _unsupported(request)):
            self._emit(Refused("require", 420, flow))
            return make_response(request, 420, to_tag=to_tag, extra=((b"unsupported", b", ".join(unsupported)),))
        wishes: list[_Wish] = []
        if self._push is not None and account.kind == "app":
            try:
                wishes = _wishes(request)
            except MalformedMessage as error:
                return self._refused(request, Outcome(error.status, error.reason, [], None), flow, to_tag)
            providers = self._push.providers()
            if any(one.push.provider and one.push.provider not in providers for one in wishes):
                return self._refused(request, Outcome(555, None, [], None), flow, to_tag)
        present = self._location.bindings(account.username, now)
        outcome = register(request, account.username, present, flow, now, self._limits, self._temporary)
        if outcome.status != 200:
            return self._refused(request, outcome, flow, to_tag)
        extra = outcome.headers
        if outcome.bindings is not None:
            self._location.replace(account.username, outcome.bindings, now)
            if self._push is not None and account.kind == "app":
                contacts = {one.contact for one in outcome.bindings}
                self._keep(account.username, wishes, contacts, not outcome.bindings and b"*" in request.all(b"contact"))
                extra = [*extra, *_feature_caps(wishes, self._push.providers())]
        return make_response(request, 200, to_tag=to_tag, extra=extra)

    def _refused(self, request: Request, outcome: Outcome, flow: Flow, to_tag: bytes) -> Response:
        self._emit(Refused("registration", outcome.status, flow))
        return make_response(request, outcome.status, outcome.reason, to_tag=to_tag, extra=outcome.headers)

    def _keep(self, username: str, wishes: "list[_Wish]", bound: set[bytes], star: bool) -> None:
        """Tell what changes in the account's push parameters, and nothing where all of it is known already."""
        assert self._push is not None
        changes = [PushChange("", "", None, everything=True)] if star else [_change(one, one.uri in bound) for one in wishes]
        known = self._push.parameters(username)
        for change in changes:
            if isinstance(known, tuple):
                after = applied(known, change)
                if after == known:
                    continue
                known = after
            elif not change.everything and not change.instance and not change.prid:
                continue
            self._emit(PushChanged(username, change))


class _Wish:
    """One Contact of an app's REGISTER, as far as being woken goes."""

    __slots__ = ("instance", "push", "refreshes", "uri")

    def __init__(self, uri: bytes, instance: str, push: Asked, refreshes: bool) -> None:
        self.uri = uri
        self.instance = instance
        self.push = push
        self.refreshes = refreshes


def _wishes(request: Request) -> list[_Wish]:
    found: list[_Wish] = []
    for contact in request.contacts:
        instance = contact.params.get(b"+sip.instance", b"").decode("utf-8", "surrogateescape")
        found.append(_Wish(contact.uri, instance, asked(contact.uri), b"+sip.pnsreg" in contact.params))
    return found


def _change(wish: _Wish, bound: bool) -> PushChange:
    """A contact with a PRID is to be woken by it; one that was taken back, or names none, is not any more (RFC 8599 4.1.4)."""
    push = wish.push
    kept: PushParameters | None = None
    if bound and push.provider and push.prid:
        kept = PushParameters(push.provider, push.prid, push.param, wish.instance)
    return PushChange(wish.instance, push.prid, kept)


def _feature_caps(wishes: list[_Wish], providers: tuple[str, ...]) -> Headers:
    """+sip.pns: the push service we will use, or all we know where the app asks which there are (RFC 8599 5.1); +sip.pnsreg: when
    an app that can refresh by itself is to do it (5.2). The app is never woken for that: its parameters outlive its binding."""
    found: list[tuple[bytes, bytes]] = []
    for wish in wishes:
        if not wish.push.present:
            continue
        for provider in (wish.push.provider,) if wish.push.provider else providers:
            value = b'*;+sip.pns="%b"' % provider.encode("ascii")
            if wish.refreshes and wish.push.prid:
                value += b';+sip.pnsreg="%d"' % REFRESH_BEFORE
            if (b"feature-caps", value) not in found:
                found.append((b"feature-caps", value))
    return tuple(found)


def _unsupported(request: Request) -> list[bytes]:
    """The option tags a REGISTER requires that we do not know (10.3 step 2)."""
    return [one for one in request.all(b"require") if one.lower() not in EXTENSIONS]
