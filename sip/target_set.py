"""The target set (RFC 3261 16.5): accounts -> their live bindings -> the branches to try together."""

from typing import NamedTuple

from sip.binding import LiveBinding
from sip.call_policy import RingStage
from sip.flow import Flow
from sip.gruu import TempGruus, has_gr, instance_of, is_temporary
from sip.location import Location
from sip.uri import user_and_host


class Target(NamedTuple):
    """One branch to be: what becomes the Request-URI, the flow it goes over, and whose it is."""

    account: str
    uri: bytes
    flow: Flow
    path: tuple[bytes, ...]
    instance: bytes = b""


def targets(
    stage: RingStage,
    location: Location,
    caller: str,
    caller_flow: Flow,
    now: float,
    instance: bytes = b"",
    stream: bool = False,
) -> list[Target]:
    """The targets of a stage, each contact of a flow once, never the caller's own device; of one `instance` only where a GRUU
    asks for it (RFC 5627).

    Two bindings of one device (same instance-id, several reg-ids) are two flows to one phone: the one refreshed last is
    taken (RFC 5626 7, "MUST NOT populate the target set with more than one contact with the same AOR and instance-id").
    A `stream` among them comes first where it is wanted: a large request may be too much for UDP (RFC 3261 18.1.1).
    """
    found: list[Target] = []
    seen: set[tuple[str, bytes]] = set()
    for account in stage.accounts:
        for binding in _one_per_instance(location.bindings(account, now), stream):
            name = binding.flow.name
            if instance and binding.instance_id != instance:
                continue
            if (name, binding.contact) in seen or (account == caller and name == caller_flow.name):
                continue
            seen.add((name, binding.contact))
            found.append(target_of(account, binding))
    return found


def unreachable(stage: RingStage, found: list[Target], waited_for: list[str]) -> list[str]:
    """The accounts of a stage that nothing rings for."""
    reached = {one.account for one in found}
    return [account for account in stage.accounts if account not in reached and account not in waited_for]


def other_flow(failed: Target, tried: set[str], location: Location, now: float) -> Target | None:
    """Another flow to the same device when one has failed (RFC 5626 section 7: 430, "a different reg-id"), or None."""
    if not failed.instance:
        return None
    left = [one for one in location.bindings(failed.account, now) if one.instance_id == failed.instance]
    left = [one for one in left if one.flow.name not in tried]
    return target_of(failed.account, max(left, key=lambda one: one.updated)) if left else None


def device_of(account: str, uri: bytes, temporary: TempGruus, location: Location, now: float) -> Target | None:
    """The device of this account that a GRUU names, over the flow it was last heard on. None: the URI is no GRUU of the account,
    or the device is not registered."""
    if not has_gr(uri):
        return None
    bindings = location.bindings(account, now)
    instance = instance_of(uri)
    if is_temporary(uri):
        given = temporary.read(user_and_host(uri)[0])
        instance = b"" if given is None or given.account != account else temporary.instance(given, bindings)
    found = [one for one in bindings if instance and one.instance_id == instance]
    return target_of(account, max(found, key=lambda one: one.updated)) if found else None


def target_of(account: str, binding: LiveBinding) -> Target:
    """The branch to be to this binding of the account."""
    return Target(account, binding.contact, binding.flow, binding.path, binding.instance_id)


def _one_per_instance(bindings: tuple[LiveBinding, ...], stream: bool) -> list[LiveBinding]:
    """Highest q and newest first, one per instance-id; bindings without one are all kept."""
    chosen: list[LiveBinding] = []
    seen: set[bytes] = set()
    ordered = bindings
    if len(bindings) > 1:
        ordered = tuple(sorted(bindings, key=lambda one: (-one.q, stream and not one.flow.reliable, -one.updated)))
    for one in ordered:
        if one.instance_id:
            if one.instance_id in seen:
                continue
            seen.add(one.instance_id)
        chosen.append(one)
    return chosen


def current_flow(account: str, uri: bytes, flow: Flow, location: Location, now: float) -> Flow:
    """The flow to reach the end of a dialog over: the one the dialog was made with, unless the account's device has moved.

    A device whose NAT gave it another port re-registers, and the binding with the dialog's contact then has another flow.
    """
    bindings = location.bindings(account, now)
    moved = flow
    for one in bindings:
        if one.flow.name == flow.name:
            return one.flow
        if one.contact == uri:
            moved = one.flow
    return moved
