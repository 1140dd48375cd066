"""Firmware by the catalogue's table: which image is for which model, what versions say, and the line that offers one.

A version is `M.C.x.y[.z]`: M the model's number, C the customer's (akuvox-devices.md section 9). An image of another number
bricks a device, so nothing here guesses: where the table has no number or no extension, there is no firmware for the model.
"""

import re
from dataclasses import dataclass

from autop.catalogue import firmware_fits, model
from autop.cfg_format import MAX_URL
from autop.errors import UnknownModel
from autop.profiles.base import Model
from registry.mac import MacAddress

KEY = "Config.Firmware.Url"
ID_DIGITS = 24
"""Hexadecimal digits of a SHA-256 that name an image: 96 bits, so that the URL fits its field with a long host name."""

_VERSION = re.compile(r"\d{1,5}(?:\.\d{1,5}){3,4}", re.ASCII)
_TOLD = re.compile(r"(?<![\d.])\d{1,5}(?:\.\d{1,5}){3,4}(?![\d.])", re.ASCII)
MAX_TOLD = 256
"""Characters of a User-Agent that are read."""


@dataclass(frozen=True, slots=True)
class Offer:
    """An image that a device is to install."""

    image: str
    extension: str

    def url(self, directory: str, mac: MacAddress) -> str:
        """Where the device gets it: below its own token's directory (which ends in a slash)."""
        return f"{directory}{mac.text}-{self.image}{self.extension}"


def takes_firmware(row: Model) -> bool:
    """Whether the table knows enough of this model to upgrade it."""
    return row.firmware is not None and row.extension != ""


def image_id(sha256: str) -> str:
    """The name of the image with this SHA-256 (hexadecimal, lower case)."""
    return sha256[:ID_DIGITS]


def is_version(text: str) -> bool:
    """Whether `text` is a firmware version: four or five numbers with points between."""
    return _VERSION.fullmatch(text) is not None


def older(one: str, other: str) -> bool:
    """Whether version `one` is older than `other`. Another customer's number makes two versions incomparable: False."""
    first, second = _numbers(one), _numbers(other)
    return first[:2] == second[:2] and first < second


def same(one: str, other: str) -> bool:
    """Whether two versions are the same: 29.30.010.1 is 29.30.10.1."""
    return _numbers(one) == _numbers(other)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split(".") if number)


def told_version(user_agent: str, target: str) -> str:
    """The version that a User-Agent tells, "" for none. Only one of the model number of `target` counts: it may hold addresses.

    `Akuvox R20B 220.30.2.28` is what a REGISTER has. An operator may set another text, which then tells nothing.
    """
    number = target.partition(".")[0]
    return next((found for found in _TOLD.findall(user_agent[:MAX_TOLD]) if found.partition(".")[0] == number), "")


def fault(image_model: str, version: str) -> str:
    """Why there is no image of this version for this model; "" if there may be one."""
    try:
        row = model(image_model)
    except UnknownModel as unknown:
        return str(unknown)
    if not takes_firmware(row):
        return "the table of models has no firmware number or file type for this model"
    if not is_version(version):
        return "a version is four or five numbers with points between, for example 29.30.10.465"
    if not firmware_fits(row, version):
        return f"firmware of {row.name} begins with {row.firmware}: this version is for another model"
    return ""


def fits(device_model: str, image_model: str) -> bool:
    """Whether a device of `device_model` may get an image of `image_model`: same number and same file type in the table."""
    try:
        one, other = model(device_model), model(image_model)
    except UnknownModel:
        return False
    return takes_firmware(one) and (one.firmware, one.extension) == (other.firmware, other.extension)


def offer_for(device_model: str, image: str) -> Offer | None:
    """The offer of an image to a device of this model; None where the table has no firmware for the model."""
    try:
        row = model(device_model)
    except UnknownModel:
        return None
    return Offer(image, row.extension) if takes_firmware(row) else None


def firmware_lines(device_model: str, mac: MacAddress, directory: str, offer: Offer | None) -> dict[str, str]:
    """What a configuration says of firmware. Blank without an offer: a device keeps what its file does not name, and would
    fetch the same image at every start. Nothing at all for a model that takes no firmware."""
    if not takes_firmware(model(device_model)):
        return {}
    url = offer.url(directory, mac) if offer is not None else ""
    return {KEY: url if len(url) <= MAX_URL else ""}
