"""The exact files of every node: a topology in, rendered/CASE/NODE/PATH out.

To write the files anew after a template was changed, and then to read every one of them in the diff::

    GOLDEN_UPDATE=1 python -m pytest tests/golden/test_render.py
"""

from __future__ import annotations

import json
import os
import re
import shutil
from functools import cache
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path, PurePosixPath

import pytest

from testbed.daemons.catalogue import daemons_of
from testbed.mip6 import home_configuration, mobile_node
from testbed.render.render import ETC, render
from testbed.topology.load import load
from testbed.topology.model import Service
from testbed.topology.passwords import passwords_of
from testbed.topology.plan import Esp, Plan, make_plan

HERE = Path(__file__).parent / "rendered"
THIRD_PARTY = Path(__file__).parents[2] / "topologies" / "third-party.yaml"
CASES = {
    "third-party-userland": (THIRD_PARTY, Esp.USERLAND),
    "third-party-kernel": (THIRD_PARTY, Esp.KERNEL),
    "two-home-agents": (THIRD_PARTY.with_name("two-home-agents.yaml"), Esp.USERLAND),
    "auth-option": (THIRD_PARTY.with_name("auth-option.yaml"), Esp.USERLAND),
    "unprotected": (THIRD_PARTY.with_name("unprotected.yaml"), Esp.USERLAND),
    "own-subscribers": (HERE / "own-subscribers.yaml", Esp.USERLAND),
}
IN_CLEAR = ("auth-option", "unprotected")
IPSEC = [case for case in CASES if case not in IN_CLEAR]


@cache
def planned(case: str) -> Plan:
    path, esp = CASES[case]
    topology = load(path)
    return make_plan(topology, passwords_of(topology, path.parent), esp)


def rendered(case: str) -> dict[str, str]:
    """Render a case: content by node and path."""
    every = [(f"{node}/{file.path}", file.content) for node, files in render(planned(case)).items() for file in files]
    assert len(every) == len(dict(every))
    return dict(every)


@pytest.mark.parametrize("case", CASES)
def test_files(case: str) -> None:
    files, folder = rendered(case), HERE / case
    if os.environ.get("GOLDEN_UPDATE"):
        shutil.rmtree(folder, ignore_errors=True)
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(content)
    golden = {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}
    assert sorted(files) == sorted(golden)
    for path, content in files.items():
        assert content == golden[path], path


def test_every_folder_has_its_case() -> None:
    assert {path.name for path in HERE.iterdir() if path.is_dir()} == set(CASES)


@pytest.mark.parametrize("case", CASES)
def test_the_same_octets_each_time(case: str) -> None:
    first = rendered(case)
    planned.cache_clear()
    assert rendered(case) == first


@pytest.mark.parametrize("case", CASES)
def test_nothing_of_a_template_is_left(case: str) -> None:
    for path, content in rendered(case).items():
        assert not re.search(r"\{\{|\{%[- ]|[- ]%\}|\{#|#\}| \}\}", content), path
        assert "None" not in content, path
        assert "Undefined" not in content, path
        assert "(secret)" not in content, path
        assert content.isascii(), path


@pytest.mark.parametrize("case", CASES)
def test_every_path_stays_inside_and_belongs_to_a_daemon(case: str) -> None:
    plan = planned(case)
    for path in rendered(case):
        node, daemon, *rest = PurePosixPath(path).parts
        assert len(rest) == 1
        assert rest[0] not in (".", "..")
        assert not PurePosixPath(path).is_absolute()
        assert daemon in {entry.name for entry in daemons_of(plan.hosts[node])}


@pytest.mark.parametrize("case", CASES)
def test_every_file_that_a_daemon_is_told_of_is_rendered(case: str) -> None:
    files = rendered(case)
    folders = {str(PurePosixPath(path).parent) for path in files}
    for host in planned(case).hosts.values():
        for daemon in daemons_of(host):
            for word in (*daemon.command, *daemon.check, *daemon.environment.values()):
                if word.startswith(ETC):
                    path = f"{host.name}/{PurePosixPath(word).relative_to(ETC)}"
                    assert path in files or path in folders


@pytest.mark.parametrize("case", CASES)
def test_every_json_parses_and_names_no_key_twice(case: str) -> None:
    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        assert len(pairs) == len(dict(pairs))
        return dict(pairs)

    paths = [path for path in rendered(case) if path.endswith((".json", "kea-dhcp6.conf"))]
    assert paths
    for path in paths:
        assert json.loads(rendered(case)[path], object_pairs_hook=once)


