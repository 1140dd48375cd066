"""STUN binding on the SIP port: RFC 5769's sample request (section 2.1 without its attributes) and what must not be answered."""

import pytest

from sip.stun import MAGIC, binding_response, is_stun

TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")
REQUEST = b"\0\1\0\0" + MAGIC + TRANSACTION


def test_the_mapped_addresses_of_rfc_5769() -> None:
    """Sections 2.2 and 2.3: 192.0.2.1 and 2001:db8:1234:5678:11:2233:4455:6677, port 32853."""
    ipv4 = binding_response(REQUEST, "192.0.2.1", 32853)
    assert ipv4 == b"\1\1\0\x0c" + MAGIC + TRANSACTION + bytes.fromhex("002000080001a147e112a643")
    ipv6 = binding_response(REQUEST, "2001:db8:1234:5678:11:2233:4455:6677", 32853)
    assert ipv6 is not None
    assert ipv6[20:] == bytes.fromhex("002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9")


@pytest.mark.parametrize(
    "data", [REQUEST[:19], b"\0\1\0\0" + b"xxxx" + TRANSACTION, b"INVITE sip:a SIP/2.0", b"\x80" + REQUEST[1:]]
)
def test_what_is_not_stun(data: bytes) -> None:
    assert not is_stun(data)


@pytest.mark.parametrize(
    "data", [b"\1\1" + REQUEST[2:], b"\0\x11" + REQUEST[2:], b"\0\1\0\4" + REQUEST[4:], b"\0\1\0\3" + REQUEST[4:] + b"abc"]
)
def test_what_gets_no_answer(data: bytes) -> None:
    assert is_stun(data)
    assert binding_response(data, "192.0.2.1", 1) is None
