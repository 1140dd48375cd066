"""A protocol test as a trace: at a time, an input, then exactly these outputs.

    book.at(0.0).receive(invite, caller)
    book.sees("A 100 INVITE", "D INVITE")
    book.at(0.5).sees("D INVITE")

Time jumps from deadline to deadline. The deadline loop is bounded: a deadline that is neither cleared nor moved fails the
test instead of spinning. Every output that is a message must be seen by name; a book that is closed with unseen ones fails.
"""

from collections.abc import Callable
from typing import Any

MOST_DEADLINES = 2000
"""Deadlines between two steps of a book; no honest trace has as many."""


class Playbook:
    """Drives one core. `name(output)` gives an output's line in the trace, or None for what is not part of it."""

    def __init__(self, core: Any, name: Callable[[Any], str | None]) -> None:
        self.core = core
        self.now = 0.0
        self.outputs: list[Any] = []
        """Everything the core has said, in order."""
        self._name = name
        self._unseen: list[str] = []
        self._seen_any = False

    def at(self, when: float) -> "Playbook":
        """Let time pass until `when`, firing each deadline at its own time."""
        assert when >= self.now, f"time goes forward: {self.now} to {when}"
        for _ in range(MOST_DEADLINES):
            deadline = self.core.next_deadline()
            if deadline is None or deadline > when:
                break
            self.now = max(self.now, deadline)
            self.core.on_deadline(self.now)
            self._collect()
        else:
            raise AssertionError(f"the deadline at {deadline} is neither cleared nor moved")
        self.now = when
        return self

    def after(self, seconds: float) -> "Playbook":
        """Let this much time pass."""
        return self.at(self.now + seconds)

    def receive(self, data: bytes, flow: Any) -> "Playbook":
        """Give the core a message."""
        self.core.receive(data, flow, self.now)
        self._collect()
        return self

    def call(self, method: Callable[..., Any], *arguments: Any) -> "Playbook":
        """Another input of the core: `method(*arguments, now)`."""
        method(*arguments, self.now)
        self._collect()
        return self

    def sees(self, *lines: str) -> "Playbook":
        """Exactly these lines since the last look, in order."""
        self._seen_any = True
        assert self._unseen == list(lines), f"at {self.now:g}: saw {self._unseen}, expected {list(lines)}"
        self._unseen = []
        return self

    def close(self) -> None:
        """The end of the trace: nothing unseen, and something was seen at all."""
        assert self._seen_any, "this playbook asserted nothing"
        assert not self._unseen, f"never looked at: {self._unseen}"

    def _collect(self) -> None:
        # As the shell does: carrying out an output may make further ones.
        while outputs := self.core.take():
            for output in outputs:
                self.outputs.append(output)
                line = self._name(output)
                if line is not None:
                    self._unseen.append(line)
