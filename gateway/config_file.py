"""portico.toml as a file: read with every mistake named at once, and written out with every key explained."""

import difflib
import ipaddress
import tomllib
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from gateway.config import Config, Section
from gateway.errors import ConfigError

MAX_CONFIG_BYTES = 1 << 20


def load(path: Path | None) -> Config:
    """Read a configuration file, or give the defaults for None. Raises ConfigError with every mistake in the file at once."""
    if path is None:
        return Config()
    try:
        with path.open("rb") as file:
            text = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read: {error.strerror}. Give the right file with --config, or none at all."
        ) from None
    if len(text) > MAX_CONFIG_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_CONFIG_BYTES} bytes, so it is no Portico configuration.")
    try:
        values = tomllib.loads(text.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    return parse(values, str(path))


def parse(values: dict[str, Any], source: str) -> Config:
    """Check values as TOML gives them. Raises ConfigError naming `source`, each wrong key, and what is allowed there."""
    try:
        config = Config.model_validate(_tuples(values))
    except ValidationError as error:
        lines = [f"{source}: {_in_words(problem)}" for problem in error.errors()]
        raise ConfigError("\n".join(lines)) from None
    if (config.tls.certificate is None) != (config.tls.key is None):
        raise ConfigError(f"{source}: tls.certificate and tls.key go together: give both or neither.")
    if (config.push.webhook_url is None) != (config.push.webhook_secret_file is None):
        raise ConfigError(f"{source}: push.webhook_url and push.webhook_secret_file go together: give both or neither.")
    if config.media.engine == "rtpengine" and not config.media.rtpengine:
        raise ConfigError(f"{source}: media.engine is rtpengine, so media.rtpengine names at least one instance.")
    if config.media.first_port >= config.media.last_port:
        raise ConfigError(f"{source}: media.first_port is not below media.last_port.")
    for text in config.media.rtpengine:
        if not _is_instance(text):
            raise ConfigError(f"{source}: media.rtpengine: {text!r} is no IP address with a port.")
    ports = config.remote_control.port_range
    if config.remote_control.ports and not (ports and len(ports) <= 256 and ports[0] >= 1024 and ports[-1] < 65536):
        raise ConfigError(f"{source}: remote_control.ports: from 1024, at most 256 of them, the lower one first.")
    if config.sip.min_expires > config.sip.max_expires:
        raise ConfigError(f"{source}: sip.min_expires is above sip.max_expires; allowed is at most {config.sip.max_expires}.")
    return config


def _is_instance(text: str) -> bool:
    host, _, port = text.rpartition(":")
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return 0 < int(port) < 65536


def _tuples(value: Any) -> Any:
    """TOML arrays as tuples, which a frozen Config holds."""
    if isinstance(value, dict):
        return {name: _tuples(item) for name, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _in_words(problem: Any) -> str:
    where: tuple[str | int, ...] = problem["loc"]
    name = ".".join(str(part) for part in where)
    if problem["type"] == "extra_forbidden":
        allowed = sorted(_section_at(where[:-1]).model_fields)
        near = difflib.get_close_matches(str(where[-1]), allowed, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return f"{name}: unknown key.{hint} Allowed here: {', '.join(allowed)}."
    message = str(problem["msg"])
    return f"{name}: {message[0].lower()}{message[1:]}, not {problem['input']!r}."


def _section_at(path: tuple[str | int, ...]) -> type[BaseModel]:
    section: type[BaseModel] = Config
    for part in path:
        if isinstance(part, int):
            continue  # a place in a list of sections
        annotation = section.model_fields[part].annotation
        annotation = (get_args(annotation) or (annotation,))[0]
        assert isinstance(annotation, type)
        assert issubclass(annotation, BaseModel)
        section = annotation
    return section


def reference() -> str:
    """All keys with defaults and descriptions as a commented TOML file (`portico check-config --defaults`)."""
    lines = ["# Every key of portico.toml with its default. A port of 0 picks a free one, -1 turns the listener off.", ""]
    for name, field in Config.model_fields.items():
        if not isinstance(field.default, Section):
            lines += [f"# {field.description}", f"{name} = {_toml(field.default)}", ""]
    for name, field in Config.model_fields.items():
        section = field.default
        if isinstance(section, Section):
            lines += [f"# {(type(section).__doc__ or '').strip()}", f"[{name}]"]
            for key, inner in type(section).model_fields.items():
                lines += [f"# {inner.description}", f"{'# ' if inner.default is None else ''}{key} = {_toml(inner.default)}"]
            lines.append("")
    return "\n".join(lines)


def _toml(value: Any) -> str:
    if value is None:
        return '""'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)
