"""Links in pages: which become the session's, which stay, and that no cut of the page changes the outcome."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.html_links import MAX_TAG, HtmlLinks
from tunnel.http_rewrite import Origins

S = b"https://abc.remote.localhost:9443"


def rewritten(page: bytes, device: bytes = b"192.168.1.20") -> bytes:
    links = HtmlLinks(Origins(S, device))
    return links.feed(page) + links.finish()


@pytest.mark.parametrize(
    ("page", "becomes"),
    [
        (b'<a href="http://192.168.1.20/x?y=1">', b'<a href="' + S + b'/x?y=1">'),
        (b"<a class=b HREF = 'http://192.168.1.20'>", b"<a class=b HREF = '" + S + b"'>"),
        (b"<a href=https://192.168.1.20:443/x>", b"<a href=" + S + b"/.portico/https/x>"),
        (b"<a href='https://192.168.1.20'>", b"<a href='" + S + b"/.portico/https/'>"),
        (b"<img src=//192.168.1.20:80/a.png>", b"<img src=" + S + b"/a.png>"),
        (b'<form action="http://192.168.1.20/do" id=f>', b'<form action="' + S + b'/do" id=f>'),
        (b'<meta content="0; url=http://192.168.1.20/">', b'<meta content="0; url=' + S + b'/">'),
        (b'<link href="http://192.168.1.20/a" data-src="http://192.168.1.20/b">', None),
    ],
)
def test_links_to_the_device_become_the_sessions(page: bytes, becomes: bytes | None) -> None:
    expected = page.replace(b"http://192.168.1.20", S) if becomes is None else becomes
    assert rewritten(page) == expected


@pytest.mark.parametrize(
    "page",
    [
        b'<a href="/x"><a href="x"><a href="http://192.168.1.200/"><a href="http://192.168.1.20.evil.example/">',
        b'<input name="url" value="http://192.168.1.20/api">',
        b'<script>var u = "http://192.168.1.20/";</script>',
        b'<a href="rtsp://192.168.1.20/live"><a href="http://192.168.1.20:8080/x">',
        b'<a href="http://x@192.168.1.20/">',
        b"192.168.1.20 < http://192.168.1.20/ > <",
    ],
)
def test_everything_else_stays(page: bytes) -> None:
    assert rewritten(page) == page


def test_a_device_at_another_port() -> None:
    assert rewritten(b'<a href="http://127.0.0.1:8080/x">', b"127.0.0.1:8080") == b'<a href="' + S + b'/x">'
    assert rewritten(b'<a href="http://[fe80::1]/x">', b"[fe80::1]") == b'<a href="' + S + b'/x">'


PAGE = b'<html><a href="http://192.168.1.20/a">1 < 2</a><img src="http://192.168.1.20/b.png"> tail <b'


@given(st.lists(st.integers(0, len(PAGE)), max_size=8))
def test_pieces_make_no_difference(cuts: list[int]) -> None:
    links, out, at = HtmlLinks(Origins(S, b"192.168.1.20")), b"", 0
    for cut in [*sorted(cuts), len(PAGE)]:
        out += links.feed(PAGE[at:cut])
        at = cut
    assert out + links.finish() == rewritten(PAGE) == PAGE.replace(b"http://192.168.1.20", S)


def test_only_an_open_tag_is_held_back_and_not_for_long() -> None:
    links = HtmlLinks(Origins(S, b"192.168.1.20"))
    assert links.feed(b"<p>now</p> text") == b"<p>now</p> text"
    assert links.feed(b"more <a hr") == b"more "
    assert links.feed(b"x" * MAX_TAG) == b"<a hr" + b"x" * MAX_TAG


@given(
    st.lists(st.sampled_from([b"<", b">", b"href=", b'"', b" ", b"//192.168.1.20", b"http:", b"https:", b"/", b"x"]), max_size=40)
)
def test_nothing_is_lost_and_nothing_but_the_name_is_changed(parts: list[bytes]) -> None:
    page = b"".join(parts)
    changed = rewritten(page)
    back = changed.replace(S + b"/.portico/https", b"https://192.168.1.20").replace(S, b"http://192.168.1.20")
    plain = [text.replace(b"http:", b"").replace(b"https:", b"") for text in (page, back)]
    assert plain[0].replace(b"/", b"") == plain[1].replace(b"/", b"")
    assert changed == page or b"//192.168.1.20" in page
