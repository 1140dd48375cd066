"""Whom a device can call: contact display, what policy would refuse, IP call within a network group, learned addresses."""

from dataclasses import replace
from typing import Any

import pytest

from autop.contacts import SPARE_SECONDS, SiteFacts, buttons, calls_by_ip, contacts, lan_address, lan_peers
from autop.phonebook import write_phonebook
from autop.settings import Contact
from registry.location import AorBindings, Binding
from registry.mac import MacAddress
from registry.records import ContactDisplay, Department, Device, DeviceKind, User
from registry.ring_plan import RingPlan, Stage, Target, TargetKind, together
from tests.autop import examples

DOOR, MONITOR, GUARD = DeviceKind.MULTI_TENANT_DOOR_PHONE, DeviceKind.INDOOR_MONITOR, DeviceKind.GUARD_PHONE


def device(number: int, kind: DeviceKind = DOOR, **changes: Any) -> Device:
    identity: dict[str, Any] = {"mac": MacAddress(f"0C11050{number:05X}"), "id": f"d{number}", "account": f"5{number:04d}"}
    return examples.device(kind, **{**identity, "name": f"n{number}", "button_number": "", **changes})


def person(number: str, **changes: Any) -> User:
    return replace(User(f"u{number}", "s-1", "P", number, number), **changes)


def names(found: tuple[Contact, ...]) -> list[str]:
    return [contact.name for contact in found]


def test_a_guard_dials_doors_then_guards_then_monitors_then_people() -> None:
    guard = device(1, GUARD)
    others = (device(2, MONITOR), device(3, GUARD), device(4), device(5, DeviceKind.ACCESS_CONTROL), device(6, account=""))
    site = SiteFacts((guard, *others), (person("102"), person("20")), (Department("e", "s-1", "East", "500"),))
    assert names(contacts(guard, site, {})) == ["n4", "n5", "n3", "n2", "East", "P 20", "P 102"]
    assert contacts(guard, site, {})[0].number == "50004"
    assert names(contacts(guard, site, {}, 2)) == ["n4", "n5"]


def test_a_door_dials_people_departments_and_guards_and_a_monitor_the_doors_it_may_watch() -> None:
    doors = (
        device(1),
        device(2, users_may_monitor=True),
        device(3, users_may_monitor=True, department="east"),
        device(4, users_may_monitor=True, department="west"),
        device(5, users_may_monitor=True, department="west", owner="u101"),
    )
    guard, monitor = device(8, GUARD), device(9, MONITOR, department="east", owner="u101")
    site = SiteFacts((*doors, guard, monitor), (person("101"), person("102")), (Department("x", "s-1", "No number"),))
    assert names(contacts(doors[0], site, {})) == ["n8", "P 101", "P 102"]
    assert names(contacts(monitor, site, {})) == ["n2", "n3", "n5", "n8", "P 102"]


def test_the_display_setting_shows_all_the_own_department_or_nobody() -> None:
    people = (person("1", department="east"), person("2", department="west"), person("3"))
    departments = (Department("east", "s-1", "East", "500"), Department("west", "s-1", "West", "600"))
    guards = (device(2, GUARD, department="west"), device(3, GUARD, department="east"), device(4, GUARD))
    shown = {
        display: names(contacts(one, SiteFacts((one, *guards), people, departments), {}))
        for display in ContactDisplay
        for one in [device(1, department="east", contact_display=display)]
    }
    assert shown[ContactDisplay.ALL] == ["n2", "n3", "n4", "East", "West", "P 1", "P 2", "P 3"]
    assert shown[ContactDisplay.DEPARTMENT] == ["n3", "n4", "East", "P 1", "P 3"]
    assert shown[ContactDisplay.NONE] == []


# Buttons and IP call


def test_a_button_dials_its_own_numbers_else_its_owners() -> None:
    site = SiteFacts((), (person("101"),))
    assert buttons(device(1, button_number="7;;8"), site, {}) == ("7", "8")
    assert buttons(device(1, owner="u101"), site, {}) == ("101",)
    assert buttons(device(1), site, {}) == ()


def ip_site(*monitors: Device, targets: tuple[str, ...] = (), **changes: Any) -> SiteFacts:
    plans = (together("s-1", "101", targets, "u101"),) if targets else ()
    return SiteFacts(monitors, (person("101", **{"ip_call": True, **changes}),), (), plans)


