"""Two tokens of one device: whatever is ordered, fetched, broken off or forgotten, the device is never locked out, and an old
token is dead once the new one was shown. Over two nodes whose memory may be behind, and crashes that take what was in memory."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from autop.enrolment import device_token, seal_device_token
from autop.identify import FirmwareFile, MacFile, PhonebookFile
from autop.net.configurations import Configurations, File, Refused
from autop.net.one_time import OneTimeDelivery, seal_order
from autop.net.tokens import TokenRotations
from autop.observer import Outcome, Reason
from registry.configuration import OneTimeAutop, OneTimeOrder
from registry.enrolment import Enrolment, TokenRotation
from registry.logs import AuditEntry
from registry.memory import MemoryStore
from registry.read_model import ReadModel
from registry.records import Device
from registry.store import Put, Require, Store
from tests.autop import examples
from tests.autop.examples import MAC, TOKEN

AUTOP = f"{examples.SETTINGS.autop_url}/"


def named(body: bytes) -> str:
    """The token that a configuration names."""
    (line,) = [line for line in body.decode().splitlines() if line.startswith("Config.Autoprovision.GENERAL.Url = ")]
    return line.removeprefix(f"Config.Autoprovision.GENERAL.Url = {AUTOP}").rstrip("/")


class Node:
    """One gateway: what it has in memory follows the store only when it is told to."""

    def __init__(self, store: Store, sequence: int = 0) -> None:
        self.store = store
        self.vault = examples.vault()
        self.read_model = ReadModel(store)
        self.read_model.clear(sequence)
        self.tokens = TokenRotations(store)
        self.one_time = OneTimeDelivery(store, self.vault)
        self.configurations = Configurations(
            read_model=self.read_model,
            vault=self.vault,
            settings=examples.SETTINGS,
            one_time=self.one_time,
            tokens=self.tokens,
        )

    async def follow(self) -> None:
        for change in await self.store.changes(self.read_model.applied):
            self.read_model.apply(change)

    async def find(self, token: str) -> File | None:
        found = await self.configurations.find(MacFile(token, MAC))
        assert not isinstance(found, Refused) or found.reason in (Reason.NO_PROOF, Reason.UNAVAILABLE), found
        return found if isinstance(found, File) else None

    async def complete(self, file: File) -> None:
        """As the fetch book does it."""
        await self.one_time.complete(MAC, file.hash)
        if file.confirms:
            await self.tokens.confirm(MAC, file.confirms, file.hash, 5.0)


class World:
    """A store with one device, and who rotates its token."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.vault = examples.vault()
        self.drawn = 0
        self.ordered = 0

    async def begin(self) -> None:
        await self.store.batch([Put(examples.sealed_device(self.vault, account=""))])

    def entropy(self, size: int) -> bytes:
        self.drawn += 1
        return self.drawn.to_bytes(size)

    async def rotate(self) -> str | None:
        """What the API does. None: refused."""
        present = await self.store.get(TokenRotation, MAC.text)
        if present is not None and present.record.sent:
            return None
        token = device_token(self.entropy)
        made = TokenRotation(MAC, "s-1", seal_device_token(self.vault, MAC, token), 1.0, "me")
        await self.store.batch([Require(Device, MAC.text), Put(made, expect=present.version if present else 0)])
        return token

    async def order(self) -> None:
        """One-Time Autop, which freezes a file."""
        self.ordered += 1
        order = OneTimeOrder(f"o{self.ordered}", 1.0, "me", seal_order(self.vault, MAC, (f"Config.A.B.C{self.ordered} = once",)))
        stored = await self.store.get(OneTimeAutop, MAC.text)
        if stored is None:
            await self.store.batch([Put(OneTimeAutop(MAC, "s-1", (order,)), expect=0)])
        elif len(stored.record.orders) < 10:
            await self.store.batch([Put(replace(stored.record, orders=(*stored.record.orders, order)), expect=stored.version)])


async def a_world() -> tuple[World, Node]:
    world = World()
    await world.begin()
    return world, Node(world.store)


async def test_the_life_of_a_rotation() -> None:
    world, node = await a_world()
    plain = await node.find(TOKEN)
    assert plain is not None
    assert named(plain.body) == TOKEN
    assert plain.confirms == 0
    new = await world.rotate()
    assert new is not None
    await node.follow()
    by_old = await node.find(TOKEN)
    await node.follow()
    by_new = await node.find(new)
    assert by_old is not None
    assert by_new is not None
    assert by_old.body == by_new.body
    assert named(by_new.body) == new
    assert (by_old.confirms, by_new.confirms > 0) == (0, True)
    await node.complete(by_old)  # it has the file; nobody knows that it does as the file says
    await node.follow()
    assert await node.find(TOKEN) is not None
    await node.complete(by_new)
    await node.follow()
    assert await node.find(TOKEN) is None
    after = await node.find(new)
    assert after is not None
    assert (after.body, after.confirms) == (by_new.body, 0)
    (entry,) = (await world.store.list(AuditEntry, "all", "")).items
    assert entry.record.action == "device.token-taken-up"
    assert await world.rotate() is not None


