"""A link between two network namespaces that a program makes: for kernels without netem.

Two TUN devices, and for each direction a process that reads packets of one and writes them to the other, as late as a link of
that rate and delay would have them. Packets are as long as IP allows, so that there are few of them; at 10 Gbit/s each process takes
a good part of a core.
"""

import fcntl
import os
import select
import struct
import subprocess
import time
from collections import deque

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
MTU = 65_000
# What waits for a link beyond what is under way; more is dropped, as a switch does.
QUEUE = 8_000_000


def device(name: str, namespace: str, address: str) -> int:
    """The file of a new device that is in a namespace, with an address."""
    file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    for command in (
        ["ip", "link", "set", name, "netns", namespace],
        ["ip", "-n", namespace, "link", "set", name, "mtu", str(MTU), "up"],
        ["ip", "-n", namespace, "addr", "add", f"{address}/24", "dev", name],
    ):
        subprocess.run(command, check=True)
    return file


def carry(source: int, target: int, rate: float, delay: float) -> None:
    """Carries packets one way, for ever: `rate` in bit/s, `delay` in s."""
    waiting: deque[tuple[float, bytes]] = deque()
    # When the link is free again, and the bytes that wait for it.
    free, held = 0.0, 0
    while True:
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            packet = waiting.popleft()[1]
            held -= len(packet)
            try:
                os.write(target, packet)
            except OSError:
                pass  # A device that takes no more has lost it.
        rest = waiting[0][0] - time.monotonic() if waiting else None
        if not select.select([source], [], [], rest if rest is None else max(rest, 0))[0]:
            continue
        try:
            packet = os.read(source, MTU + 100)
        except BlockingIOError:
            continue
        if held > QUEUE + rate / 8 * delay:
            continue
        free = max(time.monotonic(), free) + 8 * len(packet) / rate
        waiting.append((free + delay, packet))
        held += len(packet)


def start(ends: list[tuple[str, str]], name: str, rate: float, delay: float) -> list[int]:
    """Joins two namespaces, each with the address that it has on the link; the processes that do it."""
    files = [device(name, namespace, address) for namespace, address in ends]
    processes = []
    for source, target in (files, files[::-1]):
        process = os.fork()
        if process == 0:
            try:
                carry(source, target, rate, delay)
            finally:
                os._exit(1)
        processes.append(process)
    for file in files:
        os.close(file)
    return processes
