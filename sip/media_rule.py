"""When the media of a call is relayed: where its two ends do not share a network, as far as the ways to them tell."""

from typing import Final, NamedTuple

from sip.flow import Flow

_BROWSER: Final = frozenset(("ws", "wss"))
_TO_BROWSER: Final = b"UDP/TLS/RTP/SAVPF"
_FROM_BROWSER: Final = b"RTP/AVP"


class MediaRule(NamedTuple):
    """What the operator has chosen. `always`: every call is relayed, for sites where an address tells nothing (a gateway behind a
    load balancer or a container's NAT, apps behind one carrier-grade NAT). `bridges`: the engine turns WebRTC into plain RTP.
    """

    always: bool = False
    bridges: bool = False


def is_relayed(rule: MediaRule, one: Flow, other: Flow, trunk: bool = False) -> bool:
    """Whether media between the ends of these two flows goes through the engine. `trunk`: one of them is a landline's.

    Untouched: ends with one source address (or one IPv6 /64), which is one NAT or one network; and ends that both have local
    addresses, which are of networks that we are in ourselves. One end on IPv4 and the other on IPv6, or a browser and a phone,
    cannot meet; a carrier must not be asked to meet a phone behind a NAT.
    """
    if trunk or rule.always:
        return True
    if (":" in one.host) is not (":" in other.host):
        return True
    if (one.transport in _BROWSER) is not (other.transport in _BROWSER):
        return True
    if one.source == other.source:
        return False
    return not (is_local(one.host) and is_local(other.host))


def transport_toward(rule: MediaRule, offerer: Flow, receiver: Flow) -> bytes:
    """The m= line protocol that the receiver of an offer wants, b"" for the offer's own (`MediaOffer.transport`)."""
    if not rule.bridges or (offerer.transport in _BROWSER) is (receiver.transport in _BROWSER):
        return b""
    return _TO_BROWSER if receiver.transport in _BROWSER else _FROM_BROWSER


def is_local(host: str) -> bool:
    """Whether an IP literal is private (RFC 1918, RFC 4193), link-local or this machine's. Carrier-grade NAT's is not."""
    if ":" in host:
        head = host[:4].lower()
        return host == "::1" or head[:2] in ("fc", "fd") or head in ("fe80", "fe90", "fea0", "feb0")
    if host.startswith(("10.", "192.168.", "127.", "169.254.")):
        return True
    if not host.startswith("172."):
        return False
    second = host[4:].partition(".")[0]
    return second.isascii() and second.isdigit() and len(second) == 2 and 16 <= int(second) <= 31
