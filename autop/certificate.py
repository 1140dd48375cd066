"""Which devices a client certificate speaks for. That it is valid, and of the operator's CA, was decided by the TLS handshake."""

from collections.abc import Iterator, Mapping
from typing import Any

from registry.errors import MalformedMac
from registry.mac import MacAddress


def certified_macs(certificate: Mapping[str, Any]) -> frozenset[MacAddress]:
    """The MACs that its common names and DNS names are, or begin with as a label (`0c1105aabbcc.devices.example`), any spelling.

    `certificate` is what `ssl` makes of a verified one (`getpeercert`), empty for none.
    """
    return frozenset(mac for name in _names(certificate) if (mac := _mac(name)) is not None)


def _names(certificate: Mapping[str, Any]) -> Iterator[str]:
    for parts in certificate.get("subject", ()):
        yield from (str(value) for kind, value in parts if kind == "commonName")
    yield from (str(value) for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS")


def _mac(name: str) -> MacAddress | None:
    for text in (name, name.partition(".")[0]):
        try:
            return MacAddress.parse(text)
        except MalformedMac:
            continue
    return None
