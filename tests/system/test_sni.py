"""Several certificates on a running node: chosen by server name at every TLS listener, reloaded all or none."""

import asyncio
import hashlib
import os
import re
import signal
import socket
import ssl
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from gateway.tls import CertificateFiles, ServerTls, local_certificates
from tests.system.peers import RunningGateway, loopback_config, wait_until
from tests.system.tunnel_site import MAC, running, tunnel_site
from tunnel.net.agent import Agent, client_context

pytestmark = pytest.mark.system
TLS_LISTENERS = ("sip_tls", "sip_wss", "channel", "remote_control", "autop_https")
NAMES = {"a": ("gw.example",), "b": ("sip.example",), "c": ("*.remote.localhost",)}


def pair(folder: Path, *names: str, after: timedelta = timedelta()) -> CertificateFiles:
    """A certificate under a CA of its own; made anew when the names are others."""
    return local_certificates(folder, names, datetime.now(UTC) + after)


def sha256(files: CertificateFiles) -> bytes:
    return x509.load_pem_x509_certificate(files.certificate.read_bytes()).fingerprint(hashes.SHA256())


def seen(gateway: RunningGateway, listener: str, name: str | None) -> bytes:
    """SHA-256 of the certificate that a client asking for this name is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(gateway.address(listener), timeout=5) as sock,
        context.wrap_socket(sock, server_hostname=name) as tls,
    ):
        der = tls.getpeercert(binary_form=True)
    assert der is not None
    return hashlib.sha256(der).digest()


def ends(gateway: RunningGateway) -> dict[str, float]:
    """The gauge of the certificates' ends, by label."""
    host, port = gateway.address("metrics")
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = re.findall(r'^portico_tls_certificate_not_after_timestamp_seconds\{cert="([^"]+)"\} (\S+)$', text, re.MULTILINE)
    return {label: float(value) for label, value in found}


def test_every_listener_shows_the_certificate_of_the_name_and_a_reload_is_of_all_or_none(tmp_path: Path) -> None:
    files = {one: pair(tmp_path / one, *names) for one, names in NAMES.items()}
    first, *further = (f'certificate = "{one.certificate}"\nkey = "{one.key}"\n' for one in files.values())
    more = f"[tls]\n{first}" + "".join(f"[[tls.certificates]]\n{one}" for one in further)
    wanted = {None: "a", "other.example": "a", "gw.example": "a", "sip.example": "b", "x1.remote.localhost": "c"}

    def shown() -> list[bytes]:
        return [seen(gateway, listener, name) for listener in TLS_LISTENERS for name in wanted]

    def expected() -> list[bytes]:
        return [sha256(files[one]) for one in wanted.values()] * len(TLS_LISTENERS)

    with RunningGateway(tmp_path, loopback_config(more=more)) as gateway:
        assert "ca_file" not in gateway.ready
        before = expected()
        assert shown() == before
        old_ends = ends(gateway)
        assert list(old_ends) == ["server", "server-2", "server-3"]
        for one, names in NAMES.items():
            pair(tmp_path / one, *names, f"new-{one}.example", after=timedelta(hours=1))
        good = files["c"].certificate.read_bytes()
        files["c"].certificate.write_bytes(files["a"].certificate.read_bytes())
        os.kill(gateway.pid, signal.SIGHUP)
        wait_until("refusal", lambda: "certificates not reloaded" in gateway.log_file.read_text(), 10.0)
        assert shown() == before
        files["c"].certificate.write_bytes(good)
        os.kill(gateway.pid, signal.SIGHUP)
        wait_until("reload", lambda: "certificates reloaded" in gateway.log_file.read_text(), 10.0)
        assert shown() == expected()
        assert not set(expected()) & set(before)
        assert all(new > old_ends[label] for label, new in ends(gateway).items())


async def test_a_channels_proof_covers_the_certificate_that_the_device_was_shown(tmp_path: Path) -> None:
    files = [pair(tmp_path / "a", "gw.example"), pair(tmp_path / "b", "sip.example")]
    async with tunnel_site(server_tls=ServerTls(files)) as site:
        for name, one in zip(("gw.example", "sip.example"), files, strict=True):
            agent = Agent(
                host="127.0.0.1",
                port=site.channel_address[1],
                identity=site.identity,
                tls=client_context(ca_file=str(one.ca)),
                server_name=name,
                services={},
                entropy=os.urandom,
            )
            async with running(agent), asyncio.timeout(10):
                await site.recorder.until(lambda: site.channel.link(MAC) is not None)
            await site.recorder.until(lambda: site.channel.link(MAC) is None)
