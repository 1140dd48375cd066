"""The registrar (RFC 3261 10.3 steps 6 to 8, RFC 3327, RFC 5626 section 6, RFC 5627) as a pure function.

(REGISTER, present bindings, now) -> (what to answer, the new bindings). Nothing is changed unless everything was right: the
caller puts the new bindings in place in one assignment, or none. Steps 1 to 5 (our domain, authentication, AOR) are the
core's.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sip.binding import LiveBinding
from sip.errors import MalformedMessage
from sip.flow import Flow
from sip.grammar import LWS, decimal
from sip.gruu import TempGruus, pub_gruu
from sip.header_values import NameAddr, parse_name_addr
from sip.limits import SipLimits
from sip.message import Request
from sip.uri import equivalent

MALFORMED_EXPIRES = 3600
"""RFC 3261 10.3 step 6 and 20.19: a malformed expiry counts as one hour."""
_ONE_HOUR = 3600
_LONGEST_EXPIRES = 2**32 - 1
_OURS = frozenset((b"expires", b"pub-gruu", b"temp-gruu"))
"""Contact parameters that the registrar sets, whatever a device says in them (RFC 5627 5.1)."""


class Outcome(NamedTuple):
    """What to answer (status, reason or None for the usual one, extra headers), and the new bindings if they changed."""

    status: int
    reason: bytes | None
    headers: list[tuple[bytes, bytes]]
    bindings: tuple[LiveBinding, ...] | None


class _Refusal(Exception):
    """Ends the whole REGISTER without a change."""

    def __init__(self, status: int, reason: bytes | None, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(status)
        self.outcome = Outcome(status, reason, list(headers), None)


def register(
    request: Request,
    account: str,
    present: tuple[LiveBinding, ...],
    flow: Flow,
    now: float,
    limits: SipLimits,
    temporary: TempGruus,
) -> Outcome:
    """Carry out a REGISTER of an authenticated user (`account`) for his own AOR. `present` are the AOR's live bindings."""
    outcome = _registered(request, present, flow, now, limits)
    if outcome.status != 200:
        return outcome
    changed = outcome.bindings
    shown = present if changed is None else changed
    return Outcome(200, None, _answer(request, account, shown, now, limits, temporary), changed)


def _registered(request: Request, present: tuple[LiveBinding, ...], flow: Flow, now: float, limits: SipLimits) -> Outcome:
    contacts = request.all(b"contact") if request.has(b"contact") else []
    if not contacts:
        return Outcome(200, None, [], None)
    if len(contacts) > limits.contacts:
        return Outcome(403, b"Too Many Contacts", [], None)
    try:
        if b"*" in contacts:
            _check_star(request, contacts)
            _check_order(request, present)
            return Outcome(200, None, [], ())
        bindings = _updated(request, present, flow, now, limits)
    except _Refusal as refusal:
        return refusal.outcome
    except MalformedMessage as error:
        return Outcome(400, error.reason, [], None)
    return Outcome(200, None, [], bindings)


def _answer(
    request: Request, account: str, shown: Sequence[LiveBinding], now: float, limits: SipLimits, temporary: TempGruus
) -> list[tuple[bytes, bytes]]:
    """The headers of the 200: every binding and the seconds it has left (step 8), the Path (RFC 3327 5.3), whether outbound is
    used and then how often to keep the flow alive (RFC 5626 5.4, 6), and the GRUUs if the device knows them (RFC 5627 5.1)."""
    aor = request.to_addr.uri if request.has(b"supported") and _supports(request, b"gruu") else b""
    headers: list[tuple[bytes, bytes]] = []
    for one in shown:
        value = b"<%b>%b;expires=%d" % (one.contact, one.params, max(0, round(one.expires_at - now)))
        if aor and one.instance_id:
            value += b';pub-gruu="%b"' % pub_gruu(aor, one.instance_id)
            if gruu := temporary.given(aor, account, one):
                value += b';temp-gruu="%b"' % gruu
        headers.append((b"contact", value))
    if request.has(b"path"):
        headers.append((b"path", b", ".join(request.all(b"path"))))
    if any(one.reg_id for one in shown):
        headers.append((b"require", b"outbound"))
        headers.append((b"flow-timer", b"%d" % limits.flow_timer))
    return headers


def _supports(request: Request, extension: bytes) -> bool:
    """Whether the device lists this option tag in Supported."""
    return extension in [one.lower() for one in request.all(b"supported")]


def _check_star(request: Request, contacts: list[bytes]) -> None:
    """`*` stands alone and with Expires: 0, else 400 (step 6)."""
    if len(contacts) != 1 or decimal(request.get(b"expires") or b"", _LONGEST_EXPIRES) != 0:
        raise _Refusal(400, b"Contact * Needs Expires 0")


def _check_order(request: Request, touched: Sequence[LiveBinding]) -> None:
    """A REGISTER of the same Call-ID must have a higher CSeq than the last (steps 6 and 7): an overtaken one changes nothing."""
    number = request.cseq[0]
    for one in touched:
        if one.call_id == request.call_id and number <= one.cseq:
            raise _Refusal(500, b"CSeq Out Of Order")


