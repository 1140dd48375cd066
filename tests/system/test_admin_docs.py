"""docs/admin-api.md is true: its examples are run with curl, in order, and its table of roles is the one that is enforced."""

import asyncio
import re
import time
from pathlib import Path

import pytest

from admin_api.net.server import AdminServer
from admin_api.permissions import ROLES, Permission
from registry.records import Role
from tests.admin_api.world import a_world
from tests.system.peers import needs

pytestmark = pytest.mark.system

PAGE = (Path(__file__).parents[2] / "docs" / "admin-api.md").read_text()
COMMANDS = re.sub(r"\\\n", "", "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL))).strip().split("\n")


def script() -> tuple[str, list[str]]:
    """The page's commands as one shell script that prints a status per example, and the statuses that the page promises."""
    lines, expected = ["set -eu"], []
    for command in COMMANDS:
        run, mark, status = command.partition("  # ")
        if mark:
            expected.append(status)
            run = run.replace("curl ", "curl -s -o /dev/null -w '%{http_code}\\n' ", 1)
        lines.append(run)
    return "\n".join(lines), expected


@needs("curl")
async def test_every_example(tmp_path: Path) -> None:
    world = await a_world()
    world.clock[0] = time.time()  # the examples ask `date`
    server = AdminServer(world.app)
    address, port = await server.start("127.0.0.1", 0)
    text, expected = script()
    environment = {
        "API": f"http://{address}:{port}/api/v1",
        "TOKEN": world.secrets[Role.DISTRIBUTOR, ""],
        "PATH": "/usr/bin:/bin",
    }
    try:
        async with asyncio.timeout(30):
            shell = await asyncio.create_subprocess_exec(
                "bash", "-c", text, cwd=tmp_path, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
            output, errors = await shell.communicate()
    finally:
        await server.stop(1.0)
    assert errors == b""
    found = output.decode().split()
    examples = [command for command in COMMANDS if "  # " in command]
    assert list(zip(examples, found, strict=True)) == list(zip(examples, expected, strict=True))
    assert len(expected) >= 20


def test_the_table_of_roles_is_the_one_enforced() -> None:
    order = (Role.DISTRIBUTOR, Role.INSTALLER, Role.SUB_INSTALLER, Role.PROPERTY_MANAGER, Role.READ_ONLY)
    for permission in Permission:
        cells = " | ".join("yes" if role in ROLES[permission] else "" for role in order)
        row = f"| {permission} | {cells} |".replace("|  |", "| |").replace("|  |", "| |")
        assert row in PAGE, row
