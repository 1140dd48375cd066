"""A thread that does blocking work for one event loop, in order, and takes together what waits together.

The loop's side only queues and gets futures; nothing of a `Desk` is touched from the loop. One wake-up of the loop
delivers the answers of everything that was taken together, so a burst costs two thread switches, not two per request.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

from registry.errors import StoreUnavailable

MAX_WAITING = 10_000
"""Requests that may wait for one worker; more are refused, so that a slow disk does not become a full memory."""
MAX_TOGETHER = 256
"""The most requests taken at once."""

Q = TypeVar("Q")
Q_contra = TypeVar("Q_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request: a value, or the error to raise at whoever asked."""

    value: Any = None
    error: Exception | None = None


class Desk(Protocol[Q_contra]):
    """What the thread runs. All three are called in the worker's thread only."""

    def serve(self, requests: Sequence[Q_contra]) -> Sequence[Answer]:
        """Answer the requests, one answer each, in order."""
        ...

    def close(self) -> None:
        """Let go of files; the last call."""
        ...


@dataclass(frozen=True, slots=True)
class _Job(Generic[Q]):
    request: Q
    answer: "asyncio.Future[Any]"


class Worker(Generic[Q]):
    """A desk in its own thread. Belongs to the event loop that runs when it is made."""

    def __init__(self, name: str, desk: Desk[Q], note: Callable[[Answer], None] | None = None) -> None:
        """`note` sees every answer in the loop before its caller does, also where the caller was cancelled."""
        self._desk = desk
        self._note = note
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Job[Q] | None] = SimpleQueue()
        self._waiting = 0
        self._stopping = False
        self._stopped: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def ask(self, request: Q) -> Any:
        """The desk's answer. Raises what the desk answered with, or StoreUnavailable when stopping or overloaded.

        A caller that is cancelled stops waiting; whether the request was done is then not known to it.
        """
        if self._stopping:
            raise StoreUnavailable("the store is closed")
        if self._waiting >= MAX_WAITING:
            raise StoreUnavailable(f"{MAX_WAITING} requests wait for the disk already")
        job = _Job(request, self._loop.create_future())
        self._waiting += 1
        self._queue.put(job)
        return await job.answer

    async def stop(self) -> None:
        """Finish everything that was asked for, close the desk and end the thread. May be called more than once."""
        if not self._stopping:
            self._stopping = True
            self._queue.put(None)
        await asyncio.shield(self._stopped)
        self._thread.join()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            jobs, stopping = self._take()
            self._call_loop(self._deliver, jobs, self._serve(jobs))
        with contextlib.suppress(Exception):
            self._desk.close()
        self._call_loop(self._note_stopped)

    def _take(self) -> tuple[list[_Job[Q]], bool]:
        """Wait for a job, then take what has gathered meanwhile. True with it at the end of the queue."""
        jobs: list[_Job[Q]] = []
        job = self._queue.get()
        with contextlib.suppress(Empty):
            while job is not None:
                jobs.append(job)
                if len(jobs) == MAX_TOGETHER:
                    return jobs, False
                job = self._queue.get_nowait()
            return jobs, True
        return jobs, False

    def _serve(self, jobs: Sequence[_Job[Q]]) -> Sequence[Answer]:
        if not jobs:
            return ()
        try:
            return self._desk.serve([job.request for job in jobs])
        except Exception as error:  # A defect of the desk must reach the callers, not end the thread they wait for.
            return [Answer(error=error)] * len(jobs)

    def _call_loop(self, callback: Any, *arguments: Any) -> None:
        # The loop may have been closed without close(): then nobody waits for the answer either.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _deliver(self, jobs: Sequence[_Job[Q]], answers: Sequence[Answer]) -> None:
        self._waiting -= len(jobs)
        for job, answer in zip(jobs, answers, strict=True):
            if self._note is not None:
                self._note(answer)
            if job.answer.done():  # The caller was cancelled.
                continue
            if answer.error is not None:
                job.answer.set_exception(answer.error)
            else:
                job.answer.set_result(answer.value)

    def _note_stopped(self) -> None:
        if not self._stopped.done():
            self._stopped.set_result(None)
