"""HTTP Digest: the RFC's example, what is right, what is wrong, what is stale, and that nothing grows."""

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autop.authorization import BasicLogin, DigestLogin, read_login
from autop.digest import LIFETIME, MD5, SHA_256, Digest, Verdict, response
from registry.mac import MacAddress
from tests.autop.examples import MAC, TOKEN

NOW = 5_000.0
TARGET = b"/autop/0C1105AABBCC.cfg"


def digest(**changes: object) -> Digest:
    counter = itertools.count()
    given = {"secret": bytes(32), "entropy": lambda size: next(counter).to_bytes(size), "started": NOW - 100, **changes}
    return Digest(**given)  # type: ignore[arg-type]


def login(challenge: bytes, password: str = TOKEN, *, count: int = 1, method: bytes = b"GET", **changes: Any) -> DigestLogin:
    """What a client makes of a challenge, by way of the header's text."""
    fields = dict(part.strip().split(b"=", 1) for part in challenge.removeprefix(b"Digest ").split(b","))
    made = DigestLogin(
        MAC,
        b"0c:11:05:aa:bb:cc",
        fields[b"realm"].strip(b'"'),
        fields[b"nonce"].strip(b'"'),
        TARGET,
        b"",
        fields[b"algorithm"],
        b"auth",
        b"%08x" % count,
        b"abc",
    )
    made = replace(made, **changes)
    return replace(made, response=response(made, method, password.encode()))


def verdict(server: Digest, made: DigestLogin, *passwords: str, now: float = NOW, target: bytes = TARGET) -> Verdict:
    secrets = [one.encode() for one in passwords or (TOKEN,)]
    return server.verdict(made, method=b"GET", target=target, passwords=secrets, now=now)


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        (MD5, b"8ca523f5e9506fed4657c9700eebdbec"),
        (SHA_256, b"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_example_of_rfc_7616(algorithm: bytes, expected: bytes) -> None:
    made = DigestLogin(
        mac=MAC,
        username=b"Mufasa",
        realm=b"http-auth@example.org",
        nonce=b"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
        uri=b"/dir/index.html",
        response=b"",
        algorithm=algorithm,
        qop=b"auth",
        nc=b"00000001",
        cnonce=b"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    )
    assert response(made, b"GET", b"Circle of Life") == expected


@pytest.mark.parametrize("place", [0, 1])
def test_the_right_password_by_either_algorithm(place: int) -> None:
    server = digest()
    assert verdict(server, login(server.challenges(NOW, stale=False)[place])) is Verdict.RIGHT


def test_either_of_two_passwords() -> None:
    server = digest()
    assert verdict(server, login(server.challenges(NOW, stale=False)[0]), "another", TOKEN) is Verdict.RIGHT
    assert verdict(server, login(server.challenges(NOW, stale=False)[0]), "another", "more") is Verdict.WRONG


@pytest.mark.parametrize(
    "changes",
    [
        {"realm": b"other"},
        {"uri": b"/autop/0C1105AABBCD.cfg"},
        {"qop": b"auth-int"},
        {"qop": b""},
        {"cnonce": b""},
        {"nc": b"00000000"},
        {"nc": b"1"},
        {"nc": b"+0000001"},
        {"nc": b"0x000001"},
        {"nonce": b""},
        {"nonce": b"A" * 32},
        {"nonce": b"\xff" * 32},
        {"algorithm": b"SHA-256", "nonce": b"x"},
    ],
)
def test_what_is_wrong_though_the_password_is_right(changes: dict[str, Any]) -> None:
    server = digest()
    assert verdict(server, login(server.challenges(NOW, stale=False)[0], **changes)) is Verdict.WRONG


def test_an_algorithm_that_is_not_offered_is_wrong() -> None:
    server = digest(algorithms=[SHA_256])
    (challenge,) = server.challenges(NOW, stale=False)
    assert verdict(server, login(challenge)) is Verdict.RIGHT
    assert verdict(server, login(challenge, count=2, algorithm=b"MD5")) is Verdict.WRONG
    made = replace(login(challenge), algorithm=b"SHA-512-256")
    assert verdict(server, made) is Verdict.WRONG


def test_a_wrong_password_another_method_and_another_secret_are_wrong() -> None:
    server = digest()
    challenge = server.challenges(NOW, stale=False)[0]
    assert verdict(server, login(challenge, "wrong")) is Verdict.WRONG
    assert verdict(server, login(challenge, method=b"HEAD")) is Verdict.WRONG
    assert verdict(digest(secret=b"x" * 32), login(challenge)) is Verdict.WRONG
    assert verdict(server, login(challenge)) is Verdict.RIGHT  # what was wrong used nothing up


def test_the_absolute_form_of_a_target_may_be_named_by_its_path() -> None:
    server = digest()
    made = login(server.challenges(NOW, stale=False)[0])
    assert verdict(server, made, target=b"https://gate.example:8443" + TARGET) is Verdict.RIGHT


def test_counts_must_rise() -> None:
    server = digest()
    challenge = server.challenges(NOW, stale=False)[0]
    for count, expected in ((1, Verdict.RIGHT), (1, Verdict.STALE), (3, Verdict.RIGHT), (2, Verdict.STALE), (4, Verdict.RIGHT)):
        assert verdict(server, login(challenge, count=count)) is expected, count


def test_a_nonce_is_stale_after_its_time_or_before_this_start() -> None:
    server = digest()
    made = login(server.challenges(NOW, stale=False)[0])
    assert verdict(server, made, now=NOW + LIFETIME + 0.1) is Verdict.STALE
    assert verdict(server, made, now=NOW - 2) is Verdict.STALE
    assert verdict(digest(started=NOW + 1), made, now=NOW + 1) is Verdict.STALE
    assert verdict(server, made, "wrong", now=NOW + LIFETIME + 0.1) is Verdict.WRONG
    assert b"stale=true" in server.challenges(NOW, stale=True)[0]


def test_challenges_differ_in_nothing_but_the_nonce() -> None:
    server = digest()
    first, second = (server.challenges(NOW, stale=False) for _ in range(2))
    assert [len(one) for one in first] == [len(one) for one in second]
    assert first[0].replace(login(first[0]).nonce, b"") == second[0].replace(login(second[0]).nonce, b"")
    assert login(first[0]).nonce == login(first[1]).nonce != login(second[0]).nonce


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 3), st.integers(0, 40)), max_size=100))
def test_memory_is_bounded_and_no_count_is_ever_good_twice(steps: list[tuple[int, int, int]]) -> None:
    server, now = digest(limit=4), NOW
    challenges: list[bytes] = []
    good: set[tuple[bytes, int]] = set()
    for which, count, later in steps:
        now += later
        challenges.append(server.challenges(now, stale=False)[0])
        made = login(challenges[which % len(challenges)], count=count)
        if verdict(server, made, now=now) is Verdict.RIGHT:
            assert (made.nonce, count) not in good
            good.add((made.nonce, count))
        assert len(server) <= 4
    fresh = login(server.challenges(now + 1, stale=False)[0])
    assert verdict(server, fresh, now=now + 1) is Verdict.RIGHT


