"""Devices against the gateway's own SIP core on a simulated wire: register, call through it, ring a group, lose datagrams."""

import pytest

from registry.ring_plan import RingPlan, Stage, Target, TargetKind
from simulators.agent_events import LOCAL, REMOTE, Answered, DtmfReceived, Ended, IncomingCall, NotRegistered, Registered, Ringing
from simulators.user_agent import UserAgent
from sip.core import SipCore
from sip.directory import AccountFacts
from sip.events import CallEnded, Output, Send
from sip.flow import Flow
from tests.simulators.wire import Address, Wire, counted_entropy

GATEWAY: Address = ("192.0.2.100", 5060)
DOOR: Address = ("192.0.2.1", 5060)
MONITOR: Address = ("192.0.2.2", 5061)
SECOND: Address = ("192.0.2.3", 5062)


class Accounts:
    """Three accounts of one site, one of another, and number 101 that rings both monitors."""

    def account(self, username: str) -> AccountFacts | None:
        sites = {"door": "s1", "monitor": "s1", "second": "s1", "stranger": "s2"}
        return AccountFacts(username, sites[username], b"secret") if username in sites else None

    def ring_plan(self, site: str, number: str) -> RingPlan | None:
        if (site, number) != ("s1", "101"):
            return None
        targets = tuple(Target(TargetKind.ACCOUNT, name) for name in ("monitor", "second"))
        return RingPlan("s1", "101", (Stage(targets),), "user")

    def landlines(self, site: str) -> None:
        return None


