"""The SIP parser under atheris (libFuzzer): the invariants of tests/sip/test_parser_fuzz.py, driven by coverage, not by chance.

`make fuzz FUZZ_SECONDS=180` runs it for so long. The torture messages are its seeds and the header names its words. A finding
ends the run with a traceback, exit code 77 and the input in .run/fuzz/; where atheris is missing it says so and ends with 0.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
FOLDER = ROOT / ".run" / "fuzz"
MEMORY_MB = 2048
"""libFuzzer's own bound on the process; the parser's tables are far below it."""
LONGEST = 4096
"""Octets of an input: the lines of a message matter, not how many there are (bounds have tests of their own)."""
SLOWEST = 5
"""Seconds one input may take before it is a finding. Usual ones take 1 ms with the tracing."""
WORDS = (
    b"SIP/2.0",
    b"sip:",
    b"sips:",
    b"tel:",
    b"z9hG4bK",
    b";branch=",
    b";tag=",
    b";rport",
    b"\r\n",
    b"\r\n ",
    b"\r\n\r\n",
    b"\x0b",
    b"*",
)


def main() -> int:
    """Fuzz with libFuzzer's arguments from the command line. Without atheris: returns 0; atheris itself ends the process."""
    if find_spec("atheris") is None:
        print("The fuzzer is not installed: .venv/bin/python -m pip install --require-hashes -r tests/fuzz/requirements.txt")
        return 0
    atheris: Any = import_module("atheris")
    with atheris.instrument_imports(include=["sip"]):
        import sip.parser  # noqa: F401 - traced from here on
    from tests.sip.torture import CASES

    corpus = FOLDER / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for case in CASES:
        (corpus / f"torture-{case.name}").write_bytes(case.raw)
    words = FOLDER / "words"
    words.write_text("".join(f'"{_quoted(word)}"\n' for word in _words()))
    limits = [f"-rss_limit_mb={MEMORY_MB}", f"-max_len={LONGEST}", f"-timeout={SLOWEST}", f"-dict={words}"]
    atheris.Setup([*sys.argv, *limits, f"-artifact_prefix={FOLDER}/", str(corpus)], _one_input())
    atheris.Fuzz()
    return 0


def _words() -> list[bytes]:
    from sip.headers import SPELLINGS

    return [*WORDS, *(b"\r\n" + name + b": " for name in SPELLINGS)]


def _quoted(word: bytes) -> str:
    """A word as libFuzzer's dictionaries spell it."""
    return "".join(f"\\x{octet:02X}" for octet in word)


def _one_input() -> Any:
    """What is true of every input, as a function of it that raises where it is not."""
    from sip.credentials import parse_credentials
    from sip.errors import MalformedMessage
    from sip.framing import StreamFramer
    from sip.header_values import parse_name_addr
    from sip.message import Request
    from sip.uri import equivalent, user_and_host
    from tests.sip.test_parser_fuzz import check_agreement, check_hostile

    def refusing(function: Any, *arguments: bytes) -> None:
        try:
            function(*arguments)
        except MalformedMessage as refusal:
            assert refusal.reason  # noqa: PT017 - a refusal is one of two right outcomes

    def one(raw: bytes) -> None:
        message = check_hostile(raw)
        if isinstance(message, Request):
            refusing(user_and_host, message.uri)
            refusing(equivalent, message.uri, message.uri)
        if message is not None:
            for value in message.all(b"contact") + message.all(b"route") + message.all(b"record-route"):
                refusing(parse_name_addr, value)
            for value in message.all(b"authorization") + message.all(b"proxy-authorization"):
                refusing(parse_credentials, value)
        framer = StreamFramer(max_message=LONGEST)
        try:
            pieces = framer.feed(raw)
        except MalformedMessage:
            return
        for piece in pieces:
            check_agreement(piece)

    return one


if __name__ == "__main__":
    sys.exit(main())
