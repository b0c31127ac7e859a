from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.errors import Problem, TopologyError
from testbed.topology import load as load_module
from testbed.topology import nodes
from testbed.topology.document import parse
from testbed.topology.load import LIMIT, load
from testbed.topology.model import CareOf, DnsSrv, Role, Service, Topology
from testbed.topology.schema import schema

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
THIRD_PARTY = ROOT / "topologies" / "third-party.yaml"
TEXT = THIRD_PARTY.read_text()
DATA: dict[str, Any] = yaml.safe_load(TEXT)
SECONDS = 5  # for one file, on a machine that does other things too

#: hypothesis writes many files into one folder of the test
quick = settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)


def outcome(folder: Path, content: bytes | str) -> Topology | tuple[Problem, ...]:
    """Load a file with this content; whatever is not a TopologyError fails the test."""
    path = folder / "example.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    start = time.monotonic()
    result: Topology | TopologyError
    try:
        result = load(path)
    except TopologyError as error:
        result = error
    assert time.monotonic() - start < SECONDS
    if isinstance(result, Topology):
        return result
    assert result.problems
    assert list(result.problems) == sorted(set(result.problems))
    assert all(line.isprintable() for line in result.lines())
    return result.problems


def problems(folder: Path, content: str) -> list[str]:
    found = outcome(folder, content)
    assert isinstance(found, tuple)
    return [problem.message for problem in found]


def with_password(path: str) -> str:
    return TEXT.replace("{method: eap-mschapv2}", f"{{method: eap-mschapv2, password_file: {path}}}")


def test_third_party_loads() -> None:
    topology = load(THIRD_PARTY)
    assert topology.section == "7.3"
    assert topology.holders(Role.MSP) == ["carrier"]
    assert topology.nodes_with(Service.HOME_AGENT) == ["ha1"]
    assert topology.networks["access2"].care_of is CareOf.DHCPV6
    assert topology.mobile_nodes["mn1"].home_agent == DnsSrv(discovery="dns-srv", domain="carrier.example")


def test_loading_is_deterministic() -> None:
    assert load(THIRD_PARTY) == load(THIRD_PARTY)


def test_every_shipped_topology_loads() -> None:
    for path in (ROOT / "topologies").glob("*.yaml"):
        load(path)


def test_the_file_is_parsed_and_validated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[str] = []

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            passes.append(name)
            return function(*arguments, **named)

        return call

    monkeypatch.setattr(yaml, "parse", counted("yaml", yaml.parse))
    for name in ("read", "parse", "validate", "check"):
        monkeypatch.setattr(load_module, name, counted(name, getattr(load_module, name)))
    load(THIRD_PARTY)
    assert passes == ["read", "parse", "yaml", "validate", "check"]


def test_places_of_keys_and_values() -> None:
    marks = parse(TEXT).marks
    lines = TEXT.splitlines()
    for mark, word in (
        (marks.key("networks", "access2"), "access2"),
        (marks.value("networks", "access2", "care_of"), "dhcpv6"),
        (marks.value("nodes", "ha1", "services", 2), "strongswan"),
        (marks.value("mobile_nodes", "mn1", "home_agent", "domain"), "carrier.example"),
        (marks.key("networks", "home", "prefix"), "home"),
    ):
        assert lines[mark.line - 1][mark.column - 1 :].startswith(word)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("\n", "\r\n", id="carriage returns"),
        pytest.param("# RFC", "\ufeff# RFC", id="byte order mark"),
        pytest.param('"7.3"', '"7.3"\nseed: 18446744073709551615', id="largest seed"),
        pytest.param("{kind: transit}", "{kind: transit, prefix: 'fd00:1::/64'}", id="unique local prefix"),
        pytest.param("{kind: transit}", "{kind: transit, prefix: 2001:db8::/64}", id="prefix without quotes"),
        pytest.param("{kind: transit}", "{kind: transit, operator: }", id="optional value left empty"),
        pytest.param("roles: [msa]", "roles: [msa, asa]", id="asa"),
        pytest.param("{method: eap-mschapv2}", "{method: eap-mschapv2, mistyped: true}", id="mistyped"),
        pytest.param("services: [bind]", "services: [bind], after: [aaa1]", id="after"),
        pytest.param("  aaa1:", "  ns2: {networks: [carrier], services: [bind]}\n  aaa1:", id="two name servers"),
        pytest.param(
            "dns-srv, domain: carrier.example",
            "dns-aaaa, name: ha1.carrier.example",
            id="host name of a home agent",
        ),
        pytest.param("dns-srv, domain: carrier.example", "configured, node: ha1", id="configured home agent"),
        pytest.param("title: Third-party", "title: Third-party \U0001f469\u200d\U0001f52c é", id="any script"),
        pytest.param("[visited, access1]", "&both [visited, access1]", id="anchor"),
    ],
)
def test_also_accepted(old: str, new: str, tmp_path: Path) -> None:
    text = TEXT.replace(old, new)
    assert text != TEXT
    assert isinstance(outcome(tmp_path, text), Topology)


