"""Proof without a token in the URL: logins and certificates, and that every refusal is the same challenge after the same work."""

import base64
import hashlib
from dataclasses import replace
from typing import Any

import pytest

from autop.digest import Digest
from autop.identify import Asked, MacFile, OwnFile
from autop.net.configurations import Configurations, File, Refused
from autop.net.login import Logins
from autop.net.proof import Presented
from autop.observer import Outcome, Reason
from registry.enrolment import TokenRotation
from registry.mac import MacAddress
from registry.vault import Vault
from tests.autop import examples
from tests.autop.examples import MAC, TOKEN, FakeRecords

TARGET = b"/autop/0C1105AABBCC.cfg"
NOTHING = Presented("192.0.2.1", b"GET", TARGET)
STRANGER = MacAddress("0C1105000000")


def logins() -> Logins:
    return Logins(Digest(secret=bytes(32), entropy=bytes, started=0.0), lambda: 1000.0)


def configurations(records: FakeRecords | None = None, vault: Vault | None = None, *, asks: bool = True) -> Configurations:
    vault = vault or examples.vault()
    return Configurations(
        read_model=records or examples.small_site(vault),
        vault=vault,
        settings=examples.SETTINGS,
        logins=logins() if asks else None,
    )


def answered(found: File | object, password: str = TOKEN, user: str = MAC.text, **changes: Any) -> Presented:
    """The login a client makes of a challenge."""
    assert isinstance(found, Refused)
    nonce = found.challenges[0].split(b'nonce="')[1].split(b'"')[0].decode()

    def md5(*parts: str) -> str:
        return hashlib.md5(":".join(parts).encode(), usedforsecurity=False).hexdigest()

    uri = TARGET.decode()
    response = md5(md5(user, "portico", password), nonce, "00000001", "c", "auth", md5("GET", uri))
    value = (
        f'Digest username="{user}", realm="portico", nonce="{nonce}", uri="{uri}", response="{response}", '
        'qop=auth, nc=00000001, cnonce="c"'
    )
    return replace(NOTHING, authorizations=(value.encode(),), **changes)


def basic(password: str = TOKEN, *, is_tls: bool = True) -> Presented:
    value = b"Basic " + base64.b64encode(f"{MAC}:{password}".encode())
    return replace(NOTHING, authorizations=(value,), is_tls=is_tls)


async def refused(found: Configurations, presented: Presented, asked: Asked | None = None) -> Reason:
    answer = await found.find(asked or OwnFile(MAC), presented)
    assert isinstance(answer, Refused)
    assert answer.outcome is Outcome.REFUSED
    assert [one.split()[0] for one in answer.challenges] == [b"Digest", b"Digest", b"Basic"][: 3 if presented.is_tls else 2]
    return answer.reason


@pytest.mark.parametrize("user", ["0C1105AABBCC", "0c:11:05:aa:bb:cc", "0c11.05aa.bbcc"])
async def test_a_device_that_answers_the_challenge_gets_its_file(user: str) -> None:
    found = configurations()
    file = await found.find(OwnFile(MAC), answered(await found.find(OwnFile(MAC), NOTHING), user=user))
    assert isinstance(file, File)
    assert file == await found.find(MacFile(TOKEN, MAC))


async def test_every_refusal_is_a_challenge_and_says_why_to_the_observer_only() -> None:
    found = configurations()
    challenge = await found.find(OwnFile(MAC), NOTHING)
    assert await refused(found, NOTHING) is Reason.NO_LOGIN
    assert await refused(found, NOTHING, OwnFile(STRANGER)) is Reason.NO_LOGIN
    assert await refused(found, answered(challenge, "wrong")) is Reason.NO_PROOF
    assert await refused(found, answered(challenge, user="0C1105000000")) is Reason.NO_PROOF
    assert await refused(found, answered(challenge, user="admin")) is Reason.NO_PROOF
    assert await refused(found, answered(challenge), OwnFile(STRANGER)) is Reason.NO_PROOF
    twice = answered(challenge)
    assert await refused(found, replace(twice, authorizations=twice.authorizations * 2)) is Reason.NO_PROOF
    assert isinstance(await found.find(OwnFile(MAC), twice), File)
    assert await refused(found, twice) is Reason.STALE_LOGIN
    again = await found.find(OwnFile(MAC), twice)
    assert isinstance(again, Refused)
    assert all(b"stale=true" in one for one in again.challenges)


