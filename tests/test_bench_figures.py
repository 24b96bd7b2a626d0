"""What the bench makes of its figures, and what its upstreams say."""

import os
import re
import socket
import time
from collections.abc import Callable
from types import ModuleType

import pytest


# --- what is made of the figures -----------------------------------------------------------------


def test_figures_are_compared_within_a_round(relay: ModuleType) -> None:
    one_round = {
        "direct": {"p50_us": 100.0},
        "nginx": {"p50_us": 120.0, "cpu_us": 10.0},
        "headgate": {"p50_us": 135.0, "cpu_us": 11.5},
    }
    relay.compare(one_round)

    assert one_round["headgate"]["ratio"] == pytest.approx(1.15)
    assert one_round["headgate"]["added_p50_us"] == 35.0
    assert one_round["nginx"]["ratio"] == 1.0
    assert one_round["direct"] == {"p50_us": 100.0}


def test_what_is_translated_is_compared_with_what_is_passed_on(relay: ModuleType) -> None:
    one_round = {"headgate": {"cpu_us": 10.0}, "translated": {"cpu_us": 25.0}}
    relay.compare(one_round)

    assert one_round["translated"]["to_passed"] == 2.5
    assert list(relay.verdicts("S5", one_round["translated"], "translated")) == [
        "S5 to_passed 2.50: must ≤ 4 pass"
    ]


def test_without_nginx_there_is_no_ratio(relay: ModuleType) -> None:
    one_round = {"headgate": {"cpu_us": 11.5}}
    relay.compare(one_round)

    assert one_round == {"headgate": {"cpu_us": 11.5}}


def test_the_middle_of_the_rounds_is_told(relay: ModuleType) -> None:
    rounds = relay.Rounds([{"nginx": {"cpu_us": cost}} for cost in (9.0, 30.0, 10.0)])

    assert rounds.middle() == {"nginx": {"cpu_us": 10.0}}


def rounds_of(*stolen: tuple[float, float]) -> Callable[[], dict[str, dict[str, float]]]:
    """Return what gives a round for each pair of shares that the host took of two targets."""
    shares = iter(stolen)

    def run() -> dict[str, dict[str, float]]:
        nginx, ours = next(shares)
        return {"nginx": {"stolen": nginx}, "headgate": {"stolen": ours}}

    return run


def test_a_round_in_which_the_host_had_our_cores_is_measured_anew(relay: ModuleType) -> None:
    rounds = relay.undisturbed(rounds_of((0.0, 0.0), (0.0, 0.2), (0.001, 0.0)), 2)

    assert [one["nginx"]["stolen"] for one in rounds.counted] == [0.0, 0.001]
    assert [one["headgate"]["stolen"] for one in rounds.left_out] == [0.2]
    assert list(relay.warnings(rounds)) == [
        "The host had our cores in 1 more rounds, which do not count."
    ]


def test_on_a_host_that_is_never_quiet_the_last_rounds_count_and_are_not_trusted(
    relay: ModuleType,
) -> None:
    # Of whom it took more is another in each: the median of neither says so.
    never = [(0.1, 0.0), (0.2, 0.0), (0.3, 0.0), (0.4, 0.0), (0.5, 0.0), (0.6, 0.0)]
    rounds = relay.undisturbed(rounds_of(*never, (0.7, 0.0), (0.0, 0.8), (0.0, 0.0)), 3)

    assert [one["nginx"]["stolen"] for one in rounds.counted] == [0.7, 0.0, 0.0]
    assert len(rounds.left_out) == 6
    assert rounds.middle()["nginx"]["stolen"] == 0.0
    assert list(relay.warnings(rounds))[1:] == [
        "It had them in 2 of those that do: do not trust these figures."
    ]


