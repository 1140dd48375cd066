"""MAC addresses: every spelling of the field in, one form out, everything else refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import MalformedMac, RegistryError
from registry.mac import MacAddress

CANONICAL = "0C1105AABBCC"


@pytest.mark.parametrize(
    "text",
    [
        "0C1105AABBCC",
        "0c1105aabbcc",
        "0C1105aaBBcc",
        "0C:11:05:AA:BB:CC",
        "0c:11:05:aa:bb:cc",
        "0C-11-05-AA-BB-CC",
        "0c.11.05.aa.bb.cc",
        "0C 11 05 AA BB CC",
        "0c11.05aa.bbcc",
        "0C11-05AA-BBCC",
        "0c11:05aa:bbcc",
    ],
)
def test_every_spelling_is_one_address(text: str) -> None:
    mac = MacAddress.parse(text)
    assert mac == MacAddress(CANONICAL)
    assert (str(mac), mac.text, mac.colons) == (CANONICAL, CANONICAL, "0C:11:05:AA:BB:CC")
    assert hash(mac) == hash(MacAddress(CANONICAL))


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "0C1105AABBC",
        "0C1105AABBCCD",
        "0C1105AABBCG",
        "0C1105AABBCC\n",
        "0C:11:05:AA:BB:CC\n",
        "\n0C1105AABBCC",
        " 0C1105AABBCC",
        "0C1105AABBCC ",
        "0C1105AABBCC\x00",
        "0C1105AABBCC.cfg",
        "0C:11-05:AA-BB:CC",
        "0C:11:05:AA:BB",
        "0C:11:05:AA:BB:CC:DD",
        "0C:11:05:AA:BBCC",
        ":0C:11:05:AA:BB:C",
        "0C11.05AA-BBCC",
        "0C11 05AA BBCC",
        "0C1:105:AAB:BCC",
        "0C1105-AABBCC",
        "0x0C1105AABB",
        "-C1105AABBCC",
        "+C1105AABBCC",
        "0C_11_05_AA_B",
        "0C1105AABBC\uff23",  # full-width C
        "\uff10\uff23\uff11\uff11\uff10\uff15\uff21\uff21\uff22\uff22\uff23\uff23",
        "0\u04211105AABBCC",  # Cyrillic Es
        "\u0660\u0661\u0662\u0663\u0664\u0665AABBCC",  # Arabic-Indic digits
        "0C\u200b1105AABBCC",
        "0C\uff1a11\uff1a05\uff1aAA\uff1aBB\uff1aCC",  # full-width colons
        "\u00df" * 12,
        "\ufb00" * 6,  # upper() would make two letters F of each
        "\ud800C1105AABBCC",
        "0C1105AABBCC" * 25,
        "A" * 300,
        "0C:" * 100,
    ],
)
def test_everything_else_is_malformed_and_not_repeated(text: str) -> None:
    with pytest.raises(MalformedMac) as caught:
        MacAddress.parse(text)
    assert str(caught.value) == "not a MAC address: 12 hexadecimal digits, for example 0C1105AABBCC or 0C:11:05:AA:BB:CC"
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, RegistryError)


@pytest.mark.parametrize("text", ["0c1105aabbcc", "0C:11:05:AA:BB:CC", "", "0C1105AABBCC\n", "0C1105AABBC\uff23"])
def test_only_the_canonical_form_makes_one_directly(text: str) -> None:
    with pytest.raises(MalformedMac):
        MacAddress(text)


@given(st.binary(min_size=6, max_size=6), st.sampled_from(["", ":", "-", ".", " "]), st.booleans())
def test_any_address_in_any_spelling(octets: bytes, separator: str, upper: bool) -> None:
    text = octets.hex(separator) if separator else octets.hex()
    assert MacAddress.parse(text.upper() if upper else text).text == octets.hex().upper()


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_malformed(text: str) -> None:
    try:
        mac = MacAddress.parse(text)
    except MalformedMac:
        return
    assert text.isascii()
    assert MacAddress.parse(mac.colons) == mac


def test_addresses_sort_as_their_text() -> None:
    assert sorted([MacAddress("0C1105AABBCD"), MacAddress(CANONICAL)])[0].text == CANONICAL
