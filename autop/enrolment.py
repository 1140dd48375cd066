"""How a device without a token gets one: enrolment tokens, who may have a bootstrap configuration, and what stands in it.

A factory-fresh device asks `/autop/<enrolment token>/<MAC>.cfg`, the same form as ever, so the URL fits the device's field and an
installer types one URL into every device of a site. Enrolment tokens begin with `enrol-`, which no device's token can. There
are two:

- a window's own (160 random bits): good for every device in its scope while it is open;
- a one-time token, for PnP and TFTP: 4 bytes that say until when, 16 bytes HMAC-SHA256 of that and the MAC under the window's
  token. Nothing is kept for it, so asking for many costs nothing, and it dies with its window.

Pure: records and `now` in, verdicts and bytes out.
"""

import base64
import hashlib
import hmac
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field

from autop.cfg_format import write
from autop.observer import Reason
from autop.settings import AutopSettings, poll_time
from registry.enrolment import Enrolment, EnrolmentWindow, device_window, site_window
from registry.mac import MacAddress
from registry.vault import Vault

PREFIX = "enrol-"
"""What enrolment tokens begin with; a device's token is lower-case base32 and has no hyphen."""
ONE_TIME_SECONDS = 900.0
"""How long a one-time token is good."""
MAX_WINDOW_SECONDS = 7 * 86_400.0
"""The longest that a window may be open."""
_TOKEN_BYTES = 20
_TIME_BYTES = 4


@dataclass(frozen=True, slots=True)
class NewWindow:
    """A window just made, and its token in the clear, to be told once."""

    record: EnrolmentWindow
    token: str = field(repr=False)


def device_token(entropy: Callable[[int], bytes]) -> str:
    """The secret in a device's configuration path: 160 bits, 32 characters of lower-case base32."""
    return _spell(entropy(_TOKEN_BYTES))


def seal_device_token(vault: Vault, mac: MacAddress, token: str) -> bytes:
    """A device's token as its record and a rotation hold it."""
    return vault.seal_text(token, f"device-token:{mac}")


def new_window(
    *,
    id: str,
    site: str,
    mac: MacAddress | None,
    opened_by: str,
    now: float,
    seconds: float,
    entropy: Callable[[int], bytes],
    vault: Vault,
) -> NewWindow:
    """A window that is open from `now` (wall-clock seconds). Raises ValueError for more than MAX_WINDOW_SECONDS."""
    if not 0 < seconds <= MAX_WINDOW_SECONDS:
        raise ValueError(f"a window is open for at most {MAX_WINDOW_SECONDS:.0f} seconds")
    token = PREFIX + _spell(entropy(_TOKEN_BYTES))
    scope = site_window(site) if mac is None else device_window(mac)
    return NewWindow(
        EnrolmentWindow(id, site, opened_by, now, now + seconds, vault.seal_text(token, seal_context(scope)), mac), token
    )


def seal_context(scope: str) -> str:
    """The context under which a window's token is sealed; `scope` is the record's key."""
    return f"enrolment:{scope}"


def is_open(window: EnrolmentWindow, now: float) -> bool:
    """Whether the window is open at `now` (wall-clock seconds). A clock that was set back before its opening closes it too."""
    return window.opened <= now < window.ends


def one_time_token(window_token: bytes, mac: MacAddress, ends: float) -> str:
    """A token for one device, good before `ends` (wall-clock seconds, whole ones count)."""
    until = int(ends).to_bytes(_TIME_BYTES)
    return PREFIX + _spell(until + _tag(window_token, mac, until))


def fits(token: str, window_token: bytes, mac: MacAddress, now: float) -> bool:
    """Whether `token` is the window's own, or a one-time token of it for this device that is still good. Work is constant."""
    presented = _bytes(token)
    until = presented[:_TIME_BYTES]
    is_own = hmac.compare_digest(token.encode(), window_token)
    is_one_time = hmac.compare_digest(presented[_TIME_BYTES:], _tag(window_token, mac, until))
    return is_own or (is_one_time and now < int.from_bytes(until))


def verdict(window: EnrolmentWindow, known: Enrolment | None, *, has_fetched: bool, address: str, now: float) -> Reason:
    """Whether a device of the window's scope may have its bootstrap configuration: Reason.NONE, or why not. Trust on first use:

    | window | the device | |
    |--|--|--|
    | over | whatever | ENROL_OVER |
    | site's | has fetched its configuration, or enrolled in any window | ENROL_DONE |
    | device's | enrolled in this very window | ENROL_DONE |
    | either | was given a bootstrap in this window, at another address, and has not used it yet | ENROL_SECOND_ADDRESS |
    | either | anything else: nothing yet, the same address again, a bootstrap of an earlier window never used | NONE |
    """
    if not is_open(window, now):
        return Reason.ENROL_OVER
    in_this = known is not None and known.window == window.id
    confirmed = known is not None and known.confirmed is not None
    if confirmed and (in_this or window.mac is None):
        return Reason.ENROL_DONE
    if has_fetched and window.mac is None:
        return Reason.ENROL_DONE
    if known is not None and in_this and known.address != address:
        return Reason.ENROL_SECOND_ADDRESS
    return Reason.NONE


def network(peer: str) -> str:
    """What tells one place from another: an IPv4 address, the /64 of an IPv6 one (hosts change the rest at will)."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
    return str(address)


def bootstrap(settings: AutopSettings, mac: MacAddress, token: str) -> bytes:
    """The file that tells a device where its configuration is, and nothing else: no account, no password, no channel key.

    It polls hourly (mode 4) until it has the real file, which sets mode 3 again: so it needs nobody to switch it off and on.
    PnP is off, so that nobody on its LAN leads it back here or elsewhere. The keys are the same for every kind.

    Raises RejectedValue where the URL does not fit.
    """
    _, minute, second = poll_time(mac, settings.poll_first_hour, settings.poll_hours)
    return write(
        {
            "Config.Autoprovision.GENERAL.Url": settings.directory(token),
            "Config.Autoprovision.PNP.Enable": "0",
            "Config.Autoprovision.MODE.Mode": "4",
            "Config.Autoprovision.SCHEDULE.MinuteOfHour": str(minute),
            "Config.Autoprovision.SCHEDULE.SecondOfMinute": str(second),
        }
    )


def _tag(window_token: bytes, mac: MacAddress, until: bytes) -> bytes:
    return hmac.digest(window_token, b"one-time/" + mac.text.encode() + until, hashlib.sha256)[: _TOKEN_BYTES - _TIME_BYTES]


def _spell(secret: bytes) -> str:
    return base64.b32encode(secret).decode("ascii").lower()


def _bytes(token: str) -> bytes:
    """What a token spells; zeros for one that spells nothing."""
    try:
        found = base64.b32decode(token.removeprefix(PREFIX), casefold=True)
    except ValueError:
        found = b""
    return found if len(found) == _TOKEN_BYTES else bytes(_TOKEN_BYTES)
