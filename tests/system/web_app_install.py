"""Web applications that nobody here wrote, from PyPI by hash, each in a virtual environment of its own under .run/."""

import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.peers import ROOT

SOURCES = Path(__file__).parent / "web_apps"
INSTALL_DEADLINE = 300.0


def installed(name: str) -> Path:
    """The Python that has what `web_apps/<name>.txt` names. Skips the test where pip cannot install it."""
    requirements = SOURCES / f"{name}.txt"
    version = hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]
    folder = ROOT / ".run" / "web-apps" / f"{name}-{version}"
    folder.mkdir(parents=True, exist_ok=True)
    python = folder / "venv" / "bin" / "python"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder / "venv")], check=True, timeout=INSTALL_DEADLINE)
            command = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
            try:
                subprocess.run(
                    [*command, "-r", str(requirements)], check=True, capture_output=True, text=True, timeout=INSTALL_DEADLINE
                )
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as failed:
                pytest.skip(f"pip cannot install what {requirements.relative_to(ROOT)} names: {str(failed.stderr)[-300:]}")
            (folder / "complete").touch()
    return python
