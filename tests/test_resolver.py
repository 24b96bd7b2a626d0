"""Resolver: a name that was ever known stays known, and nobody waits for a fresh answer."""

import asyncio
import socket
import threading

import pytest
import uvloop

from gateway.resolver import CERTAIN, FRESH, Resolver, is_literal, system_lookup
from gateway.upstream_errors import UpstreamUnavailable
from tests.fakes import until
from tests.scenes import settled


class Names:
    """A name server the test speaks for: every question is answered by hand."""

    def __init__(self):
        self.now = 1000.0
        self.asked = []
        self.answers = []

    def clock(self):
        return self.now

    async def __call__(self, host):
        self.asked.append(host)
        answer = asyncio.get_running_loop().create_future()
        self.answers.append(answer)
        return await answer

    async def question(self, number):
        """Return when the question of this number, from 1, was asked."""
        await until(lambda: len(self.asked) >= number)

    def answer(self, *addresses):
        self.answers[-1].set_result(addresses)

    def fail(self, error=None):
        self.answers[-1].set_exception(error or socket.gaierror(socket.EAI_AGAIN, "again"))


@pytest.fixture
def names():
    return Names()


async def known(names):
    """A resolver that has just learnt that a.test is 192.0.2.1."""
    resolver = Resolver(names, names.clock)
    task = asyncio.ensure_future(resolver.resolve("a.test"))
    await names.question(1)
    names.answer("192.0.2.1")
    assert await task == ("192.0.2.1",)
    return resolver


@pytest.mark.parametrize(
    ("host", "literal"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("fe80::1%eth0", True),
        ("localhost", False),
        ("127.1", False),
        ("1.2.3.4.example", False),
    ],
)
def test_an_address_is_told_from_a_name(host, literal):
    assert is_literal(host) is literal


async def test_an_address_is_its_own_answer(names):
    assert await Resolver(names).resolve("192.0.2.7") == ("192.0.2.7",)
    assert await Resolver(names).resolve("2001:db8::7") == ("2001:db8::7",)
    assert names.asked == []


async def test_the_first_request_waits_and_the_next_does_not(names):
    resolver = await known(names)

    assert await resolver.resolve("a.test") == ("192.0.2.1",)
    assert names.asked == ["a.test"]


async def test_what_is_known_is_told_without_waiting(names):
    assert Resolver(names, names.clock).known("a.test") is None
    resolver = await known(names)

    assert resolver.known("a.test") == ("192.0.2.1",)
    assert resolver.known("::1") == ("::1",)
    names.now += FRESH
    resolver.doubt("::1")
    assert resolver.known("::1") == ("::1",), "an address is not looked up, however old"
    assert names.asked == ["a.test"]


async def test_many_who_ask_at_once_cause_one_look_up(names):
    resolver = Resolver(names, names.clock)
    tasks = [asyncio.ensure_future(resolver.resolve("a.test")) for _ in range(10)]
    await names.question(1)
    await settled()
    names.answer("192.0.2.1", "192.0.2.2")

    assert await asyncio.gather(*tasks) == [("192.0.2.1", "192.0.2.2")] * 10
    assert names.asked == ["a.test"]


async def test_an_old_answer_is_used_at_once_and_refreshed_behind_the_request(names):
    resolver = await known(names)
    names.now += FRESH
    task = asyncio.ensure_future(resolver.resolve("a.test"))
    await names.question(2)
    await settled()

    assert task.done()
    assert task.result() == ("192.0.2.1",)
    assert await resolver.resolve("a.test") == ("192.0.2.1",), "still, while the answer is awaited"
    names.answer("192.0.2.9")
    await settled()
    assert await resolver.resolve("a.test") == ("192.0.2.9",)
    assert len(names.asked) == 2


async def test_an_answer_is_not_looked_up_again_before_its_time(names):
    resolver = await known(names)
    names.now += FRESH - 0.1
    await resolver.resolve("a.test")
    await settled()

    assert len(names.asked) == 1


async def test_a_doubted_answer_is_used_until_there_is_another(names):
    resolver = await known(names)
    resolver.doubt("a.test")
    assert len(names.asked) == 1, "it is new"

    names.now += CERTAIN
    for _ in range(3):
        resolver.doubt("a.test")
    await names.question(2)
    assert await resolver.resolve("a.test") == ("192.0.2.1",)
    names.answer("192.0.2.2")
    await settled()

    assert await resolver.resolve("a.test") == ("192.0.2.2",)
    assert len(names.asked) == 2


async def test_what_is_no_known_name_is_not_doubted(names):
    resolver = Resolver(names, names.clock)
    resolver.doubt("192.0.2.1")
    resolver.doubt("b.test")
    await settled()
    assert names.asked == []


