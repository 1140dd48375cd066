"""What the registry says when it cannot do what it was asked. Every error names the key it is about, never a secret."""


class RegistryError(Exception):
    """Root of the registry's errors."""


class MalformedMac(RegistryError, ValueError):
    """A text that is not a MAC address in any spelling the field uses."""


class NotFound(RegistryError):
    """There is no such record."""


class StaleVersion(RegistryError):
    """The record is not at the version the writer had read: somebody else wrote first, so nothing was written."""

    def __init__(self, kind: str, key: str, expected: int, actual: int) -> None:
        super().__init__(f"{kind} {key!r} is at version {actual}, not {expected}")
        self.kind = kind
        self.key = key
        self.expected = expected
        self.actual = actual


class Conflict(RegistryError):
    """A value that must be unique is taken by another record, so nothing was written."""

    def __init__(self, kind: str, index: str, value: str, holder: str) -> None:
        super().__init__(f"{kind} with {index} {value!r} exists already: {holder!r}")
        self.kind = kind
        self.index = index
        self.value = value
        self.holder = holder


class StoreUnavailable(RegistryError):
    """The store cannot answer now (disk full, connection lost, closed). Nothing was acknowledged."""


class ChangesLost(RegistryError):
    """The change feed no longer reaches back to the asked sequence number: read everything afresh."""


class UnreadableRecord(RegistryError):
    """Stored bytes that are no record of this kind; the store puts them aside instead of failing the node."""


class BadSeal(RegistryError):
    """A sealed secret that this master key does not open: wrong key, or the bytes were changed."""
