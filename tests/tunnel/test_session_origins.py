"""Where sessions are: names and ports, and what a Host header may say."""

from hypothesis import given
from hypothesis import strategies as st

from registry.mac import MacAddress
from registry.records import RemoteSession
from tunnel.session_origins import SessionOrigins

ID = "abcdefghijklmnopqrstuvwxyz234567"


def session(port: int = 0) -> RemoteSession:
    return RemoteSession(ID, MacAddress("0C1105AABBCC"), "s", "token:t", "ab" * 32, 0.0, 60.0, 3600.0, port=port)


def test_names_under_the_wildcard_domain() -> None:
    origins = SessionOrigins(domain="Remote.Localhost", host="gw.example")
    origins.listening(9443)
    origins.listening(9444)  # a second address of the listener
    assert origins.of(session()) == f"https://{ID}.remote.localhost:9443"
    assert origins.address == ("gw.example", 9443)
    for good in (f"{ID}.remote.localhost:9443", f"{ID.upper()}.REMOTE.localhost", f"{ID}.remote.localhost:1"):
        assert origins.label(good.encode()) == ID
    for bad in (
        "remote.localhost",
        f"x{ID}.remote.localhost",
        f"{ID}.remote.localhost.",
        f"{ID}.evil.example",
        f"{ID}.remote.localhost:x",
    ):
        assert origins.label(bad.encode()) is None
    assert not origins.by_port(b"gw.example:9443", 9443)
    assert SessionOrigins(domain="d.example", host="h", public_port=443).of(session()) == f"https://{ID}.d.example"


def test_ports_of_one_host() -> None:
    origins = SessionOrigins(domain="d.example", host="2001:db8::1", ports=(9500, 9501), public_port=9443)
    assert origins.of(session(9501)) == "https://[2001:db8::1]:9501"
    assert origins.by_port(b"[2001:DB8::1]:9501", 9501)
    for host, port in (
        (b"[2001:db8::1]:9500", 9501),
        (b"[2001:db8::1]", 9501),
        (b"evil.example:9501", 9501),
        (b"[2001:db8::1]:9443", 9443),
    ):
        assert not origins.by_port(host, port)


@given(st.binary(max_size=80))
def test_any_host_is_a_session_or_none(host: bytes) -> None:
    origins = SessionOrigins(domain="remote.localhost", host="gw.example", ports=(9500,), public_port=9443)
    label = origins.label(host)
    assert label is None or host.decode().lower().startswith(label)
    assert isinstance(origins.by_port(host, 9500), bool)
