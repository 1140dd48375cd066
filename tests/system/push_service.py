"""A push service on loopback: a real HTTP server that answers as it is told and notes what came."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import h11


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, list[str]]:
        return parse_qs(self.body.decode())


class PushService:
    """`answers` by path: (status, body), or None to hang. `asked` gets every request when it is whole."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[Asked] = asyncio.Queue()
        self.answers: dict[str, tuple[int, Any] | None] = {}
        self.connections = 0
        self.close_after_answer = False
        self.url = ""
        self._open: set[asyncio.StreamWriter] = set()

    async def next(self, seconds: float = 5.0) -> Asked:
        return await asyncio.wait_for(self.asked.get(), seconds)

    def drop(self) -> None:
        """Close every connection from this side."""
        for writer in self._open:
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        try:
            await self._answer(reader, writer)
        except (ConnectionError, h11.RemoteProtocolError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = h11.Connection(h11.SERVER)
        path, headers, body = "", {}, b""
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(await reader.read(65536))
            elif isinstance(event, h11.Request):
                path, body = event.target.decode(), b""
                headers = {name.decode(): value.decode() for name, value in event.headers}
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self.asked.put_nowait(Asked(path, headers, body))
                answer = self.answers.get(path, (200, {}))
                if answer is None:
                    await asyncio.Event().wait()
                    return
                said = json.dumps(answer[1]).encode()
                head = h11.Response(status_code=answer[0], headers=[("content-length", str(len(said)))])
                for part in (head, h11.Data(said), h11.EndOfMessage()):
                    writer.write(http.send(part) or b"")
                await writer.drain()
                if self.close_after_answer:
                    return
                http.start_next_cycle()
            elif isinstance(event, h11.ConnectionClosed):
                return


@asynccontextmanager
async def push_service(tls: ssl.SSLContext | None = None) -> AsyncIterator[PushService]:
    service = PushService()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        with suppress(asyncio.CancelledError):
            await service.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    service.url = f"{'https' if tls else 'http'}://{'localhost' if tls else '127.0.0.1'}:{port}"
    try:
        yield service
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
