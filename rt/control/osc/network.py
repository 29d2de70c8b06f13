"""Sockets and who may use them."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

LOOPBACK = ("127.0.0.0/8", "::1/128")
RECEIVE_BYTES = 8 << 20  # asked for; the host gives what net.core.rmem_max allows, unless we may exceed it
SO_RCVBUFFORCE = 33  # Linux; not in Python's socket module
IP_RECVERR, IPV6_RECVERR = 11, 25  # linux/in.h: report the packets that nobody took
MSG_ERRQUEUE = 0x2000
PORT_TRIES = 20  # at finding one port that is free for UDP and TCP alike
MAX_HOSTS = 4096  # whose verdict is remembered


class NetworkError(OSError):
    """Sockets that cannot be had as asked; the message says the way out in one line."""


@dataclass(frozen=True, slots=True)
class Doors:
    """The two sockets of a server, on the same port."""

    udp: socket.socket
    tcp: socket.socket

    @property
    def address(self) -> tuple[str, int]:
        """Return where they are bound."""
        host, port = self.udp.getsockname()[:2]
        return host, port

    def close(self) -> None:
        """Close both."""
        self.udp.close()
        self.tcp.close()


class AllowList:
    """The networks whose packets are read; loopback always is."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        """Take networks such as 192.168.1.0/24, or single addresses; raises NetworkError for what is neither."""
        self._networks = [parse_network(text) for text in (*LOOPBACK, *networks)]
        self._verdicts: dict[str, bool] = {}

    def __contains__(self, host: str) -> bool:
        """Say whether a numeric address is allowed."""
        verdict = self._verdicts.get(host)
        if verdict is None:
            if len(self._verdicts) >= MAX_HOSTS:
                self._verdicts.clear()
            verdict = self._verdicts[host] = self._judge(host)
        return verdict

    def _judge(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None) or address
        return any(mapped in network for network in self._networks)


def parse_network(text: str) -> Network:
    """Return a network by its text; raises NetworkError."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise NetworkError(f"{text!r} is no network; write one such as 192.168.1.0/24, or one address") from None


def numeric(host: str) -> str:
    """Return a host's numeric address without asking anyone; raises NetworkError for other names than localhost."""
    if host == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        raise NetworkError(f"{host[:64]!r} is no address; write one such as 192.168.1.5, names are not looked up") from None


def open_doors(host: str, port: int, allowed: Sequence[str] = ()) -> Doors:
    """Bind UDP and TCP to the same port, 0 = any that is free; raises NetworkError.

    Beyond loopback an allow-list is asked for: packets carry no password, and anyone in reach could mute the show.
    """
    host = numeric(host)
    if not ipaddress.ip_address(host).is_loopback and not allowed:
        raise NetworkError(f"OSC on {host} needs to know who may send: name them, such as 192.168.1.0/24")
    for _ in range(PORT_TRIES):
        tcp = _bound(socket.SOCK_STREAM, host, port)
        with contextlib.ExitStack() as undo:
            undo.callback(tcp.close)
            try:
                udp = _bound(socket.SOCK_DGRAM, host, tcp.getsockname()[1])
            except NetworkError:
                if port == 0:
                    continue
                raise
            undo.pop_all()
        tcp.listen(16)
        return Doors(udp, tcp)
    raise NetworkError("no port is free for OSC")


def _bound(kind: socket.SocketKind, host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, kind)
    try:
        if kind == socket.SOCK_STREAM:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # not what a restart left behind; UDP would share
        else:
            enlarge(found)
            report_refusals(found)
        found.setblocking(False)
        found.bind((host, port))
    except OSError as error:
        found.close()
        if error.errno == errno.EADDRINUSE:
            raise NetworkError(f"OSC port {port} is taken by another program; choose another, or 0 for any") from None
        raise NetworkError(f"OSC cannot listen on {host} port {port}: {error.strerror or error}") from None
    return found


def enlarge(udp: socket.socket) -> None:
    """Ask for room for seconds of packets, so that none is lost while something else has the processor."""
    for option in (SO_RCVBUFFORCE, socket.SO_RCVBUF):
        with contextlib.suppress(OSError):
            udp.setsockopt(socket.SOL_SOCKET, option, RECEIVE_BYTES)
            return


def report_refusals(udp: socket.socket) -> None:
    """Have the kernel say which packets nobody took, where it can."""
    with contextlib.suppress(OSError):
        if udp.family == socket.AF_INET6:
            udp.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
        else:
            udp.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)


def refusals(udp: socket.socket) -> list[tuple[str, int]]:
    """Return the addresses at which nobody took a packet since the last call."""
    found = []
    with contextlib.suppress(OSError):
        while True:
            _, _, _, address = udp.recvmsg(0, 256, MSG_ERRQUEUE)
            found.append((address[0], address[1]))
    return found


def lost_packets(udp: socket.socket) -> int:
    """Return how many datagrams the kernel dropped for want of room: the last column of /proc/net/udp."""
    table = "/proc/net/udp6" if udp.family == socket.AF_INET6 else "/proc/net/udp"
    with contextlib.suppress(OSError, ValueError, IndexError):
        inode = str(os.fstat(udp.fileno()).st_ino)
        with open(table, encoding="ascii") as file:
            for line in file:
                columns = line.split()
                if columns[9] == inode:
                    return int(columns[12])
    return 0
