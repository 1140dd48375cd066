"""Digest: the RFCs' own vectors, the matrix of trap 23, nonces, and the replay window."""

import random
import string
from collections.abc import Callable

import pytest

from sip.credentials import Credentials, find_credentials, parse_credentials
from sip.digest import (
    MD5,
    NONCE_LENGTH,
    SHA_256,
    SHA_512_256,
    Verdict,
    Verifier,
    answer,
    ha1,
    response_of,
)
from sip.errors import MalformedMessage
from sip.message import Request
from sip.parser import parse

REALM = b"example.org"
URI = b"sip:example.org"


def counter() -> Callable[[int], bytes]:
    """Entropy that repeats from test to test and never within one."""
    drawn = 0

    def draw(count: int) -> bytes:
        nonlocal drawn
        drawn += 1
        return drawn.to_bytes(8, "big")[-count:] if count <= 8 else random.Random(drawn).randbytes(count)

    return draw


def verifier(**changed: object) -> Verifier:
    options: dict[str, object] = {"realm": REALM, "secret": b"node secret", "entropy": counter(), **changed}
    return Verifier(**options)  # type: ignore[arg-type]


def login(challenges: list[bytes], *, password: bytes = b"zanzibar", nc: int = 1, uri: bytes = URI) -> Credentials:
    """Credentials as a right client makes them."""
    value = answer(challenges, username=b"door", password=password, method=b"REGISTER", uri=uri, entropy=counter(), nc=nc)
    credentials = parse_credentials(value)
    assert credentials is not None
    return credentials


def resigned(credentials: Credentials, **edits: bytes) -> Credentials:
    """The credentials with parameters changed and the right response over the changed ones: only the check itself can refuse."""
    for name, changed in edits.items():
        setattr(credentials, name, changed)
    credentials.response = response_of(
        credentials.algorithm,
        ha1(credentials.algorithm, credentials.username, credentials.realm, b"zanzibar"),
        nonce=credentials.nonce,
        nc=credentials.nc,
        cnonce=credentials.cnonce,
        qop=credentials.qop,
        method=b"REGISTER",
        uri=credentials.uri,
    )
    return credentials


def judge(over: Verifier, credentials: Credentials, now: float = 10.0, password: bytes | None = b"zanzibar") -> Verdict:
    return over.verify(credentials, method=b"REGISTER", uri=URI, password=password, now=now)


# ---- the arithmetic ----


