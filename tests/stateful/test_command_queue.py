"""Random histories of orders, answers, cut channels, refusals, cancellations and kills of the node, at any step of its work.

What must hold: no acknowledged command is lost, none is done twice, and what the record says is what the device did.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from registry.commands import CommandName, CommandState, CommandWay, Priority
from registry.mac import MacAddress
from tests.gateway.command_world import World

S = CommandState
NAMES = (CommandName.REBOOT, CommandName.RESET, CommandName.OPEN_RELAY)
"""None of these may be done twice."""


class Queue(RuleBasedStateMachine):
    """`steps`: rounds of the loop until something else happens, so that kills fall between any two steps of the queue's work."""

    commands = Bundle("commands")

    @initialize()
    def begin(self) -> None:
        self.world = World(2)
        self.ordered: dict[str, MacAddress] = {}
        self.cancelled: set[str] = set()

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        for mac, device in world.devices.items():
            device.loses_answers, device.refuses = False, ""
            device.way = CommandWay.CHANNEL
            world.up(mac)
        world.loop.let_pass(3000.0)
        for command, mac in self.ordered.items():
            self.judge(command, world.devices[mac].done[command])
        assert world.queue.waiting == 0
        world.close()

    def judge(self, command: str, times: int) -> None:
        found = self.world.get(command)
        assert found.state.is_over, found
        assert times <= 1, found
        if found.state is S.EXECUTED or found.state is S.ACCEPTED:
            assert times == 1, found
        if found.state in (S.EXPIRED, S.CANCELLED):
            assert times == 0, found
        if command in self.cancelled:
            assert found.state is S.CANCELLED
        if found.state is S.FAILED and "may or may not" not in found.result:
            assert times == 0, found

    @rule(
        target=commands,
        place=st.integers(0, 1),
        name=st.sampled_from(NAMES),
        seconds=st.sampled_from((5.0, 60.0, 2000.0)),
        priority=st.sampled_from(Priority),
        wait=st.sampled_from((0.0, 0.0, 7.0)),
    )
    def order(self, place: int, name: CommandName, seconds: float, priority: Priority, wait: float) -> str:
        mac = self.world.macs[place]
        not_before = self.world.wall() + wait if wait else 0.0
        command = self.world.order(mac, name, seconds, priority=priority, not_before=not_before)
        self.ordered[command] = mac
        return command

    @rule(command=commands)
    def cancel(self, command: str) -> None:
        if self.world.cancel(command):
            self.cancelled.add(command)

    @rule(place=st.integers(0, 1), up=st.booleans())
    def link(self, place: int, up: bool) -> None:
        self.world.up(self.world.macs[place], up)

    @rule(place=st.integers(0, 1), loses=st.booleans(), refuses=st.sampled_from(("", "", "jammed")))
    def mood(self, place: int, loses: bool, refuses: str) -> None:
        device = self.world.devices[self.world.macs[place]]
        device.loses_answers, device.refuses = loses, refuses

    @rule(place=st.integers(0, 1), way=st.sampled_from(CommandWay).filter(bool))
    def way(self, place: int, way: CommandWay) -> None:
        self.world.devices[self.world.macs[place]].way = way

    @rule(steps=st.integers(0, 40))
    def work(self, steps: int) -> None:
        self.world.loop.steps(steps)

    @rule(seconds=st.sampled_from((0.005, 0.5, 10.0, 300.0)))
    def time(self, seconds: float) -> None:
        self.world.loop.let_pass(seconds)

    @rule(steps=st.integers(0, 40), away=st.sampled_from((0.0, 0.0, 30.0)), node=st.sampled_from(("node-1", "node-1", "node-2")))
    def kill(self, steps: int, away: float, node: str) -> None:
        self.world.loop.steps(steps)
        self.world.kill()
        self.world.loop.let_pass(away)
        self.world.start(node)

    @invariant()
    def never_twice(self) -> None:
        if hasattr(self, "world"):
            for device in self.world.devices.values():
                assert device.most_at_once <= 1
                assert all(times == 1 for times in device.done.values()), device.done


Queue.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestQueue = Queue.TestCase
