"""The push drivers and their HTTP client against a real server: signatures, tokens, TLS, and every way to fail."""

import asyncio
import base64
import json
import logging
import ssl
from pathlib import Path
from time import time

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.errors import StartError
from gateway.push.fcm import Fcm, service_account
from gateway.push.http_client import HttpClient, HttpError, endpoint
from gateway.push.outcome import Notice, Outcome
from gateway.push.webhook import Webhook, signature
from gateway.tls import ServerTls, local_certificates, utc
from tests.system.push_service import PushService, push_service

pytestmark = pytest.mark.system
SECRET = b"a secret of sixteen bytes or more"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
NOTICE = Notice("call", "app", "fcm", "the-prid", "project", "c1", "s1", "100", "101", "", 20)


def client() -> HttpClient:
    return HttpClient(ssl.create_default_context())


def webhook(service: PushService, over: HttpClient | None = None) -> Webhook:
    return Webhook(f"{service.url}/wake?to=apps", SECRET, ("fcm",), over or client(), lambda: 1_700_000_000.9)


async def test_the_webhook_is_signed_and_tells_the_call() -> None:
    async with push_service() as service:
        driver = webhook(service)
        assert await driver.send(NOTICE) is Outcome.ACCEPTED
        asked = await service.next()
        assert asked.path == "/wake?to=apps"
        assert asked.headers["portico-timestamp"] == "1700000000"
        assert asked.headers["portico-signature"] == "v1=" + signature(SECRET, "1700000000", asked.body)
        assert asked.json == {
            "purpose": "call", "account": "app", "provider": "fcm", "prid": "the-prid", "param": "project", "call_id": "c1",
            "site": "s1", "caller": "100", "dialled": "101", "reason": "", "seconds": 20,
        }  # fmt: skip
        driver.close()


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (204, Outcome.ACCEPTED),
        (302, Outcome.REFUSED),
        (400, Outcome.REFUSED),
        (401, Outcome.UNAUTHORISED),
        (410, Outcome.DEAD_TOKEN),
        (500, Outcome.REFUSED),
        (503, Outcome.OVERLOADED),
    ],
)
async def test_what_the_webhook_answers(status: int, outcome: Outcome) -> None:
    async with push_service() as service:
        service.answers["/wake?to=apps"] = (status, {})
        driver = webhook(service)
        if status == 204:
            service.answers["/wake?to=apps"] = (202, {})
        assert await driver.send(NOTICE) is outcome
        driver.close()


async def test_a_connection_is_used_again_and_a_closed_one_replaced() -> None:
    async with push_service() as service:
        driver = webhook(service)
        for _ in range(3):
            assert await driver.send(NOTICE) is Outcome.ACCEPTED
        assert service.connections == 1
        service.drop()
        assert await driver.send(NOTICE) is Outcome.ACCEPTED
        assert service.connections == 2
        service.close_after_answer = True
        for _ in range(2):
            assert await driver.send(NOTICE) is Outcome.ACCEPTED
        driver.close()


async def test_nobody_listens() -> None:
    async with push_service() as gone:
        driver = webhook(gone)
    with pytest.raises(HttpError) as caught:
        await driver.send(NOTICE)
    assert not caught.value.began
    assert "prid" not in str(caught.value)


@pytest.mark.parametrize(
    "noise", [b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n" + b"x" * 200_000, b""]
)
async def test_what_is_no_answer_is_an_error(noise: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(noise)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with pytest.raises(HttpError):
        await client().post(endpoint(url), {}, b"{}")
    server.close()


async def test_a_deadline_leaves_no_connection_behind() -> None:
    async with push_service() as service:
        service.answers["/hang"] = None
        over = client()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await over.post(endpoint(service.url + "/hang"), {}, b"")
        assert (await over.post(endpoint(service.url + "/"), {}, b"")).status == 200
        assert service.connections == 2
        over.close()


async def test_the_services_certificate_is_verified(tmp_path: Path) -> None:
    made = local_certificates(tmp_path, {"localhost"}, utc(time()))
    async with push_service(ServerTls([made]).context([])) as service:
        stranger = webhook(service)
        with pytest.raises(HttpError):
            await stranger.send(NOTICE)
        knows = webhook(service, HttpClient(ssl.create_default_context(cafile=str(made.ca))))
        assert await knows.send(NOTICE) is Outcome.ACCEPTED
        knows.close()


@pytest.mark.parametrize("url", ["ftp://a/", "http://", "https://user:word@host/", "file:///etc/passwd", "nonsense"])
def test_only_http_urls_without_credentials_are_taken(url: str) -> None:
    with pytest.raises(ValueError):
        endpoint(url)


# FCM


def key_file(folder: Path, service: PushService) -> Path:
    pem = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    file = folder / "service-account.json"
    file.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "door-app",
                "client_email": "gateway@door-app.iam.example",
                "private_key": pem,
                "token_uri": f"{service.url}/token",
            }
        )
    )
    return file


