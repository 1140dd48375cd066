"""What the packages tell, turned into metrics, signs of life, log lines and audit entries. One observer per package."""

import logging
from collections.abc import Callable, Iterable

from autop.observer import Outcome, Reason
from gateway.logbook import Logbook
from gateway.metrics import SIP_METHODS, Metrics
from gateway.presence import PresenceBook
from gateway.refusals import RefusalBook
from registry.mac import MacAddress
from sip import events

_METHODS = frozenset(method.encode() for method in SIP_METHODS)
_CLASSES = {b"SIP/2.0 %d" % digit: f"{digit}xx" for digit in range(1, 7)}
_channel_log = logging.getLogger("portico.channel")
_sip_log = logging.getLogger("portico.sip")


class SipObserver:
    """Reads every output of the SIP core, in order. Called for each message sent, so it does little.

    `registered(account)` is told of each registration and refresh.
    """

    def __init__(
        self, metrics: Metrics, presence: PresenceBook, registered: Callable[[str], None] = lambda _account: None
    ) -> None:
        self._metrics = metrics
        self._presence = presence
        self._registered = registered
        self._sent: dict[tuple[str, bytes], int] = {}
        """By transport and by method (b"other" for unknown ones) or first nine octets of a response: how many were sent."""
        metrics.counter(
            "portico_sip_requests_sent_total", "SIP requests sent to peers.", ("method", "transport"), self._requests_sent
        )
        metrics.counter(
            "portico_sip_responses_total", "SIP responses by class.", ("class", "transport", "direction"), self._responses_sent
        )
        self._refused: dict[tuple[str, str], Callable[[], None]] = {}
        """Counts one more, by reason and transport: under a flood that is nearly every datagram."""

    def __call__(self, output: events.Output) -> None:
        if type(output) is events.Send:
            data = output.data
            what = data[:9] if data[:4] == b"SIP/" else data[: data.find(b" ")]
            key = (output.flow.transport, what)
            sent = self._sent
            if key in sent:
                sent[key] += 1
            else:
                self._first(*key)
            return
        if type(output) is events.Refused:
            reason, transport = output.reason, output.flow.transport
            count = self._refused.get((reason, transport))
            if count is None:
                count = self._refused[reason, transport] = self._metrics.sip_refused.labels(reason, transport).inc
            count()
            return
        match output:
            case events.BindingsChanged(aor, bindings):
                self._presence.turned(aor, bool(bindings))
                if bindings:
                    self._presence.seen(aor)
                    self._registered(aor)
            case events.Malformed(reason, flow):
                self._metrics.sip_parse_errors.labels(reason, flow.transport).inc()
            case events.CallEnded(facts):
                self._metrics.calls.labels(str(facts.result or "failed")).inc()
                if facts.answered_by:
                    self._metrics.call_setup.observe(facts.ring_seconds)

    def _first(self, transport: str, what: bytes) -> None:
        """Count what was not counted before. Only what we know gets an entry of its own."""
        known = what in _METHODS or what in _CLASSES
        key = (transport, what if known else b"other")
        self._sent[key] = self._sent.get(key, 0) + 1

    def _requests_sent(self) -> Iterable[tuple[tuple[str, ...], float]]:
        return [((what.decode(), over), count) for (over, what), count in self._sent.items() if what not in _CLASSES]

    def _responses_sent(self) -> Iterable[tuple[tuple[str, ...], float]]:
        return [((_CLASSES[what], over, "out"), count) for (over, what), count in self._sent.items() if what in _CLASSES]


class TrunkObserver:
    """Counts what becomes of trunks."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def __call__(self, output: events.Output) -> None:
        if isinstance(output, events.TrunkChanged):
            self._metrics.trunk_changes.labels(output.trunk, output.what).inc()


_NO_REFUSALS = (Reason.NO_LOGIN, Reason.STALE_LOGIN, Reason.CONDITION)
"""The first half of a login, and what a proven device is told."""


class AutopNotes:
    """Counts autop's answers, and notes who fetched and who was refused; `told(mac)` is told of each fetch."""

    def __init__(
        self,
        metrics: Metrics,
        presence: PresenceBook,
        refusals: RefusalBook,
        told: Callable[[MacAddress], None] = lambda _mac: None,
    ) -> None:
        self._told = told
        self._metrics = metrics
        self._presence = presence
        self._refusals = refusals
        self._counts: dict[tuple[Outcome, Reason], Callable[[], None]] = {}

    def answered(self, outcome: Outcome, reason: Reason, peer: str = "") -> None:
        count = self._counts.get((outcome, reason))
        if count is None:
            labels = outcome.value, reason.value or "none"
            count = self._counts[outcome, reason] = self._metrics.autop_requests.labels(*labels).inc
        count()
        if outcome is Outcome.REFUSED and reason not in _NO_REFUSALS:
            self._refusals.refused(peer, reason)

    def fetched(self, mac: MacAddress, etag: str, peer: str, wall: float) -> None:
        self._presence.seen(mac)
        self._told(mac)


class ChannelNotes:
    """Counts channels and notes who comes and goes; `came(mac)` is told of each that comes."""

    def __init__(
        self,
        metrics: Metrics,
        presence: PresenceBook,
        logbook: Logbook,
        came: Callable[[MacAddress], None] = lambda _mac: None,
    ) -> None:
        self._metrics = metrics
        self._presence = presence
        self._logbook = logbook
        self._came = came

    def link_up(self, mac: MacAddress, generation: int) -> None:
        self._presence.seen(mac)
        self._presence.turned(mac, True)
        self._came(mac)
        self._metrics.channel_links.labels("up").inc()

    def link_down(self, mac: MacAddress, generation: int, reason: str) -> None:
        if reason != "replaced":
            self._presence.turned(mac, False)
        if reason != "silence":
            self._presence.seen(mac)
        self._metrics.channel_links.labels("replaced" if reason == "replaced" else "down").inc()
        self._metrics.channel_ended.labels(reason).inc()

    def channel_refused(self, reason: str) -> None:
        self._metrics.channel_refused.labels(reason).inc()

    def clone_suspected(self, mac: MacAddress, addresses: tuple[str, ...]) -> None:
        self._metrics.channel_clones.inc()
        self._logbook.audit(
            actor="gateway",
            action="channel.clone-suspected",
            object=f"device {mac}",
            site="",
            detail=f"links with the device's key evict each other from {' and '.join(addresses)}; more are refused",
        )
        _channel_log.warning("two devices use one MAC and its key", extra={"fields": {"mac": mac.text, "addresses": addresses}})

    def event_failed(self, mac: MacAddress) -> None:
        self._metrics.channel_events_failed.inc()
        _channel_log.warning("a device's event could not be kept; the device will repeat it")
