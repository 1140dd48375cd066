"""A device's contacts as the XML file that its remote phonebook fetches (akuvox-devices.md section 4: flat, attributes only)."""

from collections.abc import Iterable
from xml.sax.saxutils import quoteattr

from autop.cfg_format import label
from autop.profiles.guard_phone import PHONEBOOK
from autop.settings import Contact


def write_phonebook(contacts: Iterable[Contact]) -> bytes:
    """The file: the same contacts give the same bytes."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f"<Directory Name={quoteattr(PHONEBOOK)}>"]
    for place, contact in enumerate(contacts, 1):
        name, number = quoteattr(label(contact.name) or contact.number), quoteattr(contact.number)
        lines.append(f'<Contact Id="{place}" Name={name} Office={number} Mobile="" Other=""/>')
    return "\n".join([*lines, "</Directory>", ""]).encode()
