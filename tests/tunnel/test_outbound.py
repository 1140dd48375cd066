"""Bytes that wait: cut anywhere, in order, none lost."""

from hypothesis import given
from hypothesis import strategies as st

from tunnel.outbound import Outbound, Piece


@given(st.lists(st.binary(max_size=50), max_size=10), st.lists(st.integers(1, 60), max_size=20))
def test_what_goes_in_comes_out_in_order(pushed: list[bytes], pulls: list[int]) -> None:
    queue, got = Outbound(), b""
    for data in pushed:
        queue.push(data)
    whole = b"".join(pushed)
    for limit in pulls:
        pieces: list[Piece] = []
        queue.pull(limit, pieces)
        part = b"".join(pieces)
        assert len(part) == min(limit, len(whole) - len(got))
        got += part
        assert queue.size == len(whole) - len(got)
    assert whole.startswith(got)
    pieces = []
    queue.pull(10**6, pieces)
    assert got + b"".join(pieces) == whole
