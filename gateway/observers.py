"""What the packages tell, turned into metrics, signs of life, log lines and audit entries. One observer per package."""

import logging

from prometheus_client import Counter

from autop.observer import Outcome, Reason
from gateway.logbook import Logbook
from gateway.metrics import Metrics
from gateway.presence import PresenceBook
from registry.mac import MacAddress
from registry.records import RemoteSession
from sip import events
from tunnel.net.ports import Usage

_channel_log = logging.getLogger("portico.channel")
_sip_log = logging.getLogger("portico.sip")


class SipObserver:
    """Reads every output of the SIP core, in order. Called for each message sent, so it does little."""

    def __init__(self, metrics: Metrics, presence: PresenceBook) -> None:
        self._metrics = metrics
        self._presence = presence
        self._sent: dict[str, dict[bytes, Counter]] = {}
        """By transport: counters by method (or b"other"), and by the first nine octets of a response."""

    def __call__(self, output: events.Output) -> None:
        if type(output) is events.Send:
            data, transport = output.data, output.flow.transport
            sent = self._sent.get(transport) or self._counters(transport)
            counter = sent.get(data[:9]) or sent.get(data.partition(b" ")[0]) or sent[b"other"]
            counter.inc()
            return
        match output:
            case events.BindingsChanged(aor, bindings) if bindings:
                self._presence.seen(aor)
            case events.Refused(reason, _, flow):
                self._metrics.sip_refused.labels(reason, flow.transport).inc()
            case events.Malformed(reason, flow):
                self._metrics.sip_parse_errors.labels(reason, flow.transport).inc()
            case events.CallEnded(facts):
                self._metrics.calls.labels(str(facts.result or "failed")).inc()
                if facts.answered_by:
                    self._metrics.call_setup.observe(facts.ring_seconds)

    def _counters(self, transport: str) -> dict[bytes, Counter]:
        """The counters of a transport that nothing was sent on so far."""
        metrics = self._metrics
        sent = {
            method.encode(): metrics.sip_requests_sent.labels(method, transport) for method in (*metrics.sip_methods, "other")
        }
        sent |= {b"SIP/2.0 %d" % digit: metrics.sip_responses.labels(f"{digit}xx", transport, "out") for digit in range(1, 7)}
        self._sent[transport] = sent
        return sent


class AutopNotes:
    """Counts autop's answers and notes who fetched."""

    def __init__(self, metrics: Metrics, presence: PresenceBook) -> None:
        self._metrics = metrics
        self._presence = presence

    def answered(self, outcome: Outcome, reason: Reason) -> None:
        self._metrics.autop_requests.labels(outcome.value, reason.value or "none").inc()

    def fetched(self, mac: MacAddress, etag: str, peer: str, wall: float) -> None:
        self._presence.seen(mac)


class ChannelNotes:
    """Counts channels and notes who comes and goes."""

    def __init__(self, metrics: Metrics, presence: PresenceBook) -> None:
        self._metrics = metrics
        self._presence = presence

    def link_up(self, mac: MacAddress, generation: int) -> None:
        self._presence.seen(mac)
        self._metrics.channel_links.labels("up").inc()

    def link_down(self, mac: MacAddress, generation: int, reason: str) -> None:
        self._presence.seen(mac)
        self._metrics.channel_links.labels("replaced" if reason == "replaced" else "down").inc()

    def channel_refused(self, reason: str) -> None:
        self._metrics.channel_refused.labels(reason).inc()

    def event_failed(self, mac: MacAddress) -> None:
        self._metrics.channel_events_failed.inc()
        _channel_log.warning("a device's event could not be kept; the device will repeat it")


class VisitorNotes:
    """Counts Remote Control sessions and writes who looked at which device into the audit log."""

    def __init__(self, metrics: Metrics, logbook: Logbook) -> None:
        self._metrics = metrics
        self._logbook = logbook

    def session_opened(self, session: RemoteSession, address: str) -> None:
        self._metrics.remote_sessions.labels("opened").inc()
        self._logbook.audit(
            actor=session.opened_by,
            action="remote-session.opened",
            object=f"device {session.mac}",
            site=session.site,
            detail=f"from {address}",
        )

    def session_closed(self, session: RemoteSession, usage: Usage, reason: str) -> None:
        self._metrics.remote_sessions.labels(reason).inc()
        self._metrics.remote_bytes.labels("to-device").inc(usage.bytes_to_device)
        self._metrics.remote_bytes.labels("to-visitor").inc(usage.bytes_to_visitor)
        self._logbook.audit(
            actor=session.opened_by,
            action="remote-session.closed",
            object=f"device {session.mac}",
            site=session.site,
            detail=f"{reason}; {usage.requests} requests, {usage.bytes_to_device} bytes to the device, "
            f"{usage.bytes_to_visitor} bytes back, from {', '.join(sorted(usage.addresses))}",
        )

    def visitor_refused(self, reason: str) -> None:
        self._metrics.visitor_refused.labels(reason).inc()