def test_rfc_2617_vector() -> None:
    found = response_of(
        MD5,
        ha1(MD5, b"Mufasa", b"testrealm@host.com", b"Circle Of Life"),
        nonce=b"dcd98b7102dd2f0e8b11d0f600bfb0c093",
        nc=b"00000001",
        cnonce=b"0a4f113b",
        qop=b"auth",
        method=b"GET",
        uri=b"/dir/index.html",
    )
    assert found == b"6629fae49393a05397450978507c4ef1"


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        (MD5, b"8ca523f5e9506fed4657c9700eebdbec"),
        (SHA_256, b"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_rfc_7616_vectors(algorithm: bytes, response: bytes) -> None:
    found = response_of(
        algorithm,
        ha1(algorithm, b"Mufasa", b"http-auth@example.org", b"Circle of Life"),
        nonce=b"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
        nc=b"00000001",
        cnonce=b"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
        qop=b"auth",
        method=b"GET",
        uri=b"/dir/index.html",
    )
    assert found == response


def test_rfc_2069_form_without_qop() -> None:
    """RFC 2617 3.2.2.1 with no qop: H(H(A1):nonce:H(A2)), the sum checked by hand with openssl."""
    found = response_of(
        MD5, ha1(MD5, b"u", b"r", b"p"), nonce=b"n", nc=b"", cnonce=b"", qop=b"", method=b"REGISTER", uri=b"sip:x"
    )
    assert found == b"f1360bea1a4221b5ee937bec4052dd1b"


def test_sha_512_256_is_not_truncated_sha_512() -> None:
    assert ha1(SHA_512_256, b"", b"", b"") == b"674602a61614a779e4b84c5d3462e6ba1269bfdd897b2399d91dc208a9614f3e"


# ---- the challenge ----


def test_challenge_offers_the_strongest_first() -> None:
    offered = verifier().challenge(10.0)
    for value, name in zip(offered, (b"SHA-512-256", b"SHA-256", b"MD5"), strict=True):
        assert value.startswith(b'Digest realm="example.org", nonce="')
        assert value.endswith(b'", algorithm=' + name + b', qop="auth"')
    assert len({one.split(b'"')[3] for one in offered}) == 1


def test_challenge_stale() -> None:
    assert all(value.endswith(b", stale=true") for value in verifier().challenge(10.0, stale=True))
    assert not any(b"stale" in value for value in verifier().challenge(10.0))


def test_a_nonce_has_32_octets_that_need_no_quoting_or_padding() -> None:
    one = verifier()
    for now in (0.0, 10.0, 1.8e9, 2.0**48 / 1000 - 1):
        for _ in range(50):
            nonce = one.nonce(now)
            assert len(nonce) == NONCE_LENGTH == 32
            assert not nonce.translate(None, string.ascii_letters.encode() + b"0123456789-_")


def test_nonces_differ_and_tell_no_secret() -> None:
    one = verifier()
    assert len({one.nonce(10.0) for _ in range(100)}) == 100
    assert verifier().nonce(10.0) == verifier().nonce(10.0)
    assert verifier(secret=b"other").nonce(10.0) != verifier().nonce(10.0)


# ---- trap 23 ----


@pytest.mark.parametrize("algorithm", [MD5, SHA_256, SHA_512_256])
def test_b_right_credentials(algorithm: bytes) -> None:
    over = verifier(algorithms=(algorithm,))
    assert judge(over, login(over.challenge(10.0))) is Verdict.ACCEPTED


def test_c_same_header_again_then_d_next_count() -> None:
    over = verifier()
    challenges = over.challenge(10.0)
    assert judge(over, login(challenges)) is Verdict.ACCEPTED
    assert judge(over, login(challenges)) is Verdict.REPLAYED
    assert judge(over, login(challenges, nc=2)) is Verdict.ACCEPTED
    assert judge(over, login(challenges, nc=2)) is Verdict.REPLAYED


def test_e_expired() -> None:
    over = verifier()
    challenges = over.challenge(10.0)
    assert judge(over, login(challenges), now=310.0) is Verdict.ACCEPTED
    assert judge(over, login(challenges, nc=2), now=310.1) is Verdict.EXPIRED
    assert Verdict.EXPIRED.stale
    assert Verdict.REPLAYED.stale
    assert not Verdict.REFUSED.stale
    assert not Verdict.ACCEPTED.stale


def test_expired_with_a_wrong_password_is_not_stale() -> None:
    over = verifier()
    assert judge(over, login(over.challenge(10.0), password=b"guess"), now=400.0) is Verdict.REFUSED


def test_a_nonce_from_the_future_is_expired() -> None:
    """After a reboot of the node the monotonic clock starts over, and nonces of before are ahead of it."""
    over = verifier()
    assert judge(over, login(over.challenge(10.0)), now=9.5) is Verdict.ACCEPTED
    assert judge(over, login(over.challenge(5000.0)), now=10.0) is Verdict.EXPIRED


def test_f_fabricated_nonce() -> None:
    over = verifier()
    challenge = over.challenge(10.0)[0]
    nonce = challenge.split(b'"')[3]
    forged = [
        b"f" * NONCE_LENGTH,
        nonce[:-1] + b"!",
        nonce[:-4] + b"====",
        b"!" + nonce,
        nonce[:16] + b"\n" + nonce[16:],
        nonce[:16] + b"+/" + nonce[18:],
        nonce[:-1] + (b"B" if nonce.endswith(b"A") else b"A"),
        b"A" * 8 + nonce[8:],
        nonce[:8] + b"A" * 8 + nonce[16:],
        nonce + b"A",
        nonce + b"AAAA",
        nonce[:-1],
        nonce[:-4],
        nonce.swapcase(),
        b"",
        b"\xff" * NONCE_LENGTH,
        verifier(secret=b"x").nonce(10.0),
    ]
    for value in forged:
        assert judge(over, login([challenge.replace(nonce, value or b"0")])) is Verdict.REFUSED
    assert judge(verifier(realm=b"other.org"), login([challenge])) is Verdict.REFUSED


@pytest.mark.parametrize(
    "edits",
    [
        {"qop": b""},
        {"nc": b""},
        {"cnonce": b""},
        {"qop": b"auth-int"},
        {"nc": b"1"},
        {"nc": b"00000000"},
        {"nc": b"0000001g"},
        {"nc": b"0x000001"},
        {"nc": b"+0000001"},
        {"nc": b"0000_001"},
        {"nc": b"0000001\n"},
        {"algorithm": b"SHA-512-256"},
        {"realm": b"EXAMPLE.ORG"},
    ],
    ids=str,
)
def test_g_right_response_over_what_is_not_allowed(edits: dict[str, bytes]) -> None:
    over = verifier(algorithms=(SHA_256, MD5))
    assert judge(over, resigned(login(over.challenge(10.0)), **edits)) is Verdict.REFUSED
    assert judge(over, resigned(login(over.challenge(10.0)))) is Verdict.ACCEPTED


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("response", b""),
        ("response", b"0" * 64),
        ("response", b"\xff" * 64),
        ("username", b"other"),
        ("algorithm", b"MD5-SESS"),
        ("algorithm", b""),
        ("nc", b"00000002"),
        ("cnonce", b"other"),
    ],
)
def test_wrong_response(name: str, value: bytes) -> None:
    over = verifier()
    credentials = login(over.challenge(10.0))
    setattr(credentials, name, value)
    assert judge(over, credentials) is Verdict.REFUSED


