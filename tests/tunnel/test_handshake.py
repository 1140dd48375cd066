"""The handshake: both ends together, then everything that must fail, and that failures look alike."""

import hmac
from hashlib import sha256
from typing import Any

import pytest

from registry.connector import ConnectorName
from registry.mac import MacAddress
from tunnel.codec import pack_error, pack_map, unpack_map
from tunnel.errors import Code, LocalError, PeerError
from tunnel.frames import Frame, FrameType, Limits
from tunnel.handshake import AgentHandshake, GatewayHandshake, Identity, Step, Welcome

MAC = MacAddress("0C1105AABBCC")
KEY = bytes(range(32))
CERT = sha256(b"leaf").digest()


def gateway(certificate: bytes = CERT) -> GatewayHandshake:
    return GatewayHandshake(certificate=certificate, entropy=lambda n: b"G" * n, dummy_key=b"D" * 32, limits=Limits())


def agent(key: bytes = KEY, certificate: bytes = CERT, **more: Any) -> AgentHandshake:
    return AgentHandshake(identity=Identity(MAC, key), certificate=certificate, entropy=lambda n: b"A" * n, **more)


def frame(message: tuple[FrameType, bytes] | Welcome) -> Frame:
    assert not isinstance(message, Welcome)
    return Frame(message[0], 0, message[1])


def hello(**changes: Any) -> Frame:
    """A right HELLO to gateway()'s challenge, with keys changed, or left out where the value is Ellipsis."""
    content = unpack_map(frame(agent().receive(frame(gateway().start()))).payload)
    content.update(changes)
    return Frame(FrameType.HELLO, 0, pack_map({key: value for key, value in content.items() if value is not ...}))


def test_both_ends_agree() -> None:
    left, right = gateway(), agent(capabilities=("calls", "other"))
    answer = right.receive(frame(left.start()))
    assert left.receive(frame(answer)) == MAC
    left.key_found(KEY)
    assert left.capabilities == ("calls", "other")
    welcome = right.receive(frame(left.welcome(7, used=("calls", "unknown"))))
    assert welcome == Welcome(7, 25.0, 60.0, 64, ("calls",))
    assert left.step is right.step is Step.UP


CONNECTOR = ConnectorName("abcdefghij2345670003")


def connector(key: bytes = KEY) -> AgentHandshake:
    return AgentHandshake(identity=Identity(CONNECTOR, key), certificate=CERT, entropy=lambda n: b"A" * n)


def test_a_connector_proves_itself_with_its_own_labels() -> None:
    left, right = gateway(), connector()
    answer = frame(right.receive(frame(left.start())))
    content = unpack_map(answer.payload)
    assert "mac" not in content
    assert content["connector"] == CONNECTOR.text
    message = b"portico-connector-1" + b"G" * 32 + b"A" * 32 + CERT + CONNECTOR.text.encode()
    assert content["proof"] == hmac.new(KEY, message, sha256).digest()
    assert left.receive(answer) == CONNECTOR
    left.key_found(KEY)
    welcome = frame(left.welcome(9))
    message = b"portico-connector-1-gateway" + b"A" * 32 + b"G" * 32 + CERT + CONNECTOR.text.encode() + (9).to_bytes(8, "big")
    assert unpack_map(welcome.payload)["proof"] == hmac.new(KEY, message, sha256).digest()
    assert right.receive(welcome) == Welcome(9, 25.0, 60.0, 64, ())


@pytest.mark.parametrize("key", [None, b"x" * 32])
def test_an_unknown_connector_is_refused_like_one_with_a_wrong_token(key: bytes | None) -> None:
    left = gateway()
    left.receive(frame(connector().receive(frame(left.start()))))
    with pytest.raises(PeerError) as refusal:
        left.key_found(key)
    assert (refusal.value.code, refusal.value.text) == (Code.NOT_AUTHORISED, "not authorised")


