"""Who may reach whom: the rules as rows, and 10,000 random attempts to cross a border, with an oracle that knows only borders."""

import random
from dataclasses import replace
from itertools import count

import pytest

from registry.ring_plan import OnReject, RingPlan, Target, TargetKind, together
from registry.ring_plan import Stage as PlanStage
from sip.call_policy import Destination, RingStage, destination, may_call, may_open
from sip.call_record import AFTER_RING, RINGS, CallLog
from sip.deadlines import DeadlineHeap
from sip.directory import APP, DOOR, GUARD, MONITOR, AccountFacts, AccountQuestion, AppSite, RingPlanQuestion
from sip.events import Flow, Send
from sip.message import Request, Response
from sip.parser import parse
from tests.sip.phones import Accounts, Phone, Stage

KINDS = (DOOR, MONITOR, GUARD, APP)


def facts(name: str, kind: str, site: str = "s", **more: object) -> AccountFacts:
    return replace(AccountFacts(name, site, b"secret"), kind=kind, **more)  # type: ignore[arg-type]


# Rules


@pytest.mark.parametrize("caller", KINDS)
@pytest.mark.parametrize("callee", [MONITOR, GUARD, APP])
def test_inside_a_site_people_are_reached_by_everybody_and_beyond_it_by_nobody(caller: str, callee: str) -> None:
    assert may_call(facts("a", caller), facts("b", callee))
    assert not may_call(facts("a", caller), facts("b", callee, "other"))
    assert not may_call(facts("a", caller), facts("b", callee, enabled=False))


@pytest.mark.parametrize(
    ("caller", "monitored", "unset"),
    [(DOOR, True, True), (GUARD, True, True), (MONITOR, True, False), (APP, True, False)],
)
def test_monitors_and_apps_call_a_door_only_where_users_may_monitor_it(caller: str, monitored: bool, unset: bool) -> None:
    assert may_call(facts("a", caller), facts("b", DOOR, monitored=True)) is monitored
    assert may_call(facts("a", caller), facts("b", DOOR)) is unset
    assert not may_call(facts("a", caller), facts("b", DOOR, "other", monitored=True))


@pytest.mark.parametrize("caller", [MONITOR, APP])
def test_a_door_of_another_department_is_for_advanced_users_and_its_owner(caller: str) -> None:
    door = facts("b", DOOR, monitored=True, department="east", owner="u")
    assert may_call(facts("a", caller, department="east"), door)
    assert not may_call(facts("a", caller, department="west"), door)
    assert not may_call(facts("a", caller), replace(door, owner=""))
    assert may_call(facts("a", caller, department="west", owner="u"), door)
    assert may_call(facts("a", caller, department="west", advanced=True), door)
    assert not may_call(facts("a", caller, department="west", advanced=True), replace(door, monitored=False))


def test_apps_open_the_doors_they_may_go_through_whether_or_not_they_may_look() -> None:
    app, door = facts("a", APP, owner="u", department="east"), facts("d", DOOR)
    assert may_open(app, door)
    assert may_open(app, replace(door, department="east"))
    west = replace(door, department="west")
    assert not may_open(app, west)
    assert may_open(app, replace(west, owner="u"))
    assert may_open(replace(app, advanced=True), west)
    assert not may_open(replace(app, owner=""), west)
    assert not may_open(replace(app, enabled=False), door)
    assert not may_open(app, replace(door, site="other"))
    linked = replace(app, links=(AppSite("other", "v", "west"),))
    assert may_open(linked, replace(west, site="other"))
    assert not may_open(linked, replace(door, site="other", department="east"))


@pytest.mark.parametrize("kind", [DOOR, MONITOR, GUARD])
def test_only_apps_open_without_a_call_and_of_monitors_their_own(kind: str) -> None:
    assert not may_open(facts("a", kind, owner="u"), facts("d", DOOR))
    app = facts("a", APP, owner="u")
    assert may_open(app, facts("m", kind, owner="u")) is (kind != GUARD)
    assert not may_open(replace(app, owner=""), facts("m", MONITOR))