class GatewayNode:
    """A SipCore at an address of the wire."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.outputs: list[Output] = []
        self.core = SipCore(
            directory=Accounts(),
            entropy=counted_entropy("gateway"),
            secret=b"s" * 32,
            realm="portico",
            domains=frozenset({b"192.0.2.100"}),
            advertised={"udp": GATEWAY},
        )
        wire.nodes[GATEWAY] = self

    def receive(self, data: bytes, source: Address, now: float) -> None:
        self.core.receive(data, Flow("udp", "gw", *source), now)
        self._carry_out()

    def next_deadline(self) -> float | None:
        return self.core.next_deadline()

    def on_deadline(self, now: float) -> None:
        self.core.on_deadline(now)
        self._carry_out()

    def _carry_out(self) -> None:
        for output in self.core.take():
            if isinstance(output, Send):
                self.wire.send(GATEWAY, (output.flow.host, output.flow.port), output.data)
            else:
                self.outputs.append(output)

    @property
    def calls(self) -> list[CallEnded]:
        return [output for output in self.outputs if isinstance(output, CallEnded)]


class House:
    def __init__(self) -> None:
        self.wire = Wire()
        self.gateway = GatewayNode(self.wire)
        self.door = self.device("door", DOOR)
        self.monitor = self.device("monitor", MONITOR)
        self.second = self.device("second", SECOND)
        self.wire.run(1)

    def device(self, name: str, at: Address, password: str = "secret") -> UserAgent:
        agent = self.wire.agent(name, GATEWAY, at, password=password)
        agent.register(self.wire.now)
        return agent

    def at(self, address: Address) -> list[object]:
        return [event for event in self.wire.events[address] if not isinstance(event, Registered)]


def test_everybody_registers_with_one_challenge_each() -> None:
    house = House()
    for address in (DOOR, MONITOR, SECOND):
        assert house.wire.events[address] == [Registered(300, challenges=1)]
    assert house.wire.summary(GATEWAY) == ["401", "401", "401", "200", "200", "200"]


def test_the_main_job_through_the_gateway() -> None:
    house = House()
    call = house.door.dial("101", house.wire.now)
    house.wire.run(0.5)
    assert house.at(DOOR) == [Ringing(call)]
    assert house.at(MONITOR) == house.at(SECOND) == [IncomingCall(call, "door", "Door")]
    house.monitor.answer(call, house.wire.now)
    house.wire.run(0.5)
    house.monitor.press(call, "#", house.wire.now)
    house.wire.run(0.5)
    house.monitor.hang_up(call, house.wire.now)
    house.wire.run(1)
    opened = DtmfReceived(call, "monitor", "#")
    assert house.at(DOOR) == [Ringing(call), Answered(call), opened, Ended(call, REMOTE, 200, "BYE")]
    assert house.at(SECOND)[-1] == Ended(call, REMOTE, 487, "the caller gave up")
    (ended,) = house.gateway.calls
    assert ended.facts.answered_by == "monitor"
    assert ended.facts.ended_by == "monitor"
    assert set(ended.facts.rang) == {"monitor", "second"}


def test_the_door_hangs_up() -> None:
    house = House()
    call = house.door.dial("monitor", house.wire.now)
    house.wire.run(0.5)
    house.monitor.answer(call, house.wire.now)
    house.wire.run(0.5)
    house.door.hang_up(call, house.wire.now)
    house.wire.run(1)
    assert house.at(DOOR)[-1] == Ended(call, LOCAL, 200, "")
    assert house.at(MONITOR)[-1] == Ended(call, REMOTE, 200, "BYE")


def test_the_visitor_gives_up() -> None:
    house = House()
    call = house.door.dial("101", house.wire.now)
    house.wire.run(0.5)
    house.door.hang_up(call, house.wire.now)
    house.wire.run(1)
    assert house.at(DOOR)[-1] == Ended(call, LOCAL, 487, "Request Terminated")
    for address in (MONITOR, SECOND):
        assert house.at(address)[-1] == Ended(call, REMOTE, 487, "the caller gave up")


@pytest.mark.parametrize("number", ["stranger", "999", "1011"])
def test_a_foreign_account_and_an_unknown_number_sound_alike(number: str) -> None:
    house = House()
    call = house.door.dial(number, house.wire.now)
    house.wire.run(1)
    ended = house.at(DOOR)[-1]
    assert isinstance(ended, Ended)
    assert (ended.call, ended.status) == (call, 404)


def test_a_wrong_password_never_registers() -> None:
    house = House()
    carol = house.device("door", ("192.0.2.9", 5060), password="guess")
    house.wire.run(60)
    assert not carol.registered
    assert isinstance(house.wire.events["192.0.2.9", 5060][0], NotRegistered)
    assert house.door.registered


@pytest.mark.parametrize("seed", range(10))
def test_a_fifth_of_the_datagrams_lost(seed: int) -> None:
    house = House()
    chance = counted_entropy(f"loss {seed}")
    house.wire.lose = lambda _source, _target, _data: chance(1)[0] < 51
    call = house.door.dial("monitor", house.wire.now)
    house.wire.run(15)
    house.monitor.answer(call, house.wire.now)
    house.wire.run(15)
    house.monitor.press(call, "#", house.wire.now)
    house.wire.run(15)
    house.monitor.hang_up(call, house.wire.now)
    house.wire.run(70)
    assert sum(isinstance(event, DtmfReceived) for event in house.at(DOOR)) == 1
    assert house.at(DOOR)[-1] == Ended(call, REMOTE, 200, "BYE")
    assert not house.door.busy
    assert not house.monitor.busy
    assert len(house.gateway.calls) == 1


def test_hours_of_refreshing_cost_one_request_each() -> None:
    house = House()
    house.wire.passed.clear()
    house.wire.run(3 * 3600)
    registers = house.wire.summary().count("REGISTER")
    # 300 s granted, refreshed at 80 to 90 %: 40 to 45 times in 3 hours, twice where the nonce had grown stale.
    assert 3 * 40 <= registers <= 2 * 3 * 46
    assert all(agent.registered for agent in (house.door, house.monitor, house.second))


def test_two_monitors_answer_at_once_and_one_has_the_call() -> None:
    house = House()
    call = house.door.dial("101", house.wire.now)
    house.wire.run(0.5)
    house.monitor.answer(call, house.wire.now)
    house.second.answer(call, house.wire.now)
    house.wire.run(5)
    assert house.at(DOOR) == [Ringing(call), Answered(call)]
    # RFC 3261 13.2.2.4: the other one is acknowledged and then ended, so that no phone is left in a call with nobody.
    assert house.monitor.busy != house.second.busy
    loser = MONITOR if house.second.busy else SECOND
    assert house.at(loser)[-1] == Ended(call, REMOTE, 200, "BYE")
    house.door.hang_up(call, house.wire.now)
    house.wire.run(40)
    assert not any(agent.busy for agent in (house.door, house.monitor, house.second))
    assert len(house.gateway.calls) == 1


def test_a_device_that_rebooted_without_a_word_rings_once_at_its_new_port() -> None:
    house = House()
    del house.wire.nodes[MONITOR]
    moved: Address = ("192.0.2.2", 6061)
    reborn = house.device("monitor", moved)
    house.wire.run(1)
    call = house.door.dial("monitor", house.wire.now)
    house.wire.run(1)
    assert [type(event) for event in house.at(moved)] == [IncomingCall]
    reborn.answer(call, house.wire.now)
    house.wire.run(1)
    assert house.at(DOOR)[-1] == Answered(call)
