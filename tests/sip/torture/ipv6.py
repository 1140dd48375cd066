# ruff: noqa: E501  one header, one line
"""RFC 5118: IPv6 in SIP."""

from tests.sip.torture.case import SDP, Case, wire
from tests.sip.torture.invalid import _head

_SDP6 = b"v=0\r\no=door 971731711378798081 0 IN IP6 2001:db8::20\r\ns=-\r\nc=IN IP6 2001:db8::20\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\n"


def _register(name: str, uri: str, via: str = "SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKas3-111", **changed: str) -> bytes:
    return wire(_head(f"REGISTER {uri} SIP/2.0", "REGISTER", name, Via=via, Contact="<sip:door@[2001:db8::1]>", **changed))


IPV6: tuple[Case, ...] = (
    Case("ipv6-good", "4.1", "bracketed references everywhere", _register("ipv6-good", "sip:[2001:db8::10]")),
    Case("ipv6-bad", "4.2", "a Request-URI without the brackets", _register("ipv6-bad", "sip:2001:db8::10"), 400),
    Case(
        "port-ambiguous",
        "4.3",
        "what was meant as a port lies inside the brackets: legal, and part of the address",
        _register("port-ambiguous", "sip:[2001:db8::10:5070]"),
    ),
    Case("port-unambiguous", "4.4", "a port behind the brackets", _register("port-unambiguous", "sip:[2001:db8::10]:5070")),
    Case(
        "via-received-param-with-delim",
        "4.5",
        "received with brackets, which the grammar does not have and many send",
        _register(
            "received-delim", "sip:[2001:db8::10]", "SIP/2.0/UDP [2001:db8::9:1];received=[2001:db8::9:255];branch=z9hG4bKas3-111"
        ),
    ),
    Case(
        "via-received-param-no-delim",
        "4.5",
        "received without brackets, as the grammar has it",
        _register(
            "received-no-delim", "sip:[2001:db8::10]", "SIP/2.0/UDP [2001:db8::9:1];received=2001:db8::9:255;branch=z9hG4bKas3"
        ),
    ),
    Case(
        "ipv6-in-sdp",
        "4.6",
        "IPv6 in SIP and SDP",
        wire(
            _head(
                "INVITE sip:user@[2001:db8::10] SIP/2.0",
                "INVITE",
                "ipv6-in-sdp",
                Via="SIP/2.0/UDP [2001:db8::20];branch=z9hG4bKas3-111",
                Contact="<sip:door@[2001:db8::20]>",
            ),
            _SDP6,
        ),
    ),
    Case(
        "mult-ip-in-header",
        "4.7",
        "both families in the Vias of one message",
        wire(
            _head(
                "BYE sip:user@host.example.net SIP/2.0",
                "BYE",
                "mult-ip-in-header",
                Via="SIP/2.0/UDP [2001:db8::9:1]:6050;branch=z9hG4bKas3-111\n"
                "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKjhja8781hjuaij65144\n"
                "Via: SIP/2.0/TCP [2001:db8::9:255];branch=z9hG4bK451jj;received=192.0.2.200",
            )
        ),
    ),
    Case(
        "mult-ip-in-sdp",
        "4.8",
        "both families in one SDP",
        wire(_head("INVITE sip:user@[2001:db8::10] SIP/2.0", "INVITE", "mult-ip-in-sdp"), _SDP6 + SDP[5:]),
    ),
    Case(
        "ipv4-mapped-ipv6",
        "4.9",
        "IPv4-mapped addresses",
        wire(
            _head(
                "INVITE sip:user@example.org SIP/2.0",
                "INVITE",
                "ipv4-mapped",
                Via="SIP/2.0/UDP [::ffff:192.0.2.10]:19823;branch=z9hG4bKbh19\nVia: SIP/2.0/UDP [::ffff:192.0.2.2]:39;branch=z9hG4bKbh2",
                Contact='"T. desk phone" <sip:ted@[::ffff:192.0.2.2]>',
            ),
            SDP,
        ),
    ),
    Case(
        "ipv6-bug-abnf-3-colons",
        "4.10",
        "three colons in a row, which the grammar of RFC 3261 produced by mistake: be liberal",
        wire(
            _head(
                "OPTIONS sip:user@[2001:db8:::192.0.2.1] SIP/2.0",
                "OPTIONS",
                "3-colons",
                To="sip:user@[2001:db8:::192.0.2.1]",
                Via="SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKas3",
            )
        ),
    ),
)