async def test_nobody_logs_in_as_a_device_that_does_not_exist() -> None:
    """Neither with what the decoy holds, nor does trying leave anything in memory."""
    digest = Digest(secret=bytes(32), entropy=bytes, started=0.0)
    vault = examples.vault()
    found = Configurations(
        read_model=FakeRecords(), vault=vault, settings=examples.SETTINGS, logins=Logins(digest, lambda: 1000.0)
    )
    for password in ("", "\0" * 26, "\0" * 32, TOKEN):
        assert await refused(found, answered(await found.find(OwnFile(MAC), NOTHING), password)) is Reason.NO_PROOF
    assert len(digest) == 0


async def test_both_tokens_of_a_rotation_are_passwords_and_neither_login_ends_it() -> None:
    vault, new = examples.vault(), "n" * 32
    records = examples.small_site(vault)
    records.put(TokenRotation(MAC, "s-1", vault.seal_text(new, f"device-token:{MAC}"), 0.0, "test"))
    found = configurations(records, vault)
    for token in (TOKEN, new):
        file = await found.find(OwnFile(MAC), basic(token))
        assert isinstance(file, File)
        assert not file.confirms
    assert await refused(found, basic("another")) is Reason.NO_PROOF


async def test_basic_is_for_tls_only() -> None:
    found = configurations()
    assert isinstance(await found.find(OwnFile(MAC), basic()), File)
    assert await refused(found, basic("wrong")) is Reason.NO_PROOF
    assert await refused(found, basic(is_tls=False)) is Reason.NO_PROOF


async def test_a_certificate_proves_its_own_mac_only() -> None:
    for found in (configurations(), configurations(asks=False)):
        certified = replace(NOTHING, certified=frozenset([MAC]), is_tls=True)
        assert isinstance(await found.find(OwnFile(MAC), certified), File)
        other = await found.find(OwnFile(STRANGER), certified)
        assert isinstance(other, Refused)
        wrong = await found.find(OwnFile(MAC), replace(certified, certified=frozenset([STRANGER])))
        assert isinstance(wrong, Refused)
        assert isinstance(await found.find(MacFile("a" * 26, MAC), certified), Refused)  # a token that is there must be right


async def test_without_logins_there_is_no_challenge() -> None:
    answer = await configurations(asks=False).find(OwnFile(MAC), basic())
    assert answer == Refused(Outcome.REFUSED, Reason.NO_PROOF)


async def test_a_damaged_record_is_challenged_like_everything_else() -> None:
    records = FakeRecords()
    records.put(examples.device(sealed_token=b"damaged"))
    answer = await configurations(records).find(OwnFile(MAC), NOTHING)
    assert isinstance(answer, Refused)
    assert answer.reason is Reason.UNSEALED
    assert len(answer.challenges) == 2


@pytest.mark.parametrize("asked", [OwnFile(MAC), OwnFile(STRANGER)])
@pytest.mark.parametrize("presented", [NOTHING, basic(), basic("wrong")])
async def test_the_same_work_whether_the_mac_is_known_or_not(asked: OwnFile, presented: Presented) -> None:
    opened: list[str] = []

    class Counting(Vault):
        def open(self, sealed: bytes, context: str) -> bytes:
            opened.append(context)
            return super().open(sealed, context)

    vault = Counting(bytes(32), bytes)
    records = examples.small_site(vault)
    found = configurations(records, vault)
    if presented == basic() and asked == OwnFile(MAC):
        return
    opened.clear()
    assert isinstance(await found.find(asked, presented), Refused)
    assert (len(opened), records.reads) == (2, 2)
