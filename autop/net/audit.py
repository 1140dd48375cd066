"""What devices cause that an operator must be able to read later: audit entries, written in the batch of the change itself."""

import json

from registry.logs import AuditEntry, time_key

ACTOR = "autop"


def noted(action: str, object: str, site: str, wall: float, serial: int, **detail: str) -> AuditEntry:
    """An entry. `serial` tells entries of one millisecond apart: any number that others do not use, for example a version."""
    text = json.dumps({"note": ", ".join(f"{name} {value}" for name, value in detail.items())}) if detail else "{}"
    return AuditEntry(time_key(wall, serial), wall, ACTOR, action, object, site, text)
