"""Landline calls that are counted: how many a site and a trunk have at once (toll fraud, RFC 5390's admission at the edge).

A *leg* is one landline that rings or talks. It is taken before the INVITE leaves and given back when that branch has failed;
`ended` gives back whatever a call still holds, so every end of a call releases its legs, whichever way it ended, and twice
is the same as once.
"""

from enum import StrEnum

from sip.e164 import allows


class LandlineRefusal(StrEnum):
    """Why a landline is not called. A fixed set, fit for logs and metrics; `status_of` says what the caller is told."""

    NO_TRUNK = "no trunk"
    SITE_PREFIX = "prefix not allowed for the site"
    TRUNK_PREFIX = "prefix not allowed for the trunk"
    SITE_FULL = "site has too many landline calls"
    TRUNK_FULL = "trunk has too many calls"
    NO_GATEWAY = "no gateway is up"
    NODE_FULL = "node has too many calls"


def status_of(refusal: LandlineRefusal) -> int:
    """The SIP status. What may not be called looks like a number that does not exist; a full house is busy (486); what may
    work later or over another trunk is 503, which the proxy turns into 500 towards the caller (RFC 3261 16.7 step 6)."""
    if refusal is LandlineRefusal.SITE_FULL:
        return 486
    if refusal in (LandlineRefusal.TRUNK_FULL, LandlineRefusal.NO_GATEWAY, LandlineRefusal.NODE_FULL):
        return 503
    return 404


def site_allows(prefixes: tuple[str, ...], number: str) -> bool:
    """Whether a site's own list allows a number; an empty list adds no rule to those of the trunks."""
    return not prefixes or allows(prefixes, number)


class LandlineCalls:
    """Counts of legs by site and by trunk. `call` names a call (its Call-ID and caller's tag), `leg` one landline within it."""

    def __init__(self) -> None:
        self._legs: dict[str, dict[str, tuple[str, str]]] = {}
        self._by_site: dict[str, int] = {}
        self._by_trunk: dict[str, int] = {}

    def take(self, call: str, leg: str, site: str, trunk: str, site_most: int, trunk_most: int) -> LandlineRefusal | None:
        """Count a leg in; None: it is counted. Taking a leg again moves it to this trunk (failover), never counts it twice."""
        held = self._legs.get(call, {}).get(leg)
        if held is None and self._by_site.get(site, 0) >= site_most:
            return LandlineRefusal.SITE_FULL
        if (held is None or held[1] != trunk) and self._by_trunk.get(trunk, 0) >= trunk_most:
            return LandlineRefusal.TRUNK_FULL
        if held is not None:
            self.give(call, leg)
        self._legs.setdefault(call, {})[leg] = (site, trunk)
        self._by_site[site] = self._by_site.get(site, 0) + 1
        self._by_trunk[trunk] = self._by_trunk.get(trunk, 0) + 1
        return None

    def give(self, call: str, leg: str) -> None:
        """A leg is over: its branch failed, was cancelled or lost to another one."""
        legs = self._legs.get(call)
        held = legs.pop(leg, None) if legs is not None else None
        if legs is not None and not legs:
            del self._legs[call]
        if held is not None:
            _decrease(self._by_site, held[0])
            _decrease(self._by_trunk, held[1])

    def ended(self, call: str) -> None:
        """The call is over: give back every leg it still holds."""
        for leg in list(self._legs.get(call, ())):
            self.give(call, leg)

    def of_site(self, site: str) -> int:
        """Legs of this site now."""
        return self._by_site.get(site, 0)

    def of_trunk(self, trunk: str) -> int:
        """Legs over this trunk now."""
        return self._by_trunk.get(trunk, 0)

    def __len__(self) -> int:
        """Calls that hold a leg."""
        return len(self._legs)


def _decrease(counts: dict[str, int], key: str) -> None:
    left = counts[key] - 1
    if left:
        counts[key] = left
    else:
        del counts[key]