@pytest.mark.parametrize("case", CASES)
def test_the_home_agent_reads_what_is_rendered(case: str, tmp_path: Path) -> None:
    plan = planned(case)
    for host in plan.hosts_with(Service.HOME_AGENT):
        path = tmp_path / host.name
        path.write_text(rendered(case)[f"{host.name}/home-agent/home-agent.json"])
        read = home_configuration.Configuration.read(path)
        assert read.identity == host.fqdn
        assert read.address == plan.home_agent_address(host)
        assert isinstance(read.address, IPv6Address)
        assert read.home_prefix == plan.home_link(host).prefix
        assert isinstance(read.home_prefix, IPv6Network)
        assert read.home_link in {leg.name for leg in host.legs}
        assert read.retrans_timer == plan.timing.retrans_timer
        assert read.protection == plan.topology.protection
        if plan.ipsec:
            assert read.certificate == plan.certificates[host.name].certificate
            assert read.key == plan.certificates[host.name].key.reveal()
            assert read.trust_anchor == plan.authority.certificate
            assert read.esp == plan.esp
        else:
            assert read.certificate == read.key == read.trust_anchor == read.esp == ""
            assert list(map(IPv6Address, read.own_addresses)) == [leg.address.ip for leg in host.legs if leg.address]


@pytest.mark.parametrize("case", CASES)
def test_the_mobile_node_reads_what_is_rendered(case: str, tmp_path: Path) -> None:
    plan = planned(case)
    for name, mobile in plan.topology.mobile_nodes.items():
        path = tmp_path / name
        path.write_text(rendered(case)[f"{name}/mobile-node/mobile-node.json"])
        read = mobile_node.Configuration.read(path)
        assert read.nai == mobile.nai
        assert read.protection == plan.topology.protection
        assert read.password == (plan.subscribers[name].typed.reveal() if plan.ipsec else "")
        assert read.interface == plan.hosts[name].legs[0].name
        assert read.discovery["method"] == mobile.home_agent.discovery
        assert read.trust_anchor == (plan.authority.certificate if plan.ipsec else "")
        assert (read.esp, read.retrans_timer) == (plan.esp if plan.ipsec else "", plan.timing.retrans_timer)
        assert read.home_address == ("" if plan.ipsec else str(plan.subscribers[name].home_address))


def test_discovery_by_each_method() -> None:
    told = {
        name: json.loads(rendered("own-subscribers")[f"{name}/mobile-node/mobile-node.json"])["discovery"]
        for name in ("mn1", "mn2", "mn3")
    }
    agent = str(planned("own-subscribers").hosts["ha1"].on("home"))
    assert told == {
        "mn1": {"method": "dns-srv", "domain": "mobile.example"},
        "mn2": {"method": "dns-aaaa", "name": "ha2.mobile.example"},
        "mn3": {"method": "configured", "name": "ha1.mobile.example", "address": agent},
    }


@pytest.mark.parametrize("case", IPSEC)
def test_the_authorizer_knows_its_subscribers_and_nobody_else_does(case: str) -> None:
    plan, files = planned(case), rendered(case)
    knows = {path.split("/")[0] for path in files if path.endswith("/freeradius/users")}
    assert len(knows) == 1
    users = files[f"{knows.copy().pop()}/freeradius/users"]
    for subscriber in plan.subscribers.values():
        line = f'{subscriber.nai}\tCleartext-Password := "{subscriber.password.reveal()}"'
        assert line in users.splitlines()
        assert f"Framed-IPv6-Address = {subscriber.home_address}" in users
        holders = {path.split("/")[0] for path, content in files.items() if subscriber.password.reveal() in content}
        assert holders == knows | ({subscriber.node} if subscriber.typed == subscriber.password else set())


def test_who_holds_the_keys_of_authentication_options() -> None:
    plan, files = planned("auth-option"), rendered("auth-option")

    def holders(key: str) -> set[str]:
        return {path.split("/")[0] for path, content in files.items() if key in content}

    by_agent, by_aaa = plan.subscribers["mn1"], plan.subscribers["mn2"]
    assert by_agent.mn_ha_key
    assert by_aaa.mn_ha_key
    # whom AAA judges, the home agent does not know before it asked: RFC 4640 section 3, nothing of users at home agents
    assert holders(by_agent.mn_ha_key.reveal()) == {"mn1", "ha1"}
    assert holders(by_aaa.mn_ha_key.reveal()) == {"mn2", "aaa2"}
    assert holders(by_aaa.password.reveal()) == {"mn2", "aaa2"}
    assert holders(by_aaa.nai) == {"mn2", "aaa2"}
    assert (by_agent.spi, by_aaa.spi) == (256, 257)
    assert {len(bytes.fromhex(key.reveal())) for key in (by_agent.mn_ha_key, by_aaa.mn_ha_key, by_aaa.password)} == {16}


