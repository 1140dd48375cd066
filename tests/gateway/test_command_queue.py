"""The queue of commands: one at a time, urgent first, again with the same id, after restarts, and never too late."""

from collections.abc import Iterator

import pytest

from registry.commands import CommandName, CommandState, CommandWay, Priority
from registry.errors import StoreUnavailable
from registry.records import Department, Device
from registry.store import Delete, Put
from tests.gateway.command_world import World

N = CommandName
S = CommandState


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def test_a_command_is_sent_and_its_result_is_the_devices(world: World) -> None:
    mac = world.macs[0]
    command = world.order(mac)
    world.loop.let_pass(1.0)
    found = world.get(command)
    assert (found.state, found.way, found.attempts, found.result) == (S.EXECUTED, CommandWay.CHANNEL, 1, "done")
    assert world.devices[mac].done == {command: 1}
    assert [one.id for one in world.effects.ended] == [command]
    assert world.queue.waiting == 0


def test_a_refusal_is_the_devices_word(world: World) -> None:
    mac = world.macs[0]
    world.devices[mac].refuses = "jammed"
    command = world.order(mac, N.OPEN_RELAY, 10.0)
    world.loop.let_pass(1.0)
    assert (world.state(command), world.get(command).result) == (S.FAILED, "jammed")


def test_a_device_gets_one_at_a_time_and_urgent_ones_first(world: World) -> None:
    mac = world.macs[0]
    world.up(mac, False)
    plain = [world.order(mac, N.PROVISION), world.order(mac, N.COLLECT_LOG)]
    group = world.order(mac, N.REBOOT, priority=Priority.GROUP)
    urgent = world.order(mac, N.OPEN_RELAY, priority=Priority.EMERGENCY)
    other = world.order(world.macs[1])
    world.loop.let_pass(5.0)
    assert [world.state(one) for one in (*plain, group, urgent, other)] == [S.PENDING] * 4 + [S.EXECUTED]
    world.up(mac)
    world.loop.let_pass(5.0)
    assert world.devices[mac].order == [urgent, group, *plain]
    assert world.devices[mac].most_at_once == 1


def test_an_offline_device_gets_it_when_it_comes_unless_it_expired(world: World) -> None:
    mac = world.macs[0]
    world.up(mac, False)
    soon, late = world.order(mac, N.OPEN_RELAY, 20.0), world.order(mac, N.REBOOT, 600.0)
    world.loop.let_pass(19.0)
    assert world.state(soon) is S.PENDING
    world.loop.let_pass(2.0)
    assert world.state(soon) is S.EXPIRED
    world.up(mac)
    world.loop.let_pass(1.0)
    assert world.devices[mac].done == {late: 1}


def test_a_registration_is_coming_too(world: World) -> None:
    mac = world.macs[0]
    device = world.devices[mac]
    device.up, device.way = False, CommandWay.SIP
    command = world.order(mac, N.PROVISION)
    world.loop.let_pass(1.0)
    device.up = True
    world.tell(world.queue.registered, "nobody")
    world.tell(world.queue.registered, f"account-{mac}")
    world.loop.let_pass(1.0)
    assert (world.state(command), world.get(command).way) == (S.ACCEPTED, CommandWay.SIP)
    world.tell(world.queue.fetched, mac)
    world.loop.let_pass(1.0)
    assert world.state(command) is S.EXECUTED
    assert "fetched its configuration" in world.get(command).result


def test_a_lost_answer_is_asked_for_again_with_the_same_id(world: World) -> None:
    mac = world.macs[0]
    world.devices[mac].loses_answers = True
    command = world.order(mac)
    world.loop.let_pass(20.0)
    assert world.state(command) is S.PROCESSING
    assert world.get(command).attempts > 1
    world.devices[mac].loses_answers = False
    world.tell(world.queue.came, mac)
    world.loop.let_pass(40.0)
    assert (world.state(command), world.devices[mac].done) == (S.EXECUTED, {command: 1})


def test_silence_until_the_deadline_has_failed_and_says_that_it_may_be_done(world: World) -> None:
    mac = world.macs[0]
    world.devices[mac].loses_answers = True
    command = world.order(mac, N.OPEN_RELAY, 10.0)
    world.loop.let_pass(15.0)
    assert world.state(command) is S.FAILED
    assert "may or may not" in world.get(command).result


def test_over_sip_a_reboot_is_sent_once_and_a_fetch_again(world: World) -> None:
    mac = world.macs[0]
    device = world.devices[mac]
    device.way, device.loses_answers = CommandWay.SIP, True
    reboot = world.order(mac)
    world.loop.let_pass(30.0)
    assert (world.state(reboot), device.done[reboot]) == (S.FAILED, 1)
    assert "cannot be sent twice" in world.get(reboot).result
    fetch = world.order(mac, N.PROVISION)
    world.loop.let_pass(30.0)
    device.loses_answers = False
    world.loop.let_pass(60.0)
    assert world.state(fetch) is S.ACCEPTED
    assert device.done[fetch] > 1


def test_a_reboot_begun_over_sip_is_lost_with_the_node(world: World) -> None:
    mac = world.macs[0]
    device = world.devices[mac]
    device.way, device.loses_answers = CommandWay.SIP, True
    command = world.order(mac)
    world.loop.let_pass(0.1)
    world.kill()
    device.loses_answers = False
    world.start()
    world.loop.let_pass(5.0)
    assert (world.state(command), device.done[command]) == (S.FAILED, 1)


