"""Random histories over the SIP core: repeats, reorderings, losses and silence in any order, and what must hold throughout.

Three phones of one site call each other, answer, cancel, hang up, say everything twice, say it late, or fall silent. Then:
no exception ever; time always goes on (no deadline stands still); what is held is bounded by what is going on; and once
everybody has fallen silent for long enough, no transaction, call or deadline is left, and each CallStarted has its CallEnded.
"""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sip.events import CallEnded, CallStarted, Send
from sip.message import Request, Response
from sip.parser import parse
from sip.timers import Timers
from tests.sip.phones import Phone, Stage
from tests.sip.test_traps_calls import ack_of, cancel_of

LONGEST_SILENCE = 4 * 3600.0 + 1000.0
STATUSES = [100, 180, 180, 180, 183, 200, 200, 302, 401, 486, 487, 503, 603]


class Calls(RuleBasedStateMachine):
    """One gateway and three phones; phones D and E are both bound to account 101 too, so calls fork."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage(timers=Timers())
        self.stage.book._name = self.note
        self.core = self.stage.core
        self.now = 0.0
        self.phones = [self.stage.phone(letter, user) for letter, user in (("A", "100"), ("D", "101"), ("E", "102"))]
        self.said: list[tuple[Phone, bytes]] = []
        self.asked: list[tuple[Phone, Request]] = []
        self.invites: list[tuple[Phone, bytes]] = []
        self.dialogs: list[tuple[Phone, Request, Response]] = []
        self.started = self.ended = 0
        for phone in self.phones:
            self.register(phone)
        self.register(self.phones[2], as_user=self.phones[1])

    def note(self, _output: Any) -> None:
        return None

    def say(self, phone: Phone, data: bytes) -> None:
        self.said.append((phone, data))
        self.core.receive(data, phone.flow, self.now)
        self.collect()

    def collect(self) -> None:
        by_flow = {one.flow.name: one for one in self.phones}
        for output in self.core.take():
            self.started += isinstance(output, CallStarted)
            self.ended += isinstance(output, CallEnded)
            if isinstance(output, Send):
                phone, message = by_flow[output.flow.name], parse(output.data)
                phone.inbox.append(message)
                if isinstance(message, Request) and message.method not in (b"ACK", b"CANCEL"):
                    self.asked.append((phone, message))

    def register(self, phone: Phone, as_user: Phone | None = None) -> None:
        user = as_user or phone
        data = phone.register(call_id=b"reg-%b-%b" % (phone.user.encode(), user.user.encode()))
        data = data.replace(b"sip:%b@gw.test" % phone.user.encode(), b"sip:%b@gw.test" % user.user.encode())
        self.say(phone, data)
        challenge = phone.inbox[-1]
        assert isinstance(challenge, Response)
        mine, phone.password = phone.password, user.password
        self.say(phone, phone.with_credentials(data, challenge, username=user.user.encode()))
        phone.password = mine
        assert isinstance(phone.inbox[-1], Response)
        assert phone.inbox[-1].status == 200

    @rule(
        who=st.integers(0, 2),
        dialled=st.sampled_from(["100", "101", "102", "nobody"]),
        method=st.sampled_from([b"INVITE", b"MESSAGE"]),
    )
    def ask(self, who: int, dialled: str, method: bytes) -> None:
        """A request outside a dialog, with its challenge answered."""
        phone = self.phones[who]
        data = phone.request(method, b"sip:%b@gw.test" % dialled.encode(), headers=(b"Contact: <" + phone.contact + b">",))
        self.say(phone, data)
        challenge = phone.inbox[-1]
        assert isinstance(challenge, Response)
        assert challenge.status == 407
        data = phone.with_credentials(data, challenge)
        if method == b"INVITE":
            self.invites.append((phone, data))
        self.say(phone, data)

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), status=st.sampled_from(STATUSES))
    def answer(self, data: st.DataObject, status: int) -> None:
        """Any answer to any request that ever arrived, in time or not."""
        phone, request = data.draw(st.sampled_from(self.asked[-6:]))
        self.say(phone, phone.reply(request, status))

    @precondition(lambda self: self.invites)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        phone, invite = data.draw(st.sampled_from(self.invites[-4:]))
        self.say(phone, cancel_of(invite))

    @precondition(lambda self: self.invites)
    @rule(data=st.data(), bye=st.booleans())
    def acknowledge(self, data: st.DataObject, bye: bool) -> None:
        """The caller acknowledges what it got last for an INVITE, and hangs up if it likes."""
        phone, invite = data.draw(st.sampled_from(self.invites[-4:]))
        sent = parse(invite)
        assert isinstance(sent, Request)
        finals = [
            one for one in phone.inbox if isinstance(one, Response) and one.call_id == sent.call_id and one.cseq == sent.cseq
        ]
        finals = [one for one in finals if one.status >= 200]
        if not finals:
            return
        final = finals[-1]
        if final.status >= 300:
            self.say(phone, ack_of(invite, final))
            return
        self.say(phone, phone.in_dialog(b"ACK", final, sent))
        if bye:
            self.say(phone, phone.in_dialog(b"BYE", final, sent))

    @precondition(lambda self: self.said)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """The network delivers something once more."""
        phone, message = data.draw(st.sampled_from(self.said[-8:]))
        self.core.receive(message, phone.flow, self.now)
        self.collect()

    @rule(seconds=st.sampled_from([0.1, 0.5, 3.0, 33.0, 200.0]))
    def wait(self, seconds: float) -> None:
        self.pass_time(self.now + seconds)

    def pass_time(self, until: float) -> None:
        for _ in range(20_000):
            deadline = self.core.next_deadline()
            if deadline is None or deadline > until:
                self.now = until
                return
            assert deadline >= 0.0
            self.now = max(self.now, deadline)
            self.core.on_deadline(self.now)
            self.collect()
            after = self.core.next_deadline()
            assert after is None or after > deadline or after > self.now, "a deadline stands still"
        raise AssertionError("too many deadlines")

    @invariant()
    def what_is_held_is_bounded_by_what_was_said(self) -> None:
        census = self.core.census()
        assert census.server_transactions <= len(self.said) + 8
        assert census.client_transactions <= 3 * len(self.said)
        assert self.ended <= self.started

    def teardown(self) -> None:
        self.pass_time(self.now + LONGEST_SILENCE)
        assert self.core.census()[:4] == (0, 0, 0, 0)
        assert self.started == self.ended
        assert self.core.next_deadline() is None


TestCalls = Calls.TestCase
TestCalls.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