@pytest.mark.parametrize("case", IN_CLEAR)
def test_no_ike_without_ipsec(case: str) -> None:
    plan, files = planned(case), rendered(case)
    assert plan.certificates == {}
    assert not [path for path in files if "strongswan" in path]
    assert not [path for path, content in files.items() if "BEGIN" in content and path.endswith(".json")]


def test_without_protection_there_is_no_key() -> None:
    files = rendered("unprotected")
    assert json.loads(files["mn1/mobile-node/mobile-node.json"]).keys().isdisjoint({"keys", "spi", "password"})
    assert json.loads(files["ha1/home-agent/home-agent.json"])["mobile_nodes"] == [
        {"home_address": "2001:db8:6::1:1", "nai": "mn1@carrier.example"}
    ]


@pytest.mark.parametrize("case", CASES)
def test_who_holds_a_key_or_a_shared_secret(case: str) -> None:
    plan, files = planned(case), rendered(case)
    for name, credentials in plan.certificates.items():
        key = json.dumps(credentials.key.reveal())
        assert {path.split("/")[0] for path, content in files.items() if key in content} == {name}
    for server in plan.hosts_with(Service.FREERADIUS):
        for peer in [*plan.aaa_peers(server), *plan.hosts_with(Service.HOME_AGENT, server.operator)]:
            secret = plan.radius_secret(server, peer).reveal()
            assert {p.split("/")[0] for p, content in files.items() if secret in content} == {server.name, peer.name}


def test_the_password_of_a_file_reaches_both_ends() -> None:
    files = rendered("own-subscribers")
    assert "correct horse battery staple" in files["aaa1/freeradius/users"]
    assert "correct horse battery staple" in files["mn1/mobile-node/mobile-node.json"]


def test_one_aaa_has_no_peer() -> None:
    content = rendered("own-subscribers")["aaa1/freeradius/radiusd.conf"]
    assert "home_server" not in content
    assert re.findall(r"^client (\S+)", content, re.MULTILINE) == ["ha1", "ha2"]
    assert re.findall(r"^realm (\S+)", content, re.MULTILINE) == ["LOCAL", "mobile.example"]


def test_name_servers_lead_to_each_other() -> None:
    files = rendered("own-subscribers")
    for server, own, other in (("ns1", "access", "mobile"), ("ns2", "mobile", "access")):
        content = files[f"{server}/bind/named.conf"]
        assert re.search(rf'zone "{own}.example" {{\s+type primary;', content)
        assert re.search(rf'zone "{other}.example" {{\s+type static-stub;', content)
        assert f"{server}/bind/{own}.example.zone" in files
        assert f"{server}/bind/{other}.example.zone" not in files
    assert re.findall(r"IN SRV 0 10 0 (\S+)", files["ns2/bind/mobile.example.zone"]) == ["ha1", "ha2"]
    assert "IN SRV" not in files["ns1/bind/access.example.zone"]


def test_kernel_and_userland_differ_only_where_esp_is_done() -> None:
    userland, kernel = rendered("third-party-userland"), rendered("third-party-kernel")
    differing = {path.split("/", 1)[1] for path in userland if userland[path] != kernel[path]}
    assert differing == {
        "strongswan/strongswan.conf",
        "home-agent/guard.nft",
        "home-agent/home-agent.json",
        "mobile-node/guard.nft",
        "mobile-node/mobile-node.json",
    }


def test_addresses_are_given_out_as_the_network_says() -> None:
    files = rendered("own-subscribers")
    pools = {s["subnet"]: s["pools"] for s in json.loads(files["ar1/kea/kea-dhcp6.conf"])["Dhcp6"]["subnet6"]}
    assert pools["2001:db8:f2::/64"] == [{"pool": "2001:db8:f2::1:0 - 2001:db8:f2::1:ffff"}]
    assert [pool for subnet, pool in pools.items() if subnet != "2001:db8:f2::/64"] == [[]]
    flags = re.findall(r"AdvManagedFlag (\w+);|AdvAutonomous (\w+);", files["ar1/radvd/radvd.conf"])
    assert flags == [("off", ""), ("", "on"), ("on", ""), ("", "off")]
