"""The login of a device's local HTTP API (`DoorSetting.APIFCGI`, akuvox-devices.md section 4): how its connector commands it.

As it leaves the factory the API answers nobody (AuthMode 2, an empty whitelist). Only a site with a connector gets it opened,
with a password of the device's own, which follows from its channel key: no second secret is kept, and no other device's opens it.
"""

import base64
import hmac
from collections.abc import Iterator
from hashlib import sha256

from autop.settings import ApiLogin

USER = "portico"
DIGEST = "4"
_LABEL = b"portico-http-api-1"


def api_password(channel_key: bytes) -> str:
    """The device's API password: 24 characters of lower-case base32, 120 bits."""
    return base64.b32encode(hmac.digest(channel_key, _LABEL, sha256)[:15]).decode("ascii").lower()


def http_api_lines(login: ApiLogin | None) -> Iterator[tuple[str, str]]:
    """The API opened with digest for this login, shut for one without a password; nothing for None."""
    if login is None:
        return
    yield "Config.DoorSetting.APIFCGI.Enable", "1" if login.password else "0"
    if login.password:
        yield "Config.DoorSetting.APIFCGI.AuthMode", DIGEST
    yield "Config.DoorSetting.APIFCGI.UserName", login.user
    yield "Config.DoorSetting.APIFCGI.Password", login.password
