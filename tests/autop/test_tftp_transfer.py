"""One TFTP transfer in simulated time: the probe list of provisioning-and-admin.md section 2, and any loss below a bound."""

import random
from heapq import heappop, heappush

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autop.tftp_packets import Mode, ReadRequest, data, netascii, oack
from autop.tftp_transfer import DONE, FAILED, FIRST, OFFERED, SENDING, TOTAL_SECONDS, TRANSFER, UNPROVEN_REPEATS, TftpTransfer

NAME = b"autop/t/f.cfg"


def asking(*options: tuple[bytes, int], mode: Mode = Mode.OCTET) -> ReadRequest:
    return ReadRequest(NAME, mode, options)


def ack(block: int) -> bytes:
    return b"\0\4" + (block & 0xFFFF).to_bytes(2)


def begun(body: bytes, *options: tuple[bytes, int]) -> tuple[TftpTransfer, list[bytes]]:
    transfer = TftpTransfer(asking(*options), body, 0.0)
    return transfer, transfer.take()


def answer(transfer: TftpTransfer, datagram: bytes, now: float = 0.1) -> list[bytes]:
    transfer.receive(datagram, now)
    return transfer.take()


# Options: what the OACK says


@pytest.mark.parametrize(
    ("asked", "accepted"),
    [
        ([(b"blksize", 1024)], [(b"blksize", 1024)]),
        ([(b"blksize", 8)], [(b"blksize", 8)]),
        ([(b"blksize", 65464)], [(b"blksize", 1428)]),
        ([(b"blksize", 70000)], [(b"blksize", 1428)]),
        ([(b"blksize", 10**12 - 1)], [(b"blksize", 1428)]),
        ([(b"tsize", 0)], [(b"tsize", 3)]),
        ([(b"timeout", 1)], [(b"timeout", 1)]),
        ([(b"timeout", 255)], [(b"timeout", 255)]),
        ([(b"windowsize", 4)], [(b"windowsize", 4)]),
        ([(b"windowsize", 65535)], [(b"windowsize", 16)]),
        ([(b"tsize", 0), (b"multicast", 1), (b"blksize", 600)], [(b"tsize", 3), (b"blksize", 600)]),
        ([(b"blksize", 7), (b"timeout", 0), (b"windowsize", 0), (b"tsize", 0)], [(b"tsize", 3)]),
    ],
)
def test_the_oack_names_exactly_what_is_accepted(asked: list[tuple[bytes, int]], accepted: list[tuple[bytes, int]]) -> None:
    transfer, out = begun(b"abc", *asked)
    assert transfer.state is OFFERED
    assert out == [oack(tuple(accepted))]


@pytest.mark.parametrize(
    "asked", [(b"multicast", 1), (b"blksize", 0), (b"blksize", 7), (b"timeout", 256), (b"timeout", 0), (b"windowsize", 65536)]
)
def test_without_an_accepted_option_the_first_block_answers(asked: tuple[bytes, int]) -> None:
    transfer, out = begun(b"abc", asked)
    assert transfer.state is FIRST
    assert out == [data(1, b"abc")]


def test_no_tsize_in_netascii() -> None:
    transfer = TftpTransfer(asking((b"tsize", 0), mode=Mode.NETASCII), b"a\n", 0.0)
    assert transfer.take() == [data(1, b"a\r\n")]


# Blocks and acknowledgements


def test_lock_step() -> None:
    transfer, out = begun(b"x" * 600)
    assert out == [data(1, b"x" * 512)]
    assert answer(transfer, ack(1)) == [data(2, b"x" * 88)]
    assert answer(transfer, ack(2)) == []
    assert transfer.is_complete


def test_an_empty_block_ends_a_multiple() -> None:
    transfer, _ = begun(b"x" * 1024)
    answer(transfer, ack(1))
    assert answer(transfer, ack(2)) == [data(3, b"")]
    assert not transfer.is_over
    answer(transfer, ack(3))
    assert transfer.is_complete


def test_an_empty_file_is_one_empty_block() -> None:
    transfer, out = begun(b"")
    assert out == [data(1, b"")]
    answer(transfer, ack(1))
    assert transfer.is_complete


