"""What the kernel says of one Ethernet interface in this process's network namespace."""

from __future__ import annotations

import fcntl
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path

from testbed.errors import NotReadyError, UnsupportedError

_SIOCGIFHWADDR = 0x8927
_ARPHRD_ETHER = 1
_IFA_F_OPTIMISTIC, _IFA_F_DADFAILED, _IFA_F_TENTATIVE = 0x04, 0x08, 0x40


@dataclass(frozen=True, slots=True)
class Interface:
    """An Ethernet interface: its name, its index in this namespace, its link-layer address of 6 octets."""

    name: str
    index: int
    mac: bytes

    @classmethod
    def named(cls, name: str) -> Interface:
        """Look an interface up.

        Raises:
            UnsupportedError: there is none of that name, or it is not Ethernet.
        """
        request = struct.pack("16sH14x", name.encode()[:15], 0)
        try:
            index = socket.if_nametoindex(name)
            with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as query:
                answer = fcntl.ioctl(query, _SIOCGIFHWADDR, request)
        except OSError as error:
            raise UnsupportedError(f"no interface {name}: {error.strerror or error}", where=name) from error
        kind, mac = struct.unpack_from("H6s", answer, 16)
        if kind != _ARPHRD_ETHER:
            raise UnsupportedError(f"hardware type {kind}, only Ethernet (1) is supported", where=name)
        return cls(name, index, mac)

    def addresses(self) -> dict[IPv6Address, bool]:
        """Give the kernel's IPv6 addresses on this interface and whether each may be used as a source now.

        A tentative address may not, unless it is optimistic; one whose duplicate address detection failed may
        not. Source: RFC 4862 section 5.4, RFC 4429 section 3.
        """
        found: dict[IPv6Address, bool] = {}
        for line in Path("/proc/thread-self/net/if_inet6").read_text("ascii").splitlines():
            address, index, _, _, flags, _ = line.split()
            if int(index, 16) == self.index:
                state = int(flags, 16)
                tentative = state & _IFA_F_TENTATIVE and not state & _IFA_F_OPTIMISTIC
                found[IPv6Address(bytes.fromhex(address))] = not tentative and not state & _IFA_F_DADFAILED
        return found

    def link_local(self) -> IPv6Address:
        """Give a link-local address of this interface that may be used as a source.

        Raises:
            NotReadyError: there is none, or it is tentative; the evidence is what there is.
        """
        addresses = self.addresses()
        for address, usable in addresses.items():
            if usable and address.is_link_local:
                return address
        seen = tuple(f"{a} {'usable' if usable else 'tentative or duplicate'}" for a, usable in addresses.items())
        raise NotReadyError("no usable link-local address", where=self.name, evidence=seen)
