"""What the node makes of what happens on channels: counters by why a link ended, and an audit entry for a clone."""

from typing import cast

from gateway.logbook import Logbook
from gateway.metrics import Metrics
from gateway.observers import ChannelNotes
from gateway.presence import PresenceBook
from registry.mac import MacAddress

MAC = MacAddress("0C1105AABBCC")


class Audit:
    """A logbook that keeps what it is told."""

    def __init__(self) -> None:
        self.entries: list[dict[str, str]] = []

    def audit(self, **entry: str) -> None:
        self.entries.append(entry)


def made() -> tuple[ChannelNotes, Metrics, Audit]:
    metrics, audit = Metrics("test"), Audit()
    presence = PresenceBook(registered=lambda _account: False, heard=lambda _mac: None, wall=lambda: 0.0)
    return ChannelNotes(metrics, presence, cast(Logbook, audit)), metrics, audit


def test_a_clone_is_counted_and_audited_with_both_addresses() -> None:
    notes, metrics, audit = made()
    notes.clone_suspected(MAC, ("192.0.2.1", "198.51.100.7"))
    assert metrics.registry.get_sample_value("portico_channel_clones_total") == 1
    assert [(entry["action"], entry["object"]) for entry in audit.entries] == [("channel.clone-suspected", f"device {MAC}")]
    assert "192.0.2.1 and 198.51.100.7" in audit.entries[0]["detail"]


def test_ends_are_counted_by_why() -> None:
    notes, metrics, _ = made()
    for reason in ("replaced", "protocol", "protocol", "silence"):
        notes.link_down(MAC, 1, reason)
    counted = metrics.registry.get_sample_value
    assert counted("portico_channel_ended_total", {"reason": "protocol"}) == 2
    assert counted("portico_channel_ended_total", {"reason": "silence"}) == 1
    assert counted("portico_channel_links_total", {"event": "replaced"}) == 1
