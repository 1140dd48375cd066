"""Who a link speaks for, over real TLS: client certificates bound to the MAC, and two devices that use one."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace

import pytest

from registry.mac import MacAddress
from tests.system.test_tunnel_channel import OTHER, RawPeer
from tests.system.tunnel_site import MAC, Certificate, Site, make_certificate, running, tunnel_site
from tunnel.clones import MOST_RETURNS
from tunnel.codec import unpack_error
from tunnel.errors import Code
from tunnel.frames import FrameType
from tunnel.handshake import Identity
from tunnel.net.agent import client_context

pytestmark = pytest.mark.system


@pytest.fixture
def of_device() -> Iterator[Certificate]:
    """A device's certificate, in the name of MAC, and its own authority."""
    with tempfile.TemporaryDirectory() as folder:
        yield make_certificate(folder, "0c-11-05-aa-bb-cc.devices.example")


def context_with(site: Site, certificate: Certificate) -> dict[str, object]:
    return {"tls": client_context(ca_file=site.certificate.chain, certificate=(certificate.chain, certificate.key))}


async def test_a_device_with_a_certificate_needs_no_key(of_device: Certificate) -> None:
    async with tunnel_site(device_ca=of_device.chain) as site:
        async with running(site.make_agent({}, Identity(MAC), **context_with(site, of_device))):
            await site.recorder.until(lambda: site.channel.link(MAC) is not None)
        async with running(site.make_agent({})):  # and one with a key needs no certificate
            await site.recorder.until(lambda: site.channel.link(MAC) is not None)


@pytest.mark.parametrize("mac", [OTHER, MacAddress("0C11059999FF")])
async def test_a_certificate_proves_no_other_mac_and_no_unknown_device(of_device: Certificate, mac: MacAddress) -> None:
    async with tunnel_site(device_ca=of_device.chain) as site:
        site.keys.known[OTHER] = bytes(32)
        async with running(site.make_agent({}, Identity(mac), **context_with(site, of_device))):
            await site.recorder.until(lambda: bool(site.recorder.refused))
        assert site.recorder.refused[0] == "not-authorised"
        assert site.recorder.channel == []


async def test_a_known_device_whose_name_the_certificate_has_but_which_was_removed(of_device: Certificate) -> None:
    async with tunnel_site(device_ca=of_device.chain) as site:
        del site.keys.known[MAC]
        async with running(site.make_agent({}, Identity(MAC), **context_with(site, of_device))):
            await site.recorder.until(lambda: bool(site.recorder.refused))
        assert site.recorder.refused[0] == "not-authorised"


async def test_a_certificate_of_another_authority_ends_in_the_tls_handshake(of_device: Certificate) -> None:
    with tempfile.TemporaryDirectory() as folder:
        forged = make_certificate(folder, "0c-11-05-aa-bb-cc.devices.example")
        async with tunnel_site(device_ca=of_device.chain) as site:
            async with running(site.make_agent({}, Identity(MAC), **context_with(site, forged))):
                await site.recorder.until(lambda: bool(site.recorder.refused))
            assert site.recorder.refused[0] == "handshake"


async def test_without_an_authority_a_certificate_proves_nothing(of_device: Certificate) -> None:
    async with tunnel_site() as site:
        async with running(site.make_agent({}, Identity(MAC), **context_with(site, of_device))):
            await site.recorder.until(lambda: bool(site.recorder.refused))
        assert site.recorder.refused[0] == "not-authorised"


async def test_two_devices_with_one_mac_and_key_are_told_and_further_links_refused() -> None:
    async with tunnel_site() as site:
        ends = ["127.0.0.1", "127.0.0.2"]
        peers = []
        for turn in range(MOST_RETURNS + 2):
            peer = await RawPeer(site).connect(source=ends[turn % 2])
            await peer.log_in(site.identity)
            peers.append(peer)
        await site.recorder.until(lambda: any(entry[0] == "cloned" for entry in site.recorder.channel))
        told = [entry for entry in site.recorder.channel if entry[0] == "cloned"]
        assert [(mac, {one, two}) for _, mac, one, two in told] == [(MAC, set(ends))]
        assert site.channel.link(MAC) is not None, "the link that stands stays"
        for source in ends:
            late = await RawPeer(site).connect(source=source)
            with pytest.raises(Exception, match="two devices use this MAC"):
                await late.log_in(site.identity)
        assert site.recorder.refused == ["cloned", "cloned"]
        stranger = await RawPeer(site).connect()  # who has no key learns nothing of it
        with pytest.raises(Exception, match="not authorised"):
            await stranger.log_in(replace(site.identity, key=bytes(32)))
        for peer in peers[:-1]:
            kind, payload = (await peer.last_words())[-1]
            assert (kind, unpack_error(payload)[0]) == (FrameType.ERROR, Code.REPLACED)
        peers[-1].writer.close()
