"""Public GRUUs (RFC 5627): a URI of our domain that reaches exactly one device of a user.

    pub-gruu = the AOR with the URI parameter gr=<the instance-id without its angle brackets>

It follows from the AOR and the instance-id alone, so none is remembered. Temporary GRUUs are not made.
"""

from sip.errors import MalformedMessage
from sip.uri import escape, parse_uri

_PARAM_CHARACTERS = b"[]/:&+$"


def pub_gruu(aor: bytes, instance: bytes) -> bytes:
    """The public GRUU of the device `instance` (`<urn:uuid:...>`) of the user that the sip URI `aor` names.

    Raises `MalformedMessage` when `aor` is none.
    """
    uri = parse_uri(aor, b"Malformed To")
    bare = uri.scheme.encode() + b":" + escape(uri.user, b"&=+$,;?/") + b"@" + uri.host.encode("ascii")
    if uri.port is not None:
        bare += b":%d" % uri.port
    name = instance.removeprefix(b"<").removesuffix(b">").decode("utf-8", "surrogateescape")
    return bare + b";gr=" + escape(name, _PARAM_CHARACTERS)


def instance_of(uri: bytes) -> bytes:
    """The instance-id (`<...>`) that a Request-URI of ours asks for by its gr parameter; b"" where it asks for none."""
    if b";gr=" not in uri:
        return b""
    try:
        name = parse_uri(uri).params.get("gr", "")
    except MalformedMessage:
        return b""
    return b"<" + name.encode("utf-8", "surrogateescape") + b">" if name else b""