def test_a_linked_app_and_the_other_site_reach_each_other_and_only_they() -> None:
    app = facts("app", APP, "home", owner="me", links=(AppSite("office", "me-there", "east"),))
    assert may_call(app, facts("d", DOOR, "office", monitored=True))
    assert may_call(app, facts("d", DOOR, "office", monitored=True, department="east"))
    assert not may_call(app, facts("d", DOOR, "office", monitored=True, department="west"))
    assert not may_call(app, facts("d", DOOR, "office"))
    assert not may_call(app, facts("d", DOOR, "elsewhere", monitored=True))
    assert may_call(app, facts("m", MONITOR, "office", owner="me-there"))
    assert not may_call(app, facts("m", MONITOR, "office", owner="another"))
    assert not may_call(app, facts("m", MONITOR, "office"))
    assert not may_call(app, facts("x", APP, "office"))
    for kind in (DOOR, MONITOR, GUARD):
        assert may_call(facts("c", kind, "office"), app)
        assert not may_call(facts("c", kind, "elsewhere"), app)
    assert not may_call(facts("c", APP, "office"), app)


# Plans


def directory(*accounts: AccountFacts) -> Accounts:
    found = Accounts()
    found.accounts = {one.username: one for one in accounts}
    return found


def test_a_plan_rings_who_may_ring_now_and_carries_landlines_through() -> None:
    peers = directory(
        facts("m", MONITOR),
        facts("off", APP, enabled=False),
        facts("quiet", APP, rings=False),
        facts("door", DOOR),
        facts("foreign", APP, "other"),
        facts("linked", APP, "other", links=(AppSite("s", "u"),)),
    )
    names = ("m", "off", "quiet", "door", "foreign", "linked", "gone", "m")
    phone = Target(TargetKind.LANDLINE, "+4930123456")
    first = PlanStage((*[Target(TargetKind.ACCOUNT, name) for name in names], phone, phone), 25)
    peers.plans[("s", "101")] = RingPlan(
        "s", "101", (first, PlanStage((Target(TargetKind.ACCOUNT, "quiet"),)), PlanStage((phone,), 40)), on_reject=OnReject.END
    )
    assert destination(facts("a", DOOR), "101", peers) == Destination(
        (RingStage(("m", "linked"), 25.0, ("+4930123456",)), RingStage((), 40.0, ("+4930123456",))), True
    )


def test_a_plan_that_names_nobody_is_a_number_where_nobody_is() -> None:
    peers = directory(facts("quiet", MONITOR, rings=False))
    peers.plans[("s", "1")] = together("s", "1", ())
    peers.plans[("s", "2")] = together("s", "2", ("quiet",))
    for number in ("1", "2"):
        assert destination(facts("a", DOOR), number, peers) == Destination((), False)
    assert destination(facts("a", DOOR), "3", peers) is None
    assert destination(facts("a", DOOR, "other"), "1", peers) is None


def test_a_schedule_shuts_plans_out_and_not_a_call_to_the_very_phone() -> None:
    peers = directory(facts("quiet", MONITOR, rings=False))
    assert destination(facts("g", GUARD), "quiet", peers) == Destination((RingStage(("quiet",), None),), False)


def test_what_memory_cannot_say_is_asked() -> None:
    peers = directory(facts("m", MONITOR))
    peers.plans[("s", "1")] = together("s", "1", ("m", "app"))
    peers.unknown = {"app", "s/2"}
    assert destination(facts("a", DOOR), "app", peers) == AccountQuestion("app")
    assert destination(facts("a", DOOR), "1", peers) == AccountQuestion("app")
    assert destination(facts("a", DOOR), "2", peers) == RingPlanQuestion("s", "2")


# At the core: nothing crosses

SITES = [f"tenant{tenant}-site{site}" for tenant in (1, 2) for site in (1, 2, 3)]
ROOMS = [str(101 + n) for n in range(4)]
METHODS = (b"INVITE", b"INVITE", b"MESSAGE", b"INFO", b"OPTIONS", b"SUBSCRIBE", b"REFER", b"NOTIFY")
ATTEMPTS = 10_000


