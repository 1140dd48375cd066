"""What the delay benchmark makes of its spans, and which users it keeps apart."""

from pathlib import Path

from bench.bench_sip import Server
from bench.bench_sip_delay import Delays, _apart, percentile
from tests.system.sipp_load import SipUser


def test_percentiles_are_nearest_rank() -> None:
    values = [number / 1000 for number in range(100, 0, -1)]
    assert [percentile(values, share) for share in (0.0, 0.5, 0.99, 1.0)] == [0.001, 0.051, 0.1, 0.1]
    assert percentile([], 0.99) == float("inf")


def test_both_ways_are_added_call_by_call() -> None:
    assert Delays("portico", forward=[1.0, 2.0], back=[10.0, 20.0]).both == [11.0, 22.0]


def test_nobody_of_the_load_calls_the_probes_users() -> None:
    users = [SipUser(str(number), "secret", str(number + 1)) for number in range(5)]
    server, probe = _apart(Server("portico", 1, ("127.0.0.1", 1), users, 2, Path()))
    assert [user.username for user in probe] == ["3", "4"]
    assert [(user.username, user.target) for user in server.users] == [("0", "1"), ("1", "2"), ("2", "0")]
