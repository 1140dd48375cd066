"""Conditional requests (RFC 9110 section 13, RFC 6585 section 3): the ETag of a thing is its version in the store."""

import re
from dataclasses import dataclass

from starlette.datastructures import Headers

from admin_api.problems import Problem

_TAG = re.compile(r'[ \t]*(W/)?"([\x21\x23-\x7e]*)"[ \t]*', re.ASCII)
_LONGEST = 4096


def etag(version: int) -> str:
    """The strong entity tag of a version."""
    return f'"{version}"'


@dataclass(frozen=True, slots=True)
class Conditions:
    """If-Match and If-None-Match of one request. None: the header is not there; "*" is kept as the one tag "*"."""

    if_match: frozenset[str] | None = None
    if_none_match: frozenset[str] | None = None

    @classmethod
    def read(cls, headers: Headers) -> "Conditions":
        """Raises Problem `malformed-etag`."""
        return cls(_tags(headers.getlist("if-match"), weak=False), _tags(headers.getlist("if-none-match"), weak=True))

    def check_create(self) -> None:
        """Hold them against a thing that does not exist. Raises Problem `precondition-failed`."""
        if self.if_match is not None:
            raise Problem("precondition-failed", "It does not exist, so no ETag can match. Leave If-Match out to create it.")

    def check_change(self, version: int) -> None:
        """Hold them against a thing at `version` that is to be changed or removed.

        Raises Problem `precondition-failed`, and `precondition-required` where If-Match is missing.
        """
        if self.if_none_match is not None and _matches(self.if_none_match, version):
            raise Problem("precondition-failed", "It exists already, and If-None-Match says it must not.")
        if self.if_match is None:
            raise Problem("precondition-required")
        if not _matches(self.if_match, version):
            raise Problem("precondition-failed")

    def not_modified(self, version: int) -> bool:
        """Whether a GET is answered with 304."""
        return self.if_none_match is not None and _matches(self.if_none_match, version)


def _matches(tags: frozenset[str], version: int) -> bool:
    return "*" in tags or str(version) in tags


def _tags(values: list[str], *, weak: bool) -> frozenset[str] | None:
    """The opaque parts of a list of entity tags. Weak ones never match in If-Match (RFC 9110 13.1.1) and are left out."""
    if not values:
        return None
    text = ",".join(values)
    if text.strip(" \t") == "*":
        return frozenset("*")
    found: set[str] = set()
    position = 0
    if len(text) > _LONGEST:
        raise Problem("malformed-etag")
    while True:
        matched = _TAG.match(text, position)
        if not matched:
            raise Problem("malformed-etag")
        if weak or not matched[1]:
            found.add(matched[2] if matched[2] != "*" else "")
        position = matched.end()
        if position == len(text):
            return frozenset(found)
        if text[position] != ",":
            raise Problem("malformed-etag")
        position += 1