def test_a_repeated_ack_sends_nothing_again() -> None:
    """The Sorcerer's Apprentice."""
    transfer, _ = begun(b"x" * 2000)
    assert len(answer(transfer, ack(1))) == 1
    assert answer(transfer, ack(1)) == []
    assert answer(transfer, ack(0)) == []
    assert answer(transfer, ack(2)) == [data(3, b"x" * 512)]
    assert answer(transfer, ack(1)) == []


def test_an_ack_of_what_was_not_sent_is_ignored() -> None:
    transfer, _ = begun(b"x" * 2000)
    for block in (0, 2, 3, 65535):
        assert answer(transfer, ack(block)) == []
    assert not transfer.is_proven


def test_the_block_number_wraps() -> None:
    """65,535 is followed by 0: a file of 40 MB in blocks of 512."""
    body = random.Random(1).randbytes(40 * 1024 * 1024 + 5)
    transfer = TftpTransfer(asking(), body, 0.0)
    got = bytearray()
    blocks = 0
    while not transfer.is_over:
        (block,) = transfer.take()
        blocks += 1
        assert block[:4] == data(blocks, b"")
        got += block[4:]
        transfer.receive(ack(blocks), 0.1)
        transfer.receive(ack(blocks), 0.1)
    assert transfer.is_complete
    assert blocks == 81_921
    assert bytes(got) == body


def test_a_window_is_acknowledged_as_one() -> None:
    transfer, _ = begun(b"x" * 512 * 6, (b"windowsize", 4))
    assert answer(transfer, ack(0)) == [data(block, b"x" * 512) for block in (1, 2, 3, 4)]
    assert answer(transfer, ack(4)) == [data(5, b"x" * 512), data(6, b"x" * 512), data(7, b"")]
    answer(transfer, ack(7))
    assert transfer.is_complete


def test_a_gap_in_a_window_is_filled_from_there() -> None:
    """RFC 7440 section 4: the client acknowledges the last block in order, and the next window begins behind it."""
    transfer, _ = begun(b"x" * 512 * 9, (b"windowsize", 4))
    answer(transfer, ack(0))
    assert answer(transfer, ack(2)) == [data(block, b"x" * 512) for block in (3, 4, 5, 6)]
    assert answer(transfer, ack(2)) == []


def test_the_client_gives_up() -> None:
    for state in (OFFERED, FIRST, SENDING):
        transfer, _ = begun(b"x" * 2000, *([(b"tsize", 0)] if state is OFFERED else []))
        if state is SENDING:
            answer(transfer, ack(1))
        assert transfer.state is state
        assert answer(transfer, b"\0\5\0\x08no\0") == []
        assert (transfer.state, transfer.next_deadline()) == (FAILED, None)


# Time


def silence(transfer: TftpTransfer) -> list[float]:
    """When something is sent again until the transfer is over, if the client says nothing."""
    times = []
    while (deadline := transfer.next_deadline()) is not None:
        transfer.on_deadline(deadline)
        if transfer.take():
            times.append(deadline)
    assert transfer.state is FAILED
    return times


@pytest.mark.parametrize("options", [[], [(b"tsize", 0)], [(b"windowsize", 16)]])
def test_who_has_acknowledged_nothing_gets_little(options: list[tuple[bytes, int]]) -> None:
    transfer, out = begun(b"x" * 100_000, *options)
    assert len(out) == 1
    assert silence(transfer) == [1.0, 3.0, 7.0]


def test_repeats_come_later_and_later() -> None:
    transfer, _ = begun(b"x" * 2000)
    answer(transfer, ack(1), 0.0)
    assert silence(transfer) == [1.0, 3.0, 7.0, 15.0, 23.0]


def test_the_client_chooses_the_first_wait() -> None:
    transfer, _ = begun(b"x" * 2000, (b"timeout", 3))
    answer(transfer, ack(0), 0.0)
    assert silence(transfer) == [3.0, 9.0, 17.0, 25.0, 33.0]
    patient, _ = begun(b"x" * 2000, (b"timeout", 255))
    assert silence(patient) == [255.0]
    assert patient.next_deadline() is None


def test_progress_counts_anew() -> None:
    transfer, _ = begun(b"x" * 5000)
    now = 0.0
    for block in range(1, 8):
        deadline = transfer.next_deadline()
        assert deadline == now + 1.0
        transfer.on_deadline(deadline)
        assert len(transfer.take()) == 1
        now = deadline + 0.5
        answer(transfer, ack(block), now)


