"""JSON log lines on standard error: one object per line, bounded in rate, without secrets.

Everything that logs in this process (our packages, Twisted, asyncio, uvicorn) ends here. Packages log facts with
`logging.getLogger("portico.<package>")` and pass fields as `extra={"fields": {...}}`; cores do not log at all.
"""

import json
import logging
import re
import sys
import time
from datetime import UTC, datetime
from typing import Any, TextIO

from twisted.logger import STDLibLogObserver, globalLogBeginner

MAX_PER_SECOND = 10
"""Lines a second of one cause; the rest are counted and told with the next line."""
MAX_CAUSES = 1024
MAX_TEXT = 4000

_SECRET_FIELDS = frozenset(
    {"password", "token", "secret", "key", "ticket", "cookie", "authorization", "nonce", "response", "ha1"}
)
_SECRET_TEXT = re.compile(
    r"(?i)(/autop/)[^/\s\"']+|(authorization:\s*)[^\r\n\"]+|((?:response|nonce|cnonce|password|token|ticket)=\"?)[^\s\",&;]+"
    r"|(/\.portico/open/)[^\s\"'?]+"
)


def redacted(text: str) -> str:
    """`text` with what looks like a secret replaced by `***`, cut to a bounded length."""
    if len(text) > MAX_TEXT:
        text = text[:MAX_TEXT] + "..."
    return _SECRET_TEXT.sub(lambda found: next(group for group in found.groups() if group is not None) + "***", text)


class JsonFormatter(logging.Formatter):
    """A log record as one JSON object (reliability-and-security.md section 6, Logs)."""

    def __init__(self, node: str, version: str) -> None:
        super().__init__()
        self._always = {"node": node, "version": version}

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": record.name,
            "msg": redacted(record.getMessage()),
            **self._always,
        }
        for name, value in getattr(record, "fields", {}).items():
            plain = value if isinstance(value, int | float | bool) or value is None else redacted(str(value))
            line[name] = "***" if name.lower() in _SECRET_FIELDS else plain
        if record.exc_info and record.exc_info[0] is not None:
            line["err_type"] = record.exc_info[0].__name__
            line["traceback"] = redacted(self.formatException(record.exc_info)[-MAX_TEXT:])  # the end says what went wrong
        return json.dumps(line, ensure_ascii=True)


class RateLimit(logging.Filter):
    """Lets MAX_PER_SECOND lines of one cause (logger, level, message template) through; tells how many it held back."""

    def __init__(self) -> None:
        super().__init__()
        self._causes: dict[tuple[str, int, str], list[float]] = {}  # start of the second, lines in it, held back

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        cause = (record.name, record.levelno, str(record.msg)[:200])
        seen = self._causes.get(cause)
        if seen is None:
            if len(self._causes) >= MAX_CAUSES:
                self._causes.clear()
            self._causes[cause] = [now, 1.0, 0.0]
            return True
        if now - seen[0] >= 1.0:
            held = int(seen[2])
            seen[0], seen[1], seen[2] = now, 1.0, 0.0
            if held:
                record.fields = {**getattr(record, "fields", {}), "count": held + 1}
            return True
        seen[1] += 1
        if seen[1] <= MAX_PER_SECOND:
            return True
        seen[2] += 1
        return False


class CountErrors(logging.Handler):
    """Tells `on_error` about every line of level error and above: portico_unhandled_errors_total stays 0 in a healthy node."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.on_error: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        for tell in self.on_error:
            tell(record.name)


def _unraisable(what: Any) -> None:
    """Errors that Python could not raise, which it would print as they are."""
    if isinstance(what.exc_value, UnicodeDecodeError) and isinstance(what.object, bytes):
        return  # a server name (SNI) that is no ASCII: the handshake has failed of it, and is counted as such
    fields = {"where": repr(what.object)[:200]}
    logging.getLogger("portico.run").error("an error that could not be raised", exc_info=what.exc_value, extra={"fields": fields})


def begin(node: str, version: str, level: str, stream: TextIO | None = None) -> CountErrors:
    """Send all logging of this process to `stream` (standard error) as JSON lines. Call once, before anything logs."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(node, version))
    handler.addFilter(RateLimit())
    counter = CountErrors()
    root = logging.getLogger()
    root.handlers[:] = [handler, counter]
    root.setLevel(level.upper())
    for chatty in ("asyncio", "uvicorn", "uvicorn.error", "twisted"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))
    logging.captureWarnings(True)
    sys.unraisablehook = _unraisable
    globalLogBeginner.beginLoggingTo([STDLibLogObserver("twisted")], redirectStandardIO=False, discardBuffer=True)
    return counter
