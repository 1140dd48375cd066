"""Run benchmarks by name: `python -m bench [name | all] [options]`. A `bench/bench_<name>.py` has a `run`."""

import importlib
import json
import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from bench.outcome import Outcome
from gateway import compiled

HERE = Path(__file__).parent
RESULTS = HERE / "results"


def names() -> list[str]:
    """Every benchmark there is."""
    return sorted(file.stem.removeprefix("bench_") for file in HERE.glob("bench_*.py"))


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    models = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "sip_core": compiled.form(),
    }


def save(outcome: Outcome) -> Path:
    """Write the figures of one run as JSON. A run without a usable figure does not replace an earlier result."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / (f"{outcome.name}.json" if outcome.usable else f"{outcome.name}.failed.json")
    facts = {"bench": outcome.name, "measured": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine()}
    file.write_text(json.dumps({**facts, **outcome.figures}, indent=1) + "\n")
    return file


def main(arguments: Sequence[str]) -> int:
    """Run what is named (all without a name). Returns 0, or 1 if a benchmark had no usable figure, or 2 for an unknown name."""
    wanted, *options = arguments or ["all"]
    if wanted != "all" and wanted not in names():
        print(f"bench: there is no benchmark {wanted!r}; there are: {', '.join(names())}, all", file=sys.stderr)
        return 2
    # A file or a CI log has no width of its own: wide enough for the tables.
    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(f"SIP core: {compiled.use()}", highlight=False)
    status = 0
    for name in names() if wanted == "all" else [wanted]:
        outcome: Outcome = importlib.import_module(f"bench.bench_{name}").run(console, options)
        console.print(*outcome.tables, sep="\n")
        console.print(f"Every figure: {save(outcome)}")
        status |= not outcome.usable
    return status


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
