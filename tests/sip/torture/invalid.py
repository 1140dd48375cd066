"""RFC 4475 3.1.2 and 3.2: messages that the parser must refuse."""

from tests.sip.torture.case import SDP, Case, wire


def _head(start: str, method: str, name: str, **changed: str) -> str:
    """An ordinary request head with some headers changed; an added header is any other keyword ("_" stands for "-")."""
    headers = {
        "To": "<sip:monitor@example.org>",
        "From": '"Door" <sip:door@example.net>;tag=98asjd8',
        "Max-Forwards": "70",
        "Call-ID": f"{name}.0ha0isndaksdjasdf3234nas",
        "CSeq": f"8 {method}",
        "Via": "SIP/2.0/UDP 192.0.2.15;branch=z9hG4bKkdjuw",
        "Contact": "<sip:door@192.0.2.15>",
        "Content-Length": "@LENGTH@",
    }
    headers.update({key.replace("_", "-"): value for key, value in changed.items()})
    return "\n".join([start, *(f"{key}: {value}" for key, value in headers.items())])


INVALID: tuple[Case, ...] = (
    Case(
        "badinv01",
        "3.1.2.1",
        "empty parameters and elements in Via and Contact",
        wire(
            _head(
                "INVITE sip:user@example.org SIP/2.0",
                "INVITE",
                "badinv01",
                Via="SIP/2.0/UDP 192.0.2.15;;,;,,",
                Contact='"Joe" <sip:joe@example.org>;;;;',
            ),
            SDP,
        ),
        400,
    ),
    Case(
        "clerr",
        "3.1.2.2",
        "Content-Length larger than the message",
        wire(_head("INVITE sip:user@example.org SIP/2.0", "INVITE", "clerr", Content_Length="9999"), SDP),
        400,
    ),
    Case(
        "ncl",
        "3.1.2.3",
        "negative Content-Length",
        wire(_head("INVITE sip:user@example.org SIP/2.0", "INVITE", "ncl", Content_Length="-999"), SDP),
        400,
    ),
    Case(
        "scalar02",
        "3.1.2.4",
        "numbers beyond every bound",
        wire(
            _head(
                "REGISTER sip:example.org SIP/2.0",
                "REGISTER",
                "scalar02",
                CSeq="36893488147419103232 REGISTER",
                Max_Forwards="300",
                Expires="1" + "0" * 100,
                Contact="<sip:user@host129.example.org>;expires=280297596632815",
            )
        ),
        400,
    ),
    Case(
        "scalarlg",
        "3.1.2.5",
        "a response with numbers beyond every bound",
        wire(
            """SIP/2.0 503 Service Unavailable
Via: SIP/2.0/TCP host129.example.org;branch=z9hG4bKzzxdiwo34sw;received=192.0.2.129
To: <sip:user@example.org>
From: <sip:other@example.net>;tag=2easdjfejw
CSeq: 9292394834772304023312 OPTIONS
Call-ID: scalarlg.noase0of0234hn2qofoaf0232aewf2394r
Retry-After: 949302838503028349304023988
Warning: 1812 overture "In Progress"
Content-Length: 0
"""
        ),
        0,
    ),
    Case(
        "quotbal",
        "3.1.2.6",
        "a quoted string in To that never closes",
        wire(_head("INVITE sip:user@example.org SIP/2.0", "INVITE", "quotbal", To='"Mr. J. User <sip:j.user@example.org>'), SDP),
        400,
    ),
    Case(
        "ltgtruri",
        "3.1.2.7",
        "angle brackets around the Request-URI",
        wire(_head("INVITE <sip:user@example.org> SIP/2.0", "INVITE", "ltgtruri"), SDP),
        400,
    ),
    Case(
        "lwsruri",
        "3.1.2.8",
        "a space inside the Request-URI",
        wire(_head("INVITE sip:user@example.org; lr SIP/2.0", "INVITE", "lwsruri"), SDP),
        400,
    ),
    Case(
        "lwsstart",
        "3.1.2.9",
        "two spaces between the parts of the request line",
        wire(_head("INVITE  sip:user@example.org  SIP/2.0", "INVITE", "lwsstart"), SDP),
        400,
    ),
    Case(
        "trws",
        "3.1.2.10",
        "spaces behind the request line",
        wire(_head("OPTIONS sip:remote-target@example.org SIP/2.0  ", "OPTIONS", "trws")),
        400,
    ),
    Case(
        "escruri",
        "3.1.2.11",
        "headers in the Request-URI, a Route hidden among them",
        wire(_head("INVITE sip:user@example.org?Route=%3Csip:example.org%3E SIP/2.0", "INVITE", "escruri"), SDP),
        400,
    ),
    Case(
        "baddate",
        "3.1.2.12",
        "a Date in a zone other than GMT",
        wire(_head("INVITE sip:user@example.org SIP/2.0", "INVITE", "baddate", Date="Fri, 01 Jan 2010 16:00:00 EST"), SDP),
        400,
    ),
    Case(
        "regbadct",
        "3.1.2.13",
        "a Contact with URI headers but without angle brackets",
        wire(
            _head(
                "REGISTER sip:example.org SIP/2.0",
                "REGISTER",
                "regbadct",
                Contact="sip:user@example.org?Route=%3Csip:sip.example.org%3E",
            )
        ),
        400,
    ),
    Case(
        "badaspec",
        "3.1.2.14",
        "spaces inside the angle brackets of To",
        wire(_head("OPTIONS sip:user@example.org SIP/2.0", "OPTIONS", "badaspec", To='"Porter, A" < sip:a.porter@example.org >')),
        400,
    ),
    Case(
        "baddn",
        "3.1.2.15",
        "an unquoted comma in a display name",
        wire(_head("OPTIONS sip:user@example.org SIP/2.0", "OPTIONS", "baddn", From="Bell, A <sip:a.bell@example.org>;tag=43")),
        400,
    ),
    Case(
        "badvers",
        "3.1.2.16",
        "an unknown protocol version",
        wire(
            _head(
                "OPTIONS sip:user@example.org SIP/7.0", "OPTIONS", "badvers", Via="SIP/7.0/UDP c.example.org;branch=z9hG4bKkdjuw"
            )
        ),
        505,
    ),
    Case(
        "mismatch01",
        "3.1.2.17",
        "CSeq names another method",
        wire(_head("OPTIONS sip:user@example.org SIP/2.0", "INVITE", "mismatch01")),
        400,
    ),
    Case(
        "mismatch02",
        "3.1.2.18",
        "an unknown method, and CSeq names another",
        wire(_head("NEWMETHOD sip:user@example.org SIP/2.0", "INVITE", "mismatch02"), SDP),
        400,
    ),
    Case(
        "bigcode",
        "3.1.2.19",
        "a status code beyond every bound",
        wire(_head("SIP/2.0 4294967301 better not break the receiver", "INVITE", "bigcode")),
        0,
    ),
    Case(
        "badbranch",
        "3.2.1",
        "the magic cookie of a branch with nothing behind it",
        wire(_head("OPTIONS sip:user@example.org SIP/2.0", "OPTIONS", "badbranch", Via="SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK")),
        400,
    ),
)
