"""Names of gateways -> addresses: SRV order, ports, what is kept for how long, and that an answer always comes."""

import asyncio
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from sip.net import resolver
from sip.net.resolver import KEPT, KEPT_FAILURE, KEPT_STALE, MAX_ADDRESSES, MAX_NAMES, Resolver, Service, in_order


class Dns:
    """A resolver over tables, with a clock set by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.addresses: dict[str, list[str]] = {}
        self.services: dict[str, list[Service]] = {}
        self.asked: list[str] = []
        self.hangs = False
        self.resolver = Resolver(clock=lambda: self.now, fraction=lambda: 0.0, lookup=self.lookup, services=self.look_up_services)

    async def lookup(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        await self.answer()
        if host not in self.addresses:
            raise OSError("no such name")
        return self.addresses[host]

    async def look_up_services(self, name: str) -> Sequence[Service]:
        self.asked.append(name)
        await self.answer()
        if name not in self.services:
            raise LookupError(name)
        return self.services[name]

    async def answer(self) -> None:
        await (asyncio.Event().wait() if self.hangs else asyncio.sleep(0))


async def test_a_port_means_addresses_alone() -> None:
    dns = Dns()
    dns.addresses["a.test"] = ["192.0.2.1", "2001:db8::1"]
    assert await dns.resolver.addresses("a.test", 5070, "udp") == (("192.0.2.1", 5070), ("2001:db8::1", 5070))
    assert dns.asked == ["a.test"]


async def test_no_port_means_srv_of_the_transport_then_the_default_port() -> None:
    dns = Dns()
    dns.addresses |= {"one.test": ["192.0.2.1"], "two.test": ["192.0.2.2"], "a.test": ["192.0.2.9"]}
    dns.services["_sips._tcp.a.test"] = [Service(2, 0, "two.test", 5062), Service(1, 0, "one.test", 5061)]
    assert await dns.resolver.addresses("a.test", 0, "tls") == (("192.0.2.1", 5061), ("192.0.2.2", 5062))
    assert await dns.resolver.addresses("a.test", 0, "udp") == (("192.0.2.9", 5060),)
    dns.services["_sip._tcp.a.test"] = [Service(0, 0, ".", 0)]
    assert await dns.resolver.addresses("a.test", 0, "tcp") == (), "RFC 2782: there is decidedly no such service"


async def test_answers_are_kept_failures_shorter_and_the_last_good_one_serves_on() -> None:
    dns = Dns()
    dns.addresses["a.test"] = ["192.0.2.1"]
    good = await dns.resolver.addresses("a.test", 5060, "udp")
    dns.now = KEPT - 1
    await dns.resolver.addresses("a.test", 5060, "udp")
    assert len(dns.asked) == 1
    del dns.addresses["a.test"]
    dns.now = KEPT
    assert await dns.resolver.addresses("a.test", 5060, "udp") == good
    dns.now += KEPT_FAILURE - 1
    assert await dns.resolver.addresses("a.test", 5060, "udp") == good
    assert len(dns.asked) == 2
    dns.now = KEPT_STALE + 1
    assert await dns.resolver.addresses("a.test", 5060, "udp") == ()


async def test_a_silent_dns_gives_no_answer_in_time_and_one_look_up_serves_all_who_wait() -> None:
    dns = Dns()
    dns.hangs = True
    deadline, resolver.DEADLINE = resolver.DEADLINE, 0.05
    try:
        answers = await asyncio.gather(*(dns.resolver.addresses("a.test", 5060, "udp") for _ in range(20)))
    finally:
        resolver.DEADLINE = deadline
    assert answers == [()] * 20
    assert dns.asked == ["a.test"]


async def test_names_and_addresses_are_bounded() -> None:
    dns = Dns()
    dns.addresses["a.test"] = [f"192.0.2.{n}" for n in range(100)]
    assert len(await dns.resolver.addresses("a.test", 5060, "udp")) == MAX_ADDRESSES
    for n in range(MAX_NAMES + 10):
        await dns.resolver.addresses(f"n{n}.test", 5060, "udp")
    asked = len(dns.asked)
    await dns.resolver.addresses("a.test", 5060, "udp")
    assert len(dns.asked) == asked + 1, "the oldest was forgotten"


services = st.lists(
    st.builds(Service, st.integers(0, 3), st.integers(0, 65535), st.sampled_from(["a", "b", "c", "."]), st.integers(1, 65535)),
    max_size=12,
)


@given(services, st.floats(0, 1, exclude_max=True))
def test_order_is_by_priority_and_leaves_nobody_out(found: list[Service], drawn: float) -> None:
    ordered = in_order(found, lambda: drawn)
    assert sorted(ordered) == sorted(one for one in found if one.host != ".")
    assert [one.priority for one in ordered] == sorted(one.priority for one in ordered)


def test_weight_is_a_share_of_the_draw() -> None:
    found = [Service(0, 1, "light", 1), Service(0, 3, "heavy", 1)]
    firsts = [in_order(found, lambda drawn=n / 8: drawn)[0].host for n in range(8)]  # type: ignore[misc]
    assert firsts == ["light"] * 2 + ["heavy"] * 6
