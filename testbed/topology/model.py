"""What a scenario consists of, in RFC 4640's own terms: frozen, typed, without knowledge of the machine.

The shapes are checked here, value by value; what one part says of another is checked in ``check``.
"""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv6Network
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

#: a node's or network's name becomes a host name, a folder and (with a suffix) an interface name of 15 octets
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*[a-z0-9]$", max_length=11)]
#: a domain name in lower case, at least two labels (RFC 1035 section 2.3.1)
Domain = Annotated[
    str,
    StringConstraints(pattern=r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]$", max_length=120),
]
#: a network access identifier with a realm (RFC 4282 section 2.1), as far as every daemon here accepts it
Nai = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}@([a-z0-9-]+\.)+[a-z0-9-]+$", max_length=120),
]


class Role(StrEnum):
    """What an operator does (RFC 4640 section 2 and section 6)."""

    ASP = "asp"  #: access service provider: gives connectivity
    ASA = "asa"  #: access service authorizer: decides who gets it
    MSP = "msp"  #: mobility service provider: runs home agents
    MSA = "msa"  #: mobility service authorizer: decides who may use them


class NetworkKind(StrEnum):
    """What a network is for."""

    TRANSIT = "transit"  #: joins routers and servers
    ACCESS = "access"  #: where mobile nodes attach
    HOME = "home"  #: a home link (RFC 6275 section 3.2): home addresses belong to its prefix


class CareOf(StrEnum):
    """How a mobile node gets its care-of address on an access network."""

    SLAAC = "slaac"  #: RFC 4862, with DHCPv6 for the other configuration
    DHCPV6 = "dhcpv6"  #: RFC 8415, stateful


class Service(StrEnum):
    """What runs on a node."""

    ROUTER = "router"  #: forwards packets
    RADVD = "radvd"
    KEA = "kea"
    BIND = "bind"
    FREERADIUS = "freeradius"
    STRONGSWAN = "strongswan"
    HOME_AGENT = "home-agent"
    CORRESPONDENT = "correspondent"  #: answers mobile nodes' traffic


class Timers(StrEnum):
    """Whose timers are used."""

    STANDARD = "standard"  #: the RFCs' own
    FAST = "fast"  #: delays of router solicitation, DAD and DHCPv6 shortened; nothing left out on the wire


class Protection(StrEnum):
    """How a Binding Update is protected (RFC 4877, RFC 4285)."""

    TUNNEL = "tunnel"  #: inside an ESP tunnel between care-of address and home agent
    TRANSPORT = "transport"  #: ESP transport mode with home address option and type 2 routing header
    AUTH_OPTION = "auth-option"  #: RFC 4285's authentication options, no IPsec
    NONE = "none"  #: not at all


IPSEC = (Protection.TUNNEL, Protection.TRANSPORT)  #: the protections that need IKE and ESP


