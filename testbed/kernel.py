"""What this machine's kernel can do, found out by doing it in a namespace that is thrown away."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.errors import ProcessError, UnsupportedError
from testbed.process import run
from testbed.topology.plan import Esp, Firewall

_KEY_128, _KEY_256 = "0x" + "11" * 16, "0x" + "22" * 32
_LINK = ("ip", "link", "add", "name", "trial0", "type")
_STATE = ("ip", "xfrm", "state", "add", "src", "2001:db8::1", "dst", "2001:db8::2")


@dataclass(frozen=True)
class Feature:
    """Something that a kernel may have: what it is for, the command that uses it, and what that reads."""

    name: str
    purpose: str
    trial: tuple[str, ...]
    script: str = ""


ESP = Feature(
    "ESP",
    "IPsec in the kernel; without it charon does ESP itself",
    (
        *(*_STATE, "proto", "esp", "spi", "1", "mode", "tunnel", "enc", "cbc(aes)", _KEY_128),
        *("auth", "hmac(sha256)", _KEY_256),
    ),
)
NFTABLES = Feature("nftables", "the guards of the mobility agents", ("nft", "add", "table", "ip6", "trial"))
IP6TABLES = Feature(
    "ip6tables",
    "the guards, where nftables does not know IPv6",
    (
        *("ip6tables-legacy", "-A", "INPUT", "-p", "mobility-header", "-m", "policy", "--dir", "in", "--pol", "ipsec"),
        *("-m", "comment", "--comment", "trial", "-j", "DROP"),
    ),
)
TUN = Feature("tun", "charon's own ESP", ("ip", "tuntap", "add", "dev", "trial0", "mode", "tun"))
TUNNELS = Feature(
    "seg6",
    "IPv6-in-IPv6 by routes, where there is no IPsec",
    ("ip", "-6", "-batch", "-"),
    "link set lo up\n"
    "route add 2001:db8::/64 encap seg6 mode encap.red segs 2001:db8:1::1 dev lo\n"
    "route add 2001:db8:2::2 encap seg6local action End.DT6 table 254 dev lo\n",
)
INGRESS = Feature(
    "nft ingress",
    "keeping the kernel from answering Home Address options",
    ("nft", "add table netdev trial; add chain netdev trial c { type filter hook ingress device lo priority 0; }"),
)
FEATURES = (
    Feature("veth", "links between nodes", (*_LINK, "veth", "peer", "name", "trial1")),
    Feature("bridge", "networks", (*_LINK, "bridge")),
    TUN,
    NFTABLES,
    IP6TABLES,
    ESP,
    TUNNELS,
    INGRESS,
    Feature(
        "MIP6",
        "home address option and type 2 routing header",
        (*_STATE, "proto", "hao", "mode", "ro", "coa", "2001:db8::3"),
    ),
    Feature(
        "ip6_tunnel",
        "IPv6-in-IPv6 tunnels",
        (*_LINK, "ip6tnl", "remote", "2001:db8::2", "local", "2001:db8::1"),
    ),
    Feature(
        "netem",
        "delay, loss and jitter",
        ("tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"),
    ),
)


async def has(feature: Feature) -> str:
    """Try a feature; return the empty string if it works, else what the kernel or the tool said."""
    done = await run(["unshare", "--net", *feature.trial], stdin=feature.script, check=False)
    lines = done.tail or ("it failed",)
    return "" if done.status == 0 else next((line for line in lines if line.startswith("Error: ")), lines[-1])


async def esp() -> Esp:
    """Find out who has to do ESP on this machine."""
    try:
        return Esp.USERLAND if await has(ESP) else Esp.KERNEL
    except ProcessError:
        return Esp.USERLAND


async def firewall() -> Firewall:
    """Find out what filters packets on this machine: nftables, unless only ip6tables can."""
    try:
        return Firewall.IP6TABLES if await has(NFTABLES) and not await has(IP6TABLES) else Firewall.NFTABLES
    except (ProcessError, UnsupportedError):
        return Firewall.NFTABLES


async def require_tunnels() -> None:
    """See that there is a way without IPsec.

    Raises:
        UnsupportedError: there is none; carries what the kernel said.
    """
    for feature in (TUNNELS, INGRESS):
        if said := await has(feature):
            raise UnsupportedError(
                f"the kernel has no {feature.name}: {feature.purpose}",
                evidence=(said,),
                hint="it takes Linux 6.0 or later with CONFIG_IPV6_SEG6_LWTUNNEL and CONFIG_NETFILTER_INGRESS",
            )


async def require_tun() -> None:
    """See that charon can do ESP itself.

    Raises:
        UnsupportedError: it cannot; carries what the kernel said.
    """
    if said := await has(TUN):
        raise UnsupportedError(
            "neither ESP nor TUN in the kernel", evidence=(said,), hint="'testbed doctor' says what can run here"
        )
