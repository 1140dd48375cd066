"""Refusals in the audit: added up per source, reason and minute, and few whatever is done to the node."""

from collections.abc import Callable

from autop.observer import Outcome, Reason
from autop.sweep import Sweep
from gateway.metrics import Metrics
from gateway.observers import AutopNotes
from gateway.presence import PresenceBook
from gateway.refusals import ENTRIES, MINUTE, SOURCES, RefusalBook

Entry = tuple[str, str, str]


class Desk:
    """A book whose minutes end when the test says so."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.due: list[Callable[[], None]] = []
        self.book = RefusalBook(self.note, self.later)

    def note(self, *, actor: str, action: str, object: str, site: str, detail: str) -> None:
        assert (actor, site) == ("autop", "")
        self.entries.append((action, object, detail))

    def later(self, seconds: float, do: Callable[[], None]) -> "Desk":
        assert seconds == MINUTE
        self.due.append(do)
        return self

    def cancel(self) -> None:
        self.due.clear()

    def minute(self) -> list[Entry]:
        (do,) = self.due
        self.due.clear()
        do()
        entries, self.entries = self.entries, []
        return entries


def test_one_entry_for_each_source_and_reason_of_a_minute() -> None:
    desk = Desk()
    for _ in range(57):
        desk.book.refused("192.0.2.1", Reason.NO_PROOF)
    desk.book.refused("192.0.2.1", Reason.BAD_REQUEST)
    desk.book.refused("2001:db8::1", Reason.NO_PROOF)
    desk.book.refused("2001:db8::2", Reason.NO_PROOF)
    assert desk.entries == []
    assert desk.minute() == [
        ("autop.refused", "source 192.0.2.1", "no_proof, 57 times within a minute"),
        ("autop.refused", "source 2001:db8::", "no_proof, 2 times within a minute"),
        ("autop.refused", "source 192.0.2.1", "bad_request, 1 times within a minute"),
    ]
    assert desk.due == []
    desk.book.refused("192.0.2.1", Reason.NO_PROOF)
    assert desk.minute() == [("autop.refused", "source 192.0.2.1", "no_proof, 1 times within a minute")]


def test_eleven_entries_a_minute_whatever_comes() -> None:
    desk = Desk()
    for number in range(3 * SOURCES):
        for _ in range(3 if number < 2 else 1):
            desk.book.refused(f"10.0.{number // 256}.{number % 256}", Reason.NO_PROOF)
    assert len(desk.book) == SOURCES
    entries = desk.minute()
    assert len(entries) == ENTRIES + 1
    assert entries[0] == ("autop.refused", "source 10.0.0.0", "no_proof, 3 times within a minute")
    assert entries[-1] == ("autop.refused", "other sources", f"{3 * SOURCES - 10} times within a minute")


def test_a_sweep_is_told_at_once_and_counts_among_them() -> None:
    desk = Desk()
    for number in range(30):
        desk.book.swept(Sweep(f"10.0.0.{number}", 21, 3))
    assert len(desk.entries) == ENTRIES
    assert desk.entries[0] == (
        "autop.sweep",
        "source 10.0.0.0",
        "21 different guesses within a minute, 3 devices proved themselves; throttled",
    )
    desk.book.refused("10.0.0.1", Reason.NO_PROOF)
    assert desk.minute()[ENTRIES:] == [("autop.refused", "other sources", "1 times within a minute")]
    desk.book.swept(Sweep("10.0.0.1", 21, 3))
    assert len(desk.entries) == 1


def test_a_stop_writes_what_was_added_up() -> None:
    desk = Desk()
    desk.book.close()
    assert desk.entries == []
    desk.book.refused("192.0.2.1", Reason.NO_PROOF)
    desk.book.close()
    assert len(desk.entries) == 1
    assert desk.due == []


def test_what_is_a_refusal_and_what_is_not() -> None:
    desk = Desk()
    presence = PresenceBook(registered=lambda _: False, heard=lambda _mac: None, wall=lambda: 0.0)
    metrics = Metrics("test")
    notes = AutopNotes(metrics, presence, desk.book)
    notes.answered(Outcome.SERVED, Reason.NONE, "192.0.2.1")
    notes.answered(Outcome.ERROR, Reason.UNAVAILABLE, "192.0.2.1")
    for reason in Reason:
        notes.answered(Outcome.REFUSED, reason, "192.0.2.1")
        assert f'reason="{reason.value or "none"}"' in metrics.exposition().decode()
    refused = {detail.partition(",")[0] for _, _, detail in [*desk.entries, *desk.minute()]}
    assert {"no_proof", "too_slow", "throttled"} <= refused
    assert not refused & {"no_login", "stale_login", "condition"}