async def test_both_tokens_are_good_for_all_that_a_device_fetches() -> None:
    world, node = await a_world()
    new = await world.rotate()
    assert new is not None
    for token in (TOKEN, new):
        assert isinstance(await node.configurations.find(PhonebookFile(token, MAC)), File)
        found = await node.configurations.find(FirmwareFile(token, MAC, "0" * 24, ".zip"))
        assert found == Refused(Outcome.REFUSED, Reason.NO_SUCH_FILE)


async def test_a_token_that_nobody_has_makes_room_for_the_next_and_one_that_may_have_left_does_not() -> None:
    world, node = await a_world()
    first, second = await world.rotate(), await world.rotate()
    assert first is not None
    assert second is not None
    assert await node.find(first) is None
    file = await node.find(TOKEN)
    assert file is not None
    assert named(file.body) == second
    assert await world.rotate() is None
    await node.follow()
    assert await node.find(TOKEN) is not None
    assert await node.find(second) is not None


async def test_sent_is_in_the_store_before_the_file_is_returned() -> None:
    world, node = await a_world()
    await world.rotate()
    stored = await world.store.get(TokenRotation, MAC.text)
    assert stored is not None
    assert not stored.record.sent
    await node.find(TOKEN)
    stored = await world.store.get(TokenRotation, MAC.text)
    assert stored is not None
    assert stored.record.sent


async def test_a_node_that_is_behind_names_the_token_that_the_store_holds() -> None:
    world, _ = await a_world()
    await world.rotate()
    late = Node(world.store)
    await late.read_model.get(TokenRotation, MAC.text)  # the first one, which is replaced now
    second = await world.rotate()
    file = await late.find(TOKEN)
    assert file is not None
    assert named(file.body) == second


async def test_a_one_time_file_from_before_the_rotation_keeps_the_old_token_alive() -> None:
    world, node = await a_world()
    await world.order()
    frozen = await node.find(TOKEN)
    assert frozen is not None
    new = await world.rotate()
    assert new is not None
    await node.follow()
    for token in (TOKEN, new):
        again = await node.find(token)
        assert again is not None
        assert (again.body, again.confirms) == (frozen.body, 0)
    # A node that knows the rotation and not the order gave the device the new token: it must get the frozen file and come back.
    stored = await world.store.get(TokenRotation, MAC.text)
    assert stored is not None
    assert not await node.tokens.confirm(MAC, stored.version, "other", 5.0)
    await node.complete(frozen)
    await node.follow()
    file = await node.find(new)
    assert file is not None
    await node.complete(file)
    await node.follow()
    assert await node.find(TOKEN) is None


async def test_a_fetch_of_another_rotation_confirms_nothing() -> None:
    world, node = await a_world()
    new = await world.rotate()
    assert new is not None
    await node.find(TOKEN)
    await node.follow()
    file = await node.find(new)
    assert file is not None
    await node.complete(file)
    assert await world.rotate() is not None
    await node.complete(file)
    await node.follow()
    assert await node.find(new) is not None
    assert not await node.tokens.confirm(MAC, 99, file.hash, 5.0)


async def test_a_device_that_is_changed_meanwhile_keeps_the_change() -> None:
    world, node = await a_world()
    new = await world.rotate()
    assert new is not None
    await node.find(TOKEN)
    await node.follow()
    file = await node.find(new)
    assert file is not None

    device = await world.store.get(Device, MAC.text)
    assert device is not None
    original = world.store.batch
    meddled = False

    async def batch(writes: list[object], *, durable: bool = True) -> tuple[int, ...]:
        nonlocal meddled
        if not meddled:
            meddled = True
            await original([Put(replace(device.record, name="Renamed"), expect=device.version)])
        return await original(writes, durable=durable)  # type: ignore[arg-type]

    world.store.batch = batch  # type: ignore[method-assign, assignment]
    await node.complete(file)
    stored = await world.store.get(Device, MAC.text)
    assert stored is not None
    assert stored.record.name == "Renamed"
    assert world.vault.open_text(stored.record.sealed_token, f"device-token:{MAC}") == new


