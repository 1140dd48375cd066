"""SRV records from a name server on loopback, and the system's own look-ups."""

import asyncio
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.names import dns
from twisted.names.error import DNSNameError

from sip.net.resolver import Service, SrvLookup, SystemLookup

pytestmark = pytest.mark.system
NAME = "_sip._udp.carrier.test"
_record: Any = dns.Record_SRV
RECORDS = (_record(1, 5, 5070, b"one.carrier.test"), _record(2, 0, 5080, b"two.carrier.test"))


class NameServer:
    """Knows one name."""

    def messageReceived(self, message: Any, protocol: Any, address: tuple[str, int]) -> None:
        message.answer = 1
        if message.queries[0].name.name == NAME.encode():
            message.answers = [dns.RRHeader(NAME.encode(), dns.SRV, payload=record) for record in RECORDS]
        else:
            message.rCode = dns.ENAME
        protocol.writeMessage(message, address)


async def test_srv_records_are_read_from_a_name_server() -> None:
    protocol: Any = dns.DNSDatagramProtocol(NameServer())  # type: ignore[no-untyped-call]
    network: Any = reactor
    listening = network.listenUDP(0, protocol, interface="127.0.0.1")
    try:
        lookup = SrvLookup([("127.0.0.1", listening.getHost().port)])
        assert sorted(await lookup.services(NAME)) == [
            Service(1, 5, "one.carrier.test", 5070),
            Service(2, 0, "two.carrier.test", 5080),
        ]
        with pytest.raises(DNSNameError):
            await lookup.services("_sip._udp.nobody.test")
    finally:
        await listening.stopListening().asFuture(asyncio.get_running_loop())


async def test_the_systems_resolver_answers_beside_the_loop() -> None:
    lookup = SystemLookup()
    assert "127.0.0.1" in await lookup.addresses("localhost")
    for bad in ("a" * 300, "no such name.invalid"):
        with pytest.raises(OSError, match=r"not known|No address|no name|failure|name"):
            await lookup.addresses(bad)
