"""Route information preprocessing (RFC 3261 16.4): what in a request's Routes was put there by us, and the dialog token in it."""

from sip.message import Request
from sip.outbound import SHORTEST_TOKEN, DialogTokens
from sip.own_address import OwnAddress


def take_own_routes(request: Request, own: OwnAddress, tokens: DialogTokens) -> bytes:
    """Take out the Routes that are ours and return the token in them, or b"".

    A Route that is left leads elsewhere, which only a proven dialog may ask for. The cost is linear in the Routes.
    """
    if not request.has(b"route"):
        return b""
    token = _undo_strict_routing(request, own, tokens)
    routes = request.all(b"route")
    ours = 0
    for route in routes:
        user = own.route_user(_uri_of(route))
        if user is None:
            break
        token = user or token
        ours += 1
    if ours == 1:
        request.remove_first_value(b"route")
    elif ours:
        request.remove(b"route")
        if ours < len(routes):
            request.prepend(b"route", b", ".join(routes[ours:]))
    return token


def _undo_strict_routing(request: Request, own: OwnAddress, tokens: DialogTokens) -> bytes:
    """16.4: "If the Request-URI contains a value the proxy previously placed into a Record-Route", a strict router has put it
    there and the target last: put both back, and return our token."""
    if len(request.uri) < SHORTEST_TOKEN:
        return b""
    user = own.route_user(request.uri)
    if not user or not tokens.read(user, request.call_id, request.from_tag, request.to_tag):
        return b""
    routes = request.all(b"route")
    request.uri = _uri_of(routes.pop())
    request.remove(b"route")
    if routes:
        request.prepend(b"route", b", ".join(routes))
    return user


def _uri_of(route: bytes) -> bytes:
    """The URI of one Route value, without raising: a broken one is nobody's."""
    start, end = route.find(b"<"), route.find(b">")
    return route[start + 1 : end] if 0 <= start < end else route.partition(b";")[0]
