"""Each rewriting rule of Remote Control, both ways."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.http_rewrite import (
    Headers,
    LeavesDevice,
    Origins,
    cookie_of,
    is_foreign,
    is_navigation,
    is_websocket,
    location,
    request_fault,
    set_cookie,
    to_device,
    to_visitor,
)

SESSION = b"https://abc.remote.localhost:9443"
O = Origins(SESSION, b"192.168.1.20")  # noqa: E741
HOST = (b"Host", b"abc.remote.localhost:9443")
WS = [(b"Upgrade", b"WebSocket"), (b"Connection", b"keep-alive, Upgrade")]


@pytest.mark.parametrize(
    ("method", "target", "headers", "fault"),
    [
        (b"GET", b"/", [HOST], None),
        (b"OPTIONS", b"*", [HOST], None),
        (b"POST", b"/x", [HOST, (b"Content-Length", b"1"), (b"transfer-Encoding", b"chunked")], "two-lengths"),
        (b"POST", b"/x", [HOST, (b"Transfer-Encoding", b"gzip, chunked")], "transfer-coding"),
        (b"POST", b"/x", [HOST, (b"Transfer-Encoding", b"Chunked")], None),
        (b"CONNECT", b"x:1", [HOST], "method"),
        (b"TRACE", b"/", [HOST], "method"),
        (b"trace", b"/", [HOST], "method"),
        (b"GET", b"http://192.168.1.1/", [HOST], "target"),
        (b"GET", b"*", [HOST], "target"),
        (b"GET", b"/", [], "host"),
        (b"GET", b"/", [HOST, HOST], "host"),
    ],
)
def test_requests_that_are_not_passed_on(method: bytes, target: bytes, headers: Headers, fault: str | None) -> None:
    assert request_fault(method, target, headers) == fault


def test_request_headers() -> None:
    seen = to_device(
        [
            HOST,
            (b"Connection", b"keep-alive, X-Drop"),
            (b"X-Drop", b"1"),
            (b"TE", b"trailers"),
            (b"Upgrade-Insecure-Requests", b"1"),
            (b"X-Forwarded-Proto", b"https"),
            (b"Via", b"1.1 x"),
            (b"Authorization", b"Digest x"),
            (b"Expect", b"100-continue"),
            (b"Cookie", b"a=1; __Host-portico=secret;b=2"),
            (b"Cookie", b"__Host-portico=secret"),
            (b"Origin", SESSION),
            (b"Referer", SESSION + b"/a?b"),
        ],
        O,
    )
    assert seen == [
        (b"Host", b"192.168.1.20"),
        (b"Upgrade-Insecure-Requests", b"1"),
        (b"Authorization", b"Digest x"),
        (b"Expect", b"100-continue"),
        (b"Cookie", b"a=1; b=2"),
        (b"Origin", b"http://192.168.1.20"),
        (b"Referer", b"http://192.168.1.20/a?b"),
    ]


def test_a_chunked_body_stays_chunked() -> None:
    assert to_device([HOST, (b"transfer-encoding", b"Chunked")], O)[1:] == [(b"Transfer-Encoding", b"chunked")]


def test_foreign_origin_and_referer_are_not_made_to_look_right() -> None:
    foreign = [HOST, (b"Origin", SESSION + b"0"), (b"Referer", SESSION + b"0/x")]
    assert to_device(foreign, O)[1:] == foreign[1:]


def test_an_upgrade_to_websocket_stays_and_others_do_not() -> None:
    assert is_websocket(WS)
    assert to_device([HOST, *WS], O)[1:] == [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
    assert not is_websocket([(b"Upgrade", b"h2c")])
    assert to_device([HOST, (b"Upgrade", b"h2c"), (b"HTTP2-Settings", b"x"), (b"Connection", b"Upgrade")], O)[1:] == []


@pytest.mark.parametrize(
    ("headers", "cookie"),
    [
        ([(b"Cookie", b"__Host-portico=abc")], "abc"),
        ([(b"Cookie", b"a=1;  __Host-portico=abc ; b=2")], "abc"),
        ([(b"Cookie", b"x__Host-portico=abc")], None),
        ([(b"Cookie", b"__Host-portico=abc; __Host-portico=def")], None),
        ([(b"Cookie", b"__Host-portico=\xff")], None),
        ([], None),
    ],
)
def test_the_gateways_cookie(headers: list[tuple[bytes, bytes]], cookie: str | None) -> None:
    assert cookie_of(headers) == cookie


@pytest.mark.parametrize(
    ("headers", "navigates"),
    [
        ([], True),  # curl, and browsers that do not say
        ([(b"Sec-Fetch-Site", b"cross-site"), (b"Sec-Fetch-Mode", b"navigate"), (b"Sec-Fetch-Dest", b"document")], True),
        ([(b"Sec-Fetch-Mode", b"no-cors"), (b"Sec-Fetch-Dest", b"image")], False),
        ([(b"Sec-Fetch-Mode", b"navigate"), (b"Sec-Fetch-Dest", b"iframe")], False),
        ([(b"Sec-Fetch-Mode", b"cors"), (b"Sec-Fetch-Dest", b"empty")], False),
        ([(b"Sec-Fetch-Mode", b"navigate"), (b"Sec-Fetch-Dest", b"document"), (b"Sec-Purpose", b"prefetch")], False),
    ],
)
def test_only_a_window_spends_a_link(headers: list[tuple[bytes, bytes]], navigates: bool) -> None:
    assert is_navigation(headers) is navigates


@pytest.mark.parametrize(
    ("method", "headers", "foreign"),
    [
        (b"GET", [], False),
        (b"POST", [], False),
        (b"POST", [(b"Origin", SESSION)], False),
        (b"POST", [(b"Origin", b"https://xyz.remote.localhost:9443")], True),
        (b"POST", [(b"Origin", b"null")], True),
        (b"POST", [(b"Origin", b"null"), (b"Sec-Fetch-Site", b"same-origin")], False),
        (b"GET", [(b"Sec-Fetch-Site", b"same-site"), (b"Sec-Fetch-Mode", b"no-cors"), (b"Sec-Fetch-Dest", b"image")], True),
        (b"GET", [(b"Sec-Fetch-Site", b"cross-site"), (b"Sec-Fetch-Mode", b"navigate"), (b"Sec-Fetch-Dest", b"document")], False),
        (b"GET", [(b"Sec-Fetch-Site", b"cross-site"), (b"Sec-Fetch-Mode", b"navigate"), (b"Sec-Fetch-Dest", b"iframe")], True),
        (b"POST", [(b"Sec-Fetch-Site", b"same-site"), (b"Sec-Fetch-Mode", b"navigate"), (b"Sec-Fetch-Dest", b"document")], True),
        (b"GET", [*WS, (b"Origin", SESSION)], False),
        (b"GET", [*WS], True),
        (b"GET", [*WS, (b"Origin", b"https://evil.example"), (b"Sec-Fetch-Site", b"same-origin")], True),
    ],
)
def test_requests_another_site_caused(method: bytes, headers: list[tuple[bytes, bytes]], foreign: bool) -> None:
    assert is_foreign(method, headers, SESSION) is foreign


@pytest.mark.parametrize(
    ("url", "becomes"),
    [
        (b"/home", b"/home"),
        (b"home?a=b", b"home?a=b"),
        (b"?x", b"?x"),
        (b"", b""),
        (b"http://192.168.1.20/a?b#c", SESSION + b"/a?b#c"),
        (b"http://192.168.1.20:80/a", SESSION + b"/a"),
        (b"HTTP://192.168.1.20", SESSION + b"/"),
        (b"http://192.168.1.20?x", SESSION + b"?x"),
        (b"//192.168.1.20/x", SESSION + b"/x"),
        (b" \thttp://192.168.1.20/x", SESSION + b"/x"),
        (b"http://192.168.1.20:8080/a", LeavesDevice(b"http://192.168.1.20:8080/a")),
        (b"https://192.168.1.20/a", LeavesDevice(b"https://192.168.1.20/a", SESSION + b"/a")),
        (b"https://192.168.1.20:443/a", LeavesDevice(b"https://192.168.1.20:443/a", SESSION + b"/a")),
        (b"http://evil.example/", LeavesDevice(b"http://evil.example/")),
        (b"\x01//evil.example/", LeavesDevice(b"//evil.example/")),
        (b"//evil.example/", LeavesDevice(b"//evil.example/")),
        (b"/\\evil.example/", LeavesDevice(b"/\\evil.example/")),
        (b"\\\\evil.example", LeavesDevice(b"\\\\evil.example")),
        (b"ht\ttp://evil.example/", LeavesDevice(b"http://evil.example/")),
        (b"http://192.168.1.20@evil.example/", LeavesDevice(b"http://192.168.1.20@evil.example/")),
        (b"http://192.168.1.20.evil.example/", LeavesDevice(b"http://192.168.1.20.evil.example/")),
        (b"javascript:alert(1)", LeavesDevice(b"javascript:alert(1)")),
        (b"http:evil.example", LeavesDevice(b"http:evil.example")),
    ],
)
def test_location(url: bytes, becomes: bytes | LeavesDevice) -> None:
    assert location(url, O) == becomes


@given(st.binary(max_size=60))
def test_no_location_names_another_host(url: bytes) -> None:
    target = location(url, O)
    if isinstance(target, bytes) and not target.startswith(SESSION):
        assert target.replace(b"\\", b"/")[:2] != b"//"
        assert not target.lower().startswith((b"http:", b"https:", b"javascript:"))


@pytest.mark.parametrize(
    ("value", "becomes"),
    [
        (b"SessionId=1; Path=/; HttpOnly", b"SessionId=1; Path=/; HttpOnly"),
        (b"a=b; Domain=192.168.1.20; Path=/", b"a=b; Path=/"),
        (b"a=b;DOMAIN = .example.com", b"a=b"),
        (b"__Host-portico=evil; Path=/", None),
        (b" __HOST-x=1", None),
        (b"=__Host-portico=evil", None),
        (b"__Host-portico", None),
        (b"token=", b"token="),
    ],
)
def test_set_cookie(value: bytes, becomes: bytes | None) -> None:
    assert set_cookie(value) == becomes


def test_response_headers() -> None:
    assert to_visitor(
        [
            (b"Server", b"lighttpd/1.4.30"),
            (b"Connection", b"close, X-Drop"),
            (b"X-Drop", b"1"),
            (b"Transfer-Encoding", b"chunked"),
            (b"Content-Length", b"3"),
            (b"Strict-Transport-Security", b"max-age=1"),
            (b"Clear-Site-Data", b'"cookies"'),
            (b"Referrer-Policy", b"unsafe-url"),
            (b"WWW-Authenticate", b"Digest a"),
            (b"WWW-Authenticate", b"Basic b"),
            (b"Set-Cookie", b"__Host-portico=evil"),
            (b"Content-Security-Policy", b"default-src http://192.168.1.20 ws://192.168.1.20; img-src 192.168.1.20 1.1"),
            (b"Access-Control-Allow-Origin", b"http://192.168.1.20"),
            (b"Content-Location", b"http://elsewhere/"),
            (b"Refresh", b"5; url=http://192.168.1.20/status"),
        ],
        O,
    ) == [
        (b"Server", b"lighttpd/1.4.30"),
        (b"WWW-Authenticate", b"Digest a"),
        (b"WWW-Authenticate", b"Basic b"),
        (
            b"Content-Security-Policy",
            b"default-src " + SESSION + b" wss://abc.remote.localhost:9443; img-src abc.remote.localhost:9443 1.1",
        ),
        (b"Access-Control-Allow-Origin", SESSION),
        (b"Refresh", b"5; url=" + SESSION + b"/status"),
        (b"Content-Security-Policy", b"frame-ancestors 'self'"),
        (b"Referrer-Policy", b"same-origin"),
    ]


def test_refresh_that_leaves_is_dropped_and_one_without_a_url_stays() -> None:
    assert to_visitor([(b"Refresh", b"0;URL='http://evil.example/'")], O)[:-2] == []  # type: ignore[index]
    to_tls = to_visitor([(b"Refresh", b"0; url=https://192.168.1.20/a?b")], O)
    assert to_tls[:-2] == [(b"Refresh", b"0; url=" + SESSION + b"/.portico/https/a?b")]  # type: ignore[index]
    assert to_visitor([(b"Refresh", b"30")], O)[:-2] == [(b"Refresh", b"30")]  # type: ignore[index]
    assert to_visitor([(b"Location", b"http://evil.example/")], O) == LeavesDevice(b"http://evil.example/")