@pytest.mark.parametrize("how", ["fails", "is empty"])
async def test_a_known_answer_outlives_a_look_up_that_fails(names, how):
    resolver = await known(names)
    for number in range(2, 5):
        names.now += FRESH
        assert await resolver.resolve("a.test") == ("192.0.2.1",)
        await names.question(number)
        names.fail() if how == "fails" else names.answer()
        await settled()

    assert await resolver.resolve("a.test") == ("192.0.2.1",)
    resolver.close()
    await settled()


FAILURES = {
    "the server says no": socket.gaierror(socket.EAI_NONAME, "a.test: not known"),
    "the network is down": OSError(101, "Network is unreachable"),
    "a label is too long": UnicodeError("label empty or too long"),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
async def test_a_name_that_was_never_known_is_unavailable(names, failure):
    resolver = Resolver(names, names.clock)
    task = asyncio.ensure_future(resolver.resolve("a.test"))
    await names.question(1)
    names.fail(failure)

    with pytest.raises(UpstreamUnavailable, match=r"cannot resolve a\.test") as caught:
        await task
    assert caught.value.kind == "dns"


async def test_the_next_request_after_a_failure_asks_again(names):
    resolver = Resolver(names, names.clock)
    task = asyncio.ensure_future(resolver.resolve("a.test"))
    await names.question(1)
    names.fail()
    await asyncio.wait([task])
    assert isinstance(task.exception(), UpstreamUnavailable)

    task = asyncio.ensure_future(resolver.resolve("a.test"))
    await names.question(2)
    names.answer("192.0.2.1")
    assert await task == ("192.0.2.1",)


async def test_a_silent_name_server_holds_a_request_up_only_so_long(names, monkeypatch):
    monkeypatch.setattr("gateway.resolver.PATIENCE", 0.01)
    resolver = Resolver(names, names.clock)

    with pytest.raises(UpstreamUnavailable):
        await resolver.resolve("a.test")
    # The late answer is not lost: it serves whoever asks next.
    names.answer("192.0.2.1")
    await settled()
    assert await resolver.resolve("a.test") == ("192.0.2.1",)
    assert len(names.asked) == 1


async def test_who_leaves_does_not_take_the_look_up_with_him(names):
    resolver = Resolver(names, names.clock)
    leaves = asyncio.ensure_future(resolver.resolve("a.test"))
    stays = asyncio.ensure_future(resolver.resolve("a.test"))
    await names.question(1)
    await settled()
    leaves.cancel()
    await settled()
    names.answer("192.0.2.1")

    assert await stays == ("192.0.2.1",)
    assert leaves.cancelled()


async def test_closing_stops_what_runs(names):
    resolver = Resolver(names, names.clock)
    task = asyncio.ensure_future(resolver.resolve("a.test"))
    await names.question(1)
    resolver.close()

    with pytest.raises(UpstreamUnavailable):
        await task
    assert names.answers[0].cancelled()


async def test_the_system_knows_localhost_each_address_once():
    addresses = await system_lookup("localhost")

    assert set(addresses) <= {"127.0.0.1", "::1"}
    assert len(addresses) == len(set(addresses)) > 0


@pytest.fixture
def silence(monkeypatch):
    """A name server that says nothing of `*.slow.test` until the test is over."""
    over, system = threading.Event(), socket.getaddrinfo

    def look_up(host, *args, **options):
        if host.endswith(".slow.test"):
            over.wait()
            raise socket.gaierror(socket.EAI_AGAIN, "again")
        return system(host, *args, **options)

    before = set(threading.enumerate())
    monkeypatch.setattr("gateway.resolver.socket.getaddrinfo", look_up)
    yield
    over.set()
    for thread in set(threading.enumerate()) - before:
        thread.join()


async def test_names_that_nobody_answers_for_hold_up_no_other(silence, monkeypatch):
    monkeypatch.setattr("gateway.resolver.PATIENCE", 0.0)
    resolver = Resolver()
    for number in range(40):
        with pytest.raises(UpstreamUnavailable):
            await resolver.resolve(f"{number}.slow.test")

    assert "127.0.0.1" in await system_lookup("localhost")
    resolver.close()
    await settled()


def test_a_look_up_that_nobody_answers_does_not_hold_up_the_end(silence):
    async def ask():
        task = asyncio.ensure_future(system_lookup("a.slow.test"))
        await settled()
        task.cancel()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(ask())


async def test_a_system_without_a_thread_to_give_is_a_look_up_that_fails(monkeypatch):
    def start(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(UpstreamUnavailable, match="cannot resolve"):
        await Resolver().resolve("a.test")
