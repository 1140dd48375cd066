"""Dialog tokens: who may use one, and where it leads."""

from hypothesis import given
from hypothesis import strategies as st

from sip.outbound import DialogTokens, Hop

TOKENS = DialogTokens(b"s" * 32)
FLOWS = ("udp:5060:198.51.100.1:5060", "udp:5060:2001:db8::1:5062")


def mint(call_id: bytes = b"c", tag: bytes = b"t", caller: str = "100", callee: str = "101") -> bytes:
    return TOKENS.mint(call_id, tag, caller, callee, *FLOWS)


def test_the_tags_tell_the_direction() -> None:
    assert TOKENS.read(mint(), b"c", b"t", b"x") == Hop("100", "101", FLOWS[1], True, FLOWS[0])
    assert TOKENS.read(mint(), b"c", b"x", b"t") == Hop("101", "100", FLOWS[0], False, FLOWS[1])


def test_it_fits_the_user_part_of_a_uri() -> None:
    token = mint(caller="ünï\0"[:3])
    assert not token.translate(None, b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
    assert len(mint()) < 160


def test_no_other_call_no_other_tags_no_other_key_no_missing_tag() -> None:
    token = mint()
    assert TOKENS.read(token, b"d", b"t", b"x") is None
    assert TOKENS.read(token, b"c", b"u", b"x") is None
    assert TOKENS.read(token, b"c", b"t", b"") is None
    assert TOKENS.read(token, b"c", b"", b"t") is None
    assert DialogTokens(b"other" * 8).read(token, b"c", b"t", b"x") is None
    assert DialogTokens(b"s" * 32).read(token, b"c", b"t", b"x") is not None


def test_parts_cannot_be_moved_between_call_id_and_tag() -> None:
    assert TOKENS.read(mint(call_id=b"ab", tag=b"c"), b"a", b"bc", b"x") is None


@given(st.binary(max_size=300))
def test_noise_is_no_token(noise: bytes) -> None:
    assert TOKENS.read(noise, b"c", b"t", b"x") is None


@given(st.integers(0, 200), st.integers(0, 255))
def test_one_changed_byte_voids_it(at: int, value: int) -> None:
    token = bytearray(mint())
    at %= len(token)
    # The last character of each base64 group may carry unused bits, so only what decodes differently must be refused.
    changed = bytes(token[:at]) + bytes((value,)) + bytes(token[at + 1 :])
    found = TOKENS.read(changed, b"c", b"t", b"x")
    assert found is None or found == Hop("100", "101", FLOWS[1], True, FLOWS[0])
