"""A loop that lags is overload (issue 3 point 8): while something keeps the node's loop from running, strangers are put off and
known devices go on. The lag is made by stopping the process again and again."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import pytest

from sip.message import Response
from tests.system.peers import wait_until
from tests.system.udp_phone import House, UdpPhone, running_house

pytestmark = pytest.mark.system
STOPPED, RUNNING = 0.5, 0.08
"""Seconds. The loop's sample, every 0.25 s, nearly always falls due while the process is stopped."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    yield from running_house(tmp_path_factory.mktemp("lag"), 4, 0xB800)


@contextmanager
def lagging(pid: int) -> Iterator[None]:
    """Let the process run only now and then."""
    over = threading.Event()

    def stop_and_go() -> None:
        while not over.is_set():
            os.kill(pid, signal.SIGSTOP)
            over.wait(STOPPED)
            os.kill(pid, signal.SIGCONT)
            over.wait(RUNNING)

    thread = threading.Thread(target=stop_and_go)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_strangers_wait_while_the_loop_lags_and_known_devices_go_on(house: House) -> None:
    known, stranger = house.phone("K"), house.phone("S", host="127.0.0.252")
    assert known.registers().status == 200
    serial = count()

    def told(phone: UdpPhone) -> Response:
        return phone.asks(phone.register(call_id=b"%b-%d" % (phone.letter.encode(), next(serial))))

    assert told(stranger).status == 401
    with lagging(int(house.gateway.ready["pid"])):
        wait_until("the lag is felt", lambda: told(stranger).status == 503, 15.0)
        for _ in range(3):
            refused = told(stranger)
            assert refused.status == 503
            assert 30 <= int(refused.get(b"retry-after") or b"0") <= 60
            assert known.registers().status == 200
    wait_until("the lag is over", lambda: told(stranger).status == 401, 5.0)
    assert stranger.registers().status == 200
