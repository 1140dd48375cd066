# ruff: noqa: E501  one header, one line
"""RFC 4475 3.3 and 3.4: messages whose answer is mostly the business of the layers above the parser."""

from tests.sip.torture.case import SDP, Case, wire
from tests.sip.torture.invalid import _head

UPPER: tuple[Case, ...] = (
    Case(
        "insuf",
        "3.3.1",
        "no Call-ID, From or To",
        wire(
            "INVITE sip:user@example.org SIP/2.0\nCSeq: 193942 INVITE\nVia: SIP/2.0/UDP 192.0.2.95;branch=z9hG4bKkdj\nl: @LENGTH@",
            SDP,
        ),
        400,
    ),
    Case(
        "unkscm",
        "3.3.2",
        "an unknown scheme in the Request-URI",
        wire(_head("OPTIONS nobodyKnowsThisScheme:totallyopaquecontent SIP/2.0", "OPTIONS", "unkscm")),
        416,
    ),
    Case(
        "novelsc",
        "3.3.3",
        "a registered scheme that SIP has no use for",
        wire(_head("OPTIONS soap.beep://192.0.2.103:3002 SIP/2.0", "OPTIONS", "novelsc")),
        416,
    ),
    Case(
        "unksm2",
        "3.3.4",
        "unknown schemes in To, From and Contact",
        wire(
            _head(
                "REGISTER sip:example.org SIP/2.0",
                "REGISTER",
                "unksm2",
                To="isbn:2983792873",
                From="<http://www.example.org>;tag=3234233",
                Contact="<name:A_Porter>",
            )
        ),
    ),
    Case(
        "bext01",
        "3.3.5",
        "Require and Proxy-Require with extensions nobody knows",
        wire(
            _head(
                "OPTIONS sip:user@example.org SIP/2.0",
                "OPTIONS",
                "bext01",
                Require="nothingSupportsThis, nothingSupportsThisEither",
                Proxy_Require="noProxiesSupportThis, norDoAnyProxiesSupportThis",
            )
        ),
        None,
        420,
    ),
    Case(
        "invut",
        "3.3.6",
        "an unknown body type, which is the callee's business",
        wire(
            _head("INVITE sip:user@example.org SIP/2.0", "INVITE", "invut", Content_Type="application/unknownformat"),
            b'<audio>\r\n <pcmu port="443"/>\r\n</audio>\r\n',
        ),
    ),
    Case(
        "regaut01",
        "3.3.7",
        "an unknown authorization scheme: as if there were none",
        wire(
            _head(
                "REGISTER sip:example.org SIP/2.0",
                "REGISTER",
                "regaut01",
                Authorization="NoOneKnowsThisScheme opaque-data=here",
            )
        ),
        None,
        401,
    ),
    Case(
        "multi01",
        "3.3.8",
        "single headers given several times",
        wire(
            _head("INVITE sip:user@example.org SIP/2.0", "INVITE", "multi01")
            + "\nCSeq: 59 INVITE\nCall-ID: multi01.98asdh@192.0.2.1\nTo: sip:b@example.org\nFrom: sip:c@example.org;tag=9\nMax-Forwards: 5",
            SDP,
        ),
        400,
    ),
    Case(
        "mcl01",
        "3.3.9",
        "two Content-Lengths",
        wire(_head("OPTIONS sip:user@example.org SIP/2.0", "OPTIONS", "mcl01") + "\nContent-Length: 5", b"There"),
        400,
    ),
    Case(
        "bcast",
        "3.3.10",
        "a response whose Via is the broadcast address: parsed, then dropped because the Via is not ours",
        wire(
            """SIP/2.0 200 OK
Via: SIP/2.0/UDP 192.0.2.198;branch=z9hG4bK1324923
Via: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bK1saber23
Call-ID: bcast.0384840201234ksdfak3j2erwedfsASdf
CSeq: 35 INVITE
From: sip:user@example.org;tag=11141343
To: sip:user@example.edu;tag=2229
Content-Length: @LENGTH@
Content-Type: application/sdp
Contact: <sip:user@host28.example.org>
""",
            SDP,
        ),
    ),
    Case(
        "zeromf",
        "3.3.11",
        "Max-Forwards 0",
        wire(_head("OPTIONS sip:user@example.org SIP/2.0", "OPTIONS", "zeromf", Max_Forwards="0")),
        None,
        483,
    ),
    Case(
        "cparam01",
        "3.3.12",
        "an unknown Contact header parameter",
        wire(
            _head(
                "REGISTER sip:example.org SIP/2.0",
                "REGISTER",
                "cparam01",
                Contact="sip:+19725552222@gw1.example.org;unknownparam",
            )
        ),
    ),
    Case(
        "cparam02",
        "3.3.13",
        "an unknown Contact URI parameter",
        wire(
            _head(
                "REGISTER sip:example.org SIP/2.0",
                "REGISTER",
                "cparam02",
                Contact="<sip:+19725552222@gw1.example.org;unknownparam>",
            )
        ),
    ),
    Case(
        "regescrt",
        "3.3.14",
        "a Contact whose URI carries an escaped Route header",
        wire(
            _head(
                "REGISTER sip:example.org SIP/2.0",
                "REGISTER",
                "regescrt",
                Contact="<sip:user@example.org?Route=%3Csip:sip.example.org%3E>",
            )
        ),
    ),
    Case(
        "sdp01",
        "3.3.15",
        "Accept without SDP in an INVITE that carries SDP: the callee's business",
        wire(_head("INVITE sip:user@example.org SIP/2.0", "INVITE", "sdp01", Accept="text/nobodyKnowsThis"), SDP),
    ),
    Case(
        "inv2543",
        "3.4.1",
        "an RFC 2543 request: no branch, no From tag, no Max-Forwards",
        wire(
            """INVITE sip:UserB@example.org SIP/2.0
Via: SIP/2.0/UDP iftgw.example.org
From: <sip:+13035551111@ift.client.example.net;user=phone>
Record-Route: <sip:UserB@example.org;maddr=ss1.example.org>
To: sip:+16505552222@ss1.example.net;user=phone
Call-ID: inv2543.1717@ift.client.example.org
CSeq: 56 INVITE
Content-Type: application/sdp
Content-Length: @LENGTH@
""",
            SDP,
        ),
    ),
)