async def test_the_end_of_an_enrolment_is_written_with_the_end_of_the_old_token() -> None:
    world, node = await a_world()
    new = await world.rotate()
    assert new is not None
    await world.store.batch([Put(Enrolment(MAC, "s-1", "w", "192.0.2.7", 1.0))])
    await node.find(TOKEN)
    await node.follow()
    file = await node.find(new)
    assert file is not None
    await node.complete(file)
    stored = await world.store.get(Enrolment, MAC.text)
    assert stored is not None
    assert stored.record.confirmed == 5.0
    (entry,) = (await world.store.list(AuditEntry, "all", "")).items
    assert entry.record.action == "device.enrolled"


class TokenLife(RuleBasedStateMachine):
    """An operator, two nodes that may be behind, and a device that applies what it fetched, or loses it on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.thread = ThreadPoolExecutor(1)  # a loop of its own: pytest-twisted runs what hypothesis calls inside the shared one
        self.loop = asyncio.new_event_loop()

    def run(self, work: Callable[[], object]) -> object:
        return self.thread.submit(self.loop.run_until_complete, work()).result()  # type: ignore[arg-type]

    def teardown(self) -> None:
        self.thread.submit(self.loop.close).result()
        self.thread.shutdown()

    @initialize()
    def begin(self) -> None:
        self.world = World()
        self.run(self.world.begin)
        self.nodes = [Node(self.world.store), Node(self.world.store)]
        self.device = TOKEN
        """The token that the device has."""
        self.under_way: list[tuple[int, File]] = []
        """Files whose fetch was complete, and that the fetch book has not written yet."""
        self.taken: File | None = None
        """A file that the device has and has not applied."""

    @rule()
    def rotate(self) -> None:
        self.run(self.world.rotate)

    @rule()
    def order(self) -> None:
        self.run(self.world.order)

    @rule(which=st.integers(0, 1))
    def follow(self, which: int) -> None:
        self.run(self.nodes[which].follow)

    @rule(which=st.integers(0, 1), complete=st.booleans())
    def fetch(self, which: int, complete: bool) -> None:
        file = self.run(lambda: self.nodes[which].find(self.device))
        if not isinstance(file, File):  # only where this node is behind; see never_locked_out
            return
        self.taken = file  # also where the gateway does not know that it was complete
        if complete:
            self.under_way.append((which, file))

    @precondition(lambda self: self.taken is not None)
    @rule()
    def apply(self) -> None:
        assert self.taken is not None
        self.device = named(self.taken.body)
        self.taken = None

    @precondition(lambda self: self.taken is not None)
    @rule()
    def lose(self) -> None:
        """Power cut before it was applied."""
        self.taken = None

    @precondition(lambda self: bool(self.under_way))
    @rule()
    def note(self) -> None:
        which, file = self.under_way.pop(0)
        self.run(lambda: self.nodes[which].complete(file))

    @rule(which=st.integers(0, 1))
    def crash(self, which: int) -> None:
        """kill -9: memory is gone, and so is what the fetch book had not written."""
        sequence = self.run(self.world.store.sequence)
        assert isinstance(sequence, int)
        self.nodes[which] = Node(self.world.store, sequence)
        self.under_way = [one for one in self.under_way if one[0] != which]

    @invariant()
    def never_locked_out(self) -> None:
        """A node that knows all that the store holds serves the token that the device has, or would have once it applies."""
        if not hasattr(self, "world"):
            return
        held = {self.device} | ({named(self.taken.body)} if self.taken is not None else set())
        good = self.run(self.good)
        assert isinstance(good, set)
        assert held <= good
        assert len(good) <= 2

    async def good(self) -> set[str]:
        store, vault = self.world.store, self.world.vault
        device = await store.get(Device, MAC.text)
        assert device is not None
        rotation = await store.get(TokenRotation, MAC.text)
        sealed = [device.record.sealed_token] + ([rotation.record.sealed_token] if rotation is not None else [])
        return {vault.open_text(one, f"device-token:{MAC}") for one in sealed}

    @rule()
    def comes_to_rest(self) -> None:
        """Left alone with nodes that follow, a device ends with one token, and no other is good."""

        async def live() -> None:
            node = self.nodes[0]
            for _ in range(24):  # at most two frozen files, then the new token, then the fetch with it
                await node.follow()
                file = await node.find(self.device)
                assert file is not None
                self.device = named(file.body)
                await node.complete(file)
            assert await self.good() == {self.device}
            await node.follow()

        self.under_way.clear()
        self.taken = None
        self.run(live)


TokenLife.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestTokenLife = TokenLife.TestCase
