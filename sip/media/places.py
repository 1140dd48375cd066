"""Which addresses of an SDP may be believed: who may send, and where packets may go before anybody has sent.

An SDP can name anybody's address. Packets that go there unasked are an attack on whoever lives there, so an address counts only
where it can be the sender's own.
"""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from sip.media.terminal import Socket

LEAST_PORT = 1024
"""RTP has no business below (RFC 3551 8); name servers and their like have."""

_PRIVATE = tuple(map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")))
"""RFC 1918, RFC 6598, RFC 4193. (`ipaddress.is_private` also means documentation and other special networks.)"""


def allowed_hosts(host: str, source: str) -> tuple[str, ...]:
    """Whose packets count as the party's: the SDP's address and the one its signalling comes from."""
    found = [one for one in (host, source) if (address := _address(one)) is not None and _unicast(address)]
    return tuple(dict.fromkeys(found))


def target(host: str, port: int, source: str) -> Socket | None:
    """Where packets for a party go until it has sent one itself; None: nowhere.

    `host` and `port` are of its SDP, `source` is where its signalling comes from. An address of a private network is believed
    only if the signalling is from a private network too, else the party is behind a NAT and unreachable there.
    """
    address, signalling = _address(host), _address(source)
    if address is None or not _unicast(address) or not LEAST_PORT <= port <= 65535:
        return None
    if address != signalling:
        if signalling is None or address.is_loopback or address.is_link_local:
            return None
        if _private(address) and not (_private(signalling) or signalling.is_loopback):
            return None
    return (str(address), port)


def is_multicast(host: str) -> bool:
    """Whether the address means a group."""
    address = _address(host)
    return address is not None and address.is_multicast


def is_ipv6(host: str) -> bool:
    """The family of an IP literal."""
    return ":" in host


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _unicast(address: IPv4Address | IPv6Address) -> bool:
    return not (address.is_multicast or address.is_unspecified or address == IPv4Address("255.255.255.255"))


def _private(address: IPv4Address | IPv6Address) -> bool:
    return any(address.version == network.version and address in network for network in _PRIVATE)
