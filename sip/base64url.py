"""base64url without padding (RFC 4648 section 5): how our tokens stand in URIs and nonces."""

from binascii import Error as NotBase64
from binascii import a2b_base64, b2a_base64
from typing import Final

from sip.grammar import ALPHANUM

_ALPHABET: Final = ALPHANUM + b"-_"
_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_TO_PLAIN: Final = bytes.maketrans(b"-_", b"+/")
_PADDING: Final = (b"", b"===", b"==", b"=")


def encode(value: bytes) -> bytes:
    """bytes -> base64url."""
    return b2a_base64(value, newline=False).translate(_TO_URL).rstrip(b"=")


def decode(text: bytes) -> bytes | None:
    """base64url -> bytes; None if it is empty or anything else (Python's decoder skips foreign characters).

    Where the length is no multiple of four, the last character has unused bits: several texts decode alike.
    """
    if not text or text.translate(None, _ALPHABET):
        return None
    try:
        return a2b_base64(text.translate(_TO_PLAIN) + _PADDING[len(text) % 4])
    except NotBase64:
        return None
