# ruff: noqa: E501  the long lines are what the messages are about
"""RFC 4475 3.1.1: messages that look wrong and are right."""

from tests.sip.torture.case import SDP, Case, wire

_LONG = b"unreasonably-long-" * 12

VALID: tuple[Case, ...] = (
    Case(
        "wsinv",
        "3.1.1.1",
        "white space and folds wherever the grammar allows them, odd case, compact forms, leading zeros",
        wire(
            rb"""INVITE sip:monitor@lobby.example.org;unknownparam SIP/2.0
TO :
 sip:monitor@lobby.example.org ;   tag    = 1918181833n
from   : "A Porter \\\""       <sip:porter@example.org>
  ;
  tag = 98asjd8
MaX-fOrWaRdS: 0068
Call-ID: wsinv.ndaksdj@192.0.2.41
Content-Length   : @LENGTH@
cseq: 0009
  INVITE
Via  : SIP  /   2.0
 /UDP
    192.0.2.42;branch=390skdjuw
s :
NewFangledHeader:   newfangled value
 continued newfangled value
UnknownHeaderWithUnusualValue: ;;,,;;,;
Content-Type: application/sdp
Route:
 <sip:services.example.org;lr;unknownwith=value;unknown-no-value>
v:  SIP  / 2.0  / TCP     spindle.example.org   ;
  branch  =   z9hG4bK9ikj8  ,
 SIP  /    2.0   / UDP  192.168.255.111   ; branch=
 z9hG4bK30239
m:"Quoted string \"\"" <sip:porter@example.org> ; newparam =
      newvalue ;
  secondparam ; q = 0.33
""",
            SDP,
        ),
    ),
    Case(
        "intmeth",
        "3.1.1.2",
        "every character a method, user, display name or tag may hold, quoted control characters included",
        wire(
            b"""!interesting-Method0123456789_*+`.%indeed'~ sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.org SIP/2.0
Via: SIP/2.0/TCP host1.example.org;branch=z9hG4bK-.!%66*_+`'~
To: "BEL:\\\x07 NUL:\\\x00 DEL:\\\x7f" <sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*@example.org>
From: token1~` token2'+_ token3*%!.- <sip:mundane@example.org>;fromParam''~+*_!.-%="\xd1\x80\xd0\xb0\xd0\xb1\xd0\xbe\xd1\x82\xd0\xb0\xd1\x8e\xd1\x89\xd0\xb8\xd0\xb9";tag=_token~1'+`*%!-.
Call-ID: intmeth.word%ZK-!.*_+'@word`~)(><:\\/"][?}{
CSeq: 139122385 !interesting-Method0123456789_*+`.%indeed'~
Max-Forwards: 255
extensionHeader-!.%*+_`'~:\xef\xbb\xbf\xe5\xa4\xa7\xe5\x81\x9c\xe9\x9b\xbb
Content-Length: 0
"""
        ),
    ),
    Case(
        "esc01",
        "3.1.1.3",
        "escaped octets in the user part, one of them a reserved character",
        wire(
            """INVITE sip:sips%3Auser%40example.org@example.net SIP/2.0
To: sip:%75se%72@example.org
From: <sip:I%20have%20spaces@example.net>;tag=938
Max-Forwards: 87
i: esc01.239409asdfakjkn23onasd0-3234
CSeq: 234234 INVITE
Via: SIP/2.0/UDP host5.example.net;branch=z9hG4bKkdjuw
C: application/sdp
Contact: <sip:cal%6Cer@host5.example.net;%6C%72;n%61me=v%61lue%25%34%31>
Content-Length: @LENGTH@
""",
            SDP,
        ),
    ),
    Case(
        "escnull",
        "3.1.1.4",
        "escaped NUL in user parts: two different users, neither of them cut short",
        wire(
            """REGISTER sip:example.org SIP/2.0
To: sip:null-%00-null@example.org
From: sip:null-%00-null@example.org;tag=839923423
Max-Forwards: 70
Call-ID: escnull.39203ndfvkjdasfkq3w4otrq0adsfdfnavd
CSeq: 14398234 REGISTER
Via: SIP/2.0/UDP host5.example.org;branch=z9hG4bKkdjuw
Contact: <sip:%00@host5.example.org>
Contact: <sip:%00%00@host5.example.org>
L:0
"""
        ),
    ),
    Case(
        "esc02",
        "3.1.1.5",
        "percent signs that escape nothing: in a method and a header name they are just characters of a token",
        wire(
            """RE%47IST%45R sip:registrar.example.org SIP/2.0
To: "%Z%45" <sip:resource@example.org>
From: "%Z%45" <sip:resource@example.org>;tag=f232jadfj23
Call-ID: esc02.asdfnqwo34rq23i34jrjasdcnl23nrlknsdf
Via: SIP/2.0/TCP host.example.org;branch=z9hG4bK209%fzsnel234
CSeq: 29344 RE%47IST%45R
Max-Forwards: 70
Contact: <sip:alias1@host1.example.org>
C%6Fntact: <sip:alias2@host2.example.org>
Contact: <sip:alias3@host3.example.org>
l: 0
"""
        ),
    ),
    Case(
        "lwsdisp",
        "3.1.1.6",
        "no space between display name and angle bracket",
        wire(
            """OPTIONS sip:user@example.org SIP/2.0
To: sip:user@example.org
From: caller<sip:caller@example.org>;tag=323
Max-Forwards: 70
Call-ID: lwsdisp.1234abcd@funky.example.org
CSeq: 60 OPTIONS
Via: SIP/2.0/UDP funky.example.org;branch=z9hG4bKkdjuw
l: 0
"""
        ),
    ),
    Case(
        "longreq",
        "3.1.1.7",
        "long user, tag, branch and header values; many Vias",
        wire(
            b"INVITE sip:user@example.org SIP/2.0\n"
            b'To: "I have a user name of '
            + _LONG
            + b'" <sip:user@example.org:6000;'
            + _LONG
            + b"param="
            + _LONG
            + b"=longvalue>\n"
            b"F: sip:" + _LONG * 2 + b"@example.net;tag=12" + b"982424" * 30 + b";unknown" + _LONG + b"=" + _LONG + b";flag\n"
            b"Call-ID: longreq.one" + b"really" * 30 + b"longcallid\n"
            b"CSeq: 3882340 INVITE\n"
            b"Unknown-" + _LONG + b": unknown-" + _LONG + b"-value; unknown-parameter-" + _LONG + b"=x\n"
            b"Via: SIP/2.0/TCP sip33.example.org\n"
            + b"".join(b"v: SIP/2.0/TCP sip%d.example.org\n" % number for number in range(32, 2, -1))
            + b"V: SIP/2.0/TCP host.example.net;received=192.0.2.5;branch=very"
            + b"long" * 60
            + b"branchvalue\n"
            b"Max-Forwards: 70\n"
            b"Contact: <sip:amazinglylongcallername" + b"x" * 200 + b"@host5.example.net>\n"
            b"Content-Type: application/sdp\n"
            b"l: @LENGTH@\n",
            SDP,
        ),
    ),
    Case(
        "dblreq",
        "3.1.1.8",
        "bytes behind the end that Content-Length states: they are dropped, not a second request",
        wire(
            """REGISTER sip:example.org SIP/2.0
To: sip:j.user@example.org
From: sip:j.user@example.org;tag=43251j3j324
Max-Forwards: 8
I: dblreq.0ha0isndaksdj99sdfafnl3lk233412
Contact: sip:j.user@host.example.org
CSeq: 8 REGISTER
Via: SIP/2.0/UDP 192.0.2.125;branch=z9hG4bKkdjuw23492
Content-Length: 0
"""
        )
        + wire(
            """INVITE sip:joe@example.org SIP/2.0
t: sip:joe@example.org
From: sip:caller@example.net;tag=141334
Max-Forwards: 8
Call-ID: dblreq.0ha0isnda977644900765@192.0.2.15
CSeq: 8 INVITE
Via: SIP/2.0/UDP 192.0.2.15;branch=z9hG4bKkdjuw380234
Content-Type: application/sdp
Content-Length: @LENGTH@
""",
            SDP,
        ),
    ),
    Case(
        "semiuri",
        "3.1.1.9",
        "a semicolon in the user part starts no URI parameter",
        wire(
            """OPTIONS sip:user;par=u%40example.net@example.org SIP/2.0
To: sip:j_user@example.org
From: sip:caller@example.com;tag=33242
Max-Forwards: 3
Call-ID: semiuri.0ha0isndaksdj
CSeq: 8 OPTIONS
Accept: application/sdp, application/pkcs7-mime,
 multipart/mixed, multipart/signed,
 message/sip, message/sipfrag
Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKkdjuw
l: 0
"""
        ),
    ),
    Case(
        "transports",
        "3.1.1.10",
        "known and unknown transports in Via",
        wire(
            """OPTIONS sip:user@example.org SIP/2.0
To: sip:user@example.org
From: <sip:caller@example.org>;tag=323
Max-Forwards: 70
Call-ID: transports.kijh4akdnaqjkwendsasfdj
Accept: application/sdp
CSeq: 60 OPTIONS
Via: SIP/2.0/UDP t1.example.org;branch=z9hG4bKkdjuw
Via: SIP/2.0/SCTP t2.example.org;branch=z9hG4bKklasjdhf
Via: SIP/2.0/TLS t3.example.org;branch=z9hG4bK2980unddj
Via: SIP/2.0/UNKNOWN t4.example.org;branch=z9hG4bKasd0f3en
Via: SIP/2.0/TCP t5.example.org;branch=z9hG4bK0a9idfnee
l: 0
"""
        ),
    ),
    Case(
        "mpart01",
        "3.1.1.11",
        "a multipart body with binary parts, line ends and NULs included",
        wire(
            """MESSAGE sip:monitor@example.org SIP/2.0
Via: SIP/2.0/UDP 127.0.0.1:5070;branch=z9hG4bK-d87543-4dade06d0bdb11ee-1--d87543-;rport
Max-Forwards: 70
Route: <sip:127.0.0.1:5080>
Identity: r5mwreLuyDRYBi/0TiPwEsY3rEVsk/G2WxhgTV1PF7hHuLIK0YWVKZhKv9Mj8UeXqkMVbnVq37CD+813gvYjcBUaZngQmXc9WNZSDNGCzA
Contact: <sip:fluffy@127.0.0.1:5070>
To: <sip:monitor@example.org>
From: <sip:fluffy@example.org>;tag=2fb0dcc9
Call-ID: 3d9485ad0c49859b@Zmx1ZmZ5LW1hYy0xNi5sb2NhbA..
CSeq: 1 MESSAGE
Content-Type: multipart/mixed;boundary=7a9cbec02ceef655
MIME-Version: 1.0
User-Agent: a door phone
Content-Length: @LENGTH@
""",
            b"--7a9cbec02ceef655\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: binary\r\n\r\nHello\r\n"
            b"--7a9cbec02ceef655\r\nContent-Type: application/octet-stream\r\n\r\n"
            b"0\x82\x01R\x06\t*\x86H\x86\xf7\r\n\r\n\x01\x07\x02\xa0\x00\x00\xff\r\n--7a9cbec02ceef655--",
        ),
    ),
    Case(
        "unreason",
        "3.1.1.12",
        "a reason phrase in UTF-8",
        wire(
            """SIP/2.0 200 = 2**3 * 5**2 но сто девяносто девять - простое
Via: SIP/2.0/UDP 192.0.2.198;branch=z9hG4bK1324923
Call-ID: unreason.1234ksdfak3j2erwedfsASdf
CSeq: 35 INVITE
From: sip:user@example.org;tag=11141343
To: sip:user@example.com;tag=2229
Content-Length: @LENGTH@
Content-Type: application/sdp
Contact: <sip:user@host198.example.org>
""",
            SDP,
        ),
    ),
    Case(
        "noreason",
        "3.1.1.13",
        "an empty reason phrase behind its space",
        wire(
            """SIP/2.0 100\x20
Via: SIP/2.0/UDP 192.0.2.105;branch=z9hG4bK2398ndaoe
Call-ID: noreason.asndj203insdf99223ndf
CSeq: 35 INVITE
From: <sip:user@example.org>;tag=39ansfi3
To: <sip:user@example.edu>;tag=902jndnke3
Content-Length: 0
Contact: <sip:user@host105.example.org>
"""
        ),
    ),
)
