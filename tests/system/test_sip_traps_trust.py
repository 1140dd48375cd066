"""Traps 15 to 18, 20 to 23 and the UDP part of 25 of reference/sip-core.md section 5, black box over real UDP sockets.

An expired nonce (23 E) takes 300 s: tests/sip/test_digest.py and tests/sip/test_traps_trust.py. 19 and 24 are about streams.
"""

import socket
from collections.abc import Iterator

import pytest

from sip.message import Request, Response
from sip.parser import parse
from tests.sip.test_amplification import DEVICE
from tests.system.udp_phone import House, UdpPhone, running_house

pytestmark = pytest.mark.system
METHODS = [b"INVITE", b"MESSAGE", b"SUBSCRIBE", b"NOTIFY", b"REFER", b"INFO", b"UPDATE", b"BYE", b"PRACK", b"PUBLISH"]
INSTANCE = b'+sip.instance="<urn:uuid:00000000-0000-1000-8000-0C1105AABBCC>"'


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    yield from running_house(tmp_path_factory.mktemp("trust"), 64, 0x8000)


def uri_of(phone: UdpPhone) -> bytes:
    return b"sip:%b@gw.test" % phone.user.encode()


def bound(response: Response) -> list[bytes]:
    """The URIs of the bindings that a 200 to a REGISTER lists."""
    return [value.partition(b">")[0].lstrip(b"<") for value in response.all(b"contact")]


def bindings(phone: UdpPhone) -> list[bytes]:
    """What the phone's own query says is bound."""
    query = phone.authorised(phone.request(b"REGISTER", b"sip:gw.test", to=b"<" + uri_of(phone) + b">"))
    final = phone.asks(query)
    assert final.status == 200
    return bound(final)


def test_trap_15_a_preloaded_route_to_elsewhere_is_refused_and_followed_nowhere(house: House) -> None:
    caller, callee = house.pair()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as victim:
        victim.bind(("127.0.0.9", 0))
        victim.settimeout(0.3)
        route = b"Route: <sip:127.0.0.9:%d;lr>" % victim.getsockname()[1]
        for uri in (b"sip:victim.test", uri_of(callee), callee.contact):
            assert caller.asks(caller.request(b"INVITE", uri, headers=(route,))).status == 403
        port = victim.getsockname()[1]
        for uri in (b"sip:x@127.0.0.9:%d" % port, b"sip:127.0.0.9:%d" % port):
            caller.send(caller.authorised(caller.request(b"MESSAGE", uri)))
            caller.gets(404, b"MESSAGE")
        with pytest.raises(TimeoutError):
            victim.recv(65535)
    assert callee.arrivals() == []


def test_trap_15_our_host_with_another_port_is_not_us_and_our_own_route_is_taken_out(house: House) -> None:
    caller, callee = house.pair()
    port = house.address[1]
    other = caller.request(b"INVITE", uri_of(callee), headers=(b"Route: <sip:127.0.0.1:%d;lr>" % (port % 60000 + 1),))
    assert caller.asks(other).status == 403
    own = caller.request(b"MESSAGE", uri_of(callee), headers=(b"Route: <sip:127.0.0.1:%d;lr>" % port,))
    caller.send(caller.authorised(own))
    assert callee.asked(b"MESSAGE").get(b"route") is None


def test_trap_15_a_strict_routers_request_is_put_right(house: House) -> None:
    caller, callee = house.pair()
    invite, (arrived,) = caller.calls(callee.user, callee)
    callee.answers(arrived, 200)
    final, sent = caller.gets(200), parse(invite)
    bye = caller.request(
        b"BYE",
        final.all(b"record-route")[0].strip(b"<>"),
        to=final.get(b"to") or b"",
        tag=sent.from_tag,
        call_id=sent.call_id,
        headers=(b"Route: <" + callee.contact + b">",),
    )
    caller.send(bye)
    ended = callee.asked(b"BYE")
    assert (ended.uri, ended.get(b"route")) == (callee.contact, None)


@pytest.mark.parametrize("method", METHODS)
def test_trap_16_a_to_tag_alone_opens_nothing(house: House, method: bytes) -> None:
    caller, callee = house.pair()
    for uri in (uri_of(callee), callee.contact):
        answer = caller.asks(caller.request(method, uri, to=b"<" + uri_of(callee) + b">;tag=x"))
        assert answer.status in (403, 407, 481)
    assert callee.arrivals(0.1) == []