def test_g_rfc_2069_downgrade() -> None:
    """The right response for a challenge without qop, over our nonce: refused, for it can be replayed for ever."""
    over = verifier(algorithms=(MD5,))
    challenge = over.challenge(10.0)[0].replace(b', qop="auth"', b"")
    assert judge(over, login([challenge])) is Verdict.REFUSED


def test_h_other_uri() -> None:
    over = verifier()
    assert judge(over, login(over.challenge(10.0), uri=b"sip:elsewhere.org")) is Verdict.REFUSED
    assert judge(over, login(over.challenge(10.0), uri=b"sip:example.org:5060")) is Verdict.REFUSED
    assert judge(over, login(over.challenge(10.0), uri=b"sip:exa mple.org")) is Verdict.REFUSED
    assert judge(over, login(over.challenge(10.0), uri=b"SIP:EXAMPLE.org")) is Verdict.ACCEPTED


def test_h_other_method() -> None:
    over = verifier()
    credentials = login(over.challenge(10.0))
    assert over.verify(credentials, method=b"INVITE", uri=URI, password=b"zanzibar", now=10.0) is Verdict.REFUSED


def test_i_algorithm_in_another_case() -> None:
    over = verifier()
    value = answer(over.challenge(10.0), username=b"door", password=b"zanzibar", method=b"REGISTER", uri=URI, entropy=counter())
    credentials = parse_credentials(value.replace(b"SHA-256", b"sha-256").replace(b"qop=auth", b'QOP="AUTH"'))
    assert credentials is not None
    assert judge(over, credentials) is Verdict.ACCEPTED


def test_wrong_password_and_unknown_user_are_alike() -> None:
    over = verifier()
    assert judge(over, login(over.challenge(10.0), password=b"guess")) is Verdict.REFUSED
    assert judge(over, login(over.challenge(10.0)), password=None) is Verdict.REFUSED


def test_a_wrong_digest_uses_up_no_count() -> None:
    over = verifier()
    challenges = over.challenge(10.0)
    for _ in range(3):
        assert judge(over, login(challenges, password=b"guess")) is Verdict.REFUSED
    assert judge(over, login(challenges)) is Verdict.ACCEPTED


def test_a_changed_password_holds_at_once() -> None:
    over = verifier(max_ha1=1)
    assert judge(over, login(over.challenge(10.0))) is Verdict.ACCEPTED
    assert judge(over, login(over.challenge(10.0)), password=b"new") is Verdict.REFUSED
    assert judge(over, login(over.challenge(10.0), password=b"new"), password=b"new") is Verdict.ACCEPTED


def test_nonce_holds_on_every_node_but_not_across_a_restart() -> None:
    one, two = verifier(), verifier()
    assert judge(two, login(one.challenge(10.0))) is Verdict.ACCEPTED
    restarted = verifier(started=20.0)
    assert judge(restarted, login(one.challenge(19.0)), now=21.0) is Verdict.REPLAYED
    assert judge(restarted, login(restarted.challenge(20.0)), now=20.0) is Verdict.ACCEPTED


# ---- parsing ----