class Part(BaseModel):
    """A part of a topology: frozen, and nothing in it that is not named here."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Operator(Part):
    """One of the operators of RFC 4640 section 6: the roles that it holds, its DNS domain and realm."""

    roles: tuple[Role, ...] = Field(min_length=1, max_length=4, description="a list of asp, asa, msp, msa")
    domain: Domain = Field(description="its DNS domain and AAA realm, such as corp.example")


class Network(Part):
    """A link: one broadcast domain with one /64."""

    kind: NetworkKind = Field(description="transit, access or home")
    operator: Name | None = None
    prefix: IPv6Network | None = Field(default=None, description="a /64; one is planned if none is given")
    care_of: CareOf = CareOf.SLAAC


class Node(Part):
    """A router, server or host that stays where it is."""

    networks: tuple[Name, ...] = Field(min_length=1, max_length=64, description="a list of the networks that it is on")
    operator: Name | None = Field(default=None, description="default: the operator of its first network")
    services: tuple[Service, ...] = ()
    after: tuple[Name, ...] = Field(default=(), description="nodes whose daemons must be ready before this one's start")
    preference: int = Field(
        default=0,
        ge=0,
        lt=1 << 16,
        description="of a home agent among those of its home link, the higher first (RFC 6275 section 7.4)",
    )


class EapMschapv2(Part):
    """A password, shown to the AAA of the authorizer by EAP-MSCHAPv2 inside IKEv2."""

    method: Literal["eap-mschapv2"] = Field(description="eap-mschapv2, mn-ha-key or mn-aaa-key")
    password_file: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(
        default=None,
        description="a file beside the topology that holds the password; one is planned if none is given",
    )
    mistyped: bool = Field(default=False, description="the mobile node holds another password than the authorizer")


class MnHaKey(Part):
    """A key of 16 octets, planned, that mobile node and home agent share (RFC 4285 section 5.1)."""

    method: Literal["mn-ha-key"] = Field(description="eap-mschapv2, mn-ha-key or mn-aaa-key")
    mistyped: bool = Field(default=False, description="the mobile node holds another key than the home agent")


class MnAaaKey(Part):
    """A key of 16 octets, planned, that mobile node and the AAA of the authorizer share (RFC 4285 section 5.2)."""

    method: Literal["mn-aaa-key"] = Field(description="eap-mschapv2, mn-ha-key or mn-aaa-key")
    mistyped: bool = Field(default=False, description="the mobile node holds another key than the authorizer")


Credential = Annotated[EapMschapv2 | MnHaKey | MnAaaKey, Field(discriminator="method")]


class DnsSrv(Part):
    """Home agent discovery by service name (RFC 5026 section 5.1.2)."""

    discovery: Literal["dns-srv"] = Field(description="dns-srv, dns-aaaa, dhaad or configured")
    domain: Domain = Field(description="the domain of the operator whose home agents are looked for")


class DnsAaaa(Part):
    """Home agent discovery by host name (RFC 5026 section 5.1.1)."""

    discovery: Literal["dns-aaaa"] = Field(description="dns-srv, dns-aaaa, dhaad or configured")
    name: Domain = Field(description="a home agent's node and its operator's domain, such as ha1.carrier.example")


class Configured(Part):
    """A home agent that the mobile node knows beforehand (RFC 4640 section 8.1)."""

    discovery: Literal["configured"] = Field(description="dns-srv, dns-aaaa, dhaad or configured")
    node: Name = Field(description="the node that is its home agent")


class Dhaad(Part):
    """Home agent discovery by anycast to the home link (RFC 6275 section 11.4.1)."""

    discovery: Literal["dhaad"] = Field(description="dns-srv, dns-aaaa, dhaad or configured")
    prefix: IPv6Network = Field(description="the prefix of the home link, as its network has it: a /64")


Discovery = Annotated[DnsSrv | DnsAaaa | Dhaad | Configured, Field(discriminator="discovery")]


class MobileNode(Part):
    """A mobile node with the seed information that it is provisioned with (RFC 4640 section 8)."""

    attach: Name = Field(description="the access network where it starts")
    nai: Nai = Field(description="its user name and realm, such as mn1@corp.example")
    credential: Credential | None = Field(
        default=None, description="how it proves who it is, such as {method: eap-mschapv2}"
    )
    home_agent: Discovery = Field(
        description="how it finds its home agent, such as {discovery: dns-srv, domain: carrier.example}"
    )
    hostname: Domain | None = Field(
        default=None,
        description="the name that its home agent gives its home address in the DNS, such as mn1.carrier.example",
    )
    home_address: Literal["aaa", "static", "first-come"] = Field(
        default="aaa",
        description="where its home address comes from: aaa, static for a planned one, or first-come for one that the "
        "home agent has left (RFC 5026 section 9.2)",
    )


class Topology(Part):
    """A scenario as a person writes it."""

    title: Annotated[str, StringConstraints(min_length=1, max_length=100)] = Field(
        description="one line that says what the scenario shows"
    )
    section: Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)*$", max_length=20)] = Field(
        description='the section of RFC 4640 that the scenario comes from, such as "7.3"'
    )
    seed: int = Field(default=4640, ge=0, lt=1 << 64, description="secrets and keys are derived from it")
    timers: Timers = Timers.STANDARD
    protection: Protection = Protection.TUNNEL
    lab_only_unprotected: bool = Field(default=False, description="that nothing is protected is what you want")
    operators: dict[Name, Operator] = Field(
        min_length=1,
        max_length=64,
        description="who runs what, such as corp: {roles: [msa], domain: corp.example}",
    )
    networks: dict[Name, Network] = Field(
        min_length=1, max_length=256, description="links, such as access1: {kind: access, operator: visited}"
    )
    nodes: dict[Name, Node] = Field(
        min_length=1,
        max_length=512,
        description="what stays where it is, such as aaa2: {networks: [corp], services: [freeradius]}",
    )
    mobile_nodes: dict[Name, MobileNode] = Field(
        min_length=1,
        max_length=512,
        description="what moves, each with attach, nai, credential and home_agent",
    )

    def operator_of(self, node: str) -> str | None:
        """Return the operator who runs a node: the node's own, else that of its first network, else none."""
        entry = self.nodes[node]
        return entry.operator or self.networks[entry.networks[0]].operator

    def asks_aaa(self, mobile: MobileNode) -> bool:
        """Say whether a home agent asks AAA about a mobile node: not where it has the key itself, or asks for none."""
        return self.protection in IPSEC or isinstance(mobile.credential, MnAaaKey)

    def nodes_with(self, service: Service) -> list[str]:
        """Return the names of the nodes that run a service, in the order of the file."""
        return [name for name, node in self.nodes.items() if service in node.services]

    def holders(self, role: Role) -> list[str]:
        """Return the names of the operators that hold a role, in the order of the file."""
        return [name for name, operator in self.operators.items() if role in operator.roles]