class Town:
    """Six sites of two tenants, in each every role twice and the same room numbers; one app is linked to a second site."""

    def __init__(self) -> None:
        self.stage = Stage()
        self.phones: list[Phone] = []
        self.by_flow: dict[str, Phone] = {}
        serial = count(1)
        for site in SITES:
            names: list[str] = []
            for kind in (*KINDS, *KINDS):
                n = next(serial)
                name = f"7{n:03d}"
                phone = self.stage.registered(f"P{n}", name, site=site, host=f"203.0.113.{n}")
                self.phones.append(phone)
                self.by_flow[phone.flow.name] = phone
                own = self.stage.directory.accounts[name]
                self.stage.directory.accounts[name] = replace(own, kind=kind, monitored=len(names) >= len(KINDS))
                names.append(name)
            for room, number in enumerate(ROOMS):
                ringing = tuple(names[place] for place in (1, 2, 3, 5, 6, 7) if (place + room) % 3)
                self.stage.directory.plans[(site, number)] = together(site, number, ringing)
        everyone = [phone.user for phone in self.phones]
        for site in SITES:  # a plan that a mistake elsewhere has filled with other sites' phones
            self.stage.directory.plans[(site, "105")] = together(site, "105", tuple(everyone[::3]))
        app = next(name for name, one in self.stage.directory.accounts.items() if one.kind == APP)
        linked = replace(self.stage.directory.accounts[app], links=(AppSite(SITES[1], "u"),))
        self.stage.directory.accounts[app] = linked
        self.stage.directory.plans[(SITES[1], "104")] = together(SITES[1], "104", (app,))

    def account(self, phone: Phone) -> AccountFacts:
        return self.stage.directory.accounts[phone.user]

    def sites_of(self, phone: Phone) -> set[str]:
        return {self.account(phone).site, *(link.site for link in self.account(phone).links)}

    def challenge(self, phone: Phone) -> Response:
        core, book = self.stage.core, self.stage.book
        core.receive(phone.request(b"MESSAGE", b"sip:nobody@gw.test"), phone.flow, book.now)
        (sent,) = [one for one in core.take() if isinstance(one, Send)]
        answer = parse(sent.data)
        assert isinstance(answer, Response)
        return answer


def shape(sent: Send) -> list[bytes]:
    """A refusal without what belongs to the request it answers (Via, From, To and its tag, Call-ID, CSeq)."""
    theirs = (b"via:", b"from:", b"to:", b"call-id:", b"cseq:")
    return [line for line in sent.data.split(b"\r\n") if not line.lower().startswith(theirs)]


def test_ten_thousand_attempts_cross_no_border_and_every_refusal_looks_the_same() -> None:
    chance = random.Random(20261125)
    town = Town()
    core, book = town.stage.core, town.stage.book
    reached, crossed_by_link, refused, forged = 0, 0, 0, 0
    shapes: dict[bool, set[tuple[bytes, ...]]] = {True: set(), False: set()}
    unknown: dict[bool, set[tuple[bytes, ...]]] = {True: set(), False: set()}
    challenges: dict[str, Response] = {}
    uses: dict[str, int] = {}
    now = 0.0
    for attempt in range(ATTEMPTS):
        if attempt % 200 == 0:
            now += 60.0  # in all less than the hour that registrations live
            while (deadline := core.next_deadline()) is not None and deadline <= now:
                core.on_deadline(deadline)
            core.take()
            book.now = now
            challenges.clear()
        caller, callee = chance.choice(town.phones), chance.choice(town.phones)
        dialled = chance.choice((callee.user, callee.user, chance.choice((*ROOMS, "105")), "999999"))
        method = chance.choice(METHODS)
        forge = chance.random() < 0.1 and callee is not caller
        if caller.user not in challenges:
            challenges[caller.user], uses[caller.user] = town.challenge(caller), 0
        uses[caller.user] += 1
        headers = (b"Contact: <" + caller.contact + b">", b"Event: x", b"Refer-To: <sip:x@gw.test>")
        bare = caller.request(
            method, b"sip:%b@gw.test" % dialled.encode(), headers=headers, sender=callee.user.encode() if forge else b""
        )
        core.receive(caller.with_credentials(bare, challenges[caller.user], nc=uses[caller.user]), caller.flow, now)
        outputs = [one for one in core.take() if isinstance(one, Send)]
        requests = [one for one in outputs if isinstance(parse(one.data), Request)]
        finals = [one for one in outputs if isinstance(found := parse(one.data), Response) and found.status >= 200]
        if forge:
            assert not requests
            assert [one.data[8:11] for one in finals] == [b"403"]
            forged += 1
            continue
        for sent in requests:
            target = town.by_flow[sent.flow.name]
            assert town.sites_of(caller) & town.sites_of(target), (caller.user, dialled)
            if town.account(caller).site != town.account(target).site:
                assert APP in (town.account(caller).kind, town.account(target).kind)
                crossed_by_link += 1
            door = town.account(target)
            if door.kind == DOOR and town.account(caller).kind in (MONITOR, APP):
                assert door.monitored
            reached += 1
        if finals:
            assert [one.flow.name for one in finals] == [caller.flow.name]
            if finals[0].data[8:11] == b"404":
                refused += 1
                of = unknown if dialled == "999999" else shapes
                of[method == b"INVITE"].add(tuple(shape(finals[0])))
    assert shapes == unknown
    assert all(len(found) == 1 for found in shapes.values())
    assert min(reached, refused, forged) > 900
    assert crossed_by_link > 5