def test_another_node_does_not_judge_what_this_one_is_sending(world: World) -> None:
    mac = world.macs[0]
    device = world.devices[mac]
    device.way, device.loses_answers = CommandWay.SIP, True
    command = world.order(mac)
    world.loop.let_pass(0.1)
    world.kill()
    world.start("node-2")
    world.loop.let_pass(5.0)
    assert (world.state(command), device.done[command]) == (S.PROCESSING, 1)


def test_a_channel_cannot_take_over_what_sip_began(world: World) -> None:
    mac = world.macs[0]
    device = world.devices[mac]
    device.way, device.loses_answers = CommandWay.CHANNEL, True
    command = world.order(mac)
    world.loop.let_pass(0.1)
    device.way = CommandWay.SIP
    world.tell(world.queue.came, mac)
    world.loop.let_pass(60.0)
    assert device.done == {command: 1}
    device.way, device.loses_answers = CommandWay.CHANNEL, False
    world.tell(world.queue.came, mac)
    world.loop.let_pass(60.0)
    assert (world.state(command), device.done) == (S.EXECUTED, {command: 1})


def test_a_restart_goes_on_where_the_node_was_killed(world: World) -> None:
    mac = world.macs[0]
    world.devices[mac].loses_answers = True
    begun, waits = world.order(mac), world.order(mac, N.PROVISION)
    world.loop.let_pass(0.1)
    assert (world.state(begun), world.state(waits)) == (S.PROCESSING, S.PENDING)
    world.kill()
    world.devices[mac].loses_answers = False
    world.start()
    world.loop.let_pass(5.0)
    assert world.devices[mac].done == {begun: 1, waits: 1}
    assert (world.state(begun), world.state(waits)) == (S.EXECUTED, S.EXECUTED)


def test_what_expired_while_the_node_was_away_is_not_sent(world: World) -> None:
    mac = world.macs[0]
    world.up(mac, False)
    command = world.order(mac, N.OPEN_RELAY, 10.0)
    world.kill()
    world.drift += 60.0
    world.up(mac)
    world.start()
    world.loop.let_pass(5.0)
    assert (world.state(command), world.devices[mac].done) == (S.EXPIRED, {})


def test_cancelled_before_it_is_sent_is_not_sent(world: World) -> None:
    mac = world.macs[0]
    world.up(mac, False)
    command = world.order(mac)
    world.loop.let_pass(1.0)
    assert world.cancel(command)
    world.up(mac)
    world.loop.let_pass(5.0)
    assert (world.state(command), world.devices[mac].done) == (S.CANCELLED, {})


def test_a_removed_device_ends_its_commands(world: World) -> None:
    mac = world.macs[0]
    world.up(mac, False)
    command = world.order(mac)
    world.loop.wait(world.store.batch([Delete(Device, mac.text)]))
    world.tell(world.queue.wake, mac)
    world.loop.let_pass(1.0)
    assert world.state(command) is S.CANCELLED


def test_a_group_is_paced_and_an_emergency_is_not() -> None:
    world = World(10, paced=True)
    for mac in world.macs:
        world.order(mac, N.REBOOT, priority=Priority.GROUP)
    world.loop.let_pass(0.9)
    assert sum(sum(device.done.values()) for device in world.devices.values()) == 2
    urgent = [world.order(mac, N.OPEN_RELAY, priority=Priority.EMERGENCY) for mac in world.macs]
    world.loop.let_pass(0.05)
    assert [world.devices[mac].done[one] for mac, one in zip(world.macs, urgent, strict=True)] == [1] * 10
    world.loop.let_pass(4.0)
    assert sum(sum(device.done.values()) for device in world.devices.values()) == 20
    world.close()


def test_not_before_its_turn(world: World) -> None:
    mac = world.macs[0]
    command = world.order(mac, not_before=world.wall() + 30.0)
    world.loop.let_pass(29.0)
    assert world.state(command) is S.PENDING
    world.loop.let_pass(2.0)
    assert world.state(command) is S.EXECUTED


def test_an_end_waits_for_the_store_and_what_belongs_to_it_comes_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    mac, batch, failures = world.macs[0], world.store.batch, [3]
    note = Department("d", "home", "n")
    world.effects.more = [Put(note, expect=0)]

    async def failing(writes, *, durable=True):  # type: ignore[no-untyped-def]
        over = any(isinstance(one, Put) and getattr(one.record, "state", None) is S.EXECUTED for one in writes)
        if over and failures[0]:
            failures[0] -= 1
            raise StoreUnavailable("away")
        return await batch(writes, durable=durable)

    monkeypatch.setattr(world.store, "batch", failing)
    command = world.order(mac)
    world.loop.let_pass(20.0)
    assert (world.state(command), world.devices[mac].done) == (S.EXECUTED, {command: 1})
    assert world.loop.wait(world.store.get(Department, "d")) is not None


def test_only_the_last_ones_are_kept(world: World) -> None:
    mac = world.macs[0]
    for _ in range(120):
        world.order(mac, N.PROVISION)
        world.loop.let_pass(1.0)
    page = world.loop.wait(world.store.list(type(world.get(world.order(mac))), "mac", mac.text, limit=500))
    assert 50 <= len(page.items) <= 101