def test_each_goal_gets_its_verdict(relay: ModuleType) -> None:
    assert list(relay.verdicts("S2b", {"ratio": 1.2, "added_p99_us": 251.0})) == [
        "S2b ratio 1.20: must ≤ 1.3 pass, aim ≤ 1.15 FAIL",
        "S2b added_p99_us 251.00: must ≤ 250 FAIL",
    ]


def test_a_target_costs_what_its_processes_cost(relay: ModuleType) -> None:
    used = time.process_time_ns()
    target = relay.Target(port=0, pid=os.getpid(), core=0)

    assert target.cpu_ns() >= used
    assert target.resident_bytes() > 1 << 20
    assert relay.Target(port=0, pid=None, core=0).cpu_ns() == 0


LOADS = {"stream": (3, 20), "unary": (3, 30), "open": (3, 1)}


@pytest.mark.usefixtures("program")
@pytest.mark.parametrize("kind", ["c", "mock"])
@pytest.mark.parametrize("mode", LOADS)
def test_an_upstream_gives_what_the_load_generator_asks_for(
    relay: ModuleType, mode: str, kind: str
) -> None:
    connections, tokens = LOADS[mode]
    asked = relay.Load(mode, connections, tokens, 600_000 if mode == "open" else 0)
    with relay.UPSTREAMS[kind](min(os.sched_getaffinity(0))) as provider:
        if mode == "open":
            with relay.loadgen.OpenStreams(provider.port, asked):
                pass
        else:
            assert relay.loadgen.run(provider.port, asked)["answers"] == connections


@pytest.mark.usefixtures("program")
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="the bench needs two cores")
def test_a_round_measures_each_target(relay: ModuleType) -> None:
    few = relay.Load("stream", connections=2, tokens=3, interval=20)
    asked = relay.Scenario("S", "few", few, "stream", paced=True)
    found = relay.run_round(asked, ["direct", "headgate"], "c")

    assert set(found["direct"]) >= {"per_second", "p99_us", "stolen"}
    assert found["headgate"]["cpu_us"] > 0


def said(port: int, body: bytes, end: bytes) -> bytes:
    """Return an answer from its first byte to `end`, without the clock's part in it."""
    head = b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(head + body)
        answer = b""
        while not answer.endswith(end):
            piece = client.recv(1 << 16)
            assert piece, answer
            answer += piece
    return re.sub(rb'(:0|"created":)\d{10,}', rb"\1", answer)


USAGE = b',"stream_options":{"include_usage":true}'
CALLS = {
    "a stream": (b'"stream":true', b"\r\n0\r\n\r\n"),
    "a stream with usage": (b'"stream":true' + USAGE, b"\r\n0\r\n\r\n"),
    "a document": (b'"stream":false', b"}}}"),
}


@pytest.mark.usefixtures("program")
@pytest.mark.parametrize(("asked", "end"), CALLS.values(), ids=CALLS.keys())
def test_both_upstreams_say_the_same_bytes(relay: ModuleType, asked: bytes, end: bytes) -> None:
    prompt = b'[{"role":"user","content":"What does the river say at the gate?"}]'
    mock = b'{"stamp":true,"tag":"s0.0","tokens":12}'
    body = b'{"model":"bench","messages":%b,"mock":%b,%b}' % (prompt, mock, asked)
    core = min(os.sched_getaffinity(0))
    with relay.UPSTREAMS["c"](core) as ours, relay.UPSTREAMS["mock"](core) as mocks:
        assert said(ours.port, body, end) == said(mocks.port, body, end)


@pytest.mark.usefixtures("program")
@pytest.mark.parametrize("kind", ["c", "mock"])
def test_a_wrong_answer_ends_the_bench(relay: ModuleType, kind: str) -> None:
    with (
        relay.UPSTREAMS[kind](min(os.sched_getaffinity(0))) as provider,
        pytest.raises(relay.LoadError, match="status"),
    ):
        # More tokens than either takes: it answers 400.
        relay.loadgen.run(provider.port, relay.Load("stream", 1, 10_000_001))