def test_aliases_stand_for_their_values(tmp_path: Path) -> None:
    text = TEXT.replace("[visited, access1]", "&ar1 [visited, access1]").replace("[visited, access2]", "*ar1")
    assert problems(tmp_path, text) == [
        "access network 'access2' has no router that advertises itself",
        "access network 'access2' gives out addresses by dhcpv6, but no node on it runs kea",
    ]


def test_a_wrong_value_behind_aliases_is_told_where_it_stands(tmp_path: Path) -> None:
    text = TEXT.replace("{kind: transit}", "&net {kind: transitt}").replace("{kind: transit, operator: corp}", "*net")
    assert [(problem.line, problem.message) for problem in outcome(tmp_path, text) if isinstance(problem, Problem)] == [
        (12, "kind of network 'corp': unknown value 'transitt'"),
        (12, "kind of network 'internet': unknown value 'transitt'"),
    ]


def test_a_duplicate_key_does_not_hide_contradictions(tmp_path: Path) -> None:
    text = TEXT.replace("services: [bind]", "services: [bind], services: [kea]").replace(
        "attach: access1", "attach: home"
    )
    assert problems(tmp_path, text) == [
        "the key 'services' is given twice",
        "mobile node 'mn1' attaches to 'home', which is a home network",
    ]


@pytest.mark.parametrize("content", [b"correct horse", b"correct horse\n", b"x" * 256, b"!#$%&'()*+,-./[]^_`{|}~ "])
def test_password_file(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "mn1").write_bytes(content)
    assert isinstance(outcome(tmp_path, with_password("secrets/mn1")), Topology)


def test_password_file_behind_a_link_inside_the_folder(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("correct horse\n")
    (tmp_path / "mn1").symlink_to("real")
    assert isinstance(outcome(tmp_path, with_password("mn1")), Topology)


def test_topology_in_a_linked_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "mn1").write_text("correct horse\n")
    (tmp_path / "linked").symlink_to("real")
    assert isinstance(outcome(tmp_path / "linked", with_password("mn1")), Topology)


@pytest.mark.parametrize("target", ["/etc/passwd", "../secret"])
def test_password_file_behind_a_link_out_of_the_folder(target: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("correct horse\n")
    folder = tmp_path / "topologies"
    folder.mkdir()
    (folder / "mn1").symlink_to(target)
    message = "password_file of mobile node 'mn1' is a symbolic link that leads out of the topology's folder"
    assert problems(folder, with_password("mn1")) == [message]


def test_password_file_that_is_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "mn1")
    assert problems(tmp_path, with_password("mn1")) == ["password_file of mobile node 'mn1' is not a regular file"]


def test_password_file_that_links_to_itself(tmp_path: Path) -> None:
    (tmp_path / "mn1").symlink_to("mn1")
    (message,) = problems(tmp_path, with_password("mn1"))
    assert message.startswith("password_file of mobile node 'mn1' cannot be read: ")


@quick
@given(st.binary(max_size=300))
def test_a_password_is_in_no_message(tmp_path: Path, content: bytes) -> None:
    secret = b"swordfish" + content
    (tmp_path / "mn1").write_bytes(secret)
    found = outcome(tmp_path, with_password("mn1"))
    assert isinstance(found, Topology) or "swordfish" not in str(found)


def test_more_problems_than_anybody_reads(tmp_path: Path) -> None:
    names = ", ".join(f"net{number:05}" for number in range(40))
    many = "".join(f"  host{number}: {{networks: [{names}]}}\n" for number in range(400))
    found = outcome(tmp_path, TEXT.replace("nodes:\n", f"nodes:\n{many}", 1))
    assert isinstance(found, tuple)
    assert len(found) == LIMIT + 1
    assert found[0] == Problem(0, 0, f"more than {LIMIT} problems; here are some of them")


def test_many_problems_of_shape(tmp_path: Path) -> None:
    many = "".join(f"  host{number}: {{services: [{'x' * (1 + number % 50)}, a, b]}}\n" for number in range(500))
    assert len(problems(tmp_path, TEXT.replace("nodes:\n", f"nodes:\n{many}", 1))) == LIMIT + 1


