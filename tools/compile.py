"""Compile the SIP core and the channel's core with mypyc into the environment, where gateway/compiled.py finds it. Run with the
environment's Python.

Without a C compiler or Python's C headers, or when anything goes wrong, Portico runs as pure Python: this says so in one line and
ends with 0 (with --require: 1). The compiler itself is mypy of requirements-dev.lock, checked by its hashes; where the
environment has none (`make run`), it is fetched into a folder that is removed again.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from gateway.compiled import COMPILED, SETS, SOURCES, fingerprint  # noqa: E402

LOG = Path(sys.prefix) / "compile.log"
SECONDS = 900.0
COMPILER = ("mypy", "mypy-extensions", "typing-extensions", "pathspec", "librt", "ast-serialize", "setuptools")
"""mypyc (it is part of mypy) and what it needs."""
BUILD = """
import sys
from glob import glob
from os.path import getsize
from mypyc.build import mypycify
from setuptools import setup
files = sorted(name for name in glob("sip/*.py") if getsize(name))
frames = "codec errors frames live_stream liveness messages mux outbound outputs pacing send_order stream talk window"
files += [f"tunnel/{name}.py" for name in frames.split()]
sys.argv = ["compile", "build_ext", "--inplace"]
modules = mypycify(["--config-file", "compile.cfg", *files], opt_level="2", debug_level="0")
setup(name="portico-compiled", packages=[], py_modules=[], ext_modules=modules)
"""
CONFIG = "[mypy]\nstrict = True\nignore_missing_imports = True\n"
CHECK = """
from gateway import compiled
said = compiled.use()
assert said == "compiled", said
import sip.core, sip.parser, tunnel.mux
for module in (sip.core, tunnel.mux):
    assert not module.__file__.endswith(".py"), module.__file__
lines = ["OPTIONS sip:a SIP/2.0", "Via: SIP/2.0/UDP a;branch=z9hG4bKa", "From: <sip:a>;tag=a", "To: <sip:a>"]
lines += ["Call-ID: a", "CSeq: 1 OPTIONS"]
assert sip.parser.parse("\\r\\n".join([*lines, "", ""]).encode()).method == b"OPTIONS"
"""


class CannotCompile(Exception):
    """Why this machine does not compile, in a few words."""


def main() -> int:
    """Compile unless that is done already. Returns the exit status."""
    target = SETS / fingerprint()
    if target.is_dir():
        print("      the SIP core is compiled already")
        return 0
    try:
        _check_machine()
        with tempfile.TemporaryDirectory(prefix="compile-", dir=sys.prefix) as scratch:
            _compile(Path(scratch), target)
    except (CannotCompile, OSError, subprocess.SubprocessError) as error:
        shutil.rmtree(target, ignore_errors=True)
        print(f"      the SIP core runs as pure Python, at about twice the CPU time: {_in_words(error)}")
        return int("--require" in sys.argv)
    for old in SETS.iterdir():
        if old != target:
            shutil.rmtree(old)
    print("      the SIP core is compiled")
    return 0


def _check_machine() -> None:
    compiler = (os.environ.get("CC") or str(sysconfig.get_config_var("CC") or "cc")).split()[0]
    if shutil.which(compiler) is None:
        raise CannotCompile(f"no C compiler ({compiler}) here")
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        raise CannotCompile("Python's C headers are not here (Debian: python3-dev)")


def _compile(scratch: Path, target: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(_compiler(scratch / "tools")), "PYTHONDONTWRITEBYTECODE": "1"}
    work = scratch / "work"
    for package in SOURCES:
        shutil.copytree(ROOT / package, work / package, ignore=shutil.ignore_patterns("__pycache__"))
    if SETS / fingerprint(work) != target:
        raise CannotCompile("its sources changed meanwhile")
    (work / "compile.cfg").write_text(CONFIG)
    _run([sys.executable, "-c", BUILD], work, environment)
    made = scratch / "made"
    for package in ("", *COMPILED):
        (made / package).mkdir(parents=True, exist_ok=True)
        for library in (work / package).glob("*.so"):
            shutil.move(library, made / package / library.name)
    SETS.mkdir(exist_ok=True)
    if target.is_dir():
        return  # somebody else was quicker
    made.rename(target)
    _run([sys.executable, "-c", CHECK], ROOT, {**os.environ, "PORTICO_PURE": "0", "PYTHONPATH": str(ROOT)})


def _compiler(folder: Path) -> Path:
    """A folder to be searched for mypyc: an empty one where the environment has it."""
    folder.mkdir()
    if find_spec("mypyc") is None:
        lock = (ROOT / "requirements-dev.lock").read_text()
        wanted = [entry for entry in re.findall(r"^\S.*(?:\n[ \t].*)*", lock, re.MULTILINE) if _name(entry) in COMPILER]
        (folder / "lock.txt").write_text("\n".join(wanted) + "\n")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--target", str(folder)]
        _run([*command, "--only-binary", ":all:", "-r", str(folder / "lock.txt")], folder, os.environ)
    return folder


def _name(entry: str) -> str:
    return entry.partition("==")[0].strip().lower().replace("_", "-")


def _run(command: list[str], folder: Path, environment: Mapping[str, str]) -> None:
    with LOG.open("ab") as log:
        subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=True,
            timeout=SECONDS,
        )


def _in_words(error: Exception) -> str:
    return str(error) if isinstance(error, CannotCompile) else f"{type(error).__name__}, see {LOG}"


if __name__ == "__main__":
    LOG.unlink(missing_ok=True)
    sys.exit(main())
