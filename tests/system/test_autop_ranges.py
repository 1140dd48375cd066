"""The rules of RFC 9110 on a configuration, over a socket: ranges, conditions, and what counts as a fetch of it."""

import pytest

from autop.observer import Outcome, Reason
from tests.system.autop_site import PATH, running

pytestmark = pytest.mark.system


async def test_parts_of_a_configuration_and_the_conditions_on_them() -> None:
    async with running() as site:
        whole = await site.get(PATH)
        tag, size = whole.headers["etag"], len(whole.body)
        assert whole.headers["accept-ranges"] == "bytes"
        assert len(site.observed.fetches) == 1
        part = await site.get(PATH, "Range: bytes=10-19", f"If-Range: {tag}")
        assert (part.status, part.body, part.headers["content-range"]) == (206, whole.body[10:20], f"bytes 10-19/{size}")
        assert part.headers["etag"] == tag
        assert len(site.observed.fetches) == 1  # a part of a configuration is not the configuration
        assert (await site.get(PATH, "Range: bytes=10-19", 'If-Range: "old"')).body == whole.body
        assert (await site.get(PATH, "Range: bytes=0-1,5-6")).body == whole.body
        assert len(site.observed.fetches) == 3
        beyond = await site.get(PATH, f"Range: bytes={size}-")
        assert (beyond.status, beyond.headers["content-range"]) == (416, f"bytes */{size}")
        assert (await site.get(PATH, 'If-Match: "old"')).status == 412
        head = await site.get(PATH, "Range: bytes=10-19", method="HEAD")
        assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(size))
        assert (await site.get(PATH, 'If-None-Match: "a,b", ' + tag)).status == 304
        assert (await site.get(PATH, "If-None-Match: *")).status == 304
        assert len(site.observed.fetches) == 5
        assert site.observed.answers.count((Outcome.REFUSED, Reason.CONDITION)) == 2


async def test_a_stranger_learns_nothing_from_conditions() -> None:
    async with running() as site:
        wrong = PATH.replace("/autop/", "/autop/x")
        plain = await site.get(wrong)
        for field in ("Range: bytes=0-1", "If-None-Match: *", 'If-Match: "x"', "If-Range: x"):
            assert (await site.get(wrong, field)).without_date() == plain.without_date()
