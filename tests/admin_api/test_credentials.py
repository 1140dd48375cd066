"""What is made up: lengths, alphabets, no bias, no repeats."""

import re
from collections import Counter

from admin_api.credentials import account_name, api_secret, base62, new_id, sip_password, web_password
from autop.enrolment import device_token
from tests.admin_api.world import counted_entropy


def test_shapes() -> None:
    entropy = counted_entropy()
    shapes = {
        account_name: r"[1-9][0-9]{8}",
        sip_password: r"[0-9A-Za-z]{24}",
        web_password: r"[0-9A-Za-z]{16}",
        device_token: r"[a-z2-7]{32}",
        api_secret: r"portico_[0-9A-Za-z]{40}",
        new_id: r"[a-z2-7]{16}",
    }
    for make, shape in shapes.items():
        made = [make(entropy) for _ in range(500)]
        assert all(re.fullmatch(shape, text) for text in made)
        assert len(set(made)) == len(made)


def test_base62_is_fair() -> None:
    """Each of 62 letters within 5 standard deviations of its share of 124,000."""
    counts = Counter(base62(counted_entropy(), 124_000))
    assert len(counts) == 62
    assert all(abs(count - 2000) < 5 * 2000**0.5 for count in counts.values())


def test_account_digits_are_fair() -> None:
    entropy = counted_entropy()
    counts = Counter("".join(account_name(entropy)[1:] for _ in range(5000)))
    assert all(abs(counts[digit] - 4000) < 5 * 4000**0.5 for digit in "0123456789")
