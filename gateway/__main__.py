"""The `portico` command; `python -m gateway` is the same program."""

import sys

from gateway import compiled
from gateway.cli import main as run_command


def main() -> None:
    """Run the command line and end the process with its status."""
    compiled.use()  # before any part of sip is imported
    sys.exit(run_command(sys.argv[1:]))


if __name__ == "__main__":
    main()
