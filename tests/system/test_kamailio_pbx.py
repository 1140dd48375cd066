"""Kamailio as a PBX behind the gateway: it registers an account as a client does (uac_reg), and calls to it reach its phone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sip.message import Request
from sip.parser import parse
from tests.system.fleet import AddedDevice
from tests.system.kamailio import RunningKamailio
from tests.system.peers import ROOT, needs, wait_until
from tests.system.udp_phone import House, running_house

pytestmark = [pytest.mark.system, needs("kamailio")]
CONFIG = ROOT / "tests" / "system" / "kamailio_pbx" / "kamailio.cfg"
COLUMNS = (
    "id(int,auto) l_uuid(string) l_username(string) l_domain(string) r_username(string) r_domain(string) realm(string) "
    "auth_username(string) auth_password(string) auth_ha1(string,null) auth_proxy(string) expires(int) flags(int) reg_delay(int) "
    "contact_addr(string,null) socket(string,null)"
)
"""Kamailio's table of its own registrations, as its db_text module keeps it."""
REGISTER_DEADLINE = 10.0


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    yield from running_house(tmp_path_factory.mktemp("before"), 4, 0xD000)


def pbx(house: House, folder: Path, account: AddedDevice, phone: bytes) -> RunningKamailio:
    """A Kamailio that will register `account` and send its calls to `phone`."""
    config = folder / "kamailio.cfg"
    made = RunningKamailio(folder, config=config)
    host, port = made.address
    text = CONFIG.read_text().replace("FOLDER", str(folder)).replace("CONTACT", f"{host}:{port}")
    config.write_text(text.replace("PHONE_URI", phone.decode()))
    gateway, gateway_port = house.address
    user, password = account.username, account.password
    row = ["1", "pbx", user, "pbx.test", user, "gw.test", "portico", user, password, ""]
    row += [f"sip:{gateway}:{gateway_port}", "3600", "0", "0", "", ""]
    escaped = ":".join(one.replace("\\", "\\\\").replace(":", "\\:") for one in row)
    (folder / "uacreg").write_text(f"{COLUMNS} \n{escaped}\n")
    (folder / "version").write_text("id(int,auto) table_name(string) table_version(int)\n1:uacreg:5\n")
    return made


def test_a_pbx_registers_and_takes_calls_for_its_phone(house: House, tmp_path: Path) -> None:
    caller, account = house.phone("A"), house.new_account()
    phone = house.phone("D")
    with pbx(house, tmp_path, account, phone.contact) as running:
        phone.gateway = running.address
        wait_until("registration of the PBX", lambda: _is_registered(house, account), REGISTER_DEADLINE)
        invite, (arrived,) = caller.calls(account.username, phone)
        sent = parse(invite)
        assert isinstance(sent, Request)
        assert len(arrived.all(b"record-route")) == 2, "the PBX, the gateway"
        phone.answers(arrived, 180)
        caller.gets(180)
        phone.answers(arrived, 200)
        final = caller.gets(200)
        caller.send(caller.in_dialog(b"ACK", final, sent))
        phone.asked(b"ACK")
        phone.send(phone.in_dialog_as_callee(b"BYE", arrived))
        caller.answers(caller.asked(b"BYE"), 200)
        phone.gets(200, b"BYE")


def _is_registered(house: House, account: AddedDevice) -> bool:
    return bool(house.gateway.ask("GET", f"/devices/{account.mac}/status")["registered"])
