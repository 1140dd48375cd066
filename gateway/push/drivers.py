"""Which push drivers a configuration asks for. A new driver gets its file, its keys in `config.Push`, and a line here."""

import ssl
from collections.abc import Callable
from pathlib import Path

from gateway.config import Push
from gateway.errors import StartError
from gateway.push.fcm import Fcm, service_account
from gateway.push.http_client import HttpClient, endpoint
from gateway.push.outcome import Driver
from gateway.push.webhook import Webhook

MIN_SECRET = 16
MAX_SECRET = 4096


def push_drivers(config: Push, wall: Callable[[], float]) -> list[Driver]:
    """The drivers, the one that gets a provider they share first. Raises StartError naming the key that is wrong."""
    drivers: list[Driver] = []
    if config.webhook_url is None and config.fcm_service_account is None:
        return drivers
    tls = _trust(config.ca_file)
    if config.fcm_service_account is not None:
        _check("fcm_url", config.fcm_url)
        account = service_account(config.fcm_service_account)
        drivers.append(Fcm(account, config.fcm_url, HttpClient(tls), HttpClient(tls), wall))
    if config.webhook_url is not None and config.webhook_secret_file is not None:
        _check("webhook_url", config.webhook_url)
        secret = _secret(config.webhook_secret_file)
        drivers.append(Webhook(config.webhook_url, secret, config.webhook_providers, HttpClient(tls), wall))
    return drivers


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except OSError as error:  # also ssl.SSLError
        raise StartError(f"push.ca_file: {ca_file}: {error.strerror or error}. Give a PEM file with certificates.") from None


def _check(key: str, url: str) -> None:
    try:
        endpoint(url)
    except ValueError as error:
        raise StartError(f"push.{key}: {error}.") from None


def _secret(path: Path) -> bytes:
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise StartError(f"push.webhook_secret_file: {path}: {error.strerror}.") from None
    if not MIN_SECRET <= len(secret) <= MAX_SECRET:
        raise StartError(f"push.webhook_secret_file: {path}: {MIN_SECRET} to {MAX_SECRET} bytes are wanted, not {len(secret)}.")
    return secret
