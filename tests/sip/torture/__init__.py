"""The messages of RFC 4475 and RFC 5118 in our own words and bytes: every one, each with the outcome its RFC asks for."""

from tests.sip.torture.case import Case
from tests.sip.torture.invalid import INVALID
from tests.sip.torture.ipv6 import IPV6
from tests.sip.torture.upper import UPPER
from tests.sip.torture.valid import VALID

CASES: tuple[Case, ...] = (*VALID, *INVALID, *UPPER, *IPV6)