def test_trap_16_a_smuggled_to_is_not_to(house: House) -> None:
    caller, callee = house.pair()
    for spelling in (b"To\x0b", b"To\x00", b"To\xc2\xa0", b"T\xd0\xbe"):
        header = spelling + b": <" + uri_of(callee) + b">;tag=x"
        assert caller.asks(caller.request(b"MESSAGE", uri_of(callee), headers=(header,))).status in (400, 407)
    assert callee.arrivals() == []


def test_trap_17_every_form_of_a_header_routes_alike_and_unknown_ones_arrive_byte_identical(house: House) -> None:
    caller, callee = house.pair()
    odd_lines = (b"X-Odd:  kept,  as\t it is", b"x-folded: one\r\n\ttwo")
    plain = caller.authorised(caller.request(b"MESSAGE", uri_of(callee), headers=odd_lines))
    odd = plain.replace(b"From: ", b"f : ").replace(b"To: ", b"t:\r\n ").replace(b"Call-ID: ", b"i:").replace(b"Via: ", b"V: ")
    caller.send(odd.replace(b"CSeq:", b"cSEQ\t:").replace(b"Max-Forwards:", b"MAX-forwards:"))
    arrived = callee.asked(b"MESSAGE")
    text = arrived.to_bytes()
    assert all(line in text for line in odd_lines)
    assert b"f : <sip:" in text


@pytest.mark.parametrize("rport", [True, False])
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
def test_trap_18_where_responses_go(house: House, host: str, rport: bool) -> None:
    """With rport to the source port, without it to the sent-by port where the sender is not behind a NAT (RFC 3261 18.2.2)."""
    sender = house.phone("A", host=host)
    named = house.phone("B", host=host)
    request = sender.request(b"OPTIONS", b"sip:gw.test", rport=rport).replace(sender.sent_by, named.sent_by, 1)
    sender.send(request)
    heard, silent = (sender, named) if rport else (named, sender)
    via = heard.gets(200, b"OPTIONS").top_via
    assert silent.arrivals() == []
    assert via.rport == (sender.port if rport else None)


def test_trap_18_a_device_behind_a_nat_without_rport_is_answered_at_its_source(house: House) -> None:
    sender = house.phone("A")
    sender.send(sender.request(b"OPTIONS", b"sip:gw.test", rport=False).replace(sender.sent_by, b"10.0.0.7:5060", 1))
    assert sender.gets(200, b"OPTIONS").top_via.received == sender.host.encode()


def test_trap_20_an_overtaken_register_changes_nothing(house: House) -> None:
    phone = house.phone("D")
    assert phone.registers(call_id=b"order", cseq=5).status == 200
    late = phone.register(contact=b"<sip:x@127.0.0.1:9>", call_id=b"order", cseq=1)
    challenge = phone.asks(late)
    stale = phone.with_credentials(late, challenge, fresh=False)
    branch = parse(late).branch
    assert phone.asks(stale.replace(branch, branch + b"a")).status == 200  # another contact: 10.3 orders per binding
    gone = phone.register(expires=0, call_id=b"order", cseq=4)
    branch = parse(gone).branch
    removal = phone.with_credentials(gone, phone.asks(gone), fresh=False).replace(branch, branch + b"a")
    assert phone.asks(removal).status == 500
    assert phone.contact in bindings(phone)


def test_trap_20_one_bad_contact_spoils_all(house: House) -> None:
    phone = house.phone("D")
    assert phone.registers().status == 200
    before = bindings(phone)
    for bad in (b"<sip:y@127.0.0.1:7001>;expires=5", b"<sip:y@127.0.0.1:bad>", b'"open <sip:y@127.0.0.1>'):
        refused = phone.asks(phone.register(contact=b"<sip:x@127.0.0.1:7000>, " + bad))
        if refused.status == 401:
            data = phone.register(contact=b"<sip:x@127.0.0.1:7000>, " + bad)
            refused = phone.asks(phone.authorised(data))
        assert refused.status in (400, 423)
    assert bindings(phone) == before


def test_trap_21_star_needs_expires_0(house: House) -> None:
    phone = house.phone("D")
    assert phone.registers().status == 200
    assert phone.registers(contact=b"*", expires=3600).status == 400
    assert bindings(phone) == [phone.contact]
    assert phone.registers(contact=b"*", expires=0).status == 200
    assert bindings(phone) == []


