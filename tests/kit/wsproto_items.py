"""What wsproto makes of frames, in the items of ``turnwire.sansio.websocket``."""

from __future__ import annotations

from turnwire.sansio.websocket import CloseFrame, Item, Ping, Pong, Violation
from wsproto.frame_protocol import FrameProtocol, Opcode, ParseFailed


def items_of_wsproto(protocol: FrameProtocol, data: bytes) -> list[Item]:
    """The items up to a close frame, or to the first violation; its reason is left out."""
    items, message = list[Item](), b""
    try:
        protocol.receive_bytes(data)
        for frame in protocol.received_frames():
            payload = frame.payload
            if isinstance(payload, tuple):
                items.append(CloseFrame(int(payload[0]), payload[1]))
                break
            if frame.opcode is Opcode.BINARY:
                items.append(Violation(1003, ""))
                break
            if frame.opcode in (Opcode.PING, Opcode.PONG):
                items.append((Ping if frame.opcode is Opcode.PING else Pong)(bytes(payload)))
                continue
            message += payload.encode() if isinstance(payload, str) else bytes(payload)
            if frame.message_finished:
                items.append(message)
                message = b""
    except ParseFailed as exc:
        items.append(Violation(int(exc.code), ""))
    return items
