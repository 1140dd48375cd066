"""The pin of a device's own HTTPS page: the public key it showed when an operator first opened it through Remote Control."""

from dataclasses import dataclass

from registry.mac import MacAddress


@dataclass(frozen=True, slots=True)
class WebCertificate:
    """SHA-256 (hex) of the public key in the certificate of a device's page. Times are wall-clock seconds.

    `other`: another key that was shown later and refused, when it was first, empty if none was. Deleting the record forgets the
    pin: the next session takes what the device shows then.
    """

    mac: MacAddress
    site: str
    spki: str
    first_seen: float
    first_by: str
    other: str = ""
    other_seen: float | None = None

    @property
    def key(self) -> str:
        return self.mac.text

    def indexes(self) -> dict[str, str]:
        return {"site": self.site}
