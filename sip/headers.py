"""Header names: one canonical form per header, the compact forms, and which headers are comma lists.

The canonical form is the lower-case long name. `SPELLINGS` answers the spellings that real peers use with one dict lookup;
`canonical` is the exact rule for all others (RFC 3261 7.3.1: names are case-insensitive, and `HCOLON = *( SP / HTAB ) ":" SWS`
lets white space stand before the colon, so `To :` is To and must never pass as an unknown header).
"""

from typing import Final

from sip.grammar import LWS, TOKEN

COMPACT: Final[dict[bytes, bytes]] = {
    b"a": b"accept-contact",
    b"b": b"referred-by",
    b"c": b"content-type",
    b"d": b"request-disposition",
    b"e": b"content-encoding",
    b"f": b"from",
    b"i": b"call-id",
    b"j": b"reject-contact",
    b"k": b"supported",
    b"l": b"content-length",
    b"m": b"contact",
    b"n": b"identity-info",
    b"o": b"event",
    b"r": b"refer-to",
    b"s": b"subject",
    b"t": b"to",
    b"u": b"allow-events",
    b"v": b"via",
    b"x": b"session-expires",
    b"y": b"identity",
}
"""Compact forms: RFC 3261 7.3.3 and the IANA registry of SIP header fields."""

_WIRE_NAMES = (
    b"Accept Accept-Contact Accept-Encoding Accept-Language Alert-Info Allow Allow-Events Authentication-Info Authorization "
    b"Call-ID Call-Info Contact Content-Disposition Content-Encoding Content-Language Content-Length Content-Type CSeq Date "
    b"Error-Info Event Expires Feature-Caps Flow-Timer From Geolocation History-Info Identity Identity-Info In-Reply-To Join "
    b"Max-Breadth Max-Forwards MIME-Version Min-Expires Min-SE Organization P-Access-Network-Info P-Asserted-Identity "
    b"P-Associated-URI P-Called-Party-ID P-Preferred-Identity Path Priority Privacy Proxy-Authenticate Proxy-Authentication-Info "
    b"Proxy-Authorization Proxy-Require RAck Reason Record-Route Refer-Sub Refer-To Referred-By Reject-Contact Remote-Party-ID "
    b"Replaces Reply-To Request-Disposition Require Retry-After Route RSeq Security-Client Security-Server Security-Verify "
    b"Server Service-Route Session-Expires Session-ID SIP-ETag SIP-If-Match Subject Subscription-State Supported Target-Dialog "
    b"Timestamp To Unsupported User-Agent Via Warning WWW-Authenticate"
).split(b" ")

WIRE: Final[dict[bytes, bytes]] = {name.lower(): name for name in _WIRE_NAMES}
"""Canonical form -> the spelling of the RFCs, for headers that we write ourselves."""

_LONG: Final[dict[bytes, bytes]] = {name: name for name in WIRE}

SPELLINGS: Final[dict[bytes, bytes]] = {
    **{spelling: _LONG[name.lower()] for name in _WIRE_NAMES for spelling in (name, name.upper(), name.title())},
    **_LONG,
    **{spelling: _LONG[name] for letter, name in COMPACT.items() for spelling in (letter, letter.upper())},
}
"""As on the wire, before the colon -> canonical form. Values are shared objects, so that comparing names is mostly identity."""

LISTS: Final[frozenset[bytes]] = frozenset(
    b"accept accept-encoding accept-language alert-info allow allow-events call-info contact content-encoding content-language "
    b"error-info geolocation history-info in-reply-to p-asserted-identity p-associated-uri p-preferred-identity path privacy "
    b"proxy-require reason record-route require route security-client security-server security-verify service-route supported "
    b"unsupported via warning".split(b" ")
)
"""Headers whose value is a comma list (RFC 3261 7.3.1). Date and the four authentication headers hold commas but are none."""

SINGLE: Final[frozenset[bytes]] = frozenset(
    b"call-id content-length content-type cseq date event expires from max-breadth max-forwards min-expires min-se refer-to "
    b"replaces session-expires subscription-state to".split(b" ")
)
"""Headers that a message may carry once. Two of them let two elements read two different messages (RFC 4475 3.3.8, 3.3.9)."""


def canonical(raw: bytes) -> bytes:
    """The canonical form of what stood before the colon, or b"" when that is no header name."""
    known = SPELLINGS.get(raw)
    if known is not None:
        return known
    name = raw.rstrip(LWS).lower()
    if name == b"" or name.translate(None, TOKEN):
        return b""
    return SPELLINGS.get(name, name)


def wire_name(name: bytes) -> bytes:
    """The spelling in which we write the header `name` (canonical form)."""
    return WIRE.get(name) or name.title()