def fcm(folder: Path, service: PushService, now: list[float]) -> Fcm:
    service.answers.setdefault("/token", (200, {"access_token": "ya29.token", "expires_in": 3600, "token_type": "Bearer"}))
    return Fcm(service_account(key_file(folder, service)), service.url, client(), client(), lambda: now[0])


SEND = "/v1/projects/door-app/messages:send"


def _claims(assertion: str) -> dict[str, object]:
    head, body, signed = assertion.split(".")
    KEY.public_key().verify(base64.urlsafe_b64decode(signed + "=="), f"{head}.{body}".encode(), PKCS1v15(), hashes.SHA256())
    found: dict[str, object] = json.loads(base64.urlsafe_b64decode(body + "=="))
    return found


async def test_fcm_gets_a_token_once_and_a_data_message_of_high_priority(tmp_path: Path) -> None:
    async with push_service() as service:
        now = [1_700_000_000.0]
        driver = fcm(tmp_path, service, now)
        assert set(await asyncio.gather(driver.send(NOTICE), driver.send(NOTICE))) == {Outcome.ACCEPTED}
        grant, first, _second = [await service.next() for _ in range(3)]
        assert grant.form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
        claims = _claims(grant.form["assertion"][0])
        assert (claims["iss"], claims["aud"]) == ("gateway@door-app.iam.example", f"{service.url}/token")
        assert (claims["iat"], claims["exp"]) == (1_700_000_000, 1_700_003_600)
        assert (first.path, first.headers["authorization"]) == (SEND, "Bearer ya29.token")
        message = first.json["message"]
        assert (message["token"], message["android"]) == ("the-prid", {"priority": "HIGH", "ttl": "20s"})
        assert message["data"]["caller"] == "100"
        assert all(isinstance(value, str) for value in message["data"].values())
        now[0] += 3541.0
        assert await driver.send(NOTICE) is Outcome.ACCEPTED
        assert (await service.next()).path == "/token"
        driver.close()


@pytest.mark.parametrize(
    ("status", "code", "outcome"),
    [
        (404, "UNREGISTERED", Outcome.DEAD_TOKEN),
        (404, "", Outcome.REFUSED),
        (400, "INVALID_ARGUMENT", Outcome.REFUSED),
        (403, "SENDER_ID_MISMATCH", Outcome.REFUSED),
        (429, "QUOTA_EXCEEDED", Outcome.OVERLOADED),
        (503, "UNAVAILABLE", Outcome.OVERLOADED),
        (401, "THIRD_PARTY_AUTH_ERROR", Outcome.UNAUTHORISED),
    ],
)
async def test_what_fcm_answers(tmp_path: Path, status: int, code: str, outcome: Outcome) -> None:
    async with push_service() as service:
        details = [{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code}] if code else []
        service.answers[SEND] = (status, {"error": {"code": status, "status": "X", "details": details}})
        driver = fcm(tmp_path, service, [1_700_000_000.0])
        assert await driver.send(NOTICE) is outcome
        driver.close()


async def test_a_revoked_token_is_renewed_once(tmp_path: Path) -> None:
    async with push_service() as service:
        service.answers[SEND] = (401, {})
        driver = fcm(tmp_path, service, [1_700_000_000.0])
        assert await driver.send(NOTICE) is Outcome.UNAUTHORISED
        assert [(await service.next()).path for _ in range(4)] == ["/token", SEND, "/token", SEND]
        assert service.asked.empty()
        driver.close()


@pytest.mark.parametrize(
    "answer", [(400, {"error": "invalid_grant"}), (200, []), (200, {"access_token": "a\r\nb", "expires_in": 1}), (200, {})]
)
async def test_a_token_service_that_gives_no_token(tmp_path: Path, answer: tuple[int, object]) -> None:
    async with push_service() as service:
        service.answers["/token"] = answer
        driver = fcm(tmp_path, service, [1_700_000_000.0])
        assert await driver.send(NOTICE) is Outcome.UNAUTHORISED
        driver.close()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"private_key": "x"}'])
def test_a_key_file_that_is_none_stops_the_start_and_is_not_repeated(tmp_path: Path, content: str) -> None:
    file = tmp_path / "key.json"
    file.write_text(content)
    with pytest.raises(StartError, match="fcm_service_account"):
        service_account(file)
    with pytest.raises(StartError, match="No such file"):
        service_account(tmp_path / "absent.json")


async def test_nothing_secret_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with push_service() as service:
        with caplog.at_level(logging.DEBUG):
            driver = fcm(tmp_path, service, [1_700_000_000.0])
            await driver.send(NOTICE)
            driver.close()
        assert "ya29" not in caplog.text
        assert "the-prid" not in caplog.text
        assert "the-prid" not in repr(NOTICE)