def _updated(
    request: Request,
    present: tuple[LiveBinding, ...],
    flow: Flow,
    now: float,
    limits: SipLimits,
) -> tuple[LiveBinding, ...]:
    """The bindings after step 7, oldest first."""
    bindings = list(present)
    path = tuple(request.all(b"path")) if request.has(b"path") else ()
    outbound = request.has(b"supported") and _supports(request, b"outbound")
    if outbound:
        _check_first_hop(request, path)
    knows_gruus = request.has(b"supported") and _supports(request, b"gruu")
    for contact in request.contacts:
        seconds = _seconds(contact, request, limits)
        binding = _binding(contact, request, flow, now, seconds, path, outbound)
        if knows_gruus and binding.instance_id:
            binding.gruu_since = binding.cseq
        kept: list[LiveBinding] = []
        for one in bindings:
            if not _same(one, binding):
                kept.append(one)
            elif one in present:
                _check_order(request, (one,))
                if one.gruu_since >= 0 and one.call_id == binding.call_id and one.instance_id == binding.instance_id:
                    binding.gruu_since = one.gruu_since  # what it has given stays valid
        if seconds:
            kept.append(binding)
        bindings = kept
    if len(bindings) > 1:
        bindings.sort(key=lambda one: one.updated)
    return tuple(bindings[-limits.contacts :])


def _check_first_hop(request: Request, path: tuple[bytes, ...]) -> None:
    """439 when a device wants a flow kept but a proxy before us keeps none: the edge proxy says that it does by `ob` in its
    Path (RFC 5626 section 6). Without a proxy in between the first hop is us."""
    if request.count(b"via") == 1 and len(request.all(b"via")) == 1:
        return
    if not any(b"reg-id" in contact.params for contact in request.contacts):
        return
    edge = parse_name_addr(path[-1], b"Malformed Path").uri if path else b""
    if b"ob" not in edge.split(b";")[1:]:
        raise _Refusal(439, None)


def _same(old: LiveBinding, new: LiveBinding) -> bool:
    """Whether `new` takes the place of `old`: the same instance and reg-id (RFC 5626 6: a device that came back on another
    address), else an equivalent URI."""
    if new.instance_id and old.instance_id:
        return new.instance_id == old.instance_id and new.reg_id == old.reg_id
    return old.contact == new.contact or equivalent(old.contact, new.contact)


def _seconds(contact: NameAddr, request: Request, limits: SipLimits) -> int:
    """How long this contact is to live: its parameter, else Expires, else the default; 423 below the minimum (step 6)."""
    text = contact.params.get(b"expires")
    if text is None:
        text = request.get(b"expires")
    if text is None:
        return limits.default_expires
    seconds = decimal(text, _LONGEST_EXPIRES)
    if seconds < 0:
        seconds = MALFORMED_EXPIRES
    if 0 < seconds < limits.min_expires and seconds < _ONE_HOUR:
        raise _Refusal(423, None, (b"min-expires", b"%d" % limits.min_expires))
    return min(seconds, limits.max_expires)


def _binding(
    contact: NameAddr,
    request: Request,
    flow: Flow,
    now: float,
    seconds: int,
    path: tuple[bytes, ...],
    outbound: bool,
) -> LiveBinding:
    params = contact.params
    instance = params.get(b"+sip.instance", b"")
    # "If the Contact header field does not contain a '+sip.instance' ..., the registrar MUST ignore the reg-id" (RFC 5626 6).
    reg_id = decimal(params.get(b"reg-id", b""), 2**31 - 1) if outbound and instance else 0
    return LiveBinding(
        contact=contact.uri,
        params=_kept_params(params),
        flow=flow,
        call_id=request.call_id,
        cseq=request.cseq[0],
        expires_at=now + seconds,
        updated=now,
        q=_thousandths(params.get(b"q")),
        instance_id=instance,
        reg_id=max(0, reg_id),
        path=path,
        user_agent=(request.get(b"user-agent") or b"")[:120],
    )


def _kept_params(params: dict[bytes, bytes]) -> bytes:
    """The Contact's own parameters as they are given back: all but those that we set. Values that are no token are quoted."""
    kept = b""
    for name, value in params.items():
        if name in _OURS:
            continue
        if not value:
            kept += b";" + name
        elif value.translate(None, b'<>"\\ \t;,:@/?=()[]{}') != value:
            kept += b';%b="%b"' % (name, value.replace(b"\\", b"\\\\").replace(b'"', b'\\"'))
        else:
            kept += b";%b=%b" % (name, value)
    return kept


def _thousandths(text: bytes | None) -> int:
    """qvalue = ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] ), in thousandths; anything else counts as 1."""
    if text is None:
        return 1000
    whole, _, fraction = text.strip(LWS).partition(b".")
    tail = decimal((fraction + b"000")[:3], 999)
    if whole not in (b"0", b"1") or tail < 0 or len(fraction) > 3:
        return 1000
    return 1000 if whole == b"1" else tail