def test_a_transfer_that_creeps_ends() -> None:
    transfer, _ = begun(b"x" * 512 * 10_000)
    now, block = 0.0, 0
    while not transfer.is_over:
        now, block = now + 0.9, block + 1
        transfer.on_deadline(now)
        answer(transfer, ack(block), now)
    assert transfer.state is FAILED
    assert TOTAL_SECONDS <= now < TOTAL_SECONDS + 1


def test_an_early_deadline_does_nothing() -> None:
    transfer, _ = begun(b"x")
    transfer.on_deadline(0.5)
    assert transfer.take() == []


def test_every_state_has_its_rows() -> None:
    assert set(TRANSFER) == {OFFERED, FIRST, SENDING, DONE, FAILED}
    assert TRANSFER[DONE] == TRANSFER[FAILED] == {}


# Any network below a bound


class Reader:
    """A client by RFC 1350 and 7440: keeps blocks in order, acknowledges the window's last and every gap, and says its last words
    again when asked. `out` are its datagrams."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.got = bytearray()
        self.block = 0
        self.ended = False
        self.block_size = 512
        self._since = 0

    def receive(self, datagram: bytes) -> list[bytes]:
        if datagram[:2] == b"\0\6":
            fields = datagram[2:].split(b"\0")
            agreed = dict(zip(fields[::2], fields[1::2], strict=False))
            self.block_size = int(agreed.get(b"blksize", b"512"))
            self.window = int(agreed.get(b"windowsize", b"1"))
            return [ack(0)] if self.block == 0 else []
        number = int.from_bytes(datagram[2:4])
        if number != (self.block + 1) & 0xFFFF:
            return [ack(self.block)]
        self.got += datagram[4:]
        self.block += 1
        self._since += 1
        self.ended = len(datagram) - 4 < self.block_size
        if self.ended or self._since >= self.window:
            self._since = 0
            return [ack(self.block)]
        return []


@given(
    size=st.integers(0, 9000),
    block=st.sampled_from([None, 8, 512, 1428]),
    window=st.sampled_from([None, 1, 3, 16]),
    mode=st.sampled_from(Mode),
    seed=st.integers(0, 2**32),
)
def test_any_loss_repetition_and_disorder_below_a_bound(
    size: int, block: int | None, window: int | None, mode: Mode, seed: int
) -> None:
    """Each datagram may be lost, though never more than three until the server has made progress, or come twice, or late."""
    chance = random.Random(seed)
    body = bytes(chance.choices(b"ab\r\n\0", k=size if block != 8 else size % 600))
    options = [(name, value) for name, value in ((b"blksize", block), (b"windowsize", window)) if value]
    transfer = TftpTransfer(asking(*options, mode=mode), body, 0.0)
    reader = Reader(1)
    events: list[tuple[float, int, bool, bytes]] = []
    serial = now = 0.0
    lost = 0

    def put(datagrams: list[bytes], to_reader: bool) -> None:
        nonlocal serial, lost
        for datagram in datagrams:
            if chance.random() < 0.3 and lost < UNPROVEN_REPEATS:
                lost += 1
                continue
            for _ in range(2 if chance.random() < 0.1 else 1):
                serial += 1
                heappush(events, (now + chance.choice([0.001, 0.02, 0.3]), int(serial), to_reader, datagram))

    put(transfer.take(), True)
    while not transfer.is_over:
        deadline = transfer.next_deadline()
        assert deadline is not None
        if events and events[0][0] < deadline:
            now, _, to_reader, datagram = heappop(events)
            if to_reader:
                put(reader.receive(datagram), False)
            else:
                before = (transfer.state, transfer._acked)
                transfer.receive(datagram, now)
                lost = 0 if (transfer.state, transfer._acked) != before else lost
        else:
            now = deadline
            transfer.on_deadline(now)
        put(transfer.take(), True)
        assert len(events) < 1000
    assert transfer.is_complete
    assert reader.ended
    assert bytes(reader.got) == (body if mode is Mode.OCTET else netascii(body))
    assert transfer.next_deadline() is None
    assert transfer.take() == []
