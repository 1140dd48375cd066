"""The bodies of `/users` and the rules of call types (manual L107-128, L155, L228)."""

from typing import Annotated, Any

from pydantic import BaseModel, Field

from admin_api.device_models import AccountSecret
from admin_api.models import (
    Body,
    DialNumber,
    Flag,
    Floors,
    Id,
    Name,
    Reference,
    Timestamp,
    Whole,
    ascii_matching,
    timestamp,
)
from admin_api.plans import MONITORS_ONLY
from registry.records import User

Digits = Annotated[str, ascii_matching(r"[0-9]{0,15}", "at most 15 digits")]
CountryCode = Annotated[str, ascii_matching(r"(?:[1-9][0-9]{0,3})?", "1 to 4 digits without +; empty for none")]
Landline = Annotated[str, ascii_matching(r"\+?[0-9]{3,15}", "3 to 15 digits, with + where international")]
PersonId = Annotated[str, ascii_matching(r"[A-Za-z0-9_\-]{0,32}", "at most 32 letters, digits, _ or -")]
Email = Annotated[str, ascii_matching(r"(?:[^@\s]{1,64}@[A-Za-z0-9.\-]{1,189})?", "an e-mail address, or empty")]
Language = Annotated[str, ascii_matching(r"[a-z]{2}(?:-[A-Z]{2})?", "a language tag such as en or de-CH")]

CALL_TYPES = (
    "0 app and indoor monitors; 1 phone and indoor monitors; 2 app and monitors, then phone; 3 monitors, then app; "
    "4 monitors, then phone; 5 monitors, app, then phone; 6 indoor monitors and guard phones only (the one left where the "
    "intercom feature is off). Guard phones ring with the monitors."
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
    ip_call: Flag = False
    intercom_feature: Annotated[Flag, Field(description="Off: no app, and only call type 6.")] = True
    app: Annotated[Flag, Field(description="Whether the user has an app account.")] = False
    advanced: Flag = False
    language: Language = "en"


class UserView(UserBody):
    """A user as the gateway holds it."""

    id: str
    call_type: int
    app_account: str = Field(description="The user name of the app's SIP account; empty for none.")
    created: Timestamp


class NewUser(UserView):
    """A user whose app account was just made: the only time its password is shown."""

    account: AccountSecret


class RingTarget(BaseModel):
    """One thing that rings."""

    kind: str
    address: str


class RingStage(BaseModel):
    """Targets that ring together."""

    ring_seconds: int
    targets: list[RingTarget]


class RingPlanView(BaseModel):
    """What dialling a number of a site does: its stages ring one after the other."""

    site: str
    number: str
    owner: str
    on_reject: str
    stages: list[RingStage]


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
        app=bool(user.app_account),
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
    fields["call_type"] = call_type(body)
    fields["landlines"] = tuple(body.landlines)
    fields["floors"] = tuple(body.floors)
    return fields


def call_type(body: UserBody) -> int:
    """The call type that `body` means where it names none."""
    if body.call_type is not None:
        return body.call_type
    return 0 if body.intercom_feature else MONITORS_ONLY


def feature_faults(body: UserBody) -> list[tuple[str, str]]:
    """What contradicts an intercom feature that is off (manual L110-111, L125, L128)."""
    if body.intercom_feature:
        return []
    faults: list[tuple[str, str]] = []
    if call_type(body) != MONITORS_ONLY:
        message = f"the intercom feature is off: only {MONITORS_ONLY} (indoor monitors and guard phones) is possible"
        faults.append(("/call_type", message))
    if body.app:
        faults.append(("/app", "the intercom feature is off: the user can have no app account"))
    return faults