def test_ip_call_dials_monitors_of_the_same_group_and_the_number_for_the_rest() -> None:
    door = device(1, button_number="101", network_group="a")
    near, study = device(2, MONITOR, owner="u101", network_group="a"), device(3, MONITOR, owner="u101", network_group="a")
    far = device(4, MONITOR, owner="u101", network_group="b")
    known = {"50002": "10.0.0.2", "50003": "10.0.0.3", "50004": "10.0.0.4"}
    both = ip_site(near, study, far, targets=("50002", "50003"))
    assert buttons(door, both, known) == ("10.0.0.2", "10.0.0.3")
    assert buttons(door, both, {"50002": "10.0.0.2"}) == ("10.0.0.2", "101")  # one address is not known yet
    assert buttons(door, both, {}) == ("101",)
    for targets in (("50002", "50003", "app"), ("50002", "50003", "50004")):
        assert buttons(door, ip_site(near, study, far, targets=targets), known) == ("10.0.0.2", "10.0.0.3", "101")
    assert buttons(door, ip_site(near, study, far), known) == ("10.0.0.2", "10.0.0.3", "101")  # no plan known: keep the number
    phone = Stage((Target(TargetKind.ACCOUNT, "50002"), Target(TargetKind.LANDLINE, "+491")))
    landline = SiteFacts((near,), (person("101", ip_call=True),), (), (RingPlan("s-1", "101", (phone,)),))
    assert buttons(door, landline, known) == ("10.0.0.2", "101")
    assert buttons(door, both, known, 1) == ("101",)
    assert buttons(replace(door, network_group="b"), both, known) == ("10.0.0.4", "101")
    assert buttons(replace(door, network_group=""), both, known) == ("101",)
    assert buttons(door, ip_site(near, study, far, targets=("50002",), ip_call=False), known) == ("101",)


def test_ip_call_stays_in_its_network_group() -> None:
    near, far, nowhere = (device(n, MONITOR, owner="u101", network_group=group) for n, group in ((2, "a"), (3, "b"), (4, "")))
    site = ip_site(near, far, nowhere)
    for one in (device(1, network_group="a"), device(5, GUARD, network_group="a"), device(6, MONITOR, network_group="a")):
        assert lan_peers(one, site) == (near,)
        assert calls_by_ip(one, site)
    assert lan_peers(device(1), site) == ()
    assert not calls_by_ip(device(1), site)
    assert not calls_by_ip(nowhere, site)
    assert calls_by_ip(near, site)
    assert lan_peers(near, site) == ()
    assert lan_peers(device(1, network_group="a"), ip_site(near, ip_call=False)) == ()


def test_a_contact_is_one_address_where_that_is_the_whole_plan() -> None:
    door, near = device(1, network_group="a"), device(2, MONITOR, owner="u101", network_group="a")
    alone, with_app = ip_site(near, targets=("50002",)), ip_site(near, targets=("50002", "app"))
    assert contacts(door, alone, {"50002": "10.0.0.2"}) == (Contact("P 101", "10.0.0.2"),)
    assert contacts(door, with_app, {"50002": "10.0.0.2"}) == (Contact("P 101", "101"),)


def bound(*contact_uris: str) -> AorBindings:
    return AorBindings("x", "node", tuple(Binding(uri, "udp:1:198.51.100.1:2", "c", 1, n) for n, uri in enumerate(contact_uris)))


@pytest.mark.parametrize(
    ("contact", "address"),
    [
        ("sip:100@192.168.1.20:5060", "192.168.1.20"),
        ("<sip:100@10.1.2.3>", "10.1.2.3"),
        ("sip:100@172.31.255.254:5062;transport=tcp;ob", "172.31.255.254"),
        ("sips:172.16.0.1", "172.16.0.1"),
        ("sip:100@172.32.0.1", ""),
        ("sip:100@8.8.8.8", ""),
        ("sip:100@127.0.0.1", ""),
        ("sip:100@169.254.1.1", ""),
        ("sip:100@100.64.0.1", ""),
        ("sip:100@224.0.1.75", ""),
        ("sip:100@gate.local", ""),
        ("sip:100@[fd00::1]", ""),
        ("sip:100@192.168.1.020", ""),
        ("sip:100@192.168.1.256", ""),
        ("sip:100@192.168.1.2.3", ""),
        ("sip:100@192.168.1.2\n", ""),
        ("sip:100@192.168.1.٢", ""),
        ("sip:100@evil@192.168.1.2", ""),
        ("sip:100;host=192.168.1.2@8.8.8.8", ""),
        ("tel:192.168.1.2", ""),
    ],
)
def test_only_a_private_address_that_the_device_itself_gave_is_learned(contact: str, address: str) -> None:
    assert lan_address(bound(contact)) == address


def test_the_newest_binding_counts() -> None:
    assert lan_address(bound("sip:1@10.0.0.1", "sip:1@10.0.0.2")) == "10.0.0.2"
    assert lan_address(bound()) == ""


def test_a_panel_dials_longer_than_the_longest_plan() -> None:
    plans = tuple(RingPlan("s-1", str(n), (Stage((), n),) * 2) for n in (10, 40, 20))
    assert SiteFacts((), (), (), plans).dial_seconds == 80 + SPARE_SECONDS
    assert SiteFacts(()).dial_seconds == 0


def test_a_phonebook_is_the_flat_xml_of_the_reference_and_safe_with_any_name() -> None:
    book = write_phonebook([Contact('A "quoted" <b>&', "101"), Contact("", "102"), Contact("Zoë", "103")])
    assert book.decode() == (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<Directory Name="Portico">\n'
        '<Contact Id="1" Name=\'A "quoted" &lt;b&gt;\' Office="101" Mobile="" Other=""/>\n'
        '<Contact Id="2" Name="102" Office="102" Mobile="" Other=""/>\n'
        '<Contact Id="3" Name="Zoë" Office="103" Mobile="" Other=""/>\n'
        "</Directory>\n"
    )