@pytest.mark.parametrize(
    "said", ["ABCDEFGHIJ2345670003", "abcdefghij23456700031", "abcdefghij234567000", "abcdefghij234567000x", 3]
)
def test_a_connector_has_a_name_of_20_characters(said: Any) -> None:
    left = gateway()
    left.start()
    with pytest.raises(PeerError, match="connector missing or malformed"):
        left.receive(hello(mac=..., connector=said))


def test_nobody_is_device_and_connector() -> None:
    left = gateway()
    left.start()
    with pytest.raises(PeerError, match="either"):
        left.receive(hello(connector=CONNECTOR.text))


def test_the_proofs_are_those_of_the_protocol_document() -> None:
    content = unpack_map(hello().payload)
    message = b"portico-channel-1" + b"G" * 32 + b"A" * 32 + CERT + b"0C1105AABBCC"
    assert content["proof"] == hmac.new(KEY, message, sha256).digest()
    left = gateway()
    left.start()
    left.receive(hello())
    left.key_found(KEY)
    message = b"portico-channel-1-gateway" + b"A" * 32 + b"G" * 32 + CERT + b"0C1105AABBCC" + (9).to_bytes(8, "big")
    assert unpack_map(left.welcome(9)[1])["proof"] == hmac.new(KEY, message, sha256).digest()


def refusal(key: bytes | None, message: Frame) -> PeerError:
    left = gateway()
    left.start()
    left.receive(message)
    with pytest.raises(PeerError) as caught:
        left.key_found(key)
    with pytest.raises(LocalError):
        left.welcome(1)
    return caught.value


def test_unknown_mac_wrong_proof_and_unusable_key_are_refused_alike() -> None:
    found = [
        refusal(None, hello()),
        refusal(bytes(32), hello()),
        refusal(KEY, hello(proof=bytes(32))),
        refusal(b"short", hello()),
        refusal(KEY, hello(nonce=b"B" * 32)),
        refusal(KEY, hello(mac="0C1105AABBCD")),
    ]
    assert {(error.code, error.text) for error in found} == {(Code.NOT_AUTHORISED, "not authorised")}


def test_the_dummy_key_opens_nothing() -> None:
    right = agent(key=b"D" * 32)
    assert refusal(None, frame(right.receive(frame(gateway().start())))).code is Code.NOT_AUTHORISED


def test_a_man_in_the_middle_with_another_certificate_fails_even_unchecked() -> None:
    right = agent(certificate=sha256(b"the attacker's leaf").digest())
    assert refusal(KEY, frame(right.receive(frame(gateway().start())))).code is Code.NOT_AUTHORISED


def test_a_gateway_that_does_not_know_the_key_is_not_believed() -> None:
    left, right = gateway(), agent()
    left.receive(frame(right.receive(frame(left.start()))))
    left.key_found(KEY)
    _, payload = left.welcome(7)
    content = unpack_map(payload)
    for changed in ({"generation": 8}, {"proof": bytes(32)}):
        right = agent()
        right.receive(frame(gateway().start()))
        with pytest.raises(PeerError) as caught:
            right.receive(Frame(FrameType.WELCOME, 0, pack_map(content | changed)))
        assert caught.value.code is Code.NOT_AUTHORISED
        assert right.step is Step.FAILED


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"version": 2}, Code.VERSION),
        ({"version": True}, Code.VERSION),
        ({"version": ...}, Code.VERSION),
        ({"mac": "0c1105aabbcc"}, Code.PROTOCOL),
        ({"mac": "0C:11:05:AA:BB:CC"}, Code.PROTOCOL),
        ({"mac": "0C1105AABBCC\n"}, Code.PROTOCOL),
        ({"mac": "\uff10C1105AABBCC"}, Code.PROTOCOL),
        ({"mac": ...}, Code.PROTOCOL),
        ({"mac": b"0C1105AABBCC"}, Code.PROTOCOL),
        ({"nonce": bytes(31)}, Code.PROTOCOL),
        ({"proof": bytes(33)}, Code.PROTOCOL),
        ({"proof": "x" * 32}, Code.PROTOCOL),
        ({"capabilities": "web"}, Code.PROTOCOL),
        ({"capabilities": ["A"]}, Code.PROTOCOL),
        ({"capabilities": ["x"] * 17}, Code.PROTOCOL),
        ({"capabilities": [1]}, Code.PROTOCOL),
    ],
)
def test_a_malformed_hello(changes: dict[str, Any], code: Code) -> None:
    left = gateway()
    left.start()
    with pytest.raises(PeerError) as caught:
        left.receive(hello(**changes))
    assert caught.value.code is code
    with pytest.raises(LocalError):
        left.key_found(KEY)


