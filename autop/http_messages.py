"""The heads of HTTP requests and answers, as values."""

from dataclasses import dataclass

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Request:
    """A request's head. Names of headers are lower-case; `http_version` is like b"1.1"."""

    method: bytes
    target: bytes
    headers: Headers
    http_version: bytes = b"1.1"


@dataclass(frozen=True, slots=True)
class Response:
    """An answer's head."""

    status: int
    headers: Headers
