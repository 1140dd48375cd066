"""Guard phones (3): an account, speed dials to the site's doors and phones, and a phonebook of everybody."""

from collections.abc import Iterator

from autop.cfg_format import label
from autop.profiles.base import Line, Model, account_lines, shared_lines
from autop.settings import MAX_SPEED_DIALS, Contact, DeviceSettings

PHONEBOOK = "Portico"
"""What the phonebook is called on the phone."""


class GuardPhone:
    """Profile of kind 3."""

    def lines(self, settings: DeviceSettings, model: Model) -> Iterator[Line]:
        """Account, speed dials, phonebook, then what every kind has."""
        yield from account_lines(settings.account, model)
        yield from speed_dial_lines(settings.contacts)
        yield "Config.RemotePhoneBook.REMOTE_PHONE_BOOK0.DisplayName", PHONEBOOK if settings.phonebook_url else ""
        yield "Config.RemotePhoneBook.REMOTE_PHONE_BOOK0.Url", settings.phonebook_url
        yield from shared_lines(settings, model)


def speed_dial_lines(contacts: tuple[Contact, ...]) -> Iterator[Line]:
    """Twelve places, a label and a number each."""
    for place in range(MAX_SPEED_DIALS):
        contact = contacts[place] if place < len(contacts) else None
        yield f"Config.Features.SPEEDDIAL.Label{place + 1:02d}", label(contact.name) if contact else ""
        yield f"Config.Features.SPEEDDIAL.Num{place + 1:02d}", contact.number if contact else ""
