"""baresip, a real SIP phone, as a child process that a test tells what to do."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any


class Baresip:
    """One baresip, told what to do over its JSON control socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def seen(self, kind: str, seconds: float = 10.0) -> dict[str, Any]:
        """Wait for an event of this type; others are passed over."""
        async with asyncio.timeout(seconds):
            while True:
                size = int((await self._reader.readuntil(b":"))[:-1])
                said = json.loads((await self._reader.readexactly(size + 1))[:-1])
                if said.get("type") == kind:
                    return dict(said)

    def tell(self, command: str, params: str = "") -> None:
        text = json.dumps({"command": command, "params": params, "token": "t"}).encode()
        self._writer.write(b"%d:%b," % (len(text), text))

    def close(self) -> None:
        self._writer.close()


@asynccontextmanager
async def baresip_in(folder: Path, control: int) -> AsyncIterator[Baresip]:
    """A running baresip with the configuration in this folder, which has its control socket at 127.0.0.1 and this port."""
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "baresip", "-f", str(folder), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        phone = Baresip(*await _control(control, process))
        try:
            yield phone
        finally:
            phone.close()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _control(port: int, process: asyncio.subprocess.Process) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """baresip says nowhere that its control socket is open, so it is tried until it is."""
    async with asyncio.timeout(10):
        while True:
            assert process.returncode is None
            with suppress(ConnectionRefusedError):
                return await asyncio.open_connection("127.0.0.1", port)
            await asyncio.sleep(0.05)
