"""Which form of the SIP core runs: a compiled set only ever for exactly the sources that are here."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import compiled

TELL = """
import sys
from pathlib import Path
from gateway import compiled
compiled.SETS = Path(sys.argv[1])
print(compiled.use())
import sip.timers, sip.net.udp, registry.mac
print(sip.timers.__file__)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the sources that the question is about."""
    for package in compiled.SOURCES:
        shutil.copytree(compiled.ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "gateway").mkdir()
    for name in ("__init__.py", "compiled.py"):
        shutil.copy(compiled.ROOT / "gateway" / name, tmp_path / "gateway" / name)
    return tmp_path


def a_set_for(checkout: Path) -> Path:
    """A folder of sets in which the set for these sources has one module, in whose place a Python file stands in the test."""
    sets = checkout / "sets"
    made = sets / compiled.fingerprint(checkout) / "sip"
    made.mkdir(parents=True)
    shutil.copy(checkout / "sip" / "timers.py", made / "timers.py")
    return sets


def told(checkout: Path, sets: Path, **environment: str) -> tuple[str, Path]:
    """What a process says that starts on these sources: the form, and where a module of the core came from."""
    variables = {name: value for name, value in os.environ.items() if name != "PORTICO_PURE"}
    done = subprocess.run(
        [sys.executable, "-c", TELL, str(sets)],
        cwd=checkout,
        env={**variables, "PYTHONPATH": str(checkout), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    form, file = done.stdout.splitlines()
    return form, Path(file)


def test_the_set_for_these_sources_is_used(checkout: Path) -> None:
    sets = a_set_for(checkout)
    form, file = told(checkout, sets)
    assert form == "compiled"
    assert file.is_relative_to(sets)


def test_the_environment_can_ask_for_pure_python(checkout: Path) -> None:
    form, file = told(checkout, a_set_for(checkout), PORTICO_PURE="1")
    assert form == "pure Python (PORTICO_PURE=1)"
    assert file == checkout / "sip" / "timers.py"


@pytest.mark.parametrize("edited", ["sip/uri.py", "tunnel/mux.py", "registry/location.py"])
def test_a_set_for_other_sources_is_never_used(checkout: Path, edited: str) -> None:
    sets = a_set_for(checkout)
    with (checkout / edited).open("a") as source:
        source.write("# one more line\n")
    form, file = told(checkout, sets)
    assert form == "pure Python (the sources have changed; make compile renews it)"
    assert file == checkout / "sip" / "timers.py"


def test_without_any_set_the_sources_run(checkout: Path) -> None:
    form, file = told(checkout, checkout / "absent")
    assert form == "pure Python (not compiled; make compile does it)"
    assert file == checkout / "sip" / "timers.py"


@pytest.mark.skipif(os.environ.get("PORTICO_COMPILED") == "1", reason="the compiled form runs already, and is not left")
def test_it_is_too_late_once_a_part_was_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PORTICO_PURE", raising=False)
    import sip.timers  # noqa: F401

    assert compiled.use() == "pure Python (loaded before it was asked for)"


def test_a_machine_without_a_compiler_is_told_in_one_line(tmp_path: Path) -> None:
    """`tools/compile.py` on the sources of another checkout, so that it finds nothing made already."""
    for package in (*compiled.SOURCES, "gateway", "tools"):
        shutil.copytree(compiled.ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "sip" / "uri.py").open("a") as source:
        source.write("# not compiled anywhere\n")
    command = [sys.executable, str(tmp_path / "tools" / "compile.py")]
    environment = {**os.environ, "CC": "no-such-compiler", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    line = "      the SIP core runs as pure Python, at about twice the CPU time: no C compiler (no-such-compiler) here\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, line, "")
    required = subprocess.run([*command, "--require"], env=environment, capture_output=True, text=True, check=False)
    assert (required.returncode, required.stdout) == (1, line)


def test_the_installed_program_uses_it_from_any_folder(tmp_path: Path) -> None:
    """An editable install finds packages last of all, after the folders on the path: the set's own must not be taken for them."""
    sets = tmp_path / "sets"
    for package in compiled.COMPILED:
        made = sets / compiled.fingerprint() / package
        made.mkdir(parents=True)
    shutil.copy(compiled.ROOT / "sip" / "timers.py", sets / compiled.fingerprint() / "sip" / "timers.py")
    variables = {name: value for name, value in os.environ.items() if name not in ("PORTICO_PURE", "PYTHONPATH")}
    done = subprocess.run(
        [sys.executable, "-c", TELL, str(sets)], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    form, file = done.stdout.splitlines()
    assert form == "compiled"
    assert sets in Path(file).parents
