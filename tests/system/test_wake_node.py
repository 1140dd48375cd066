"""A whole node wakes an app after kill -9: push parameters and the call's trace are in the store, the token nowhere in clear."""

import asyncio
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.sip.test_traps_calls import cancel_of
from tests.system.fleet import add_devices, add_site
from tests.system.peers import RunningGateway, loopback_config, wait_until
from tests.system.push_service import push_service
from tests.system.stream_peer import StreamPeer
from tests.system.test_wake import INSTANCE, dials

pytestmark = pytest.mark.system
TOKEN = "the-token-of-adas-phone"


async def _registered(gateway: RunningGateway, username: str, password: str, push: bool = False) -> StreamPeer:
    peer = await StreamPeer.dial(gateway.address("sip_tcp"), username)
    peer.phone.password = password.encode()
    contact = b""
    if push:
        contact = b'<%b;pn-provider=fcm;pn-prid=%b>;+sip.instance="%b"' % (peer.phone.contact, TOKEN.encode(), INSTANCE)
    assert (await peer.answer(await peer.challenged(peer.phone.register(contact=contact)))).status == 200
    return peer


def _metrics(gateway: RunningGateway) -> str:
    host, port = gateway.address("metrics")
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def _ended_call(gateway: RunningGateway) -> dict[str, Any]:
    wait_until("call record", lambda: bool(gateway.ask("GET", "/call-log")["items"]), 5.0)
    entry: dict[str, Any] = gateway.ask("GET", "/call-log")["items"][0]
    return entry


async def test_an_app_is_woken_after_kill_9_and_the_call_log_says_why_it_did_not_ring(tmp_path: Path) -> None:
    secret = tmp_path / "webhook-secret"
    secret.write_text("a secret of the operator's own\n")
    async with push_service() as service:
        push = f'[push]\nwebhook_url = "{service.url}/wake"\nwebhook_secret_file = "{secret}"\n'
        gateway = RunningGateway(tmp_path, loopback_config(more=f'[sip]\ndomains = ["gw.test"]\n{push}'))
        with gateway:
            site = add_site(gateway, "North")
            (door,) = add_devices(gateway, site, 1)
            user = {"site": site, "first_name": "Ada", "last_name": "Lovelace", "number": "101", "app": True}
            account = gateway.ask("PUT", "/users/flat-101", user)["account"]
            app = await _registered(gateway, account["username"], account["password"], push=True)
            app.kill()
            wait_until("push parameters", lambda: any(b"AorPush" in file.read_bytes() for file in _files(gateway)), 5.0)
            gateway.kill()
            gateway.start()
            caller = await _registered(gateway, door.username, door.password)
            invite = await dials(caller, b"101")
            asked = await service.next()
            assert (asked.json["prid"], asked.json["account"], asked.json["dialled"]) == (TOKEN, account["username"], "101")
            accepted = 'portico_pushes_total{outcome="accepted",provider="fcm",purpose="call"} 1.0'
            await asyncio.to_thread(wait_until, "accepted push", lambda: accepted in _metrics(gateway), 5.0)
            assert "portico_sip_waiting_branches 1.0" in _metrics(gateway)
            caller.send(cancel_of(invite))
            assert sorted([(await caller.response()).status, (await caller.response()).status]) == [200, 487]
            assert (await service.next()).json["reason"] == "given-up"
            entry = await asyncio.to_thread(_ended_call, gateway)
            assert (entry["woken"], entry["missed"], entry["result"]) == ([account["username"]],) * 2 + ("cancelled",)
            assert [step["event"] for step in entry["trace"]] == ["push", "push-accepted", "cancelled"]
            assert "portico_sip_waiting_branches 0.0" in _metrics(gateway)
            caller.kill()
        gateway.start()
        assert _ended_call(gateway) == entry
        gateway.stop()
        held = [
            file.name for file in [*_files(gateway), gateway.log_file, gateway.output_file] if TOKEN.encode() in file.read_bytes()
        ]
        assert held == []


def _files(gateway: RunningGateway) -> list[Path]:
    return [file for file in gateway.state.rglob("*") if file.is_file()]
