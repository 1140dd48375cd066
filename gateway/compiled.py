"""Whether the SIP core and the channel's core run compiled. `tools/compile.py` makes the compiled form with mypyc; the Python
files stay the source.

A compiled set lies in a folder of the environment (.venv) that is named by a hash of the sources it was made from and of the
interpreter it was made for. Only the folder with the hash of the sources that are here now is ever used, so an edited file, a new
release or another Python can never meet an old set: they run as pure Python until they are compiled again.
"""

import hashlib
import importlib
import os
import sys
import sysconfig
from pathlib import Path

SETS = Path(sys.prefix) / "portico-compiled"
"""Where compiled sets lie, one folder each."""
COMPILED = ("sip", "tunnel")
"""Packages of which modules (not sub-packages) are compiled: of sip all, of tunnel those that each frame passes."""
SOURCES = (*COMPILED, "registry")
"""Packages whose modules make the hash: what is compiled, and what it was typed by."""
ROOT = Path(__file__).resolve().parent.parent

_form = "pure Python (not asked for)"


def fingerprint(root: Path = ROOT) -> str:
    """32 hex digits that say for which sources and which interpreter a compiled set is. Reads some 400 KB."""
    found = hashlib.sha256(f"{sysconfig.get_config_var('SOABI')} {sys.hexversion}\n".encode())
    for package in SOURCES:
        for path in sorted((root / package).glob("*.py")):
            source = path.read_bytes()
            found.update(f"{package}/{path.name} {len(source)}\n".encode())
            found.update(source)
    return found.hexdigest()[:32]


def use() -> str:
    """Let what is imported from now on be the compiled form if there is one. Returns `form()`.

    Call it before importing any of COMPILED.

    PORTICO_PURE=1 in the environment keeps to pure Python.
    """
    global _form
    _form = _choose()
    return _form


def form() -> str:
    """What runs: "compiled", or "pure Python" and why, in parentheses."""
    return _form


def _choose() -> str:
    if os.environ.get("PORTICO_PURE") == "1":
        return "pure Python (PORTICO_PURE=1)"
    if any(name.startswith(tuple(f"{package}." for package in COMPILED)) for name in sys.modules):
        return _form if _form == "compiled" else "pure Python (loaded before it was asked for)"
    if not SETS.is_dir():
        return "pure Python (not compiled; make compile does it)"
    folder = SETS / fingerprint()
    if not folder.is_dir():
        return "pure Python (the sources have changed; make compile renews it)"
    # The packages first: on the path, the set's own directories would be found as packages without an __init__.
    packages = [importlib.import_module(package) for package in COMPILED]
    sys.path.append(str(folder))  # the library that all compiled modules share
    for package in packages:
        package.__path__.insert(0, str(folder / package.__name__))
    return "compiled"
