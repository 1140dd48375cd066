"""Guard phones (3): an account, speed dials to the site's doors and phones, and a phonebook of everybody."""

from collections.abc import Iterator
from functools import lru_cache

from autop.cfg_format import label
from autop.profiles.base import Line, Model, account_lines, backup_lines, server_check_lines, shared_lines
from autop.settings import MAX_SPEED_DIALS, Contact, DeviceSettings

PHONEBOOK = "Portico"
"""What the phonebook is called on the phone."""
_CODECS = (
    # Name, RTP payload and whether it is on, in the places the phones have them (a field template of SP- phones).
    ("G729", 18, False),
    ("PCMU", 0, True),
    ("PCMA", 8, True),
    ("G723_53", 4, False),
    ("G723_63", 4, False),
    ("G722", 9, True),
    ("G726-16", 112, False),
    ("G726-24", 102, False),
    ("G726-32", 2, False),
    ("opus", 111, False),
    ("iLBC_13_3", 97, False),
    ("iLBC_15_2", 97, False),
)


class GuardPhone:
    """Profile of kind 3."""

    def lines(self, settings: DeviceSettings, model: Model) -> Iterator[Line]:
        """Account, codecs, speed dials, phonebook, then what every kind has."""
        yield from account_lines(settings.account, model)
        yield from backup_lines(settings.account, model, has_port=True)
        yield from codec_lines(model.account)
        yield from speed_dial_lines(settings.contacts)
        yield "Config.RemotePhoneBook.REMOTE_PHONE_BOOK0.DisplayName", PHONEBOOK if settings.phonebook_url else ""
        yield "Config.RemotePhoneBook.REMOTE_PHONE_BOOK0.Url", settings.phonebook_url
        yield from server_check_lines(settings)
        yield from shared_lines(settings, model)


@lru_cache(maxsize=64)
def codec_lines(account: str) -> tuple[Line, ...]:
    """Which codecs the phone offers: those that every door phone and carrier has, and wideband between phones.

    Nothing on the way transcodes, so a narrow codec that only phones have (G.729, iLBC) would answer calls that then are silent.
    Other kinds have no source for keys of audio codecs.
    """
    lines: list[Line] = []
    for place, (name, payload, is_on) in enumerate(_CODECS):
        key = f"Config.{account}.Audio{place}"
        lines.append((f"{key}.Enable", "1" if is_on else "0"))
        if is_on:
            lines += [(f"{key}.Name", name), (f"{key}.Payload", str(payload))]
    return tuple(lines)


def speed_dial_lines(contacts: tuple[Contact, ...]) -> Iterator[Line]:
    """Twelve places, a label and a number each."""
    for place in range(MAX_SPEED_DIALS):
        contact = contacts[place] if place < len(contacts) else None
        yield f"Config.Features.SPEEDDIAL.Label{place + 1:02d}", label(contact.name) if contact else ""
        yield f"Config.Features.SPEEDDIAL.Num{place + 1:02d}", contact.number if contact else ""