def test_a_nonce_that_had_to_be_forgotten_is_stale() -> None:
    server = digest(limit=2)
    challenges = [server.challenges(NOW + step / 10, stale=False)[0] for step in range(3)]
    for challenge in challenges:
        assert verdict(server, login(challenge)) is Verdict.RIGHT
    assert verdict(server, login(challenges[0])) is Verdict.STALE
    assert verdict(server, login(challenges[0], count=2)) is Verdict.STALE
    assert verdict(server, login(challenges[1], count=2)) is Verdict.RIGHT


HEADER = (
    b'Digest username="0C1105AABBCC", realm="portico", nonce="n", uri="/autop/0C1105AABBCC.cfg", cnonce="c", nc=00000002, '
    b'qop=auth, response="ABCDEF", algorithm=sha-256'
)


def test_a_digest_header_is_read() -> None:
    read = read_login(HEADER)
    assert read == DigestLogin(
        MAC, MAC.text.encode(), b"portico", b"n", TARGET, b"abcdef", b"SHA-256", b"auth", b"00000002", b"c"
    )
    assert isinstance(read, DigestLogin)
    assert read.count == 2
    assert b"abcdef" not in repr(read).encode()
    other = read_login(b'DIGEST  username=0c-11-05-aa-bb-cc,qop="auth" , realm = portico')
    assert isinstance(other, DigestLogin)
    assert (other.mac, other.algorithm, other.qop, other.realm, other.count) == (MAC, b"MD5", b"auth", b"portico", 0)


def test_a_basic_header_is_read() -> None:
    read = read_login(b"Basic MEMxMTA1QUFCQkNDOnNlY3JldDp4")
    assert read == BasicLogin(MAC, b"secret:x")
    assert "secret" not in repr(read)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"Digest",
        b"Digest ",
        b"Bearer 0C1105AABBCC",
        HEADER.replace(b"0C1105AABBCC", b"admin"),
        HEADER.replace(b'"0C1105AABBCC"', b'"0C1105AABBC\xef"'),
        HEADER + b', nonce="twice"',
        HEADER + b', x="' + b"x" * 5000 + b'"',
        HEADER.replace(b'realm="portico"', b'realm="port\\"ico"'),
        HEADER.replace(b'realm="portico"', b'realm="portico'),
        HEADER + b" trailing text",
        b"Basic",
        b"Basic !!!!",
        b"Basic MEMxMTA1QUFCQkND",
        b"Basic YWRtaW46YWRtaW4=",
        b"Basic /////////w==",
    ],
)
def test_everything_else_is_no_login(value: bytes) -> None:
    assert read_login(value) is None


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda tail: HEADER[: len(HEADER) - len(tail)] + tail))
def test_no_bytes_raise(value: bytes) -> None:
    read = read_login(value)
    if isinstance(read, DigestLogin):
        assert digest().verdict(read, method=b"GET", target=read.uri, passwords=[b"x"], now=NOW) is Verdict.WRONG
        assert isinstance(read.mac, MacAddress)
