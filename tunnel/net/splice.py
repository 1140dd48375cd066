"""Bytes between a stream of the channel and a local TCP connection, both ways, until both are finished.

Back-pressure is the two awaits of each loop: nothing is read on one side while the other has no room.
"""

import asyncio

from tunnel.errors import Code, StreamClosed
from tunnel.net.pipe import StreamPipe

CHUNK = 65_536


async def splice(pipe: StreamPipe, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until both directions are finished, or either is broken; then both are closed."""
    up = asyncio.create_task(_to_socket(pipe, writer))
    down = asyncio.create_task(_to_pipe(pipe, reader))
    try:
        await asyncio.gather(up, down)
    except (OSError, StreamClosed):
        pipe.reset(Code.NO_ERROR)
    except asyncio.CancelledError:
        pipe.reset(Code.CANCELLED)
        raise
    finally:
        for task in (up, down):
            task.cancel()
        if pipe.ended and pipe.ended.code != Code.NO_ERROR:
            writer.transport.abort()  # a reset is passed on as a reset
        else:
            writer.close()
        await asyncio.gather(up, down, return_exceptions=True)


async def _to_socket(pipe: StreamPipe, writer: asyncio.StreamWriter) -> None:
    broken = False
    while data := await pipe.read():
        if broken:
            continue
        try:
            writer.write(data)
            await writer.drain()
        except OSError:
            broken = True  # a server that answers early and hangs up (413): its answer still comes through
    if not broken and writer.can_write_eof():
        writer.write_eof()


async def _to_pipe(pipe: StreamPipe, reader: asyncio.StreamReader) -> None:
    while data := await reader.read(CHUNK):
        await pipe.write(data)
    pipe.finish()