def test_another_sites_flow_cannot_borrow_an_account() -> None:
    """Credentials of one's own with another's From, and another's name with one's own password: neither reaches anybody."""
    town = Town()
    thief, victim = town.phones[0], town.phones[-1]
    flow = Flow("udp", "5060", "203.0.113.250", 5060)
    for user, password in ((thief.user, victim.password), (victim.user, thief.password)):
        thief.user, thief.password = user, password
        challenge = town.challenge(thief)
        bare = thief.request(b"INVITE", b"sip:101@gw.test", headers=(b"Contact: <" + thief.contact + b">",))
        town.stage.core.receive(thief.with_credentials(bare, challenge), flow, 0.0)
        sent = [parse(one.data) for one in town.stage.core.take() if isinstance(one, Send)]
        assert [one.status for one in sent if isinstance(one, Response)] == [407]


# Live view after a ring


@pytest.mark.parametrize("kind", [MONITOR, APP])
def test_a_door_that_may_be_watched_after_a_ring_is_no_number_before(kind: str) -> None:
    stage = Stage()
    door, resident = stage.registered("A", "100"), stage.registered("D", "101")
    other = stage.registered("E", "102")
    accounts = stage.directory.accounts
    accounts["100"] = replace(accounts["100"], kind=DOOR, monitored=True, after_ring=True)
    for name in ("101", "102"):
        accounts[name] = replace(accounts[name], kind=kind)
    book = stage.book
    look = stage.invite(resident, "100")
    book.receive(look, resident.flow).sees("D 100 INVITE", "D 404 INVITE")
    book.receive(ack_of_refusal(stage.last(resident)), resident.flow).sees()
    book.receive(stage.invite(door, "101"), door.flow).sees("A 100 INVITE", "D INVITE")
    rung = stage.sent(resident, b"INVITE")
    book.receive(resident.reply(rung, 180), resident.flow).sees("A 180 INVITE")
    book.receive(resident.reply(rung, 486), resident.flow).sees("D ACK", "A 486 INVITE")
    book.receive(ack_of_refusal(stage.last(door)), door.flow).sees()
    # Whom it rang may look, nobody else, and not for ever.
    book.after(AFTER_RING - 60)
    book.receive(stage.invite(other, "100"), other.flow).sees("E 100 INVITE", "E 404 INVITE")
    book.receive(ack_of_refusal(stage.last(other)), other.flow).sees()
    book.receive(stage.invite(resident, "100"), resident.flow).sees("D 100 INVITE", "A INVITE")
    book.receive(door.reply(stage.sent(door, b"INVITE"), 486), door.flow).sees("A ACK", "D 486 INVITE")
    book.receive(ack_of_refusal(stage.last(resident)), resident.flow).sees()
    book.after(AFTER_RING + 1)
    book.receive(stage.invite(resident, "100"), resident.flow).sees("D 100 INVITE", "D 404 INVITE")


def test_a_guard_looks_at_any_time() -> None:
    stage = Stage()
    stage.registered("A", "100")
    guard = stage.registered("D", "101")
    accounts = stage.directory.accounts
    accounts["100"] = replace(accounts["100"], kind=DOOR, monitored=True, after_ring=True)
    accounts["101"] = replace(accounts["101"], kind=GUARD)
    stage.book.receive(stage.invite(guard, "100"), guard.flow).sees("D 100 INVITE", "A INVITE")


def test_rings_are_bounded() -> None:
    log = CallLog(DeadlineHeap(), lambda output: None, limit=1, give_up_after=1.0)
    for number in range(RINGS + 10):
        log.rung("door", str(number), 0.0)
    assert [log.has_rung("door", str(number), 1.0) for number in (9, 10)] == [False, True]


def ack_of_refusal(refusal: Response) -> bytes:
    """The hop-by-hop ACK of a non-2xx."""
    lines = [
        b"ACK sip:100@gw.test SIP/2.0",
        b"Via: " + (refusal.get(b"via") or b""),
        b"Max-Forwards: 70",
        b"From: " + (refusal.get(b"from") or b""),
        b"To: " + (refusal.get(b"to") or b""),
        b"Call-ID: " + refusal.call_id,
        b"CSeq: %d ACK" % refusal.cseq[0],
        b"Content-Length: 0",
    ]
    return b"\r\n".join([*lines, b"", b""])
