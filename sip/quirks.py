"""Known faults of peers, and what we do about each. One function per fault; each names the peer and where the fault was seen."""

from sip.message import Request

_SIPP_BRANCH = b"z9hG4bK-"
_SIPP_ALPHABET = b"0123456789-"


def knows_only_md5(request: Request) -> bool:
    """baresip 1.0.0 (libre 1.1.0, as Debian 12 ships them) gives up with "Function not implemented" when any challenge names
    another algorithm than MD5, where RFC 8760 2.4 wants unknown ones skipped. Kamailio 5.6.3 as a client (a PBX that registers
    with its uac module) reads the topmost challenge alone and says "unsupported algorithm". They are offered MD5 alone, which
    they could have chosen anyway. Known by their User-Agent."""
    return (request.get(b"user-agent") or b"").startswith((b"baresip v0.", b"baresip v1.", b"kamailio (5."))


def is_sipp(request: Request) -> bool:
    """SIPp is known by its branches: z9hG4bK-<process>-<call>-<message>. The faults of SIPp up to 3.7 that this stands for:

    - It takes the topmost challenge and gives up unless that is MD5 (its createAuthHeader), where RFC 8760 2.4 wants the topmost
      one that the client knows. It is offered the same challenges, MD5 first.
    - Its digest `uri` is always sip:<server>:<port>, also where the Request-URI has a user (RFC 7616 3.4.6 wants them equal).
      That one other uri is accepted from it. Whoever imitates its branch gains nothing: a digest over our own URI and this
      method can only be made with the password, and its nonce count is good once.
    """
    branch = request.branch
    return branch[:8] == _SIPP_BRANCH and not branch[8:].translate(None, _SIPP_ALPHABET)
