"""What a Request-URI means for whoever sends it: a number of his site, or one device by its GRUU; never what he may not reach."""

from typing import NamedTuple

from sip.call_policy import Destination, destination
from sip.call_record import CallLog
from sip.directory import APP, MONITOR, AccountFacts, Directory, Question
from sip.gruu import TempGruus, instance_of, is_temporary
from sip.location import Location
from sip.message import Request
from sip.own_address import OwnAddress


class Dialled(NamedTuple):
    """What was dialled (`number`: an account or a number of the site), where it leads (a question: ask first; None: nowhere), and
    the only device that is meant, where a GRUU names one."""

    number: str
    found: Destination | Question | None
    instance: bytes


class Dialling:
    """Resolves what is dialled by call policy (call_policy.py) and by what rang before."""

    __slots__ = ("_calls", "_directory", "_location", "_own", "_temporary")

    def __init__(self, own: OwnAddress, temporary: TempGruus, location: Location, directory: Directory, calls: CallLog) -> None:
        self._own = own
        self._temporary = temporary
        self._location = location
        self._directory = directory
        self._calls = calls

    def resolve(self, caller: AccountFacts, request: Request, now: float) -> Dialled:
        """Where this request of an authenticated caller leads."""
        user = self._own.user_here(request.target)
        number = (user or b"").decode("utf-8", "surrogateescape")
        instance = instance_of(request.uri)
        if temporary := is_temporary(request.uri):
            number, instance = self._holder(user or b"", now)
        found = destination(caller, number, self._directory, only_account=temporary) if number else None
        if isinstance(found, Destination) and not self._may_look(caller, number, now):
            found = None
        return Dialled(number, found, instance)

    def _may_look(self, caller: AccountFacts, dialled: str, now: float) -> bool:
        """Live view limited to after a ring: such a door is no number for a monitor or an app that it has not just rung."""
        if caller.kind != APP and caller.kind != MONITOR:
            return True
        door = self._directory.account(dialled)
        return not isinstance(door, AccountFacts) or not door.after_ring or self._calls.has_rung(dialled, caller.username, now)

    def _holder(self, token: bytes, now: float) -> tuple[str, bytes]:
        """The account and the instance-id that a temporary GRUU of ours stands for; ("", b"") where it is none that is valid."""
        given = self._temporary.read(token)
        instance = b"" if given is None else self._temporary.instance(given, self._location.bindings(given.account, now))
        return (given.account, instance) if given is not None and instance else ("", b"")
