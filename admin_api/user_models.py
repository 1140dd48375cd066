"""The bodies of `/users` and the rules of call types (manual L107-128, L155, L228)."""

import re
from typing import Annotated, Any

from pydantic import Field

from admin_api.device_models import AccountSecret
from admin_api.models import (
    Body,
    DialNumber,
    Flag,
    Floors,
    Id,
    Instant,
    Name,
    Reference,
    RingSeconds,
    Timestamp,
    Warnings,
    Whole,
    ascii_matching,
    optional_timestamp,
    timestamp,
    wall_clock,
)
from registry.call_types import MONITORS_ONLY, NAMES
from registry.records import User
from registry.ring_plan import OnReject

Digits = Annotated[str, ascii_matching(r"[0-9]{0,15}", "at most 15 digits")]
CountryCode = Annotated[str, ascii_matching(r"(?:[1-9][0-9]{0,3})?", "1 to 4 digits without +; empty for none")]
LANDLINE = re.compile(r"\+?[0-9]{3,15}", re.ASCII)
Landline = Annotated[str, ascii_matching(LANDLINE.pattern, "3 to 15 digits, with + where international")]
PersonId = Annotated[str, ascii_matching(r"[A-Za-z0-9_\-]{0,32}", "at most 32 letters, digits, _ or -")]
Email = Annotated[str, ascii_matching(r"(?:[^@\s]{1,64}@[A-Za-z0-9.\-]{1,189})?", "an e-mail address, or empty")]
Language = Annotated[str, ascii_matching(r"[a-z]{2}(?:-[A-Z]{2})?", "a language tag such as en or de-CH")]

CALL_TYPES = (
    "; ".join(f"{code} {name}" for code, name in NAMES.items())
    + f". Guard phones ring with the monitors. Where the intercom feature is off, {MONITORS_ONLY} is forced."
)


class UserBody(Body):
    """A user (or room) of a site. What is left out of a PUT takes its default."""

    site: Id
    first_name: Name
    last_name: Name
    number: Annotated[DialNumber, Field(description="Unique at the site; a door phone dials it.")]
    department: Annotated[Reference, Field(description="Empty: Public Area.")] = ""
    person_id: PersonId = ""
    email: Email = ""
    country_code: CountryCode = ""
    mobile: Annotated[Digits, Field(description="For account registration only; never dialled (manual, L150).")] = ""
    landlines: Annotated[list[Landline], Field(default_factory=list, max_length=3)]
    floors: Floors
    call_type: Annotated[Whole, Field(ge=0, le=MONITORS_ONLY, description=CALL_TYPES)] | None = None
    ip_call: Annotated[
        Flag, Field(description="Devices of one network group call the user's monitors over the LAN; all else goes through here.")
    ] = False
    intercom_feature: Annotated[Flag, Field(description="Off: no app, and only call type 6.")] = True
    app: Annotated[
        Flag, Field(description="Whether the user has an app account of its own; for several see `/users/{user}/apps`.")
    ] = False
    app_until: Annotated[
        Instant | None, Field(description="When the apps' subscription runs out (the site's grace follows); null: never.")
    ] = None
    ring_seconds: Annotated[RingSeconds | None, Field(description="Null: as the site says.")] = None
    on_reject: Annotated[OnReject | None, Field(description="Null: as the site says.")] = None
    advanced: Annotated[Flag, Field(description="May reach the doors of every department (manual, L107).")] = False
    language: Language = "en"


class UserView(UserBody):
    """A user as the gateway holds it."""

    id: str
    call_type: int
    app_account: str = Field(description="The user name of the first app's SIP account; empty for none.")
    created: Timestamp
    warnings: Warnings


class NewUser(UserView):
    """A user whose app account was just made: the only time its password is shown."""

    account: AccountSecret


def body_of(user: User) -> UserBody:
    """The part of a user that a PUT sets."""
    return UserBody.model_construct(
        site=user.site,
        first_name=user.first_name,
        last_name=user.last_name,
        number=user.number,
        department=user.department,
        person_id=user.person_id,
        email=user.email,
        country_code=user.country_code,
        mobile=user.mobile,
        landlines=list(user.landlines),
        floors=list(user.floors),
        call_type=user.call_type,
        ip_call=user.ip_call,
        intercom_feature=user.intercom_feature,
        app=bool(user.apps),
        app_until=optional_timestamp(user.app_until),
        ring_seconds=user.ring_seconds,
        on_reject=user.on_reject,
        advanced=user.advanced,
        language=user.language,
    )


def view_fields(user: User) -> dict[str, Any]:
    """The fields of a UserView."""
    body = body_of(user).model_dump(mode="json")
    return {**body, "id": user.id, "app_account": user.app_account, "created": timestamp(user.created)}


def settings_of(body: UserBody) -> dict[str, Any]:
    """The fields of a User record that `body` sets; the app account is made elsewhere."""
    fields = body.model_dump(mode="python", exclude={"app"})
    fields["app_until"] = wall_clock(body.app_until) if body.app_until is not None else None
    fields["call_type"] = call_type(body)
    fields["landlines"] = tuple(body.landlines)
    fields["floors"] = tuple(body.floors)
    return fields


def call_type(body: UserBody) -> int:
    """The call type that `body` comes to: the one it names, the usual one, or the one that is left (manual L110-111, L128)."""
    if not body.intercom_feature:
        return MONITORS_ONLY
    return 0 if body.call_type is None else body.call_type


def has_app(body: UserBody) -> bool:
    """Whether the user is to have an app account: never where the intercom feature is off (manual L125)."""
    return body.app and body.intercom_feature


def forced(body: UserBody) -> list[str]:
    """What the intercom feature, being off, has changed in `body`, as warnings."""
    if body.intercom_feature:
        return []
    found: list[str] = []
    if body.call_type not in (None, MONITORS_ONLY):
        found.append(
            f"The intercom feature is off: call type {body.call_type} became {MONITORS_ONLY}, indoor monitors and guard phones."
        )
    if body.app:
        found.append("The intercom feature is off: the user has no app account.")
    return found
