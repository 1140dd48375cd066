"""The process that test_sqlite_crash.py kills: writes, and says so on its standard output after each acknowledgement.

python -m tests.registry.crash_child write FILE ROUND     lines: "<name> <first version> <second version>"
python -m tests.registry.crash_child create FOLDER ROUND  lines: the number of the store being created
"""

import asyncio
import itertools
import os
import sys
from pathlib import Path

from registry.engines.sqlite import SqliteStore
from registry.records import Site
from registry.store import Put

WRITERS = 8


def say(line: str) -> None:
    os.write(1, line.encode() + b"\n")  # At once, whole, and in the pipe even if the process dies now.


async def write(path: str, round_: str) -> None:
    store = await SqliteStore.open(path)
    say(f"opened {await store.sequence()} 0")

    async def writer(number: int) -> None:
        for serial in itertools.count():
            name = f"{round_}-{number}-{serial}"
            # Two records that must both be there or neither.
            versions = await store.batch([Put(Site(name, name)), Put(Site(f"{name}'", name))], durable=serial % 3 != 0)
            say(f"{name} {versions[0]} {versions[1]}")

    await asyncio.gather(*[writer(number) for number in range(WRITERS)])


async def create(folder: str, round_: str) -> None:
    for serial in itertools.count():
        say(f"{round_}-{serial}")
        await (await SqliteStore.open(Path(folder) / f"{round_}-{serial}.db")).close()


if __name__ == "__main__":
    asyncio.run({"write": write, "create": create}[sys.argv[1]](sys.argv[2], sys.argv[3]))
