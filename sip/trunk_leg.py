"""An INVITE (or another request of the caller) as a trunk gets to see it, and its response as the caller gets to see it.

Topology hiding (RFC 5853 3.1): no address of a device, no inside number and no credentials of the caller leave towards a trunk.
The Vias of the caller are taken off and put back from the request that the response context keeps; From and To name the
presented number and the called one, with the tags as they are, for a dialog is named by its tags alone (RFC 3261 12).
Contact, Call-ID and the body are not touched here.
"""

from typing import Final, NamedTuple

from sip.message import Request, Response

_INSIDE: Final = (
    b"authorization",
    b"proxy-authorization",
    b"p-asserted-identity",
    b"p-preferred-identity",
    b"remote-party-id",
    b"diversion",
    b"history-info",
    b"path",
    b"user-agent",
    b"server",
    b"organization",
    b"call-info",
    b"reply-to",
)
"""Headers that tell of the inside, or that a carrier may trust; canonical names."""


class LegNames(NamedTuple):
    """The two ends as the trunk knows them: URIs without brackets. `caller` is the number presented."""

    called: bytes
    caller: bytes


def leg_names(called: str, presented: str, domain: str) -> LegNames:
    """The URIs of a leg: both numbers as the trunk writes them ("" presents none: RFC 3323 4.1), at its domain."""
    host = domain.encode("ascii")
    if not presented:
        return LegNames(b"sip:%b@%b;user=phone" % (called.encode("ascii"), host), b"sip:anonymous@anonymous.invalid")
    return LegNames(
        b"sip:%b@%b;user=phone" % (called.encode("ascii"), host), b"sip:%b@%b;user=phone" % (presented.encode("ascii"), host)
    )


def hide(request: Request, names: LegNames) -> None:
    """Make a copy of the caller's request fit for the trunk, in place. Our own Via goes on top afterwards."""
    from_tag, to_tag = request.from_tag, request.to_tag
    request.uri = names.called
    for name in (b"via", *_INSIDE):
        request.remove(name)
    request.replace(b"from", b"<%b>" % names.caller + (b";tag=" + from_tag if from_tag else b""))
    request.replace(b"to", b"<%b>" % names.called + (b";tag=" + to_tag if to_tag else b""))


def show(response: Response, request: Request) -> None:
    """Make the trunk's response one to the caller's own `request`, in place: its Vias, From and To, with the trunk's tag."""
    tag = response.to_tag
    for name in (b"via", b"server", b"user-agent"):
        response.remove(name)
    for value in reversed(request.all(b"via")):
        response.prepend(b"via", value)
    response.replace(b"from", request.get(b"from") or b"")
    to = request.get(b"to") or b""
    response.replace(b"to", to if request.to_tag or not tag else to + b";tag=" + tag)
