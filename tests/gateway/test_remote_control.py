"""What Remote Control leaves in the audit log and the metrics, and what `portico forward` takes for a port."""

import json
from typing import Any

import pytest

from gateway.errors import StartError
from gateway.forward import service_of
from gateway.metrics import Metrics
from gateway.remote_control import MAX_DETAIL, VisitorNotes
from registry.mac import MacAddress
from registry.records import RemoteSession
from tunnel.net.ports import Usage

SESSION = RemoteSession("a" * 32, MacAddress("0C1105AABBCC"), "site-1", "token:t", "ab" * 32, 0.0, 60.0, 3600.0)


class Book:
    """A logbook that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def audit(self, **entry: Any) -> None:
        self.told.append(entry)


def noted() -> tuple[VisitorNotes, Book, Metrics]:
    book, metrics = Book(), Metrics("test")
    return VisitorNotes(metrics, book), book, metrics  # type: ignore[arg-type]


def test_a_session_that_is_over_says_what_was_done() -> None:
    notes, book, metrics = noted()
    usage = Usage(3, 100, 2000, {"192.0.2.7", "192.0.2.1"}, {"GET /": None, "POST /login": None}, 61.4)
    notes.session_closed(SESSION, usage, "idle")
    (entry,) = book.told
    assert (entry["actor"], entry["object"], entry["site"]) == ("token:t", "device 0C1105AABBCC", "site-1")
    assert entry["detail"] == (
        "idle after 61 s; 3 requests, 100 bytes to the device, 2000 bytes back, from 192.0.2.1, 192.0.2.7; "
        'pages: ["GET /", "POST /login"]'
    )
    said = metrics.exposition().decode()
    assert 'portico_tunnel_sessions_total{end="idle"} 1.0' in said
    assert 'portico_tunnel_bytes_total{direction="to-visitor"} 2000.0' in said
    assert SESSION.id not in str(book.told) + said, "a session's id is a secret"


def test_an_entry_is_bounded_and_its_pages_whole() -> None:
    notes, book, _ = noted()
    usage = Usage(1, 1, 1, {f"2001:db8::{n:x}" for n in range(1000)}, {f"GET /{'x' * 100}{n}": None for n in range(50)})
    notes.session_closed(SESSION, usage, "ended")
    detail = book.told[0]["detail"]
    assert len(detail) <= MAX_DETAIL
    pages = json.loads(detail.partition("pages: ")[2])
    assert 5 < len(pages) < 50


def test_another_key_is_an_alarm() -> None:
    notes, book, metrics = noted()
    notes.certificate_pinned(SESSION, "ab" * 32)
    notes.certificate_changed(SESSION, "ab" * 32, "cd" * 32)
    assert [entry["action"] for entry in book.told] == ["web-certificate.pinned", "web-certificate.changed"]
    assert "portico_web_certificate_changes_total 1.0" in metrics.exposition().decode()


def test_what_can_be_forwarded() -> None:
    assert [service_of(word) for word in ("ssh", "22", "rtsp", "554")] == ["ssh", "ssh", "rtsp", "rtsp"]
    for word in ("80", "web", "web-tls", "0", "", "022", "SSH"):
        with pytest.raises(StartError, match=r"ssh \(22\), rtsp \(554\)"):
            service_of(word)
