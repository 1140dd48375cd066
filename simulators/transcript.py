"""The readable transcript of a run: numbered steps with a deadline each, elapsed times, and failures that say where to look.

Three voices for one run: colour and a spinner on a terminal (rich), plain lines where there is none, one JSON object a
line for programs (`--json`).
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TextIO

from rich.console import Console
from rich.markup import escape


class StepFailed(Exception):
    """A step did not get what it expected in time. The text names the step, what was expected and where to look."""

    def __init__(self, step: "Step", cause: str) -> None:
        self.step = step
        self.cause = cause
        super().__init__(f"step {step.name!r} failed: {cause}. Expected: {step.expected}. Where to look: {step.look}")


@dataclass(slots=True)
class Step:
    """One step while it runs. The body of the step calls `note` for what happens on the way and sets `facts` for programs."""

    name: str
    title: str
    expected: str
    look: str
    began: float
    notes: list[str] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)

    def note(self, text: str, **facts: object) -> None:
        """Say one thing that happened; `facts` are its machine-readable side."""
        self.notes.append(text)
        self.facts.update(facts)


class Transcript:
    """Writes the steps of one run to `stream`. `clock` is monotonic seconds; times shown count from the first step.

    `as_json` writes one JSON object per step instead of text. A failing step is written before StepFailed leaves.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float], *, as_json: bool = False) -> None:
        self._stream = stream
        self._clock = clock
        self._json = as_json
        self._console = Console(file=stream, highlight=False, soft_wrap=True)
        self._started = clock()
        self._count = 0

    @asynccontextmanager
    async def step(self, name: str, title: str, *, within: float, expected: str, look: str) -> AsyncIterator[Step]:
        """Run the body as a step that may take `within` seconds. Raises StepFailed for whatever stops it."""
        self._count += 1
        step = Step(name, title, expected, look, self._clock())
        try:
            with self._spinner(title):
                async with asyncio.timeout(within):
                    yield step
        except TimeoutError:
            self._fail(step, f"nothing came in {within:.0f} s")
        except StepFailed:
            raise
        except Exception as failed:
            self._fail(step, f"{type(failed).__name__}: {failed}")
        self._write(step, ok=True)

    def heading(self, text: str) -> None:
        """A line between steps, for people only."""
        if not self._json:
            self._console.print(f"\n[bold]{escape(text)}[/bold]")

    def line(self, text: str) -> None:
        """A free line, for people only."""
        if not self._json:
            self._console.print(escape(text))

    def result(self, **facts: object) -> None:
        """The last line of a run for programs."""
        if self._json:
            self._emit({"step": "result", "ok": True, "ms": round((self._clock() - self._started) * 1000), **facts})

    def _spinner(self, title: str) -> "_Silent":
        if self._json or not self._console.is_terminal:
            return _Silent()
        return _Spinning(self._console, title)

    def _fail(self, step: Step, cause: str) -> None:
        failed = StepFailed(step, cause)
        step.facts |= {"cause": cause, "expected": step.expected, "look": step.look}
        self._write(step, ok=False)
        if not self._json:
            self._console.print(f"            [red]{escape(cause)}[/red]")
            self._console.print(f"            expected: {escape(step.expected)}")
            self._console.print(f"            where to look: {escape(step.look)}")
        raise failed from None

    def _write(self, step: Step, *, ok: bool) -> None:
        now = self._clock()
        since, took = (now - self._started) * 1000, (now - step.began) * 1000
        if self._json:
            self._emit({"step": step.name, "ok": ok, "at_ms": round(since), "ms": round(took), **step.facts})
            return
        mark = "[green]ok[/green]  " if ok else "[red]FAIL[/red]"
        self._console.print(
            f"[dim]{since:8.0f} ms[/dim] {mark} {self._count:2d}. {escape(step.title)} [dim]({took:.0f} ms)[/dim]"
        )
        for note in step.notes:
            self._console.print(f"                  {escape(note)}")

    def _emit(self, entry: dict[str, object]) -> None:
        self._stream.write(json.dumps(entry) + "\n")
        self._stream.flush()


class _Silent:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


class _Spinning(_Silent):
    def __init__(self, console: Console, title: str) -> None:
        self._status = console.status(escape(title))

    def __enter__(self) -> None:
        self._status.start()

    def __exit__(self, *_: object) -> None:
        self._status.stop()