def test_nothing_but_hello_and_only_one() -> None:
    left = gateway()
    left.start()
    with pytest.raises(PeerError):
        left.receive(Frame(FrameType.PING, 0, bytes(8)))
    left = gateway()
    with pytest.raises(PeerError):
        left.receive(hello())
    left.step = Step.CHALLENGED
    left.receive(hello())
    with pytest.raises(PeerError):
        left.receive(hello())


def test_the_agent_takes_challenge_then_welcome_only() -> None:
    with pytest.raises(PeerError):
        agent().receive(Frame(FrameType.WELCOME, 0, pack_map({})))
    right = agent()
    right.receive(frame(gateway().start()))
    with pytest.raises(PeerError):
        right.receive(frame(gateway().start()))
    for content in ({"versions": [2], "nonce": bytes(32)}, {"versions": 1, "nonce": bytes(32)}):
        with pytest.raises(PeerError) as caught:
            agent().receive(Frame(FrameType.CHALLENGE, 0, pack_map(content)))
        assert caught.value.code is Code.VERSION


def test_the_gateways_error_is_told() -> None:
    with pytest.raises(PeerError, match="not authorised") as caught:
        agent().receive(Frame(FrameType.ERROR, 0, pack_error(3, "not authorised")))
    assert caught.value.code is Code.NOT_AUTHORISED
    with pytest.raises(PeerError) as caught:
        agent().receive(Frame(FrameType.ERROR, 0, pack_error(77, "?")))
    assert caught.value.code is Code.INTERNAL


def test_no_key_in_a_repr() -> None:
    identity = Identity(MAC, KEY)
    assert str(KEY) not in repr(identity)
    with pytest.raises(ValueError, match="32 bytes"):
        Identity(MAC, b"short")


# ---- client certificates -------------------------------------------------------------------------------------------


def by_certificate(*, certified: bool, key: bytes | None = KEY) -> tuple[GatewayHandshake, AgentHandshake]:
    """Both ends once a HELLO without a proof was read and answered."""
    ours, theirs = gateway(), agent(b"")
    said = frame(theirs.receive(frame(ours.start())))
    assert "proof" not in unpack_map(said.payload)
    assert ours.receive(said) == MAC
    ours.key_found(key, certified=certified)
    return ours, theirs


def test_a_certificate_takes_the_proofs_place_both_ways() -> None:
    ours, theirs = by_certificate(certified=True)
    welcome = frame(ours.welcome(7))
    assert "proof" not in unpack_map(welcome.payload)
    heard = theirs.receive(welcome)
    assert isinstance(heard, Welcome)
    assert heard.generation == 7


@pytest.mark.parametrize(("certified", "key"), [(False, KEY), (True, None), (False, None)])
def test_without_a_proof_only_the_certificate_of_a_known_device_counts(certified: bool, key: bytes | None) -> None:
    with pytest.raises(PeerError) as caught:
        by_certificate(certified=certified, key=key)
    assert caught.value.code is Code.NOT_AUTHORISED


def test_a_wrong_proof_is_wrong_whatever_the_certificate_says() -> None:
    ours, theirs = gateway(), agent(bytes(32))
    ours.receive(frame(theirs.receive(frame(ours.start()))))
    with pytest.raises(PeerError) as caught:
        ours.key_found(KEY, certified=True)
    assert caught.value.code is Code.NOT_AUTHORISED


def test_an_agent_with_a_key_takes_no_welcome_without_its_proof() -> None:
    ours, _ = by_certificate(certified=True)
    theirs = agent()
    theirs.receive(frame(gateway().start()))
    with pytest.raises(PeerError):
        theirs.receive(frame(ours.welcome(1)))
