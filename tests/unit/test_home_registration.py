"""Home agent and mobile node together, on a channel that loses, delays, reorders and duplicates messages.

Whatever happens, they come to agree or the mobile node names a remedy, in bounded time and with few messages.
The clock is virtual.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address, IPv6Network
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.mip6 import binding as home_agent
from testbed.mip6 import registration as mobile_node
from testbed.mip6.binding import newer
from testbed.mip6.policy import HomePrefix, Policy, Request
from testbed.mip6.retransmission import Binding, SendUpdate, Timing
from testbed.mip6.wire import BindingAcknowledgement, BindingFlags, BindingStatus, BindingUpdate, NonceIndices

HOME = IPv6Address("2001:db8:a::7")
AGENT = IPv6Address("2001:db8:a::1")
CARE_OF = tuple(IPv6Address(f"2001:db8:c:{network}::7") for network in range(4))
PREFIX = HomePrefix(IPv6Network("2001:db8:a::/64"))
TIMING = Timing()
DAD = 1.0  # RetransTimer x DupAddrDetectTransmits: RFC 4862 section 5.4
LATEST = 3.0  # longest delay of the channel; more than MAX_DELETE_BCE_TIMEOUT would defeat RFC 6275 section 10.3.2


@dataclass(frozen=True)
class Fate:
    """What the channel does with a message: how often it arrives, and after what delays."""

    delays: tuple[float, ...]


@dataclass
class Watch:
    """What may never happen at the home agent, whoever sends what (RFC 6275 section 10.4.1)."""

    entry: home_agent.Entry | None = None
    probing: bool = False
    probed: bool = False
    intercepting: bool = False
    care_of: IPv6Address | None = None

    def take(self, step: home_agent.Step, now: float) -> None:
        """Follow a step of the entry."""
        before, self.entry = self.entry, step.entry
        lapsed = before is not None and before.expires <= now
        for action in step.actions:
            match action:
                case home_agent.Discard():
                    assert lapsed or step.entry is before
                case home_agent.ProbeHomeAddress():
                    assert not self.probing
                    assert not self.intercepting
                    self.probing = True
                case home_agent.StopProbe():
                    assert self.probing
                    self.probing = False
                case home_agent.Intercept(care_of=care_of):
                    assert self.probed
                    self.intercepting, self.care_of = True, care_of
                case home_agent.Retarget(old=old, new=new):
                    assert self.intercepting
                    assert self.care_of == old != new
                    self.care_of = new
                case home_agent.Release():
                    assert self.intercepting
                    self.intercepting = False
        self.probed = False
        assert self.intercepting == isinstance(self.entry, home_agent.Bound)
        assert self.probing == isinstance(self.entry, home_agent.DadPending)
        if isinstance(self.entry, home_agent.Bound):
            assert self.entry.care_of == self.care_of
        if not lapsed and before is not None and self.entry is not None:
            same = self.entry.sequence == before.sequence
            assert same or newer(self.entry.sequence, before.sequence)

    def dad_done(self, unique: bool, policy: Policy, now: float) -> home_agent.Step:
        """Report the end of a probe."""
        assert self.probing
        self.probing, self.probed = False, unique
        step = home_agent.dad_done(self.entry, unique, policy, now)
        self.take(step, now)
        return step


@dataclass
class World:
    """Both ends, the messages under way and the clock."""

    policy: Policy
    fates: list[Fate]
    duplicates: list[bool]
    state: mobile_node.State
    now: float = 0.0
    watch: Watch = field(default_factory=Watch)
    under_way: list[tuple[float, int, Request | BindingAcknowledgement]] = field(default_factory=list)
    dad_ends: float = math.inf
    sent: list[tuple[float, int]] = field(default_factory=list)
    actions: list[mobile_node.Action] = field(default_factory=list)
    events: int = 0
    deleted: bool = False  # the home agent has acknowledged that it deleted the binding

    def send(self, message: Request | BindingAcknowledgement) -> None:
        fate = self.fates.pop() if self.fates else Fate((0.02,))
        for delay in fate.delays:
            self.events += 1
            self.under_way.append((self.now + delay, self.events, message))

    def move_node(self, step: mobile_node.Step) -> None:
        self.state = step.state
        self.actions += step.actions
        for action in step.actions:
            if isinstance(action, SendUpdate):
                self.sent.append((self.now, action.sequence))
                update = BindingUpdate(action.sequence, action.flags, action.lifetime_units)
                at_home = action.care_of == HOME
                request = Request(
                    update, HOME, action.care_of, action.care_of, "mn", BindingStatus.ACCEPTED, not at_home
                )
                self.send(request)

    def move_agent(self, step: home_agent.Step) -> None:
        for action in step.actions:
            match action:
                case home_agent.Acknowledge():
                    self.send(
                        BindingAcknowledgement(action.status, action.flags, action.sequence, action.lifetime_units)
                    )
                case home_agent.ProbeHomeAddress():
                    self.dad_ends = self.now + DAD
                case home_agent.StopProbe():
                    self.dad_ends = math.inf

    def agent_takes(self, step: home_agent.Step) -> None:
        self.watch.take(step, self.now)
        self.move_agent(step)

    def advance(self, until: float) -> bool:
        """Let the next thing happen, if it happens before ``until``."""
        arrival = min(self.under_way, default=None, key=lambda item: item[:2])
        node, agent = mobile_node.deadline(self.state), home_agent.deadline(self.watch.entry)
        times = {
            "message": math.inf if arrival is None else arrival[0],
            "dad": self.dad_ends,
            "node": math.inf if node is None else node,
            "agent": math.inf if agent is None else agent,
        }
        what = min(times, key=times.__getitem__)
        if times[what] >= until:
            self.now = until
            return False
        self.events += 1
        self.now = max(self.now, times[what])
        if what == "message" and arrival is not None:
            self.under_way.remove(arrival)
            self.deliver(arrival[2])
        elif what == "dad":
            self.dad_ends = math.inf
            unique = not (self.duplicates and self.duplicates.pop())
            self.move_agent(self.watch.dad_done(unique, self.policy, self.now))
        elif what == "node":
            self.move_node(mobile_node.timeout(self.state, TIMING, self.now))
        else:
            self.agent_takes(home_agent.expire(self.watch.entry, self.now))
        self.check()
        return True

    def deliver(self, message: Request | BindingAcknowledgement) -> None:
        if isinstance(message, Request):
            self.agent_takes(home_agent.receive(self.watch.entry, message, self.policy, self.now))
        else:
            before = self.state
            self.move_node(mobile_node.acknowledgement(self.state, message, True, TIMING, self.now))
            if before is not self.state:
                self.deleted = isinstance(self.state, mobile_node.Idle) and message.accepted

    def check(self) -> None:
        """A mobile node that believes to be registered is right."""
        if isinstance(self.state, mobile_node.Registered) and self.now < self.state.expires:
            entry = self.watch.entry
            assert isinstance(entry, home_agent.Bound)
            assert entry.care_of == self.state.binding.care_of
            assert entry.expires >= self.state.expires

    def settled(self) -> bool:
        waits = isinstance(self.state, mobile_node.Registering | mobile_node.Deregistering)
        return not (waits or self.under_way or self.watch.probing)

    def do(self, wish: str, number: int) -> None:
        """Let the user, the network or an operator do something."""
        care_of = CARE_OF[number % len(CARE_OF)]
        if wish == "register" or (wish == "restart" and number):
            if wish == "restart":  # the mobile node forgets all, its old SAs too; the home agent only those
                self.under_way.clear()
                self.state = mobile_node.start(number)
                self.sent.clear()
            units = 1 + number % 40
            wanted = Binding(HOME, care_of, AGENT, units, only_home_agent=number % 2 == 0)
            self.move_node(mobile_node.register(self.state, wanted, TIMING, self.now))
        elif wish == "move":
            self.move_node(mobile_node.moved(self.state, care_of, TIMING, self.now))
        elif wish == "home":
            self.move_node(mobile_node.home_returned(self.state, TIMING, self.now))
        elif wish == "deregister":
            self.move_node(mobile_node.deregister(self.state, TIMING, self.now))
        elif wish == "refresh":
            self.move_node(mobile_node.refresh_request(self.state, TIMING, self.now))
        elif wish == "error":
            self.move_node(mobile_node.error(self.state, 1 + number % 2, TIMING, self.now))
        elif wish == "prefixes":
            self.move_node(mobile_node.prefixes_known(self.state))
        elif wish == "revoke":  # an operator deletes the IKE SA: both ends see it, nothing gets through any more
            self.under_way.clear()
            self.agent_takes(home_agent.owner_gone(self.watch.entry))
            self.move_node(mobile_node.revoked(self.state))
        self.check()


WISHES = st.tuples(
    st.sampled_from(
        [
            "register",
            "register",
            "move",
            "move",
            "home",
            "deregister",
            "refresh",
            "error",
            "prefixes",
            "revoke",
            "restart",
        ]
    ),
    st.integers(0, 65535),
    st.floats(0, 20),
)
DELAYS = st.floats(0.001, LATEST)
FATES = st.lists(DELAYS, max_size=3).map(lambda delays: Fate(tuple(delays)))
POLICIES = st.builds(
    lambda maximum, preferred: Policy((replace(PREFIX, preferred_until=preferred),), maximum_lifetime=maximum),
    st.sampled_from([4, 40, 4000]),
    st.sampled_from([math.inf, 100.0]),
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    policy=POLICIES,
    first=st.integers(0, 65535),
    wishes=st.lists(WISHES, min_size=1, max_size=12),
    fates=st.lists(FATES, max_size=60),
    duplicates=st.lists(st.booleans(), max_size=3),
)
def test_both_ends_come_to_agree(
    policy: Policy,
    first: int,
    wishes: list[tuple[str, int, float]],
    fates: list[Fate],
    duplicates: list[bool],
) -> None:
    world = World(policy, fates, duplicates, mobile_node.start(first))
    world.do("register", first)
    for wish, number, pause in wishes:
        world.do(wish, number)
        until = world.now + pause
        while world.advance(until):
            pass
    world.fates = []  # from now on the channel is good
    events, end = world.events, world.now + 200
    while not world.settled():
        assert world.advance(end), "nothing was decided within 200 s"
        assert world.events - events < 200
    agreed(world)
    paced(world)


def agreed(world: World) -> None:
    """Both ends know the same, or the mobile node has a remedy."""
    match world.state:
        case mobile_node.Registered():
            world.check()
        case mobile_node.Failed(remedy=remedy):
            pursued = [action for action in world.actions if isinstance(action, mobile_node.Pursue)]
            assert pursued[-1].remedy is remedy
        case mobile_node.Idle() if isinstance(world.watch.entry, home_agent.Bound):
            assert not world.deleted  # a memory of 10 s keeps late updates out: RFC 6275 section 10.3.2
            assert any(isinstance(action, mobile_node.Deregistered) for action in world.actions)
            world.agent_takes(home_agent.expire(world.watch.entry, world.watch.entry.expires))
            assert world.watch.entry is None  # what was left behind unknowingly ends by itself


def paced(world: World) -> None:
    """Numbers only grow, and no second sees more than MAX_UPDATE_RATE updates (RFC 6275 section 11.8)."""
    for (_, before), (_, after) in pairwise(world.sent):
        assert (after - before) % 65536 in range(1, 32770)  # 32769 only after a refusal with 135
    for earlier, later in zip(world.sent, world.sent[TIMING.update_rate :], strict=False):
        assert later[0] >= earlier[0] + 1.0


ADDRESSES = st.sampled_from(
    [HOME, *CARE_OF, *map(IPv6Address, ("::", "::1", "ff02::1", "fe80::7", "2001:db8:a::", "2001:db8:e::7"))]
)
REQUESTS = st.builds(
    Request,
    st.builds(
        BindingUpdate,
        st.integers(0, 65535),
        st.sampled_from([BindingFlags.A | BindingFlags.H, BindingFlags.H | BindingFlags.K, BindingFlags.A]),
        st.integers(0, 3),
        st.sampled_from([(), (), (NonceIndices(0, 0),)]),
    ),
    st.just(HOME),
    ADDRESSES,
    ADDRESSES,
    st.sampled_from(["mn", "mn", "mn", "other"]),
    st.sampled_from([BindingStatus.ACCEPTED, *BindingStatus, None]),
    st.booleans(),
    st.booleans(),
    bindings=st.integers(0, 2),
)
EVENTS = st.one_of(REQUESTS, st.sampled_from(["unique", "duplicate", "revoke", "owner"]), st.floats(0, 12))


@settings(max_examples=400, deadline=None)
@given(
    events=st.lists(EVENTS, max_size=30),
    policy=st.sampled_from([Policy((PREFIX,)), Policy((), maximum_bindings=1)]),
)
def test_no_interception_without_a_probe_and_no_change_by_a_discard(
    events: list[Request | str | float], policy: Policy
) -> None:
    watch, now = Watch(), 0.0
    for event in events:
        if isinstance(event, Request):
            watch.take(home_agent.receive(watch.entry, event, policy, now), now)
        elif isinstance(event, float):
            now += event
            watch.take(home_agent.expire(watch.entry, now), now)
        elif event == "revoke":
            watch.take(home_agent.revoke(watch.entry, home_agent.Reason.REVOKED), now)
        elif event == "owner":
            watch.take(home_agent.owner_gone(watch.entry), now)
        elif watch.probing:
            watch.dad_done(event == "unique", policy, now)


def test_a_late_update_does_not_undo_a_deletion_6275_10_3_2() -> None:
    prompt = Fate((0.1,))
    fates = [Fate((0.1, 2.9)), prompt, prompt, prompt]  # the first update arrives twice
    world = World(Policy((PREFIX,)), fates[::-1], [], mobile_node.start(1))
    world.do("register", 1)
    while world.advance(1.5):
        pass
    world.do("home", 0)
    while world.advance(5.0):
        pass
    assert world.deleted
    assert isinstance(world.watch.entry, home_agent.Deleted)
    agreed(world)
