"""The handshake of a link: who is there, proven with the device key and bound to the TLS certificate (protocol section 3).

Two cores without I/O: `GatewayHandshake` and `AgentHandshake`. Frames in; frames, questions and the end out. A fault is a
PeerError whose code and text go into the ERROR frame; for everything an attacker could learn from, that is one and the
same NOT_AUTHORISED. An agent without a key leaves the proof out and is known by its client certificate, which the TLS handshake
has checked; nobody proves to it but the gateway's own certificate.
"""

import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from hashlib import sha256
from typing import Any

from registry.connector import ConnectorName
from registry.mac import MacAddress
from tunnel.codec import pack_map, unpack_error, unpack_map
from tunnel.errors import Code, LocalError, PeerError
from tunnel.frames import KEY_SIZE, NONCE_SIZE, PROOF_SIZE, VERSION, Frame, FrameType, Limits
from tunnel.messages import bad, bytes_field, int_field, text_field

Peer = MacAddress | ConnectorName
"""Who is at the agent's end: a device, or a connector that speaks for devices (protocol section 11)."""
_MAC = re.compile(r"[0-9A-F]{12}", re.ASCII)
_CONNECTOR = re.compile(r"[a-z2-7]{16}[0-9]{4}", re.ASCII)
_CAPABILITY = re.compile(r"[a-z0-9._-]{1,32}", re.ASCII)
_MOST_CAPABILITIES = 16
_LABELS = {MacAddress: b"portico-channel-1", ConnectorName: b"portico-connector-1"}
_GATEWAY = b"-gateway"
_MAX_GENERATION = 2**63 - 1
_MAX_MS = 3_600_000


def agent_proof(key: bytes, gateway_nonce: bytes, agent_nonce: bytes, certificate: bytes, peer: Peer) -> bytes:
    """HELLO.proof. `certificate` is the SHA-256 of the gateway's leaf certificate (DER)."""
    message = _LABELS[type(peer)] + gateway_nonce + agent_nonce + certificate + peer.text.encode("ascii")
    return hmac.digest(key, message, sha256)


def gateway_proof(key: bytes, gateway_nonce: bytes, agent_nonce: bytes, certificate: bytes, peer: Peer, generation: int) -> bytes:
    """WELCOME.proof: the gateway knows the key, and `generation` is its word."""
    label = _LABELS[type(peer)] + _GATEWAY
    message = label + agent_nonce + gateway_nonce + certificate + peer.text.encode("ascii")
    return hmac.digest(key, message + generation.to_bytes(8, "big"), sha256)


def not_authorised() -> PeerError:
    """The one answer to an unknown MAC or connector, one without a key and a wrong proof."""
    return PeerError(Code.NOT_AUTHORISED, "not authorised")


class Step(Enum):
    """Where a handshake stands."""

    IDLE = "idle"
    CHALLENGED = "challenged"
    CHECKING = "checking"
    PROVEN = "proven"
    ANSWERED = "answered"
    UP = "up"
    FAILED = "failed"


class GatewayHandshake:
    """The gateway's side: `start`, `receive` one HELLO, `key_found`, `welcome`.

    `certificate` is the SHA-256 of our own leaf certificate; `entropy(n)` gives n random bytes. `dummy_key` is any secret of this
    process: it takes the place of a key that does not exist, so that the work is the same.
    """

    def __init__(self, *, certificate: bytes, entropy: Callable[[int], bytes], dummy_key: bytes, limits: Limits) -> None:
        self._certificate = certificate
        self._nonce = entropy(NONCE_SIZE)
        self._dummy_key = dummy_key
        self._limits = limits
        self._agent_nonce = b""
        self._proof = b""
        self._key = b""
        self._peer: Peer | None = None
        self.capabilities: tuple[str, ...] = ()
        self.step = Step.IDLE

    def start(self) -> tuple[FrameType, bytes]:
        """The CHALLENGE to send."""
        self._expect(Step.IDLE, Step.CHALLENGED)
        return FrameType.CHALLENGE, pack_map({"versions": [VERSION], "nonce": self._nonce})

    def receive(self, frame: Frame) -> Peer:
        """HELLO arrived: the device or connector whose key is wanted. Raises PeerError for everything else."""
        if self.step is not Step.CHALLENGED or frame.type is not FrameType.HELLO:
            self.step = Step.FAILED
            raise PeerError(Code.PROTOCOL, "HELLO expected")
        self.step = Step.FAILED
        content = unpack_map(frame.payload)
        if content.get("version") != VERSION or isinstance(content.get("version"), bool):
            raise PeerError(Code.VERSION, "no common version")
        self._peer = _peer(content)
        self._agent_nonce = bytes_field(content, "nonce", NONCE_SIZE)
        self._proof = bytes_field(content, "proof", PROOF_SIZE) if "proof" in content else b""
        self.capabilities = _capabilities(content.get("capabilities", []))
        self.step = Step.CHECKING
        return self._peer

    def key_found(self, key: bytes | None, *, certified: bool = False) -> None:
        """The answer to the question of `receive`; None for an unknown MAC. Raises PeerError unless the proof holds.

        `certified`: the connection's client certificate speaks for it, so that no proof is needed; a wrong one is still wrong.
        """
        self._expect(Step.CHECKING, Step.FAILED)
        assert self._peer is not None
        usable = key if key is not None and len(key) == KEY_SIZE else None
        expected = agent_proof(
            self._dummy_key if usable is None else usable, self._nonce, self._agent_nonce, self._certificate, self._peer
        )
        right = hmac.compare_digest(expected, self._proof or expected) and (bool(self._proof) or certified)
        if usable is None or not right:
            raise not_authorised()
        self._key = usable if self._proof else b""
        self.step = Step.PROVEN

    def welcome(self, generation: int, used: Sequence[str] = ()) -> tuple[FrameType, bytes]:
        """The WELCOME to send; from then on the link is up. `used` are the capabilities this gateway will use."""
        self._expect(Step.PROVEN, Step.UP)
        assert self._peer is not None
        content: dict[str, object] = {
            "generation": generation,
            "ping_after_ms": int(self._limits.ping_after * 1000),
            "dead_after_ms": int(self._limits.dead_after * 1000),
            "max_streams": self._limits.max_streams,
            "capabilities": [name for name in used if name in self.capabilities],
        }
        if self._key:
            content["proof"] = gateway_proof(self._key, self._nonce, self._agent_nonce, self._certificate, self._peer, generation)
        self._key = b""
        return FrameType.WELCOME, pack_map(content)

    def _expect(self, step: Step, then: Step) -> None:
        if self.step is not step:
            raise LocalError(f"handshake is {self.step.value}, not {step.value}")
        self.step = then


