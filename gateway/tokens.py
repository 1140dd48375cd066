"""`portico token`: a new admin API token, through the running gateway, with the token its state folder holds."""

import json
import urllib.error
import urllib.request
from pathlib import Path

from gateway.errors import StartError

DEADLINE = 10.0


def make_token(state: Path, *, name: str, role: str, sites: tuple[str, ...]) -> str:
    """Create a token and return its secret. Raises StartError saying what is wrong and what to do."""
    ready_file, own_token = state / "ready.json", state / "admin-token"
    try:
        ready = json.loads(ready_file.read_text(encoding="utf-8"))
        secret = own_token.read_text(encoding="ascii").strip()
    except FileNotFoundError as error:
        raise StartError(
            f"{error.filename}: not there. A gateway must be running on this state folder: portico run --state {state}"
        ) from None
    except (OSError, ValueError) as error:
        raise StartError(f"state folder {state}: {error}") from None
    host, port = ready["admin"]
    request = urllib.request.Request(
        f"http://{f'[{host}]' if ':' in host else host}:{port}/api/v1/tokens",
        data=json.dumps({"name": name, "role": role, "sites": list(sites)}).encode(),
        headers={"Authorization": f"Bearer {secret}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:  # noqa: S310 our own address, always http
            return str(json.load(answer)["token"])
    except urllib.error.HTTPError as error:
        raise StartError(f"the gateway refused: {_reason(error)}") from None
    except (OSError, ValueError, KeyError) as error:
        raise StartError(f"the gateway at {host}:{port} does not answer: {error}") from None


def _reason(error: urllib.error.HTTPError) -> str:
    """The problem document in words."""
    try:
        problem = json.load(error)
        faults = "; ".join(f"{fault['path']}: {fault['message']}" for fault in problem.get("errors", ()))
        return faults or str(problem.get("detail") or problem.get("title"))
    except (ValueError, KeyError, TypeError):
        return f"HTTP {error.code}"
