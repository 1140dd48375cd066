"""The top Via of a request: what we write into it, and where it says the response goes (RFC 3261 18.2, RFC 3581)."""

from sip.flow import Flow
from sip.grammar import LWS
from sip.header_values import Via
from sip.message import Request

DEFAULT_PORT = 5060
_ENDS_FLAG = (b"", b";")


def stamp_received(request: Request, flow: Flow) -> None:
    """Write the request's source into its top Via: `received` where the sent-by says something else or rport is asked for,
    and the port into `rport` (18.2.1, RFC 3581 section 4). What the peer itself claimed in them is overwritten."""
    via = request.top_via
    source = flow.host_bytes
    if via.rport is None and not via.received and _bare(via.host) == source:
        return
    raw = via.raw
    flag = raw.find(b";rport")
    if via.rport == 0 and not via.received and flag == raw.rfind(b";rport") and raw[flag + 6 : flag + 7] in _ENDS_FLAG:
        # The usual case: the bare flag, once, and nothing else that is ours.
        stamped = b"%b%b;received=%b;rport=%d" % (raw[:flag], raw[flag + 6 :], source, flow.port)
    else:
        stamped = b";".join(_stamped_parts(raw, source, flow.port if via.rport is not None else 0))
    rport = flow.port if via.rport is not None else None
    request.set_top_via(Via(via.transport, via.host, via.port, via.branch, source, rport, via.maddr, stamped))


def _stamped_parts(raw: bytes, source: bytes, port: int) -> list[bytes]:
    """The parts of a Via value with our `received`, and our `rport` where `port` is not 0, instead of the peer's."""
    kept = [part for part in _semicolon_parts(raw) if part.partition(b"=")[0].strip(LWS).lower() not in (b"rport", b"received")]
    kept.append(b"received=" + source)
    if port:
        kept.append(b"rport=%d" % port)
    return kept


def reply_flow(via: Via, flow: Flow) -> Flow:
    """Where responses to a request with this top Via go: on a stream back over it; on UDP to its source, except where RFC 3261
    18.2.2 wants the sent-by port and the sender is not behind a NAT (its sent-by host is its source address, no rport).

    Devices with rport switched off (Akuvox's default) sit behind NATs; only their source port reaches them.
    """
    if flow.reliable or via.rport is not None or _bare(via.host) != flow.host_bytes:
        return flow
    port = via.port or DEFAULT_PORT
    return flow if port == flow.port else Flow(flow.transport, flow.local, flow.host, port)


def _bare(host: bytes) -> bytes:
    """A host without IPv6 brackets."""
    return host[1:-1] if host[:1] == b"[" else host


def _semicolon_parts(value: bytes) -> list[bytes]:
    """Split at semicolons outside quoted strings."""
    if b'"' not in value:
        return value.split(b";")
    parts: list[bytes] = []
    start = at = 0
    quoted = False
    while at < len(value):
        code = value[at]
        if quoted and code == 0x5C:
            at += 1
        elif code == 0x22:
            quoted = not quoted
        elif code == 0x3B and not quoted:
            parts.append(value[start:at])
            start = at + 1
        at += 1
    parts.append(value[start:])
    return parts
