"""The management plane's part of the composition: what the admin API is given, and its listener."""

from collections.abc import Callable

from admin_api.app import create_app
from admin_api.net.server import AdminServer
from admin_api.ports import AdminPorts
from autop.catalogue import known_models
from autop.net.configurations import Configurations
from autop.net.firmware_files import FirmwareFiles
from autop.settings import AutopSettings
from gateway.device_calls import DeviceCalls
from gateway.door_commands import DoorCommands
from gateway.followed_store import FollowedStore
from gateway.ground import Ground, Known
from gateway.presence import PresenceBook
from gateway.reach import Reach
from gateway.remote_control import remote_control
from gateway.trunks import presence as trunk_presence
from sip.net.trunk_service import TrunkService
from tunnel.net.visitor_listener import VisitorListener


def admin_ports(
    ground: Ground,
    known: Known,
    *,
    settings: Callable[[], AutopSettings],
    visitors: VisitorListener,
    presence: PresenceBook,
    trunks: TrunkService,
    doors: DoorCommands,
    reach: Reach,
    configurations: Configurations,
    firmware: FirmwareFiles,
) -> AdminPorts:
    """What the admin API asks of the node's parts."""
    wall, clock = ground.wall, ground.clock
    return AdminPorts(
        store=FollowedStore(known.store, known.read_model),
        vault=known.vault,
        entropy=ground.entropy,
        wall=wall,
        monotonic=clock,
        autop_url=lambda mac, token: settings().directory(token),
        enrolment_url=lambda token: settings().directory(token),
        remote_control=remote_control(visitors),
        presence=presence.of,
        trunk_presence=lambda trunk: trunk_presence(trunks.state(trunk), clock(), wall()),
        known_models=known_models,
        doors=doors,
        devices=DeviceCalls(reach.of),
        configurations=configurations,
        firmware=firmware,
        observer=ground.metrics.admin_request,
    )


async def open_admin_api(ground: Ground, ports: AdminPorts) -> None:
    """Open the listener of the admin API. Raises StartError."""
    admin = AdminServer(create_app(ports))
    await ground.listeners.open("admin", (ground.config.listen.admin_address,), admin.start)
    ground.stack.push_async_callback(lambda: admin.stop(ground.grace()))
