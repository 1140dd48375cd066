"""STUN binding requests on the SIP port (RFC 5626 3.5.2, RFC 8489): a UDP client keeps its NAT mapping open with them and
learns when it has changed."""

from ipaddress import ip_address

MAGIC = b"\x21\x12\xa4\x42"
_HEADER = 20
_BINDING_REQUEST = b"\x00\x01"
_BINDING_SUCCESS = b"\x01\x01"
_XOR_MAPPED_ADDRESS = b"\x00\x20"


def is_stun(datagram: bytes) -> bool:
    """Whether a datagram is STUN: no SIP message begins with a byte below 4 (RFC 8489 section 6)."""
    return len(datagram) >= _HEADER and datagram[0] < 4 and datagram[4:8] == MAGIC


def binding_response(datagram: bytes, host: str, port: int) -> bytes | None:
    """The success response to a binding request from `host`:`port`; None for what needs no answer or is malformed."""
    length = int.from_bytes(datagram[2:4], "big")
    if datagram[:2] != _BINDING_REQUEST or length % 4 or length != len(datagram) - _HEADER:
        return None
    transaction = datagram[8:_HEADER]
    address = ip_address(host).packed
    mask = MAGIC + transaction
    hidden = bytes(one ^ other for one, other in zip(address, mask, strict=False))
    family = b"\x00\x01" if len(address) == 4 else b"\x00\x02"
    value = family + (port ^ 0x2112).to_bytes(2, "big") + hidden
    attribute = _XOR_MAPPED_ADDRESS + len(value).to_bytes(2, "big") + value
    return _BINDING_SUCCESS + len(attribute).to_bytes(2, "big") + MAGIC + transaction + attribute
