"""Over which gateways a landline may be called, in which order, and why it may not."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from registry.trunk import SiteLandlines, Trunk
from sip.e164 import allows, written
from sip.flow import Flow
from sip.trunk_gateways import DOWN
from sip.trunk_leg import LegNames, leg_names
from sip.trunk_limits import LandlineCalls, LandlineRefusal, site_allows
from sip.trunk_state import ConfiguredTrunk, Gateway, bracketed

_SEVERITY: Final = {
    LandlineRefusal.NO_TRUNK: 0,
    LandlineRefusal.TRUNK_PREFIX: 1,
    LandlineRefusal.NO_GATEWAY: 2,
    LandlineRefusal.TRUNK_FULL: 3,
}


class TrunkLeg(NamedTuple):
    """One way to call a number: over this flow, with these names. `gateway` names it in `TrunkCore.call_heard`."""

    trunk: Trunk
    gateway: str
    flow: Flow
    names: LegNames


def legs(
    trunks: Iterable[ConfiguredTrunk], calls: LandlineCalls, site: str, number: str, landlines: SiteLandlines
) -> tuple[TrunkLeg, ...] | LandlineRefusal:
    """The ways to call an E.164 number from a site: trunks in their order, of each the gateways that are not down."""
    if not site_allows(landlines.allowed_prefixes, number):
        return LandlineRefusal.SITE_PREFIX
    if landlines.max_calls <= calls.of_site(site):
        return LandlineRefusal.SITE_FULL
    refusal = LandlineRefusal.NO_TRUNK
    found: list[TrunkLeg] = []
    for one in trunks:
        trunk = one.facts.trunk
        if not trunk.serves(site):
            continue
        if not allows(trunk.allowed_prefixes, number):
            refusal = _worse(refusal, LandlineRefusal.TRUNK_PREFIX)
        elif calls.of_trunk(trunk.id) >= trunk.max_calls:
            refusal = _worse(refusal, LandlineRefusal.TRUNK_FULL)
        elif ways := [_leg(trunk, gateway, number) for gateway in one.gateways if _is_usable(gateway)]:
            found += [leg for leg in ways if leg is not None]
        else:
            refusal = _worse(refusal, LandlineRefusal.NO_GATEWAY)
    return tuple(found) or refusal


def dialog_flow(trunk: ConfiguredTrunk | None, flow: Flow) -> Flow:
    """The flow for a request inside a dialog over this trunk: that of the dialog, or what leads to the same gateway now."""
    for gateway in trunk.gateways if trunk is not None else ():
        if gateway.flow is not None and gateway.flow.transport == flow.transport and _is_at(gateway, flow):
            return gateway.flow
    return flow


def dialog_names(trunk: ConfiguredTrunk | None, number: str, flow: Flow) -> LegNames:
    """The names of a leg inside its dialog: those of its INVITE, or where the trunk has gone, ones that give nothing away."""
    for gateway in trunk.gateways if trunk is not None else ():
        if trunk is not None and _is_at(gateway, flow) and (leg := _leg(trunk.facts.trunk, gateway, number)) is not None:
            return leg.names
    return leg_names(number, "", bracketed(flow.host))


def is_gateway(trunk: ConfiguredTrunk | None, host: str) -> bool:
    """Whether a gateway of the trunk has this address now."""
    return trunk is not None and any(gateway.address == host for gateway in trunk.gateways)


def _is_at(gateway: Gateway, flow: Flow) -> bool:
    return (gateway.address, gateway.port) == (flow.host, flow.port)


def _is_usable(gateway: Gateway) -> bool:
    return gateway.flow is not None and gateway.health.state != DOWN


def _leg(trunk: Trunk, gateway: Gateway, number: str) -> TrunkLeg | None:
    if gateway.flow is None:
        return None
    domain = trunk.domain or gateway.config.host
    presented = _written(trunk, trunk.caller_id) if trunk.caller_id else ""
    return TrunkLeg(trunk, gateway.name, gateway.flow, leg_names(_written(trunk, number), presented, bracketed(domain)))


def _written(trunk: Trunk, number: str) -> str:
    return written(number, trunk.country_code, trunk.international_prefix, trunk.national_prefix)


def _worse(one: LandlineRefusal, other: LandlineRefusal) -> LandlineRefusal:
    """The refusal that says more about what to do."""
    return max(one, other, key=lambda refusal: _SEVERITY[refusal])
