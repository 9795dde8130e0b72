"""Where two ranks run: one machine, or two network namespaces of it with a link between them.

A namespace has a name, an address and a core, and a host name of its own, so that `mpirun` takes it for another machine.
All traffic stays on this machine. Namespaces want root and iproute2.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import relay

ADDRESSES = ("10.77.0.1", "10.77.0.2")
NETWORK = "10.77.0.0/24"
# By address; the devices at both ends of the link have one name.
NAMESPACE = "lstmc-{}"
DEVICE = "lstmc-link"

# What mpirun calls in place of ssh: `agent HOST COMMAND...`.
AGENT = """#!/bin/sh
host=$1
shift
exec ip netns exec "lstmc-$host" unshare --uts sh -c 'hostname "$1"; shift; exec sh -c "$*"' sh "$host" "$@"
"""

# Runs in both namespaces: answers, or asks with 8 bytes and prints the median time of a message one way in seconds.
PING = """
import socket, statistics, sys, time
role, address = sys.argv[1:]
if role == "answer":
    with socket.create_server((address, 7700)) as server:
        print("ready", flush=True)
        link, _ = server.accept()
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while said := link.recv(8):
            link.sendall(said)
else:
    link = socket.create_connection((address, 7700), timeout=10)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    took = []
    for _ in range(300):
        begin = time.perf_counter()
        link.sendall(b"12345678")
        link.recv(8)
        took.append((time.perf_counter() - begin) / 2)
    print(statistics.median(took))
"""


@dataclass
class Place:
    """How processes get to the two ranks."""

    name: str
    # What mpirun needs beside the number of ranks.
    mpirun: list[str]
    # What each rank's process is started with, and the device that it sends through.
    prefixes: list[list[str]]
    device: str
    address: str = "127.0.0.1"
    # What was asked for, in bit/s and s; none where there is no link.
    rate: float | None = None
    delay: float | None = None
    # A message of 8 bytes one way, in s.
    latency: float | None = None
    # What could not be had of it.
    lacks: list[str] = field(default_factory=list)


# Each rank is kept to a core by its own command and not by mpirun, which would give both namespaces its first core.
COMMON = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "2", "--bind-to", "none", "--mca", "pml", "ob1"]


def shared_memory() -> Place:
    return Place("shared memory", [*COMMON, "--mca", "btl", "vader,self"], [[], []], "lo")


def loopback() -> Place:
    command = [*COMMON, "--mca", "btl", "tcp,self", "--mca", "btl_tcp_if_include", "lo"]
    return Place("loopback TCP", command, [[], []], "lo")


def has_namespaces() -> str | None:
    """Why there are none; None if there are."""
    if os.geteuid() != 0:
        return "network namespaces want root"
    done = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True)
    return None if done.returncode == 0 else done.stderr.strip()


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def inside(address: str) -> list[str]:
    return ["ip", "netns", "exec", NAMESPACE.format(address)]


@contextmanager
def link(rate: float, delay: float) -> Iterator[Place]:
    """Two namespaces and a link of so many bit/s, on which a message takes `delay` seconds longer; gone whatever happens."""
    remove()
    relays: list[int] = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            agent = Path(folder) / "agent"
            agent.write_text(AGENT)
            agent.chmod(0o755)
            for address in ADDRESSES:
                ip("netns", "add", NAMESPACE.format(address))
            one, other = (NAMESPACE.format(address) for address in ADDRESSES)
            for address in ADDRESSES:
                ip("-n", NAMESPACE.format(address), "link", "set", "lo", "up")
            lacks: list[str] = []
            if delay and not has_netem():
                ends = list(zip((one, other), ADDRESSES, strict=True))
                relays = relay.start(ends, DEVICE, rate, delay)
            else:
                ip("link", "add", DEVICE, "netns", one, "type", "veth", "peer", "name", DEVICE, "netns", other)
                for address in ADDRESSES:
                    own = ("-n", NAMESPACE.format(address))
                    ip(*own, "addr", "add", f"{address}/24", "dev", DEVICE)
                    ip(*own, "link", "set", DEVICE, "up")
                    lacks = shape(address, rate, delay)
            first = [*inside(ADDRESSES[0]), "unshare", "--uts", "sh", "-c", 'hostname "$0"; exec "$@"', ADDRESSES[0]]
            hosts = ",".join(f"{address}:1" for address in ADDRESSES)
            command = [
                *first, *COMMON, "--host", hosts, "--mca", "plm_rsh_agent", str(agent),
                "--mca", "btl", "tcp,self", "--mca", "btl_tcp_if_include", NETWORK, "--mca", "oob_tcp_if_include", NETWORK,
            ]  # fmt: skip
            name = f"{rate / 1e9:g} Gbit/s" + ("" if "delay" in lacks or not delay else f", {1e3 * delay:g} ms")
            prefixes = [inside(address) for address in ADDRESSES]
            latency = ping()
            yield Place(name, command, prefixes, DEVICE, ADDRESSES[0], rate, delay, latency, lacks)
    finally:
        for process in relays:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
        remove()


def has_netem() -> bool:
    """Whether the kernel can make packets late."""
    add = ["tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1us"]
    one = inside(ADDRESSES[0])
    if subprocess.run([*one, *add], capture_output=True).returncode != 0:
        return False
    subprocess.run([*one, "tc", "qdisc", "del", "dev", "lo", "root"], check=True)
    return True


def shape(address: str, rate: float, delay: float) -> list[str]:
    """Slows down what leaves a namespace; what the kernel has no means for."""
    root = [*inside(address), "tc", "qdisc", "add", "dev", DEVICE, "root"]
    # The queue holds what is under way and some packets more.
    packets = str(int(1000 + 2 * rate * delay / 8 / 1500))
    netem = ["netem", "rate", f"{rate:.0f}bit", "limit", packets, *(["delay", f"{1e6 * delay:.0f}us"] if delay else [])]
    if subprocess.run([*root, *netem], capture_output=True).returncode == 0:
        return []
    # A burst is what passes at once: the largest packet that the kernel cuts up late, or 0.2 ms.
    burst = max(80_000, int(rate / 8 * 200e-6))
    tbf = ["tbf", "rate", f"{rate:.0f}bit", "burst", str(burst), "limit", str(8_000_000)]
    done = subprocess.run([*root, *tbf], capture_output=True, text=True)
    if done.returncode == 0:
        return ["delay"] if delay else []
    print(f"tc: {done.stderr.strip()}", file=sys.stderr)
    return ["rate", "delay"]


def ping() -> float:
    """Seconds of a message of 8 bytes from one namespace to the other."""
    python = [sys.executable, "-c", PING]
    command = [*inside(ADDRESSES[1]), *python, "answer", ADDRESSES[1]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            server.stdout.readline()
            asks = [*inside(ADDRESSES[0]), *python, "ask", ADDRESSES[1]]
            return float(subprocess.run(asks, check=True, stdout=subprocess.PIPE, text=True, timeout=60).stdout)
        finally:
            server.kill()


def remove() -> None:
    """The namespaces, the link with them."""
    known = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
    for address in ADDRESSES:
        if re.search(rf"^{re.escape(NAMESPACE.format(address))}\b", known, re.MULTILINE):
            subprocess.run(["ip", "netns", "del", NAMESPACE.format(address)], check=False)