def test_all_nodes_wait_for_each_other(tmp_path: Path) -> None:
    names = [f"host{number}" for number in range(300)]
    after = ", ".join(names[:50])
    many = "".join(f"  {name}: {{networks: [internet], after: [{after}]}}\n" for name in names)
    found = problems(tmp_path, TEXT.replace("nodes:\n", f"nodes:\n{many}", 1))
    assert all(message.startswith(("nodes wait for each other", "a node waits for itself")) for message in found)


@pytest.mark.parametrize("repeated", ["[", "{", "- ", "? ", "a: [", "[a, ", "&a [", "'", '"', "!", "|\n ", "#\n", ": "])
def test_a_quarter_of_a_megabyte_of_one_thing(repeated: str, tmp_path: Path) -> None:
    assert not isinstance(outcome(tmp_path, repeated * (250_000 // len(repeated))), Topology)


def test_schema_is_of_the_published_kind() -> None:
    published = schema()
    assert published["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert published["$id"]
    assert set(published["required"]) <= set(published["properties"]) == set(Topology.model_fields)
    assert published["additionalProperties"] is False


@quick
@given(st.binary(max_size=400))
def test_any_octets(tmp_path: Path, content: bytes) -> None:
    assert not isinstance(outcome(tmp_path, content), Topology)


@quick
@given(st.text(alphabet=st.sampled_from("ab:-,?&*!|>'\"%@`[]{}#<= \n\t0123.~_\\é\u202e\ud800"), max_size=200))
def test_any_text_of_yaml_characters(tmp_path: Path, content: str) -> None:
    assert not isinstance(outcome(tmp_path, content), Topology)


leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.dates()
    | st.binary(max_size=8)
    | st.sampled_from(["access", "7.3", "yes", "on", "~", "<<", "=", "[key]", "2001:db8::/64", "mn1@corp.example"])
)
keys = st.text(max_size=8) | st.sampled_from([*Topology.model_fields, "kind", "discovery", "[key]", "<<", "no"])
structures = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys | st.integers(), inner, max_size=4),
    max_leaves=25,
)


@quick
@given(structures, st.booleans())
def test_any_structure(tmp_path: Path, data: Any, flow: bool) -> None:
    text = yaml.safe_dump(data, allow_unicode=True, default_flow_style=flow)
    assert not isinstance(outcome(tmp_path, text), Topology)


def places(data: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to each value in a structure."""
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [way for key, value in inner for way in ((*here, key), *places(value, (*here, key)))]


PLACES = places(DATA)


@quick
@given(
    st.lists(
        st.tuples(st.sampled_from(PLACES), structures | st.sampled_from([None, "", "home", "ha1"])),
        max_size=4,
    )
)
def test_third_party_with_other_values(tmp_path: Path, changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    data = yaml.safe_load(TEXT)
    for (*way, last), value in changes:
        part = data
        for key in way:
            known = part if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ()
            part = part[key] if key in known else None
        if isinstance(part, dict) or (isinstance(part, list) and last in range(len(part))):
            part[last] = value
    outcome(tmp_path, yaml.safe_dump(data, allow_unicode=True, sort_keys=False))


@quick
@given(st.sets(st.sampled_from(PLACES), max_size=6))
def test_third_party_with_parts_left_out(tmp_path: Path, removed: set[tuple[Any, ...]]) -> None:
    def kept(data: Any, here: tuple[Any, ...]) -> Any:
        if isinstance(data, dict):
            return {k: kept(v, (*here, k)) for k, v in data.items() if (*here, k) not in removed}
        if isinstance(data, list):
            return [kept(v, (*here, i)) for i, v in enumerate(data) if (*here, i) not in removed]
        return data

    outcome(tmp_path, yaml.safe_dump(kept(DATA, ()), sort_keys=False))


@quick
@given(st.integers(0, 2**32), st.integers(1, 8))
def test_third_party_with_other_characters(tmp_path: Path, seed: int, count: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a test that can be repeated
    text = list(TEXT)
    for _ in range(count):
        at = chance.randrange(len(text))
        text[at : at + chance.randrange(3)] = chance.choice([*"{}[]:,-#&*!'\"\n \t", "", ": ", "- ", "\n  ", TEXT[at:]])
    outcome(tmp_path, "".join(text))


@pytest.mark.parametrize("case", sorted((ROOT / "tests/golden/topologies").glob("*.yaml")), ids=lambda path: path.stem)
def test_without_libyaml(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told() -> list[tuple[int, str]]:
        with pytest.raises(TopologyError) as caught:
            load(case)
        return [(problem.line, problem.message) for problem in caught.value.problems]

    native = told()
    monkeypatch.setattr(nodes, "_LOADER", yaml.SafeLoader)
    assert told() == native
