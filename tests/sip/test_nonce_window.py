"""The replay window: each count once, bounded, and forgetting opens no replay."""

from sip.nonce_window import NonceWindow


def test_window_takes_each_count_once_in_any_near_order() -> None:
    window = NonceWindow(lifetime=300.0)
    for count in (1, 3, 2, 66, 65):
        assert window.use(b"n", 0.0, count, 1.0)
        assert not window.use(b"n", 0.0, count, 1.0)
    assert not window.use(b"n", 0.0, 2, 1.0)  # 64 behind: too old to know
    assert window.use(b"n", 0.0, 4, 1.0)
    assert window.use(b"n", 0.0, 2**32 - 1, 1.0)
    assert not window.use(b"n", 0.0, 66, 1.0)


def test_window_agrees_with_a_set_of_used_counts() -> None:
    window = NonceWindow(lifetime=300.0)
    used: set[int] = set()
    state = 12345
    for _ in range(2000):
        state = (state * 1103515245 + 12345) % 2**31
        count = max(1, max(used, default=1) - 20 + state // 65536 % 30)
        assert window.use(b"n", 0.0, count, 1.0) is (count not in used)
        used.add(count)


def test_window_is_bounded_and_forgetting_opens_no_replay() -> None:
    window = NonceWindow(lifetime=300.0, limit=3)
    for number in range(10):
        assert window.use(b"%d" % number, float(number), 1, 10.0)
        assert len(window) <= 3
    for number in range(10):
        assert not window.use(b"%d" % number, float(number), 1, 10.0)


def test_window_forgets_what_has_expired() -> None:
    window = NonceWindow(lifetime=300.0)
    for number in range(100):
        assert window.use(b"%d" % number, 0.0, 1, 10.0)
    assert window.use(b"new", 300.5, 1, 301.0)
    assert len(window) == 1
