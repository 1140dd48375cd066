"""What a run says, to people without a terminal and to programs, when it works and when it does not."""

import asyncio
import io
import json

import pytest

from simulators.transcript import StepFailed, Transcript


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def made(*, as_json: bool) -> tuple[Transcript, io.StringIO, Clock]:
    stream, clock = io.StringIO(), Clock()
    return Transcript(stream, clock, as_json=as_json), stream, clock


async def test_plain_lines_without_a_terminal() -> None:
    transcript, stream, clock = made(as_json=False)
    transcript.heading("A heading [not markup]")
    clock.now += 0.25
    async with transcript.step("one", "First thing", within=5, expected="it", look="there") as step:
        step.note("seen [this]", size=3)
        clock.now += 1.5
    transcript.line("free [line]")
    transcript.result(calls=1)
    assert stream.getvalue().split("\n") == [
        "",
        "A heading [not markup]",
        "    1750 ms ok    1. First thing (1500 ms)",
        "                  seen [this]",
        "free [line]",
        "",
    ]


async def test_one_object_per_step_for_programs() -> None:
    transcript, stream, clock = made(as_json=True)
    transcript.heading("not for programs")
    async with transcript.step("one", "First thing", within=5, expected="it", look="there") as step:
        step.note("seen", size=3)
        clock.now += 0.02
    transcript.line("not for programs")
    transcript.result(calls=1)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert lines == [
        {"step": "one", "ok": True, "at_ms": 20, "ms": 20, "size": 3},
        {"step": "result", "ok": True, "ms": 20, "calls": 1},
    ]


@pytest.mark.parametrize("as_json", [False, True])
async def test_a_failure_names_step_expectation_and_place(as_json: bool) -> None:
    transcript, stream, _ = made(as_json=as_json)
    with pytest.raises(StepFailed, match="step 'ring' failed") as failed:
        async with transcript.step("ring", "It rings", within=5, expected="180", look="the log"):
            raise ValueError("no [such] thing")
    said = stream.getvalue()
    for part in ("ValueError: no [such] thing", "180", "the log"):
        assert part in said
        assert part in str(failed.value)
    assert ("FAIL" in said) is not as_json
    if as_json:
        assert json.loads(said)["ok"] is False


async def test_a_step_that_takes_too_long_fails() -> None:
    transcript, stream, _ = made(as_json=False)

    with pytest.raises(StepFailed, match="nothing came in 0 s"):
        async with transcript.step("wait", "Waiting", within=0.01, expected="something", look="somewhere"):
            await asyncio.get_running_loop().create_future()
    assert "nothing came" in stream.getvalue()


async def test_a_cancelled_step_stays_cancelled() -> None:

    transcript, stream, _ = made(as_json=False)
    with pytest.raises(asyncio.CancelledError):
        async with transcript.step("wait", "Waiting", within=5, expected="something", look="somewhere"):
            raise asyncio.CancelledError
    assert "FAIL" not in stream.getvalue()
