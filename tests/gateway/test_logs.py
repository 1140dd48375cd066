"""Log lines: one JSON object each whatever is logged, no secret, not more than ten a second of one cause."""

import json
import logging

from hypothesis import given
from hypothesis import strategies as st

from gateway.logs import JsonFormatter, RateLimit, redacted


def line(message: str, **fields: object) -> dict[str, object]:
    record = logging.LogRecord("portico.test", logging.INFO, __file__, 1, message, (), None)
    record.fields = fields
    text = JsonFormatter("n1", "1").format(record)
    assert "\n" not in text
    assert text.isascii()
    read = json.loads(text)
    assert isinstance(read, dict)
    return read


@given(st.text())
def test_any_text_is_one_json_line(text: str) -> None:
    assert line(text, detail=text)["level"] == "info"


def test_fields_named_like_secrets_are_not_shown() -> None:
    read = line("x", password="hunter2", token=5, device_ref="d1")
    assert read["password"] == "***"
    assert "hunter2" not in json.dumps(read)
    assert read["device_ref"] == "d1"


def test_secrets_inside_texts_are_cut_out() -> None:
    text = (
        'GET /autop/abcdefsecret/0C1105000001.cfg Authorization: Digest username="1", response="0123secret" '
        'nonce="n0ncesecret" /.portico/open/ticketsecret'
    )
    assert "secret" not in redacted(text)
    assert "0C1105000001.cfg" in redacted(text)


def test_a_long_text_is_cut() -> None:
    assert len(redacted("a" * 100_000)) < 4100


def test_one_cause_is_limited_and_counted(monkeypatch: object) -> None:
    limit = RateLimit()

    def record() -> logging.LogRecord:
        return logging.LogRecord("portico.sip", logging.WARNING, __file__, 1, "bad %s", ("x",), None)

    passed = sum(limit.filter(record()) for _ in range(1000))
    assert passed == 10
    other = logging.LogRecord("portico.sip", logging.WARNING, __file__, 1, "another", (), None)
    assert limit.filter(other)
    limit._causes[("portico.sip", logging.WARNING, "bad %s")][0] -= 1.0
    after = record()
    assert limit.filter(after)
    assert after.__dict__["fields"]["count"] == 991