def test_parse_credentials() -> None:
    credentials = parse_credentials(
        b'digest  username="do\\"or" ,realm="a, b",nonce=plain , uri="sip:x",response="00",'
        b'Algorithm=md5,QOP=auth,nc=00000001,cnonce="c",x=y'
    )
    assert credentials is not None
    assert (credentials.username, credentials.realm, credentials.nonce) == (b'do"or', b"a, b", b"plain")
    assert (credentials.algorithm, credentials.qop, credentials.nc) == (MD5, b"auth", b"00000001")
    assert "door" not in repr(credentials)


def test_default_algorithm_and_other_schemes() -> None:
    credentials = parse_credentials(b'Digest username="a"')
    assert credentials is not None
    assert (credentials.algorithm, credentials.qop) == (MD5, b"")
    assert parse_credentials(b"Basic Zm9vOmJhcg==") is None
    assert parse_credentials(b"NoOneKnowsThisScheme opaque-data=here") is None
    assert parse_credentials(b"") is None


@pytest.mark.parametrize(
    "value",
    [
        b"Digest ",
        b"Digest",
        b"Digest x",
        b'Digest username="a',
        b'Digest username="a" realm="b"',
        b'Digest username="a",username="b"',
        b'Digest username="a",USERNAME="b"',
        b"Digest =a",
        b"Digest a=",
        b"Digest a=b;c=d\x85,,=",
        b'Digest a="b"c',
        b"Digest " + b"a" * 5000,
        b"Digest x=" + b'"\\' * 2000,
    ],
)
def test_malformed_credentials(value: bytes) -> None:
    if value == b"Digest":
        value += b" "
    with pytest.raises(MalformedMessage) as refusal:
        parse_credentials(value)
    assert refusal.value.status == 400


def test_find_credentials_for_our_realm() -> None:
    def request(lines: bytes) -> Request:
        message = parse(
            b"REGISTER sip:x SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\n"
            b"Call-ID: c\r\nCSeq: 1 REGISTER\r\n" + lines + b"\r\n"
        )
        assert isinstance(message, Request)
        return message

    both = request(
        b'Authorization: Basic x\r\nAuthorization: Digest realm="o", username="1"\r\n'
        b'Authorization: Digest realm="m", username="2"\r\n'
    )
    found = find_credentials(both, b"authorization", b"m")
    assert found is not None
    assert found.username == b"2"
    assert find_credentials(both, b"authorization", b"other") is None
    assert find_credentials(both, b"proxy-authorization", b"m") is None


# ---- the client ----


def test_answer_takes_the_strongest_it_knows() -> None:
    over = verifier(algorithms=(MD5, SHA_512_256, SHA_256))
    assert login(over.challenge(1.0)).algorithm == SHA_512_256
    assert login([b'Digest realm="r", nonce="n", algorithm=TOKEN-NEW', b'Digest realm="r", nonce="n"']).algorithm == MD5


def test_answer_carries_what_the_challenge_asks_for() -> None:
    value = answer(
        b'Digest realm="a\\"b", nonce="n", opaque="o,p", qop="auth-int, auth", algorithm=MD5',
        username=b'do"or',
        password=b"p",
        method=b"INVITE",
        uri=b"sip:x",
        entropy=counter(),
        nc=26,
    )
    assert value.startswith(b'Digest username="do\\"or", realm="a\\"b", nonce="n", uri="sip:x", response="')
    assert value.endswith(b', algorithm=MD5, qop=auth, nc=0000001a, cnonce="0000000000000001", opaque="o,p"')


def test_answer_without_qop() -> None:
    value = answer(
        b'Digest realm="r", nonce="n"', username=b"u", password=b"p", method=b"REGISTER", uri=b"sip:x", entropy=counter()
    )
    assert b'response="f1360bea1a4221b5ee937bec4052dd1b"' in value
    assert b"nc=" not in value


@pytest.mark.parametrize(
    "challenges", [[], [b"Basic realm=x"], [b'Digest realm="r"'], [b'Digest realm="r", nonce="n", algorithm=X']]
)
def test_answer_refuses(challenges: list[bytes]) -> None:
    with pytest.raises(MalformedMessage) as refusal:
        answer(challenges, username=b"u", password=b"p", method=b"REGISTER", uri=b"sip:x", entropy=counter())
    assert refusal.value.status == 0
