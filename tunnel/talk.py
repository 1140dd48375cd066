"""Events and calls at one end of a link (docs/tunnel-protocol.md section 8): who may say what, and what waits for its answer."""

from tunnel.errors import Code, PeerError
from tunnel.frames import ACK, Frame, FrameType, Side
from tunnel.messages import Call, DeviceEvent, Result, pack_id, unpack_id
from tunnel.outputs import CallArrived, EventAcknowledged, EventArrived, Output, ResultArrived
from tunnel.send_order import SendOrder


class Talk:
    """`most`: how many EVENTs (gateway) or CALLs (agent) of the peer may wait for our answer."""

    __slots__ = ("_most", "_order", "_side", "_unanswered")

    def __init__(self, side: Side, order: SendOrder, most: int) -> None:
        self._side = side
        self._order = order
        self._most = most
        self._unanswered: set[bytes] = set()

    # ---- frames in ------------------------------------------------------------------------------------------

    def receive(self, frame: Frame) -> Output | None:
        """An EVENT, CALL or RESULT arrived: what to tell the shell, None for a repeat of what still waits. Raises PeerError."""
        if frame.type is FrameType.CALL:
            self._only_from(Side.GATEWAY)
            call = Call.unpack(frame.payload)
            return CallArrived(call) if self._newly_open(call.id) else None
        if frame.type is FrameType.RESULT:
            self._only_from(Side.AGENT)
            return ResultArrived(Result.unpack(frame.payload))
        if frame.flags & ACK:
            self._only_from(Side.GATEWAY)
            return EventAcknowledged(unpack_id(frame.payload))
        self._only_from(Side.AGENT)
        event = DeviceEvent.unpack(frame.payload)
        return EventArrived(event) if self._newly_open(event.id) else None

    def _only_from(self, side: Side) -> None:
        if self._side is side:
            raise PeerError(Code.PROTOCOL, "a frame that only the other role may send")

    def _newly_open(self, message_id: bytes) -> bool:
        """Count an EVENT or CALL as unanswered. A repeat of one that still waits is no second one."""
        if message_id in self._unanswered:
            return False
        if len(self._unanswered) >= self._most:
            raise PeerError(Code.TOO_MUCH, "too many unanswered events or calls")
        self._unanswered.add(message_id)
        return True

    # ---- what the application asks --------------------------------------------------------------------------

    def send_event(self, event: DeviceEvent) -> None:
        """Agent: report something. The caller keeps it until EventAcknowledged."""
        self._order.control(FrameType.EVENT, 0, event.pack())

    def acknowledge(self, event_id: bytes) -> None:
        """Gateway: the event is kept. Nothing happens for an id that does not wait."""
        if event_id in self._unanswered:
            self._unanswered.discard(event_id)
            self._order.control(FrameType.EVENT, 0, pack_id(event_id), ACK)

    def forget_event(self, event_id: bytes) -> None:
        """Gateway: it could not be kept; the agent will repeat it."""
        self._unanswered.discard(event_id)

    def send_call(self, call: Call) -> None:
        """Gateway: ask the device for something; ResultArrived follows, or the caller's deadline."""
        self._order.control(FrameType.CALL, 0, call.pack())

    def send_result(self, result: Result) -> None:
        """Agent: answer a call. Nothing happens for an id that does not wait."""
        if result.id in self._unanswered:
            self._unanswered.discard(result.id)
            self._order.control(FrameType.RESULT, 0, result.pack())
