"""Plays the phones of many relayed calls: `python -m bench.rtp_load` in a process of its own, told what to do on standard input.

It says which two ports it has (callers', callees'), reads one JSON line {"streams": [[side, port], ...], "seconds": s,
"warm_up": s}, sends 50 packets of 172 octets a second to each port from that side's socket, spread evenly over every 20 ms, and
says what arrived and how late. When a packet arrived is the kernel's word (SO_TIMESTAMPNS), so that this process's own slowness
counts only where it sends: there, as delay of the engine.
"""

import json
import select
import socket
import struct
import sys
import time

LOOPBACK = "127.0.0.1"
PACKET_SECONDS = 0.02
BEAT = 0.001
"""Seconds between two batches."""
SO_TIMESTAMPNS = 35
HEADER = b"\x80\0" + b"\0\1\0\0\0\1\0\0\0\7"
STAMP = struct.Struct("=qi")
"""Sent at (realtime, ns) and the round it belongs to: 0 is the warm-up, 1 counts."""
FILLING = b"\x7f" * (160 - STAMP.size)
BUFFER = 4 * 1024 * 1024


def main() -> None:
    """One measurement."""
    sides = [_socket(), _socket()]
    print(json.dumps([one.getsockname()[1] for one in sides]), flush=True)
    task = json.loads(sys.stdin.readline())
    streams = [(sides[side], (LOOPBACK, port)) for side, port in task["streams"]]
    _run(sides, streams, task["warm_up"], 0, [])
    delays: list[int] = []
    cpu = time.process_time()
    sent, late = _run(sides, streams, task["seconds"], 1, delays)
    delays.sort()
    found = {
        "sent": sent,
        "received": len(delays),
        "late_beats": late,
        "load_cpu_seconds": time.process_time() - cpu,
        "delay_seconds": {name: _at(delays, share) for name, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1))},
    }
    print(json.dumps(found), flush=True)


def _socket() -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setblocking(False)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    opened.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    opened.bind((LOOPBACK, 0))
    return opened


def _run(
    sides: list[socket.socket], streams: list[tuple[socket.socket, tuple[str, int]]], seconds: float, mark: int, delays: list[int]
) -> tuple[int, int]:
    """Send for so long, then wait for what is still under way. Returns packets sent and beats that came late by one or more."""
    batch = len(streams) * BEAT / PACKET_SECONDS
    beats = int(seconds / BEAT)
    begun = time.monotonic()
    sent = late = 0
    for beat in range(beats):
        due = int((beat + 1) * batch)
        while sent < due:
            opened, to = streams[sent % len(streams)]
            opened.sendto(HEADER + STAMP.pack(time.time_ns(), mark) + FILLING, to)
            sent += 1
        _drain(sides, mark, delays)
        wait = begun + (beat + 1) * BEAT - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        else:
            late += 1
    while select.select(sides, [], [], 0.5)[0]:
        _drain(sides, mark, delays)
    return sent, late


def _drain(sides: list[socket.socket], mark: int, delays: list[int]) -> None:
    for opened in sides:
        try:
            while True:
                data, ancillary, _, _ = opened.recvmsg(2048, 64)
                at, round_of = STAMP.unpack_from(data, len(HEADER))
                if round_of == mark:
                    seconds, nanoseconds = struct.unpack("=qq", ancillary[0][2])
                    delays.append(seconds * 1_000_000_000 + nanoseconds - at)
        except BlockingIOError:
            continue


def _at(delays: list[int], share: float) -> float:
    """The value that this share of all lies below, in seconds."""
    return delays[min(len(delays) - 1, int(len(delays) * share))] / 1e9 if delays else 0.0


if __name__ == "__main__":
    main()
