"""Topology to plan: addresses, interfaces, routes, secrets, certificates."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime
from ipaddress import IPv6Address, IPv6Interface, IPv6Network
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples import THIRD_PARTY, checked, third_party

from testbed.topology.load import load
from testbed.topology.model import EapMschapv2, Service, Timers
from testbed.topology.passwords import passwords_of
from testbed.topology.pki import Authority, Secret
from testbed.topology.plan import TIMINGS, Esp, Plan, make_plan

if TYPE_CHECKING:
    from pathlib import Path

    from testbed.topology.model import Topology
    from testbed.topology.plan import Host, Leg

NAME_LIMIT = 15  # octets of an interface's name: IFNAMSIZ less the final zero
DEFAULT = IPv6Network("::/0")
NOWHERE = IPv6Address("2001:db8:ffff:ffff::1")

quick = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    """Draw a valid topology: a tree of transit networks, more routers that close loops, access and home at leaves."""
    transit = [f"net{number}" for number in range(draw(st.integers(1, 6)))]
    networks: dict[str, Any] = {name: {"kind": "transit"} for name in transit}
    nodes: dict[str, Any] = {}
    for number in range(1, len(transit)):
        nodes[f"r{number}"] = {"networks": [transit[number], transit[draw(st.integers(0, number - 1))]]}
    some = st.lists(st.sampled_from(transit), min_size=1, max_size=4, unique=True)
    for number, around in enumerate(draw(st.lists(some, max_size=4))):
        nodes[f"x{number}"] = {"networks": around}
    for node in nodes.values():
        node["services"] = ["router"]
    prefix = st.none() | st.integers(1, 0xFFFF)
    for number in range(draw(st.integers(1, 2))):
        written = draw(prefix)
        care_of = draw(st.sampled_from(["slaac", "dhcpv6"]))
        networks[f"access{number}"] = {"kind": "access", "operator": "asp1", "care_of": care_of} | (
            {"prefix": f"2001:db8:{written:x}:{number}::/64"} if written else {}
        )
        services = ["router", "radvd", "kea"]
        nodes[f"ar{number}"] = {"networks": [draw(st.sampled_from(transit)), f"access{number}"], "services": services}
    networks["home"] = {"kind": "home", "operator": "msp1"}
    for number in range(draw(st.integers(1, 2))):
        services = ["router", "radvd", "strongswan", "home-agent"]
        around = [*draw(some), "home"]
        nodes[f"ha{number}"] = {"networks": around, "services": services, "operator": "msp1"}
    for name, service in (("ns1", "bind"), ("aaa1", "freeradius"), ("aaa2", "freeradius"), ("cn1", "correspondent")):
        operator = {"aaa1": "msp1", "ns1": "msp1", "aaa2": "msa1"}.get(name)
        nodes[name] = {"networks": draw(some), "services": [service]} | ({"operator": operator} if operator else {})
    mobile = {
        f"mn{number}": {
            "attach": "access0",
            "nai": f"mn{number}@msa.example",
            "credential": {"method": "eap-mschapv2", "mistyped": draw(st.booleans())},
            "home_agent": draw(
                st.sampled_from(
                    [
                        {"discovery": "dns-srv", "domain": "msp.example"},
                        {"discovery": "dns-aaaa", "name": "ha0.msp.example"},
                        {"discovery": "configured", "node": "ha0"},
                    ]
                )
            ),
        }
        for number in range(draw(st.integers(1, 4)))
    }
    shuffled = draw(st.permutations(list(nodes.items())))
    return checked(
        {
            "title": "drawn",
            "section": "7.3",
            "seed": draw(st.integers(0, (1 << 64) - 1)),
            "operators": {
                "asp1": {"roles": ["asp"], "domain": "asp.example"},
                "msp1": {"roles": ["msp"], "domain": "msp.example"},
                "msa1": {"roles": ["msa"], "domain": "msa.example"},
            },
            "networks": networks,
            "nodes": dict(shuffled),
            "mobile_nodes": mobile,
        }
    )


def legs(plan: Plan) -> list[Leg]:
    return [leg for host in plan.hosts.values() for leg in host.legs]


def secrets(plan: Plan) -> list[str]:
    found = [secret.reveal() for s in plan.subscribers.values() for secret in (s.password, s.typed)]
    found += [line for c in plan.certificates.values() for line in c.key.reveal().splitlines() if "--" not in line]
    servers = plan.hosts_with(Service.FREERADIUS)
    return found + [plan.radius_secret(one, other).reveal() for one in servers for other in servers]


def owner_of(plan: Plan, address: IPv6Address) -> Host:
    return next(h for h in plan.hosts.values() for leg in h.legs if leg.address and leg.address.ip == address)


def next_hop(host: Host, destination: IPv6Address) -> IPv6Address | None:
    """Look a destination up as a kernel does; the destination itself if it is on a network of the host."""
    if any(leg.address and destination in leg.address.network for leg in host.legs):
        return destination
    fitting = [route for route in host.routes if destination in route.destination]
    return max(fitting, key=lambda route: route.destination.prefixlen).via if fitting else None


def forward(plan: Plan, start: Host, destination: IPv6Address) -> str:
    """Forward a packet until it is on its network, and say how it ended."""
    host, path = start, [start.name]
    while (via := next_hop(host, destination)) != destination:
        if via is None:
            return f"unreachable from {path[-1]}"
        host = owner_of(plan, via)
        if host.name in path or not host.forwards:
            return f"lost: {' '.join([*path, host.name])}"
        path.append(host.name)
    return "delivered"


@given(topologies())
@quick
def test_interfaces(topology: Topology) -> None:
    plan = make_plan(topology, {}, Esp.USERLAND)
    indexes = [i for leg in legs(plan) for i in (leg.index, leg.port_index)] + [w.index for w in plan.wires.values()]
    assert len(indexes) == len(set(indexes))
    macs = [leg.mac for leg in legs(plan)]
    assert len(macs) == len(set(macs))
    assert all(int(mac[:2], 16) & 0b11 == 0b10 for mac in macs)  # locally administered, not a group
    names = [*(leg.port for leg in legs(plan)), *plan.wires]
    assert len(names) == len(set(names))
    assert all(len(name) <= NAME_LIMIT for name in (*names, *plan.hosts, *(leg.name for leg in legs(plan))))
    for host in plan.hosts.values():
        assert len({leg.name for leg in host.legs}) == len(host.legs)
        assert "lo" not in {leg.name for leg in host.legs}


@given(topologies())
@quick
def test_addresses(topology: Topology) -> None:
    plan = make_plan(topology, {}, Esp.USERLAND)
    prefixes = [wire.prefix for wire in plan.wires.values()]
    assert len(prefixes) == len(set(prefixes))
    assert all(prefix.prefixlen == 64 and prefix.subnet_of(IPv6Network("2001:db8::/32")) for prefix in prefixes)
    assert all(n.prefix in (None, plan.wires[name].prefix) for name, n in topology.networks.items())
    given_out = [leg.address for leg in legs(plan) if leg.address]
    assert len(given_out) == len({address.ip for address in given_out})
    for leg in legs(plan):
        assert leg.address is None or leg.address.network == plan.wires[leg.network].prefix
        assert leg.address is None or leg.address.ip != leg.address.network.network_address  # subnet-router anycast
    assert all((leg.address is None) == bool(h.mobile) for h in plan.hosts.values() for leg in h.legs)


@given(topologies())
@quick
def test_home_addresses(topology: Topology) -> None:
    plan = make_plan(topology, {}, Esp.USERLAND)
    homes = [subscriber.home_address for subscriber in plan.subscribers.values()]
    assert len(homes) == len(set(homes))
    assert all(home in plan.wires["home"].prefix for home in homes)
    assert not set(homes) & {leg.address.ip for leg in legs(plan) if leg.address}
    for agent in plan.hosts_with(Service.HOME_AGENT):
        assert plan.home_agent_address(agent) in plan.wires["home"].prefix


@given(topologies())
@quick
def test_every_host_reaches_every_network_and_nothing_runs_in_circles(topology: Topology) -> None:
    plan = make_plan(topology, {}, Esp.USERLAND)
    standing = [host for host in plan.hosts.values() if not host.mobile]
    occupied = {network for node in topology.nodes.values() for network in node.networks}
    for host in standing:
        for name in occupied:
            assert forward(plan, host, plan.wires[name].prefix[0x1_0000]) == "delivered", f"{host.name} to {name}"
        assert forward(plan, host, NOWHERE).startswith("unreachable"), host.name


@given(topologies())
@quick
def test_a_host_has_a_default_and_a_router_none(topology: Topology) -> None:
    plan = make_plan(topology, {}, Esp.USERLAND)
    for host in plan.hosts.values():
        destinations = [route.destination for route in host.routes]
        assert len(destinations) == len(set(destinations))
        assert (DEFAULT in destinations) == (bool(destinations) and not host.forwards)


@given(topologies(), st.integers(0, (1 << 64) - 1))
@quick
def test_deterministic_and_the_seed_changes_secrets_only(topology: Topology, seed: int) -> None:
    plan = make_plan(topology, {}, Esp.USERLAND)
    assert make_plan(topology, {}, Esp.USERLAND) == plan
    other = make_plan(topology.model_copy(update={"seed": seed}), {}, Esp.USERLAND)
    assert (other.wires, other.hosts) == (plan.wires, plan.hosts)
    assert [s.home_address for s in other.subscribers.values()] == [s.home_address for s in plan.subscribers.values()]
    if seed != topology.seed:
        assert not set(secrets(other)) & {secret for secret in secrets(plan) if len(set(secret)) > len("ab")}


@given(topologies(), st.text("XQZ", min_size=12, max_size=20))
@quick
def test_nothing_that_is_shown_has_a_secret(topology: Topology, written: str) -> None:
    plan = make_plan(topology, {"mn0": written}, Esp.USERLAND)
    assert plan.subscribers["mn0"].password.reveal() == written
    parts = (plan, *plan.subscribers.values(), *plan.certificates.values(), plan.authority)
    shown = "\n".join(text for part in parts for text in (repr(part), str(part), f"{part}"))
    assert not [secret for secret in secrets(plan) if secret in shown]


def test_a_secret_shows_itself_only_when_asked() -> None:
    secret = Secret("sesame")
    assert secret.reveal() == "sesame"
    assert "sesame" not in f"{secret} {secret!r} {[secret]} {secret!s:20}"
    assert secret == Secret("sesame") != Secret("other")
    assert pickle.loads(pickle.dumps(secret)).reveal() == "sesame"  # noqa: S301  our own octets


def test_third_party_as_a_person_would_plan_it() -> None:
    plan = third_party()
    assert [str(wire.prefix) for wire in plan.wires.values()] == [f"2001:db8:{n:x}::/64" for n in range(1, 8)]
    assert plan.hosts["ha1"].fqdn == "ha1.carrier.example"
    assert plan.hosts["cn1"].fqdn == "cn1"
    assert plan.subscribers["mn1"].nai == "mn1@corp.example"
    assert [host.name for host in plan.candidates(plan.topology.mobile_nodes["mn1"])] == ["ha1"]
    assert plan.aaa("carrier").name == "aaa1"
    assert [host.name for host in plan.aaa_peers(plan.hosts["aaa1"])] == ["aaa2"]
    assert plan.realm_subscribers("corp") == [plan.subscribers["mn1"]]
    assert plan.realm_subscribers("carrier") == []
    assert plan.realm_subscribers(None) == []
    assert plan.name_servers("carrier") == plan.name_servers("visited") == plan.name_servers(None)
    one, other = plan.hosts["aaa1"], plan.hosts["aaa2"]
    assert plan.radius_secret(one, other) == plan.radius_secret(other, one)
    assert plan.hosts["ha1"].on("home") == plan.home_agent_address(plan.hosts["ha1"])


def test_prefixes_as_written_and_planned_around_them() -> None:
    planned = [wire.prefix for wire in third_party().wires.values()]
    topology = load(THIRD_PARTY)
    written = topology.networks["home"].model_copy(update={"prefix": planned[0]})
    moved = topology.model_copy(update={"networks": {**topology.networks, "home": written}})
    wires = make_plan(moved, {}, Esp.KERNEL).wires
    assert wires["home"].prefix == planned[0]
    assert len({wire.prefix for wire in wires.values()}) == len(wires)


def test_fast_timers_are_shorter_and_not_left_out() -> None:
    fast, standard = TIMINGS[Timers.FAST], TIMINGS[Timers.STANDARD]
    assert 0 < fast.retrans_timer < standard.retrans_timer == 1.0
    assert fast.solicitation_delay < standard.solicitation_delay == 1.0


def test_a_mistyped_password_is_another_one() -> None:
    topology = load(THIRD_PARTY)
    mobile = topology.mobile_nodes["mn1"]
    assert isinstance(mobile.credential, EapMschapv2)
    wrong = mobile.model_copy(update={"credential": mobile.credential.model_copy(update={"mistyped": True})})
    subscriber = make_plan(topology.model_copy(update={"mobile_nodes": {"mn1": wrong}}), {}, Esp.KERNEL).subscribers
    assert subscriber["mn1"].typed != subscriber["mn1"].password
    assert third_party().subscribers["mn1"].typed == third_party().subscribers["mn1"].password


def test_passwords_come_from_files_beside_the_topology(tmp_path: Path) -> None:
    (tmp_path / "mn1.secret").write_text("correct horse\n")
    text = THIRD_PARTY.read_text().replace("eap-mschapv2}", "eap-mschapv2, password_file: mn1.secret}")
    path = tmp_path / "a.yaml"
    path.write_text(text)
    topology = load(path)
    passwords = passwords_of(topology, tmp_path)
    assert passwords == {"mn1": "correct horse"}
    assert make_plan(topology, passwords, Esp.KERNEL).subscribers["mn1"].password.reveal() == "correct horse"
    assert passwords_of(load(THIRD_PARTY), tmp_path) == {}


@pytest.mark.parametrize("seed", [0, 4640, (1 << 64) - 1])
def test_certificates(seed: int) -> None:
    authority = Authority(seed)
    issued = authority.issue("ha1.carrier.example")
    assert issued == Authority(seed).issue("ha1.carrier.example")  # octet by octet
    assert authority.certificate == Authority(seed).certificate
    anchor = x509.load_pem_x509_certificate(authority.certificate.encode())
    certificate = x509.load_pem_x509_certificate(issued.certificate.encode())
    certificate.verify_directly_issued_by(anchor)
    anchor.verify_directly_issued_by(anchor)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["ha1.carrier.example"]
    assert anchor.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert certificate.not_valid_before_utc < datetime(2021, 1, 1, tzinfo=UTC)
    assert certificate.not_valid_after_utc > datetime(2049, 1, 1, tzinfo=UTC)
    assert 0 < certificate.serial_number != anchor.serial_number
    key = serialization.load_pem_private_key(issued.key.reveal().encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    public = certificate.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(
        key.sign(b"that it is its own", ec.ECDSA(hashes.SHA256())), b"that it is its own", ec.ECDSA(hashes.SHA256())
    )


def test_certificates_of_other_names_and_seeds_differ() -> None:
    authority = Authority(1)
    issued = [authority.issue("a.example"), authority.issue("b.example"), Authority(2).issue("a.example")]
    assert len({entry.certificate for entry in issued}) == len({entry.key.reveal() for entry in issued}) == len(issued)
    stranger = x509.load_pem_x509_certificate(Authority(2).certificate.encode())
    certificate = x509.load_pem_x509_certificate(issued[0].certificate.encode())
    with pytest.raises(InvalidSignature):
        certificate.verify_directly_issued_by(stranger)


def test_an_address_is_of_the_first_network() -> None:
    host = third_party().hosts["core"]
    assert isinstance(host.legs[0].address, IPv6Interface)
    assert host.address == host.legs[0].address.ip
