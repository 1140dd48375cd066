"""Push driver "webhook": a signed JSON POST to a service of the operator's own, which knows how to reach the apps.

The body is signed with HMAC-SHA256 over `<timestamp>.<body>`; the receiver checks signature and age (docs/push.md). It answers
2xx when it has taken the push, 404 or 410 when the installation is gone.
"""

import hashlib
import hmac
import json
from collections.abc import Callable

from gateway.push.http_client import HttpClient, endpoint
from gateway.push.outcome import Notice, Outcome

_OUTCOMES = {
    401: Outcome.UNAUTHORISED,
    403: Outcome.UNAUTHORISED,
    404: Outcome.DEAD_TOKEN,
    410: Outcome.DEAD_TOKEN,
    429: Outcome.OVERLOADED,
    503: Outcome.OVERLOADED,
}


class Webhook:
    """One receiver at `url`. `secret` signs, `wall` is the clock of the timestamp."""

    def __init__(
        self, url: str, secret: bytes, providers: tuple[str, ...], client: HttpClient, wall: Callable[[], float]
    ) -> None:
        self._to = endpoint(url)
        self._secret = secret
        self._providers = providers
        self._client = client
        self._wall = wall

    @property
    def providers(self) -> tuple[str, ...]:
        return self._providers

    async def send(self, notice: Notice) -> Outcome:
        body = json.dumps(
            {
                "purpose": notice.purpose,
                "account": notice.account,
                "provider": notice.provider,
                "prid": notice.prid,
                "param": notice.param,
                "call_id": notice.call_id,
                "site": notice.site,
                "caller": notice.caller,
                "dialled": notice.dialled,
                "reason": notice.reason,
                "seconds": notice.seconds,
            }
        ).encode()
        timestamp = str(int(self._wall()))
        headers = {
            "content-type": "application/json",
            "portico-timestamp": timestamp,
            "portico-signature": f"v1={signature(self._secret, timestamp, body)}",
        }
        answer = await self._client.post(self._to, headers, body)
        if 200 <= answer.status < 300:
            return Outcome.ACCEPTED
        return _OUTCOMES.get(answer.status, Outcome.REFUSED)

    def close(self) -> None:
        self._client.close()


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """HMAC-SHA256 of `<timestamp>.<body>` as hexadecimal digits."""
    return hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
