"""Push parameters in REGISTERs (RFC 8599): what is kept, what is answered, what ends them."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.directory import AccountFacts, PushParameters
from sip.errors import MalformedMessage
from sip.events import BindingsChanged, PushChanged
from sip.message import Response
from sip.push import MAX_APPS, PushChange, applied, asked, without_push
from tests.sip.phones import Phone, Stage
from tests.sip.test_waiting import Wakers

INSTANCE = b"<urn:uuid:1>"
SECRET = "dGVzdDo-secret"


class Registering(Stage):
    """An app P with an account, and what is known of how to wake it."""

    def __init__(self) -> None:
        self.wakers = Wakers()
        super().__init__(push=self.wakers)
        self.app = self.phone("P", "app")
        self.directory.accounts["app"] = AccountFacts("app", "north", self.app.password, kind="app")

    def registers(self, push: bytes, *, instance: bytes = INSTANCE, expires: int = 3600, params: bytes = b"") -> Response:
        contact = b"<%b%b>" % (self.app.contact, push) + (b';+sip.instance="%b"' % instance if instance else b"") + params
        return self.register(self.app, contact=contact, expires=expires)

    def kept(self) -> list[PushParameters]:
        return list(self.wakers.known.get("app", ()))

    def _name(self, output: Any) -> str | None:
        if isinstance(output, PushChanged):
            self.wakers.known[output.account] = applied(self.wakers.known.get(output.account, ()), output.change)
        return super()._name(output)


@pytest.fixture
def stage() -> Registering:
    return Registering()


PUSH = b";pn-provider=fcm;pn-param=project;pn-prid=" + SECRET.encode()


def test_push_parameters_are_kept_and_confirmed(stage: Registering) -> None:
    final = stage.registers(PUSH)
    assert (final.status, final.all(b"feature-caps")) == (200, [b'*;+sip.pns="fcm"'])
    assert stage.kept() == [PushParameters("fcm", SECRET, "project", INSTANCE.decode())]
    assert SECRET not in repr(stage.said(PushChanged)) + repr(stage.kept())


def test_a_refresh_that_changes_nothing_is_no_change(stage: Registering) -> None:
    stage.registers(PUSH)
    stage.registers(PUSH)
    assert len(stage.said(PushChanged)) == 1


def test_the_prid_is_no_part_of_the_binding_that_is_stored(stage: Registering) -> None:
    stage.registers(PUSH)
    live = stage.said(BindingsChanged)[-1].bindings[0]
    assert SECRET.encode() in live.contact
    assert "pn-" not in live.stored(0.0).contact
    assert SECRET not in str(stage.core.bindings("app", 0.0))


def test_parameters_outlive_the_binding(stage: Registering) -> None:
    stage.registers(PUSH)
    stage.book.after(4000.0).sees()
    assert not stage.core.bindings("app", stage.book.now)
    assert len(stage.kept()) == 1


@pytest.mark.parametrize("instance", [INSTANCE, b""])
def test_a_contact_that_is_taken_back_is_not_woken_any_more(stage: Registering, instance: bytes) -> None:
    stage.registers(PUSH, instance=instance)
    stage.registers(PUSH, instance=instance, expires=0)
    assert stage.kept() == []


def test_a_star_ends_all(stage: Registering) -> None:
    stage.registers(PUSH)
    stage.register(stage.app, contact=b"*", expires=0)
    assert stage.kept() == []


def test_a_registration_without_them_ends_them(stage: Registering) -> None:
    stage.registers(PUSH)
    stage.registers(b"")
    assert stage.kept() == []


def test_an_unknown_push_service_is_555_and_changes_nothing(stage: Registering) -> None:
    final = stage.registers(b";pn-provider=acme;pn-prid=x")
    assert (final.status, final.reason) == (555, b"Push Notification Service Not Supported")
    assert not stage.core.bindings("app", stage.book.now)
    assert stage.kept() == []


def test_an_app_may_ask_which_push_services_there_are(stage: Registering) -> None:
    final = stage.registers(b";pn-provider")
    assert (final.status, final.all(b"feature-caps")) == (200, [b'*;+sip.pns="fcm"', b'*;+sip.pns="apns"'])
    assert stage.kept() == []


def test_an_app_that_refreshes_by_itself_is_told_when(stage: Registering) -> None:
    final = stage.registers(PUSH, params=b";+sip.pnsreg")
    assert final.all(b"feature-caps") == [b'*;+sip.pns="fcm";+sip.pnsreg="120"']


@pytest.mark.parametrize(
    "push",
    [
        b";pn-provider=fcm;pn-prid=" + b"x" * 2049,
        b";pn-provider=fcm;pn-prid=a%00b",
        b";pn-provider=fcm;pn-prid=a%0D%0Ab",
        b";pn-provider=fcm;pn-prid=a;PN-PRID=b",
        b";pn-provider=" + b"f" * 33,
        b";pn-provider=fcm;pn-prid=x;pn-param=" + b"y" * 257,
    ],
)
def test_hostile_parameters_are_refused_and_nothing_changes(stage: Registering, push: bytes) -> None:
    assert stage.registers(push).status == 400
    assert not stage.core.bindings("app", stage.book.now)


def test_a_gateway_that_wakes_nobody_ignores_them() -> None:
    stage = Stage()
    app = stage.phone("P", "app")
    stage.directory.accounts["app"] = AccountFacts("app", "north", app.password, kind="app")
    final = stage.register(app, contact=b"<%b;pn-provider=acme;pn-prid=x>" % app.contact)
    assert (final.status, final.all(b"feature-caps")) == (200, [])
    assert not stage.said(PushChanged)


def test_devices_have_no_push_parameters(stage: Registering) -> None:
    door = Phone("D", "door", "198.51.100.77")
    stage.directory.accounts["door"] = AccountFacts("door", "north", door.password)
    stage.add(door)
    final = stage.register(door, contact=b"<%b%b>" % (door.contact, PUSH))
    assert final.status == 200
    assert not final.all(b"feature-caps")
    assert not stage.said(PushChanged)


def test_escapes_are_resolved() -> None:
    found = asked(b"sip:a@h;pn-provider=WebPush;pn-prid=https%3A%2F%2Fpush.example%2F1;pn-param=v")
    assert (found.provider, found.prid, found.param) == ("webpush", "https://push.example/1", "v")


def test_a_user_part_that_looks_like_parameters_is_none() -> None:
    assert asked(b"sip:a;pn-provider=fcm;pn-prid=x@h").present is False
    assert without_push(b"sip:a;pn-prid=x@h;PN-Prid=y;ob?x=1") == b"sip:a;pn-prid=x@h;ob?x=1"


@given(st.binary(max_size=200))
def test_any_contact_is_read_or_refused(uri: bytes) -> None:
    with suppress(MalformedMessage):
        found = asked(b"sip:a@h;" + uri)
        assert all(32 < ord(letter) < 127 for letter in found.provider + found.prid + found.param)
    assert not any(part.lower().startswith(b"pn-") for part in without_push(b"sip:h;" + uri).partition(b"?")[0].split(b";")[1:])


_NAMES = st.sampled_from(["", "i1", "i2", "i3"])
_PRIDS = st.sampled_from(["p1", "p2", "p3", "p4"])
_CHANGES = st.builds(
    lambda instance, prid, kept: PushChange(instance, prid, PushParameters("fcm", prid, "", instance) if kept else None),
    _NAMES,
    _PRIDS,
    st.booleans(),
)


@given(st.lists(_CHANGES, max_size=30))
def test_no_app_is_known_twice_and_the_newest_word_holds(changes: list[PushChange]) -> None:
    present: tuple[PushParameters, ...] = ()
    for change in changes:
        present = applied(present, change)
        assert applied(present, change) == present
        if change.parameters is not None:
            assert change.parameters in present
        else:
            assert not [
                one for one in present if one.prid == change.prid or (change.instance and one.instance == change.instance)
            ]
        assert len({one.prid for one in present}) == len(present) <= MAX_APPS
        named = [one.instance for one in present if one.instance]
        assert len(set(named)) == len(named)
