"""Numbers of the kernel's headers that more than one module needs."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

FIB_RULE_INVERT: Final = 0x2  # linux/fib_rules.h
VETH_INFO_PEER: Final = 1  # linux/veth.h
NDUSEROPT_SRCADDR: Final = 1  # linux/rtnetlink.h
SOL_NETLINK: Final = 270  # linux/socket.h
NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3


class Flag:
    """Flags of a message header (linux/netlink.h, NLM_F_*)."""

    REQUEST: Final = 0x1
    ACK: Final = 0x4
    DUMP_INTERRUPTED: Final = 0x10
    CAPPED: Final = 0x100
    ACK_ATTRIBUTES: Final = 0x200
    DUMP: Final = 0x300
    REPLACE: Final = 0x100
    EXCLUSIVE: Final = 0x200
    CREATE: Final = 0x400


class Rtm(IntEnum):
    """Types of messages (linux/rtnetlink.h, RTM_*)."""

    NEWLINK = 16
    DELLINK = 17
    GETLINK = 18
    SETLINK = 19
    NEWADDR = 20
    DELADDR = 21
    GETADDR = 22
    NEWROUTE = 24
    DELROUTE = 25
    GETROUTE = 26
    NEWNEIGH = 28
    DELNEIGH = 29
    GETNEIGH = 30
    NEWRULE = 32
    DELRULE = 33
    GETRULE = 34
    NEWNDUSEROPT = 68


class Iff:
    """Flags of a link (linux/if.h, IFF_*)."""

    UP: Final = 0x1
    LOWER_UP: Final = 0x10000


class Ifla:
    """Attributes of a link (linux/if_link.h, IFLA_*)."""

    ADDRESS: Final = 1
    IFNAME: Final = 3
    MTU: Final = 4
    MASTER: Final = 10
    OPERSTATE: Final = 16
    LINKINFO: Final = 18
    NET_NS_PID: Final = 19
    NET_NS_FD: Final = 28


class IflaInfo:
    """Attributes inside Ifla.LINKINFO (linux/if_link.h, IFLA_INFO_*)."""

    KIND: Final = 1
    DATA: Final = 2


class IflaBr:
    """Attributes of a bridge inside IflaInfo.DATA (linux/if_link.h, IFLA_BR_*)."""

    STP_STATE: Final = 5
    GROUP_FWD_MASK: Final = 9
    MCAST_SNOOPING: Final = 23


class Ifa:
    """Attributes of an address (linux/if_addr.h, IFA_*)."""

    ADDRESS: Final = 1
    LOCAL: Final = 2
    CACHEINFO: Final = 6
    FLAGS: Final = 8


class Rta:
    """Attributes of a route (linux/rtnetlink.h, RTA_*)."""

    DST: Final = 1
    OIF: Final = 4
    GATEWAY: Final = 5
    PRIORITY: Final = 6
    PREFSRC: Final = 7
    MULTIPATH: Final = 9
    TABLE: Final = 15
    ENCAP_TYPE: Final = 21
    ENCAP: Final = 22


class Lwtunnel:
    """Kinds of encapsulation by a route (linux/lwtunnel.h, LWTUNNEL_ENCAP_*)."""

    SEG6: Final = 5
    SEG6_LOCAL: Final = 7


class Seg6:
    """Encapsulation by segment routing (linux/seg6_iptunnel.h, seg6_local.h and seg6_genl.h)."""

    IPTUNNEL_SRH: Final = 1
    IPTUNNEL_MODE_ENCAP_RED: Final = 3
    LOCAL_ACTION: Final = 1
    LOCAL_TABLE: Final = 3
    LOCAL_ACTION_END_DT6: Final = 7
    CMD_SET_TUNSRC: Final = 3
    ATTR_DST: Final = 1


class Fra:
    """Attributes of a policy rule (linux/fib_rules.h, FRA_*)."""

    DST: Final = 1
    SRC: Final = 2
    IIFNAME: Final = 3
    PRIORITY: Final = 6
    FWMARK: Final = 10
    TABLE: Final = 15
    FWMASK: Final = 16
    IP_PROTO: Final = 22


class Nda:
    """Attributes of a neighbour (linux/neighbour.h, NDA_*)."""

    DST: Final = 1
    LLADDR: Final = 2


class Ntf:
    """Flags of a neighbour (linux/neighbour.h, NTF_*)."""

    PROXY: Final = 0x08
    ROUTER: Final = 0x80
