"""Push driver "fcm": Firebase Cloud Messaging, HTTP v1.

A service account's key signs a JWT (RFC 7523), which is exchanged for an access token; the token is kept until a minute before
its end. The message is data only and of high priority: the app shows the call, not the system.
"""

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.errors import StartError
from gateway.push.http_client import Endpoint, HttpAnswer, HttpClient, endpoint
from gateway.push.outcome import Notice, Outcome

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_SECONDS = 3600
RENEW_BEFORE = 60.0
MAX_KEY_FILE = 65_536


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """What a service account's JSON file says."""

    project: str
    email: str
    token_url: Endpoint
    audience: str
    key: RSAPrivateKey = field(repr=False)


def service_account(path: Path) -> ServiceAccount:
    """Read a service account's JSON key file. Raises StartError, which never repeats what the file holds."""
    try:
        text = path.read_bytes()[:MAX_KEY_FILE]
        found = json.loads(text)
        key = load_pem_private_key(found["private_key"].encode(), None)
        if not isinstance(key, RSAPrivateKey):
            raise TypeError
        return ServiceAccount(
            str(found["project_id"]), str(found["client_email"]), endpoint(found["token_uri"]), str(found["token_uri"]), key
        )
    except OSError as error:
        raise StartError(f"push.fcm_service_account: {path}: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError, AttributeError, UnsupportedAlgorithm):
        raise StartError(
            f"push.fcm_service_account: {path}: not the JSON key file of a service account. Make one in the Firebase console."
        ) from None


class Fcm:
    """One Firebase project. `base` is the service's URL, `wall` the clock of tokens."""

    providers: tuple[str, ...] = ("fcm",)

    def __init__(
        self, account: ServiceAccount, base: str, client: HttpClient, tokens: HttpClient, wall: Callable[[], float]
    ) -> None:
        self._account = account
        self._to = endpoint(f"{base.rstrip('/')}/v1/projects/{quote(account.project, safe='')}/messages:send")
        self._client = client
        self._tokens = tokens
        self._wall = wall
        self._token = ""
        self._token_ends = 0.0
        self._renewing = asyncio.Lock()

    async def send(self, notice: Notice) -> Outcome:
        body = json.dumps({"message": _message(notice)}).encode()
        for last in (False, True):
            token = await self._access_token()
            if not token:
                return Outcome.UNAUTHORISED
            headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
            answer = await self._client.post(self._to, headers, body)
            if answer.status != 401 or last:
                break
            # The token was revoked before its time. A refused request did nothing, so it may be repeated with a new one.
            if self._token == token:
                self._token = ""
        return _outcome(answer)

    def close(self) -> None:
        self._client.close()
        self._tokens.close()

    async def _access_token(self) -> str:
        """The token, fetched by one of those who need it; "" if the token service refuses us."""
        async with self._renewing:
            now = self._wall()
            if self._token and now < self._token_ends:
                return self._token
            form = urlencode({"grant_type": GRANT, "assertion": assertion(self._account, int(now))}).encode()
            headers = {"content-type": "application/x-www-form-urlencoded"}
            answer = await self._tokens.post(self._account.token_url, headers, form)
            granted = _json(answer.body)
            token, seconds = granted.get("access_token"), granted.get("expires_in")
            if answer.status != 200 or not isinstance(token, str) or not isinstance(seconds, int) or not _is_token(token):
                return ""
            self._token, self._token_ends = token, now + max(0.0, seconds - RENEW_BEFORE)
            return token


def assertion(account: ServiceAccount, now: int) -> str:
    """The signed JWT that asks for an access token (RFC 7523, RS256)."""
    claims = {"iss": account.email, "scope": SCOPE, "aud": account.audience, "iat": now, "exp": now + TOKEN_SECONDS}
    signed = f"{_part({'alg': 'RS256', 'typ': 'JWT'})}.{_part(claims)}"
    return f"{signed}.{_base64(account.key.sign(signed.encode(), PKCS1v15(), hashes.SHA256()))}"


def _message(notice: Notice) -> dict[str, Any]:
    data = {
        "purpose": notice.purpose,
        "account": notice.account,
        "call_id": notice.call_id,
        "caller": notice.caller,
        "dialled": notice.dialled,
        "reason": notice.reason,
    }
    return {"token": notice.prid, "data": data, "android": {"priority": "HIGH", "ttl": f"{notice.seconds}s"}}


def _outcome(answer: HttpAnswer) -> Outcome:
    """FCM's ErrorCode, where there is one, says more than the status."""
    if answer.status == 200:
        return Outcome.ACCEPTED
    details = _json(answer.body).get("error")
    listed = details.get("details") if isinstance(details, dict) else None
    codes = [one.get("errorCode") for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    if "UNREGISTERED" in codes:
        return Outcome.DEAD_TOKEN
    if answer.status == 401 or "THIRD_PARTY_AUTH_ERROR" in codes:
        return Outcome.UNAUTHORISED
    return Outcome.OVERLOADED if answer.status in (429, 503) else Outcome.REFUSED


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_token(text: str) -> bool:
    return 0 < len(text) <= 8192 and text.isascii() and text.isprintable() and " " not in text


def _part(value: dict[str, Any]) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
