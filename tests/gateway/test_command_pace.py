"""Pacing: two a second at a site, ten a second at the node, and never what is urgent."""

from collections import Counter
from dataclasses import replace

from gateway.command_pace import Pace
from registry.commands import CommandName, Priority
from tests.registry.test_command_states import command


def test_two_a_second_at_a_site_and_each_turn_is_kept() -> None:
    pace = Pace()
    commands = [command(number=number) for number in range(10)]
    waits = [pace.wait(one, 0.0) for one in commands]
    assert waits == [place * 0.5 for place in range(10)]
    assert [pace.wait(one, 1.0) for one in commands[:4]] == [0.0, 0.0, 0.0, 0.5]
    assert pace.wait(command(number=99), 10.0) == 0.0


def test_ten_a_second_at_the_node_and_one_site_does_not_block_another() -> None:
    pace = Pace()
    slow = [pace.wait(command(number=number, site="one"), 0.0) for number in range(100)]
    assert max(slow) == 49.5
    waits = [pace.wait(command(number=1000 + number, site=f"s{number}"), 0.0) for number in range(60)]
    assert max(Counter(int(wait) for wait in [*slow, *waits]).values()) <= 10
    assert max(waits) < 10.0


def test_doors_and_emergencies_do_not_wait() -> None:
    pace = Pace()
    assert [pace.wait(command(CommandName.OPEN_RELAY, number), 0.0) for number in range(50)] == [0.0] * 50
    urgent = [replace(command(number=number), priority=Priority.EMERGENCY) for number in range(50)]
    assert [pace.wait(one, 0.0) for one in urgent] == [0.0] * 50