def test_trap_21_parameters_expiry_and_the_minimum(house: House) -> None:
    phone = house.phone("D")
    final = phone.registers(contact=b"<sip:d@127.0.0.1;expires=120>;q=0.5, sip:d@127.0.0.1:7000;expires=90")
    assert final.all(b"contact") == [
        b"<sip:d@127.0.0.1;expires=120>;q=0.5;expires=3600",
        b"<sip:d@127.0.0.1:7000>;expires=90",
    ]
    short = phone.registers(expires=5)
    assert (short.status, short.get(b"min-expires")) == (423, b"60")


def test_trap_21_a_device_that_rebooted_on_a_new_port_rings_once(house: House) -> None:
    caller, account = house.phone("A"), house.new_account()
    assert caller.registers().status == 200
    old, new = house.phone("D", account, "127.0.0.77"), house.phone("E", account, "127.0.0.77")
    for phone, call_id in ((old, b"before"), (new, b"after")):
        assert phone.registers(contact=b"<" + phone.contact + b">;" + INSTANCE, call_id=call_id).status == 200
    caller.calls(account.username, new)
    assert old.arrivals() == []


def test_trap_22_nobody_registers_or_calls_for_another(house: House) -> None:
    thief, callee = house.pair()
    victim = house.phone("V")
    assert victim.registers().status == 200
    data = thief.request(
        b"REGISTER", b"sip:gw.test", to=b"<" + uri_of(victim) + b">", headers=(b"Contact: <" + thief.contact + b">",)
    )
    assert thief.asks(thief.authorised(data)).status == 403
    star = thief.request(b"REGISTER", b"sip:gw.test", to=b"<" + uri_of(victim) + b">", headers=(b"Contact: *", b"Expires: 0"))
    assert thief.asks(thief.authorised(star)).status == 403
    assert bindings(victim) == [victim.contact]
    thief.send(thief.authorised(thief.request(b"INVITE", uri_of(callee), sender=victim.user.encode())))
    thief.gets(100)
    thief.gets(403)
    assert callee.arrivals() == []


def test_trap_23_the_digest_matrix(house: House) -> None:
    phone = house.phone("D")

    def register(**edits: bytes) -> Response:
        """A REGISTER answering the first challenge, with the count and the parameters asked for."""
        made = phone.with_credentials(phone.register(*DEVICE), challenge, nc=int(edits.pop("nc", b"1")))
        for name, new in edits.items():
            made = made.replace(nonce if name == "nonce" else SPELLED[name], new)
        return phone.asks(made)

    def stale(response: Response) -> bool:
        return all(b"stale=true" in value for value in response.all(b"www-authenticate"))

    challenge = phone.asks(phone.register(*DEVICE))  # A
    assert challenge.status == 401
    nonce = challenge.all(b"www-authenticate")[0].split(b'nonce="')[1].split(b'"')[0]
    assert [value.partition(b"algorithm=")[2].partition(b",")[0] for value in challenge.all(b"www-authenticate")] == [
        b"SHA-512-256",
        b"SHA-256",
        b"MD5",
    ]
    assert not stale(challenge)
    assert register().status == 200  # B
    reused = register()  # C: refused, and told stale (a door station that miscounts goes on by itself)
    assert (reused.status, stale(reused)) == (401, True)
    assert register(nc=b"2").status == 200  # D
    forged = register(nc=b"3", nonce=nonce[:-4] + b"0000")  # F
    assert (forged.status, stale(forged)) == (401, False)
    for name, text in (("cnonce", b""), ("uri", b'uri="sip:other.test"'), ("realm", b'realm="PORTICO"')):  # G, H, I
        refused = register(nc=b"4", **{name: text})
        assert (refused.status, stale(refused)) == (401, False), name
    assert register(nc=b"5", algorithm=b"algorithm=sha-512-256").status == 200  # a token's case does not matter


SPELLED = {
    "cnonce": b", qop=auth, nc=00000004",
    "uri": b'uri="sip:gw.test"',
    "realm": b'realm="portico"',
    "algorithm": b"algorithm=SHA-512-256",
}


def test_trap_25_a_large_invite_over_udp_arrives_whole_and_the_next_small_one_is_still_udp(house: House) -> None:
    caller, callee = house.pair()
    for size in (1800, 10):
        caller.send(caller.invite_to(callee.user, body=b"v" * size))
        caller.gets(100)
        arrived = callee.asked(b"INVITE")
        assert len(arrived.body) == size
        assert isinstance(arrived, Request)
        callee.answers(arrived, 486)
        callee.asked(b"ACK")
        caller.gets(486)
