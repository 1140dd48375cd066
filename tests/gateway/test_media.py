"""Which media engine a configuration makes, and where its relay is."""

import pytest

from gateway.config import Config, Listen, Media
from gateway.errors import StartError
from gateway.media import media_engine, media_rule, relay_addresses
from gateway.metrics import Metrics
from sip.media_engine import MediaFailed, MediaKey, MediaOffer, MediaOutcome
from sip.media_rule import MediaRule
from sip.net.rtp import RelayAddress, RtpRelay
from sip.net.rtpengine import RtpengineClient


def made(media: Media, told: list[MediaOutcome] | None = None) -> tuple[object, Metrics]:
    metrics = Metrics("test")
    outcomes = [] if told is None else told
    config = Config(listen=Listen(address=("127.0.0.1",)), media=media)
    return media_engine(config, metrics, outcomes.append, clock=lambda: 0.0, entropy=bytes), metrics


def test_each_engine() -> None:
    assert made(Media())[0] is None
    assert isinstance(made(Media(engine="relay"))[0], RtpRelay)
    engine, metrics = made(Media(engine="rtpengine", rtpengine=("192.0.2.1:2223", "[2001:db8::1]:2223")))
    assert isinstance(engine, RtpengineClient)
    assert list(engine.alive) == ["192.0.2.1:2223", "2001:db8::1:2223"]
    assert b'portico_media_instances_up{instance="192.0.2.1:2223"} 1.0' in metrics.exposition()


def test_a_failure_is_counted_and_told() -> None:
    told: list[MediaOutcome] = []
    engine, metrics = made(Media(engine="relay"), told)
    assert isinstance(engine, RtpRelay)
    engine.request(MediaOffer(MediaKey(b"c", b"f"), 1, b"garbage", "127.0.0.1", "127.0.0.1"))
    assert told == [MediaFailed(1, MediaKey(b"c", b"f"), "garbage", 488)]
    assert b'portico_media_failed_total{reason="garbage"} 1.0' in metrics.exposition()
    assert b'portico_media_refused{reason="garbage"} 1.0' in metrics.exposition()


def test_addresses() -> None:
    one = RelayAddress("127.0.0.1", "127.0.0.1")
    assert relay_addresses(Config(listen=Listen(address=("127.0.0.1",)))) == [one]
    both = Media(addresses=("10.0.0.5", "2001:db8::5"), public_addresses=("198.51.100.5",))
    assert relay_addresses(Config(media=both)) == [
        RelayAddress("10.0.0.5", "198.51.100.5"),
        RelayAddress("2001:db8::5", "2001:db8::5"),
    ]


def test_a_public_address_that_nothing_is_behind() -> None:
    with pytest.raises(StartError, match=r"media\.addresses"):
        relay_addresses(Config(media=Media(addresses=("10.0.0.5",), public_addresses=("2001:db8::5",))))


def test_which_calls_the_core_asks_about() -> None:
    assert media_rule(Config()) is None
    assert media_rule(Config(media=Media(engine="relay"))) == MediaRule()
    assert media_rule(Config(media=Media(engine="relay", relay="always"))) == MediaRule(always=True)
    assert media_rule(Config(media=Media(engine="rtpengine", rtpengine=("192.0.2.1:2223",)))) == MediaRule(bridges=True)
