"""What autop says when it cannot do what it was asked. Errors name the key or the line, never a value: values hold secrets."""


class AutopError(Exception):
    """Root of autop's errors."""


class RejectedValue(AutopError, ValueError):
    """A value that the device would reject or misread under this key (akuvox-devices.md section 1)."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")
        self.key = key
        self.reason = reason


class MalformedLine(AutopError, ValueError):
    """A text that is not one `Config.<Group>.<SECTION>.<Item> = value` line. `row` counts from 1."""

    def __init__(self, row: int, reason: str) -> None:
        super().__init__(f"line {row}: {reason}")
        self.row = row
        self.reason = reason


class UnknownModel(AutopError, LookupError):
    """A model name that the catalogue does not hold. `nearest` are the names it may have meant."""

    def __init__(self, model: str, nearest: tuple[str, ...]) -> None:
        super().__init__(f"unknown model {model!r}" + (f"; did you mean {', '.join(nearest)}?" if nearest else ""))
        self.model = model
        self.nearest = nearest
