"""Bytes between a stream of the channel and a TLS connection, both ways and counted. (Plain connections are `splice`'s.)

TLS has no half-close here: what ends one direction, once it is written, ends both. Back-pressure is the two awaits of each loop:
nothing is read on one side while the other has no room.
"""

import asyncio
from collections.abc import Callable

from tunnel.errors import Code, StreamClosed
from tunnel.net.pipe import StreamPipe
from tunnel.net.splice import CHUNK

Moved = Callable[[int, int], None]
"""moved(to_pipe, to_socket): bytes that went on."""


def uncounted(_to_pipe: int, _to_socket: int) -> None:
    """Nobody asks."""


async def splice_tls(
    pipe: StreamPipe,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    moved: Moved = uncounted,
    linger: float | None = None,
) -> None:
    """Copy until either end is finished or broken; then both are closed.

    `linger`: seconds that the stream's end gets to finish after the connection's has, None: as long as it likes.
    """
    up = asyncio.create_task(_to_socket(pipe, writer, moved))
    down = asyncio.create_task(_to_pipe(pipe, reader, moved))
    try:
        done, _ = await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
        if down in done and down.exception() is None:
            pipe.finish()
            await asyncio.wait((up,), timeout=linger)  # what was sent arrives, and the stream's end closes when it has it
        elif up in done:
            up.result()
    except (OSError, StreamClosed):
        pipe.reset(Code.NO_ERROR)
    except asyncio.CancelledError:
        pipe.reset(Code.CANCELLED)
        raise
    finally:
        for task in (up, down):
            task.cancel()
        await asyncio.gather(up, down, return_exceptions=True)
        if pipe.ended and pipe.ended.code != Code.NO_ERROR:
            writer.transport.abort()  # a reset is passed on as a reset
        else:
            pipe.reset(Code.NO_ERROR)
            writer.close()


async def _to_socket(pipe: StreamPipe, writer: asyncio.StreamWriter, moved: Moved) -> None:
    while data := await pipe.read():
        writer.write(data)
        await writer.drain()
        moved(0, len(data))


async def _to_pipe(pipe: StreamPipe, reader: asyncio.StreamReader, moved: Moved) -> None:
    while data := await reader.read(CHUNK):
        await pipe.write(data)
        moved(len(data), 0)
