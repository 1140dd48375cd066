"""Sealed secrets: open with the right key and context only, show nothing, differ each time."""

import copy
import os
import pickle
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import BadSeal
from registry.vault import MAX_SECRET, Vault

KEY = bytes(range(32))
CONTEXT = "device-token:0C1105AABBCC"
PINNED = "0100000102030405060708090a0b3431b569a09186ad44f9bd0abbce9dee5bcbd7913608"
"""b"s3cret" under KEY, nonce 00 to 0b and CONTEXT: secrets sealed by this version must open in every later one."""


def counted() -> Vault:
    serial = count()
    return Vault(KEY, lambda size: bytes(next(serial) for _ in range(size)))


def test_opens_what_it_sealed() -> None:
    vault = Vault(KEY, os.urandom)
    assert vault.open(vault.seal(b"s3cret", CONTEXT), CONTEXT) == b"s3cret"
    assert vault.open_text(vault.seal_text("pässwörd", CONTEXT), CONTEXT) == "pässwörd"
    assert vault.open(vault.seal(b"", CONTEXT), CONTEXT) == b""


def test_layout_is_version_key_id_nonce_ciphertext_tag() -> None:
    sealed = counted().seal(b"s3cret", CONTEXT)
    assert sealed.hex() == PINNED
    assert sealed[:14].hex() == "0100" + bytes(range(12)).hex()
    assert len(sealed) == 2 + 12 + 6 + 16
    assert b"s3cret" not in sealed


def test_equal_secrets_seal_differently() -> None:
    vault = Vault(KEY, os.urandom)
    assert len({vault.seal(b"same", CONTEXT) for _ in range(100)}) == 100


def test_another_context_or_key_does_not_open() -> None:
    sealed = Vault(KEY, os.urandom).seal(b"s3cret", CONTEXT)
    with pytest.raises(BadSeal):
        Vault(KEY, os.urandom).open(sealed, "device-token:0C1105AABBCD")
    with pytest.raises(BadSeal):
        Vault(bytes(32), os.urandom).open(sealed, CONTEXT)


def test_every_single_bit_and_every_truncation_is_noticed() -> None:
    vault = counted()
    sealed = vault.seal(b"s3cret", CONTEXT)
    for place in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(BadSeal):
            vault.open(bytes(changed), CONTEXT)
    for length in range(len(sealed)):
        with pytest.raises(BadSeal):
            vault.open(sealed[:length], CONTEXT)
    with pytest.raises(BadSeal):
        vault.open(sealed + b"\0", CONTEXT)


@given(st.binary(max_size=200), st.text(max_size=40).filter(lambda text: text.isprintable()))
def test_round_trip(secret: bytes, context: str) -> None:
    vault = Vault(KEY, os.urandom)
    assert vault.open(vault.seal(secret, context), context) == secret


@given(st.binary(max_size=100))
def test_garbage_is_a_bad_seal(garbage: bytes) -> None:
    with pytest.raises(BadSeal):
        counted().open(garbage, CONTEXT)


def test_bytes_that_are_no_text_are_a_bad_seal_without_the_secret_in_the_error() -> None:
    vault = counted()
    sealed = vault.seal(b"\xff\xfe", CONTEXT)
    with pytest.raises(BadSeal) as caught:
        vault.open_text(sealed, CONTEXT)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_bounds() -> None:
    vault = counted()
    assert vault.open(vault.seal(bytes(MAX_SECRET), CONTEXT), CONTEXT) == bytes(MAX_SECRET)
    with pytest.raises(ValueError):
        vault.seal(bytes(MAX_SECRET + 1), CONTEXT)
    for size in (0, 16, 31, 33):
        with pytest.raises(ValueError):
            Vault(bytes(size), os.urandom)


def test_an_entropy_source_that_runs_short_is_refused() -> None:
    with pytest.raises(ValueError):
        Vault(KEY, lambda _size: b"").seal(b"s3cret", CONTEXT)


def test_shows_nothing_and_is_not_copied() -> None:
    vault = counted()
    assert repr(vault) == str(vault) == "<Vault>"
    for escape in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            escape(vault)
