"""`Vault`: secrets at rest. SIP passwords and device keys are kept as what `seal` made of them, AES-256-GCM (NIST SP 800-38D).

A sealed secret is `version (1) | key id (1) | nonce (12) | ciphertext and tag (n + 16)`. The context, for example
"device-token:0C1105AABBCC", is associated data: a sealed secret copied to another device's record does not open there.
Version and key id are associated data too. The key id stands there so that a later master key can tell its secrets from
those of the one before.
"""

from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from registry.errors import BadSeal

MASTER_KEY_BYTES = 32
"""The length of a master key: AES-256."""
MAX_SECRET = 65_536
"""The longest secret in bytes; a private key in PEM is the largest thing kept."""

_VERSION = 1
_KEY_ID = 0
_NONCE_BYTES = 12
_TAG_BYTES = 16
_HEAD = bytes((_VERSION, _KEY_ID))
_OVERHEAD = len(_HEAD) + _NONCE_BYTES + _TAG_BYTES


class Vault:
    """Seals and opens secrets with one master key. Nonces are random, so equal secrets seal to different bytes.

    Random 96-bit nonces keep their promise for 2**32 secrets under one key (SP 800-38D section 8.3); a fleet has some
    hundred thousand.
    """

    __slots__ = ("_cipher", "_entropy")

    def __init__(self, master_key: bytes, entropy: Callable[[int], bytes]) -> None:
        """`entropy(n)` returns n unpredictable bytes (os.urandom). Raises ValueError unless the key has 32 bytes."""
        if len(master_key) != MASTER_KEY_BYTES:
            raise ValueError(f"a master key has {MASTER_KEY_BYTES} bytes, not {len(master_key)}")
        self._cipher = AESGCM(master_key)
        self._entropy = entropy

    def __repr__(self) -> str:
        return "<Vault>"

    def __reduce__(self) -> str:
        raise TypeError("a Vault is not copied or pickled: it holds the master key")

    def seal(self, secret: bytes, context: str) -> bytes:
        """`secret` as bytes that only this master key opens, and only under the same context.

        Raises ValueError for more than MAX_SECRET bytes.
        """
        if len(secret) > MAX_SECRET:
            raise ValueError(f"a secret has at most {MAX_SECRET} bytes")
        nonce = self._entropy(_NONCE_BYTES)
        if len(nonce) != _NONCE_BYTES:
            raise ValueError("the entropy source returned the wrong number of bytes")
        return _HEAD + nonce + self._cipher.encrypt(nonce, secret, _associated(context))

    def open(self, sealed: bytes, context: str) -> bytes:
        """The secret that `seal` was given. Raises BadSeal, always with the same words: wrong key, context or bytes."""
        if sealed[: len(_HEAD)] != _HEAD or not _OVERHEAD <= len(sealed) <= _OVERHEAD + MAX_SECRET:
            raise _bad_seal()
        nonce = sealed[len(_HEAD) : len(_HEAD) + _NONCE_BYTES]
        try:
            return self._cipher.decrypt(nonce, sealed[len(_HEAD) + _NONCE_BYTES :], _associated(context))
        except InvalidTag:
            raise _bad_seal() from None

    def seal_text(self, secret: str, context: str) -> bytes:
        """`seal` for a text."""
        return self.seal(secret.encode(), context)

    def open_text(self, sealed: bytes, context: str) -> str:
        """`open` for what `seal_text` made. Raises BadSeal also where the secret is no text."""
        secret = self.open(sealed, context)
        try:
            return secret.decode()
        except UnicodeDecodeError:
            pass  # That error holds the secret's bytes, so BadSeal is raised outside and does not carry it as its context.
        raise _bad_seal()


def _associated(context: str) -> bytes:
    return b"portico" + _HEAD + context.encode()


def _bad_seal() -> BadSeal:
    return BadSeal("the master key does not open this secret")