@dataclass(frozen=True, slots=True)
class Welcome:
    """What the agent learns from WELCOME. Times in seconds."""

    generation: int
    ping_after: float
    dead_after: float
    max_streams: int
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """Who an agent is: its MAC and the device key it was provisioned with, empty for one that shows a client certificate; or a
    connector and the key of its site token."""

    peer: Peer
    key: bytes = field(repr=False, default=b"")

    def __post_init__(self) -> None:
        if len(self.key) not in (0, KEY_SIZE):
            raise ValueError(f"a device key has {KEY_SIZE} bytes")


class AgentHandshake:
    """The agent's side: `receive` answers CHALLENGE with a HELLO to send, then returns the Welcome.

    `certificate` is the SHA-256 of the leaf certificate this agent saw in the TLS handshake.
    """

    def __init__(
        self, *, identity: Identity, certificate: bytes, entropy: Callable[[int], bytes], capabilities: Sequence[str] = ()
    ) -> None:
        self._identity = identity
        self._certificate = certificate
        self._nonce = entropy(NONCE_SIZE)
        self._capabilities = tuple(capabilities)
        self._gateway_nonce = b""
        self.step = Step.IDLE

    def receive(self, frame: Frame) -> tuple[FrameType, bytes] | Welcome:
        """A frame from the gateway. Raises PeerError: the gateway's own ERROR, or this end's reason to send one."""
        step, self.step = self.step, Step.FAILED
        if frame.type is FrameType.ERROR:
            code, text = unpack_error(frame.payload)
            raise PeerError(Code(code) if code in set(Code) else Code.INTERNAL, f"the gateway refused: {text}")
        if step is Step.IDLE and frame.type is FrameType.CHALLENGE:
            return self._hello(frame.payload)
        if step is Step.ANSWERED and frame.type is FrameType.WELCOME:
            return self._welcomed(frame.payload)
        raise PeerError(Code.PROTOCOL, "CHALLENGE, then WELCOME expected")

    def _hello(self, payload: bytes) -> tuple[FrameType, bytes]:
        content = unpack_map(payload)
        versions = content.get("versions")
        if not isinstance(versions, list) or VERSION not in versions:
            raise PeerError(Code.VERSION, "no common version")
        self._gateway_nonce = bytes_field(content, "nonce", NONCE_SIZE)
        identity = self._identity
        hello: dict[str, object] = {
            "version": VERSION,
            ("mac" if isinstance(identity.peer, MacAddress) else "connector"): identity.peer.text,
            "nonce": self._nonce,
            "capabilities": list(self._capabilities),
        }
        if identity.key:
            hello["proof"] = agent_proof(identity.key, self._gateway_nonce, self._nonce, self._certificate, identity.peer)
        self.step = Step.ANSWERED
        return FrameType.HELLO, pack_map(hello)

    def _welcomed(self, payload: bytes) -> Welcome:
        content = unpack_map(payload)
        welcome = Welcome(
            int_field(content, "generation", 1, _MAX_GENERATION),
            int_field(content, "ping_after_ms", 1, _MAX_MS) / 1000,
            int_field(content, "dead_after_ms", 1, _MAX_MS) / 1000,
            int_field(content, "max_streams", 0, 65_536),
            _capabilities(content.get("capabilities", [])),
        )
        identity = self._identity
        if identity.key:
            expected = gateway_proof(
                identity.key, self._gateway_nonce, self._nonce, self._certificate, identity.peer, welcome.generation
            )
            if not hmac.compare_digest(expected, bytes_field(content, "proof", PROOF_SIZE)):
                raise not_authorised()
        self.step = Step.UP
        return welcome


def _peer(content: Mapping[str, Any]) -> Peer:
    """Who HELLO says is there. Raises PeerError unless it says one of the two."""
    if "connector" not in content:
        return MacAddress(text_field(content, "mac", _MAC))
    if "mac" in content:
        raise bad("either mac or connector")
    return ConnectorName(text_field(content, "connector", _CONNECTOR))


def _capabilities(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > _MOST_CAPABILITIES:
        raise bad("capabilities is no short list")
    if not all(isinstance(name, str) and _CAPABILITY.fullmatch(name) for name in value):
        raise bad("a capability is 1 to 32 of a-z 0-9 . _ -")
    return tuple(value)
