"""Telephone numbers as people and devices write them -> E.164, and E.164 -> what a trunk wants (ITU-T E.164, RFC 3966).

Emergency numbers and short codes never go to a trunk. A door phone has no location that a carrier could tell the emergency
service, and a building's trunk may end in another town: such a call would reach the wrong place or nobody, at the cost of the
seconds in which a telephone would have been found. Short codes (six digits or less) also mean another thing with every
carrier, premium services among them. Both are refused as a number that does not exist, with a reason of their own for the log.
"""

from enum import StrEnum
from typing import Final, NamedTuple

MOST_DIGITS: Final = 15
"""E.164 section 6.1."""
FEWEST_DIGITS: Final = 7
"""Country code included; the shortest numbers in use have 7 (+683 4xxx, Niue)."""
SHORT_CODE_DIGITS: Final = 6
"""Digits that are dialled without country code: up to this many they are a service, not a subscriber."""
LONGEST_TEXT: Final = 64
"""Characters looked at; a longer text is no number."""

_SEPARATORS: Final = str.maketrans("", "", "-.() /\u00a0")
_TRUNK_ZERO: Final = "\0"
"""Stands for "(0)" while the other separators are taken out."""
_DIGITS: Final = frozenset("0123456789")
_EMERGENCY: Final = frozenset(
    (*map(str, range(110, 124)), "133", "144", "155", "158", *map(str, range(190, 200)), "000", "999", "911", "061", "062")
)
"""Of any country: called by whoever moved there, and the same short code rule holds for all."""


class NumberRefusal(StrEnum):
    """Why a text is no number that a trunk may be given. A fixed set, fit for logs and metrics."""

    MALFORMED = "malformed number"
    LENGTH = "number too short or too long"
    EMERGENCY = "emergency number"
    SHORT_CODE = "short code"
    NO_COUNTRY = "no country code"
    FOREIGN_CONTEXT = "foreign phone-context"


class NumberPlan(NamedTuple):
    """How numbers are dialled where the user lives. `country_code` without "+"; "": only international numbers are understood."""

    country_code: str = ""
    national_prefix: str = "0"
    international_prefix: str = "00"


def normalise(text: str, plan: NumberPlan) -> str | NumberRefusal:
    """A number as dialled, stored or in a tel: URI (RFC 3966), as "+" and 7 to 15 digits; or why it is none.

    Without any prefix it is a national number: user records keep country code and number apart. A "(0)" behind a country
    code is the habit of showing the national prefix, which is not dialled from abroad.
    """
    number, context = _without_uri(text)
    if len(text) > LONGEST_TEXT or not number or _TRUNK_ZERO in number:
        return NumberRefusal.MALFORMED
    if context and context != "+" + plan.country_code:
        return NumberRefusal.FOREIGN_CONTEXT
    number = number.replace("(0)", _TRUNK_ZERO, 1).translate(_SEPARATORS)
    shown_from_abroad = number.startswith(("+", plan.international_prefix or "+"))
    number = number.replace(_TRUNK_ZERO, "" if shown_from_abroad else "0")
    digits = number[1:] if number[:1] == "+" else number
    if not digits or not _DIGITS.issuperset(digits):
        return NumberRefusal.MALFORMED
    if digits in _EMERGENCY:
        return NumberRefusal.EMERGENCY
    if number[0] != "+" and len(digits) <= SHORT_CODE_DIGITS:
        return NumberRefusal.SHORT_CODE
    international = _international(number, plan)
    if international is None:
        return NumberRefusal.NO_COUNTRY
    if (
        plan.country_code
        and international.startswith(plan.country_code)
        and international[len(plan.country_code) :] in _EMERGENCY
    ):
        return NumberRefusal.EMERGENCY
    if not FEWEST_DIGITS <= len(international) <= MOST_DIGITS:
        return NumberRefusal.LENGTH
    if international[0] == "0":
        return NumberRefusal.MALFORMED
    return "+" + international


def is_e164(text: str) -> bool:
    """Whether it is "+" and 7 to 15 digits of which the first is not 0."""
    digits = text[1:]
    return text[:1] == "+" and FEWEST_DIGITS <= len(digits) <= MOST_DIGITS and _DIGITS.issuperset(digits) and digits[0] != "0"


def written(number: str, country_code: str, international_prefix: str, national_prefix: str | None) -> str:
    """An E.164 number as a trunk wants it: its own country's with the national prefix (None: as all others), others with the
    international prefix ("+" for E.164 itself)."""
    digits = number[1:]
    if national_prefix is not None and country_code and digits.startswith(country_code):
        return national_prefix + digits[len(country_code) :]
    return international_prefix + digits


def allows(prefixes: tuple[str, ...], number: str) -> bool:
    """Whether a list of called prefixes allows an E.164 number: the longest that fits decides, "!" forbids, none forbids.

    Where the same prefix is both allowed and forbidden, it is forbidden.
    """
    best, allowed = -1, False
    for entry in prefixes:
        forbids = entry[:1] == "!"
        prefix = entry[1:] if forbids else entry
        if number.startswith(prefix) and (len(prefix) > best or (len(prefix) == best and forbids)):
            best, allowed = len(prefix), not forbids
    return allowed


def _without_uri(text: str) -> tuple[str, str]:
    """(the number, its phone-context) of a tel URI or a bare number with or without parameters."""
    if text[:4].lower() == "tel:":
        text = text[4:]
    number, *parameters = text.split(";")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.lower() == "phone-context":
            return number, value.translate(_SEPARATORS)
    return number, ""


def _international(number: str, plan: NumberPlan) -> str | None:
    """Country code and number, digits only. None: it is a national number and there is no country code to put before it."""
    if number[0] == "+":
        return number[1:]
    if plan.international_prefix and number.startswith(plan.international_prefix):
        return number[len(plan.international_prefix) :]
    if not plan.country_code:
        return None
    if plan.national_prefix and number.startswith(plan.national_prefix):
        number = number[len(plan.national_prefix) :]
    return plan.country_code + number
