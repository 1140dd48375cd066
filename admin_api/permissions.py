"""Who may do what: the one table of the API's permissions, and whom a token may create tokens for."""

from collections.abc import Mapping
from enum import StrEnum

from registry.records import Role


class Permission(StrEnum):
    """What a route needs. `.read` never changes anything."""

    TOKENS_READ = "tokens.read"
    TOKENS_WRITE = "tokens.write"
    MAC_LIBRARY_READ = "mac-library.read"
    MAC_LIBRARY_WRITE = "mac-library.write"
    SITES_READ = "sites.read"
    SITES_WRITE = "sites.write"
    DEPARTMENTS_READ = "departments.read"
    DEPARTMENTS_WRITE = "departments.write"
    DEVICES_READ = "devices.read"
    DEVICES_WRITE = "devices.write"
    RELAYS_OPEN = "relays.open"
    ENROLMENT_READ = "enrolment.read"
    ENROLMENT_WRITE = "enrolment.write"
    COMMANDS_READ = "commands.read"
    COMMANDS_WRITE = "commands.write"
    COMMAND_LOGS_READ = "command-logs.read"
    USERS_READ = "users.read"
    USERS_WRITE = "users.write"
    TRUNKS_READ = "trunks.read"
    TRUNKS_WRITE = "trunks.write"
    FIRMWARE_READ = "firmware.read"
    FIRMWARE_WRITE = "firmware.write"
    UPGRADES_READ = "upgrades.read"
    UPGRADES_WRITE = "upgrades.write"
    CONNECTORS_READ = "connectors.read"
    CONNECTORS_WRITE = "connectors.write"
    REMOTE_SESSIONS_READ = "remote-sessions.read"
    REMOTE_SESSIONS_WRITE = "remote-sessions.write"
    FORWARDS_WRITE = "forwards.write"
    LOGS_READ = "logs.read"
    AUDIT_READ = "audit.read"
    EVENTS_READ = "events.read"


_EVERYBODY = frozenset(Role)
_D, _I, _S, _P = Role.DISTRIBUTOR, Role.INSTALLER, Role.SUB_INSTALLER, Role.PROPERTY_MANAGER

ROLES: Mapping[Permission, frozenset[Role]] = {
    Permission.TOKENS_READ: frozenset({_D, _I}),
    Permission.TOKENS_WRITE: frozenset({_D, _I}),
    Permission.MAC_LIBRARY_READ: frozenset({_D, _I, _S}),
    Permission.MAC_LIBRARY_WRITE: frozenset({_D}),
    Permission.SITES_READ: _EVERYBODY,
    Permission.SITES_WRITE: frozenset({_D, _I}),
    Permission.DEPARTMENTS_READ: _EVERYBODY,
    Permission.DEPARTMENTS_WRITE: frozenset({_D, _I, _S, _P}),
    Permission.DEVICES_READ: _EVERYBODY,
    Permission.DEVICES_WRITE: frozenset({_D, _I, _S}),
    Permission.RELAYS_OPEN: frozenset({_D, _I, _S, _P}),
    Permission.ENROLMENT_READ: frozenset({_D, _I, _S}),
    Permission.ENROLMENT_WRITE: frozenset({_D, _I, _S}),
    Permission.COMMANDS_READ: frozenset({_D, _I, _S, _P}),
    Permission.COMMANDS_WRITE: frozenset({_D, _I, _S, _P}),
    Permission.COMMAND_LOGS_READ: frozenset({_D, _I, _S}),
    Permission.USERS_READ: _EVERYBODY,
    Permission.USERS_WRITE: frozenset({_D, _I, _S, _P}),
    Permission.TRUNKS_READ: frozenset({_D, _I}),
    Permission.TRUNKS_WRITE: frozenset({_D, _I}),
    Permission.FIRMWARE_READ: frozenset({_D, _I, _S}),
    Permission.FIRMWARE_WRITE: frozenset({_D}),
    Permission.UPGRADES_READ: frozenset({_D, _I, _S}),
    Permission.UPGRADES_WRITE: frozenset({_D, _I, _S}),
    Permission.CONNECTORS_READ: frozenset({_D, _I, _S}),
    Permission.CONNECTORS_WRITE: frozenset({_D, _I}),
    Permission.REMOTE_SESSIONS_READ: frozenset({_D, _I, _S}),
    Permission.REMOTE_SESSIONS_WRITE: frozenset({_D, _I, _S}),
    Permission.FORWARDS_WRITE: frozenset({_D, _I}),
    Permission.LOGS_READ: _EVERYBODY,
    Permission.AUDIT_READ: frozenset({_D, _I}),
    Permission.EVENTS_READ: _EVERYBODY,
}
"""The roles that have each permission. A route names one permission; see routing.py."""

GRANTABLE: Mapping[Role, frozenset[Role]] = {
    Role.DISTRIBUTOR: _EVERYBODY,
    Role.INSTALLER: frozenset({Role.SUB_INSTALLER, Role.PROPERTY_MANAGER, Role.READ_ONLY}),
    Role.SUB_INSTALLER: frozenset(),
    Role.PROPERTY_MANAGER: frozenset(),
    Role.READ_ONLY: frozenset(),
}
"""The roles of the tokens that a token may create, see and revoke (never with a wider scope than its own)."""


def may(role: Role, permission: Permission) -> bool:
    """Whether `role` has `permission`."""
    return role in ROLES[permission]
