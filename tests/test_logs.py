"""Logs: one line is one line, whatever is in it, and nobody ever waits for its reader."""

import asyncio
import json
import logging
import math
import os
import re
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple

from gateway import logs
from gateway._sseparse import Backlog, request_line, stamp, timing
from gateway.logs import Bridge, Log, RequestRecord, Writer, bridged


class Clock:
    """Unix time, wound by hand."""

    def __init__(self, now=1700000000.25):
        self.now = now

    def __call__(self):
        return self.now


class Pipe:
    """Where a log is written to, and can be read from."""

    def __init__(self):
        self._ends = list(os.pipe())
        self.reader, self.writer = self._ends

    def close(self, *ends):
        for end in ends or tuple(self._ends):
            self._ends.remove(end)
            os.close(end)

    def lines(self):
        """Return all lines; the log must be closed."""
        self.close(self.writer)
        with os.fdopen(os.dup(self.reader), "rb") as reader:
            return reader.read().decode().splitlines(keepends=True)

    def take(self, count):
        """Read whole lines, `count` of them, as somebody who reads again."""
        data = b""
        while data.count(b"\n") < count:
            data += os.read(self.reader, 1 << 16)
        return data


@pytest.fixture
def pipe():
    pipe = Pipe()
    yield pipe
    pipe.close()


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "log"]


def record(**fields):
    """Return a request that went well, but for `fields`."""
    usual = {
        "request_id": "req_1",
        "client": "192.0.2.7",
        "method": "POST",
        "path": "/v1/chat/completions",
        "route": "/v1/chat/completions",
        "model": "gpt-4.1",
        "upstream": "openai",
        "status": 200,
        "end": "finished",
        "ttft": 0.0412,
        "duration": 1.2345678,
        "overhead": 0.000321,
        "events": 42,
        "tokens_in": 12,
        "tokens_out": 40,
        "bytes": 8123,
    }
    return RequestRecord(**(usual | fields))


def logged(pipe, *records, format="json"):
    log = Log(pipe.writer, format, now=Clock())
    for each in records:
        log.request(each)
    log.close()
    return pipe.lines()


# What a line says.


def test_a_request_is_one_json_line(pipe):
    assert logged(pipe, record()) == [
        '{"time":"2023-11-14T22:13:20.250Z","level":"info","msg":"request","request_id":"req_1",'
        '"route":"/v1/chat/completions","method":"POST","path":"/v1/chat/completions",'
        '"model":"gpt-4.1","upstream":"openai","status":200,"end":"finished","ttft_ms":41.2,'
        '"duration_ms":1234.568,"events":42,"tokens_in":12,"tokens_out":40,"bytes":8123,'
        '"overhead_ms":0.321,"client":"192.0.2.7"}\n'
    ]


def test_what_a_request_did_not_have_is_null(pipe):
    bare = RequestRecord(request_id="req_2", client="unix", method="GET", path="/v1/x", status=404)

    assert logged(pipe, bare) == [
        '{"time":"2023-11-14T22:13:20.250Z","level":"info","msg":"request","request_id":"req_2",'
        '"route":null,"method":"GET","path":"/v1/x","model":null,"upstream":null,"status":404,'
        '"end":null,"ttft_ms":null,"duration_ms":0.0,"events":0,"tokens_in":null,'
        '"tokens_out":null,"bytes":0,"overhead_ms":null,"client":"unix"}\n'
    ]


def test_text_is_aligned_for_people(pipe):
    failed = record(status=0, end="disconnect", error="the client left", ttft=None)

    assert logged(pipe, record(), failed, format="text") == [
        "22:13:20.250Z info    200 POST /v1/chat/completions    model=gpt-4.1 upstream=openai "
        "end=finished ttft_ms=41.2 duration_ms=1234.568 events=42 tokens_in=12 tokens_out=40 "
        "bytes=8123 overhead_ms=0.321 client=192.0.2.7 request_id=req_1\n",
        "22:13:20.250Z warning --- POST /v1/chat/completions    model=gpt-4.1 upstream=openai "
        "end=disconnect duration_ms=1234.568 events=42 tokens_in=12 tokens_out=40 bytes=8123 "
        'overhead_ms=0.321 client=192.0.2.7 error="the client left" request_id=req_1\n',
    ]


LEVELS = {
    "an answer": ({}, "info"),
    "a refusal": ({"status": 429, "error": "too many requests"}, "info"),
    "a dead upstream": ({"status": 502, "error": "connection refused"}, "warning"),
    "a stream that broke": ({"status": 200, "error": "cut by the upstream"}, "warning"),
}


@pytest.mark.parametrize(("fields", "level"), LEVELS.values(), ids=LEVELS.keys())
def test_the_level_says_whose_affair_it_is(pipe, fields, level):
    line = json.loads(*logged(pipe, record(**fields)))

    assert (line["level"], line.get("error")) == (level, fields.get("error"))


def test_other_lines_go_the_same_way(pipe):
    log = Log(pipe.writer, "json", now=Clock())
    log.info("listening", address="127.0.0.1:8080", workers=1)
    log.warning("upstream down", upstream="openai", error=OSError("no route"))
    log.error("out of files", limit=2**70)
    log.close()

    stamp = '{"time":"2023-11-14T22:13:20.250Z","level":'
    assert pipe.lines() == [
        stamp + '"info","msg":"listening","address":"127.0.0.1:8080","workers":1}\n',
        stamp + '"warning","msg":"upstream down","upstream":"openai","error":"no route"}\n',
        stamp + '"error","msg":"out of files","limit":"1180591620717411303424"}\n',
    ]


def test_other_lines_as_text(pipe):
    log = Log(pipe.writer, "text", now=Clock())
    log.info("draining")
    log.info("listening", address="127.0.0.1:8080", note="a b", empty="")
    log.close()

    assert pipe.lines() == [
        "22:13:20.250Z info    draining\n",
        "22:13:20.250Z info    listening                        "
        'address=127.0.0.1:8080 note="a b" empty=""\n',
    ]


TIMES = {
    0.0: "1970-01-01T00:00:00.000Z",
    951782400.5: "2000-02-29T00:00:00.500Z",
    1700000000.9999: "2023-11-14T22:13:20.999Z",
    1700000001.0: "2023-11-14T22:13:21.000Z",
    1700000000.0: "2023-11-14T22:13:20.000Z",  # the clock was set back
    253402300799.5: "9999-12-31T23:59:59.500Z",
    253402300800.0: "1970-01-01T00:00:00.000Z",
    -1.0: "1970-01-01T00:00:00.000Z",
}


def test_times_are_utc_to_the_millisecond(pipe):
    clock = Clock()
    log = Log(pipe.writer, "json", now=clock)
    for clock.now in TIMES:
        log.info("tick")
    log.close()

    assert [json.loads(line)["time"] for line in pipe.lines()] == list(TIMES.values())


def test_only_a_terminal_gets_colours(pipe):
    master, terminal = os.openpty()
    try:
        for fd in (terminal, pipe.writer):
            log = Log(fd, "text", now=Clock())
            log.info("up")
            log.error("down", upstream="openai")
            log.close()
        shown = os.read(master, 4096).decode()
    finally:
        os.close(master)
        os.close(terminal)

    assert shown == (
        "22:13:20.250Z info    up\r\n"
        "\x1b[31m22:13:20.250Z error   down                             upstream=openai\x1b[0m\r\n"
    )
    assert "\x1b" not in "".join(pipe.lines())


@pytest.mark.parametrize("format", ["json", "text"])
def test_the_line_of_a_request_says_when_it_was_over_not_when_it_was_written(pipe, format):
    log = Log(pipe.writer, format, now=Clock())
    log.request(record(), 0.25)
    log.request(record(), 1.25)
    log.close()

    at = [re.search(r"22:13:\d\d\.\d{3}Z", line)[0] for line in pipe.lines()]
    assert at == ["22:13:20.000Z", "22:13:19.000Z"]


def test_a_usual_request_is_written_the_short_way():
    """The long way is for what the short one leaves, and the two say the same."""
    for usual in (
        record(),
        record(ttft=None, route="", model="", end="", tokens_in=None),
        record(subject="team-a", generation="gen_1"),
    ):
        line = request_line(Clock().now, astuple(usual))
        assert line == long_way(Clock().now, usual)


def long_way(now, record):
    return logs._json(logs._request(stamp(now), record))


TEXTS = st.text(st.characters(max_codepoint=0x80), max_size=8) | st.text(max_size=3)
SECONDS = st.floats(0, 4000) | st.floats()
COUNTS_OR_NOT = st.none() | st.integers(-1, 2**70)
UNUSUAL = {
    **dict.fromkeys(
        ("request_id", "route", "method", "path", "model", "upstream", "end", "client"), TEXTS
    ),
    **dict.fromkeys(("subject", "generation"), TEXTS),
    **dict.fromkeys(("ttft", "overhead"), st.none() | SECONDS),
    **dict.fromkeys(("tokens_in", "tokens_out"), COUNTS_OR_NOT),
    **dict.fromkeys(("status", "events", "bytes"), st.integers(-1, 2**70)),
    "duration": SECONDS,
    "retries": st.integers(0, 2),
    "hedged": st.booleans(),
    "error": TEXTS,
}
ONE = st.sampled_from(sorted(UNUSUAL)).flatmap(
    lambda name: st.fixed_dictionaries({name: UNUSUAL[name]})
)


@settings(max_examples=500)
@given(fields=ONE, now=st.floats(0, 4e9))
def test_the_short_way_says_nothing_else(fields, now):
    unusual = record(**fields)

    line = request_line(now, astuple(unusual))

    assert line is None or line == long_way(now, unusual)


@pytest.mark.parametrize("size", [logs.MAX_VALUE, logs.MAX_VALUE + 1])
def test_a_line_of_the_longest_values_fits(size):
    texts = [name for name, values in UNUSUAL.items() if values is TEXTS and name != "error"]
    longest = record(**dict.fromkeys(texts, "x" * size), bytes=2**60, duration=9e8)

    line = request_line(Clock().now, astuple(longest))

    assert line == (long_way(Clock().now, longest) if size == logs.MAX_VALUE else None)


# What a line never says.


QUERIES = {
    "/v1/models?api_key=sk-secret&after=x": "/v1/models?api_key=&after=",
    "/v1/models?sk-secret": "/v1/models?",
    "/v1/models?a=1;b=sk-secret": "/v1/models?a=",
    "/v1/models?a=b=sk-secret&": "/v1/models?a=",
    "/v1/models?": "/v1/models?",
    "/v1/models?a=1?b=sk-secret": "/v1/models?a=",
}


@pytest.mark.parametrize(("path", "shown"), QUERIES.items())
def test_query_values_are_not_logged(pipe, path, shown):
    assert json.loads(*logged(pipe, record(path=path)))["path"] == shown


@pytest.mark.parametrize("name", ["authorization", "api_key", "key", "headers", "body"])
def test_a_record_has_no_place_for_secrets(name):
    with pytest.raises(TypeError):
        record(**{name: "sk-secret"})
    with pytest.raises(AttributeError):
        setattr(record(), name, "sk-secret")


@pytest.mark.parametrize("format", ["json", "text"])
def test_long_values_are_cut(pipe, format):
    long = record(path="/" + "p" * 9000, model="m" * 9000, error="e" * 9000)

    (line,) = logged(pipe, long, format=format)

    assert ("m" * logs.MAX_VALUE + "...") in line
    assert len(line) < 4 * logs.MAX_VALUE


FORGERIES = {
    "line feed": "a\n{}",
    "carriage return": "a\rb",
    "escape": "\x1b[2Ja",
    "nul": "a\x00",
    "delete": "a\x7f",
    "C1 control sequence": "\x9b2J",
    "next line": "a\x85b",
    "line separator": "a\u2028b",
    "paragraph separator": "a\u2029b",
    "right-to-left override": "\u202eabc",
    "isolate": "\u2066abc",
    "quotes": 'a" level="error',
    "backslash": "a\\",
    "percent-encoded": "%0a%1b",
    "other scripts": "模型 🌊",
}


@pytest.mark.parametrize("format", ["json", "text"])
@pytest.mark.parametrize("evil", FORGERIES.values(), ids=FORGERIES.keys())
def test_no_value_can_forge_a_line(pipe, format, evil):
    log = Log(pipe.writer, format, now=Clock())
    log.request(record(model=evil, path="/" + evil, error=evil))
    log.error(evil, field=evil)
    log.close()

    lines = pipe.lines()  # splitlines() knows every separator there is

    assert len(lines) == 2
    assert all(line.removesuffix("\n").isprintable() for line in lines)
    if format == "json":
        request, event = map(json.loads, lines)
        assert (request["model"], request["path"], request["error"]) == (evil, "/" + evil, evil)
        assert (event["msg"], event["field"]) == (evil, evil)


@settings(max_examples=50)
@given(values=st.lists(st.text(max_size=40), min_size=1), format=st.sampled_from(["json", "text"]))
def test_any_value_gives_one_line(values, format):
    pipe = Pipe()
    try:
        lines = logged(pipe, *(record(model=value) for value in values), format=format)
    finally:
        pipe.close()

    assert len(lines) == len(values)
    if format == "json":
        assert [json.loads(line)["model"] or "" for line in lines] == values


@pytest.mark.parametrize("format", ["json", "text"])
def test_half_a_surrogate_pair_is_shown_as_such(pipe, format):
    (line,) = logged(pipe, record(model="a\ud800"), format=format)

    assert "a\\\\ud800" in line


# Writing.


def flood(log, size=logs.MAX_BACKLOG):
    """Log more than the pipe and the backlog hold; return how many lines that were."""
    count = size // logs.MAX_VALUE * 5 // 4
    for number in range(count):
        log.info("flood", number=number, padding="x" * logs.MAX_VALUE)
    return count


def test_a_reader_that_stops_costs_lines_and_no_time(pipe):
    log = Log(pipe.writer, "json", now=Clock())

    # Would this wait for the pipe, the test would hang here.
    count = flood(log)
    lost = log.dropped
    kept = pipe.take(count - lost).splitlines()
    log.close()

    assert 0 < lost < count
    assert [json.loads(line)["number"] for line in kept] == list(range(count - lost))
    (told,) = map(json.loads, pipe.lines())
    assert (told["level"], told["msg"], told["count"]) == ("warning", "log lines dropped", lost)


def test_the_gap_is_told_where_it_is(pipe):
    log = Log(pipe.writer, "json", now=Clock())
    count = flood(log)
    pipe.take(count - log.dropped)
    for _ in range(1_000_000):  # until the writer has noticed that its reader reads again
        lost = log.dropped
        log.info("again")
        if lost == log.dropped:
            break
    log.close()

    lines = [json.loads(line) for line in pipe.lines()]
    assert [line["msg"] for line in lines] == ["log lines dropped", "again"]
    assert lines[0]["count"] == lost


def test_close_leaves_a_reader_that_does_not_read(pipe, monkeypatch):
    monkeypatch.setattr(logs, "CLOSE_TIME", 0.01)
    log = Log(pipe.writer, "json", now=Clock())
    count = flood(log)
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "log")

    log.close()

    assert thread.is_alive()
    assert thread.daemon  # so it cannot keep the process
    pipe.take(count - log.dropped)
    thread.join()


def test_a_closed_log_drops(pipe):
    log = Log(pipe.writer, "json", now=Clock())
    log.close()
    log.close()
    log.info("late")

    assert log.dropped == 1
    assert pipe.lines() == []


def test_lines_for_a_reader_that_is_gone_are_counted(pipe):
    log = Log(pipe.writer, "json", now=Clock())
    pipe.close(pipe.reader)
    log.info("one")
    log.info("two")
    log.close()

    assert log.dropped == 2


def test_a_non_blocking_output_loses_nothing(pipe):
    os.set_blocking(pipe.writer, False)
    log = Log(pipe.writer, "json", now=Clock())
    count = flood(log, logs.MAX_BACKLOG // 8)

    assert pipe.take(count).count(b"\n") == count
    assert log.dropped == 0
    log.close()


def test_every_thread_may_log(pipe):
    log = Log(pipe.writer, "json", now=Clock())

    def work(name):
        for number in range(50):
            log.info("work", name=name, number=number)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()

    lines = [json.loads(line) for line in pipe.lines()]
    for name in "abcd":
        assert [line["number"] for line in lines if line["name"] == name] == list(range(50))


def test_a_finalizer_may_log_in_the_middle_of_a_line(pipe):
    """A collection can begin anywhere, and asyncio logs from the finalizers it runs."""

    def gap(lost):
        writer.put(b"finalizer\n")
        return b"lost %d\n" % lost

    writer = Writer(pipe.writer, gap)
    writer.put(b"x" * (logs.MAX_BACKLOG + 1))
    writer.put(b"line\n")
    writer.close()

    assert pipe.lines() == ["finalizer\n", "lost 1\n", "line\n"]


def test_a_backlog_wakes_its_writer_once_and_takes_what_there_is_room_for():
    woken = []
    backlog = Backlog(8, lambda: woken.append(backlog.room))

    assert [backlog.put(line) for line in (b"four", b"fives", b"four", b"x")] == [
        True, False, True, False,
    ]  # fmt: skip
    assert woken == [4]
    assert backlog.take() == [b"four", b"four"]
    assert not backlog.put(b"x")  # what was taken is not written yet
    backlog.written(8)
    assert backlog.put(b"x")
    assert woken == [4, 7]
    backlog.close()
    backlog.written(1)
    assert not backlog.put(b"")
    assert backlog.take() == [b"x"]


# Other people's lines.


def test_a_library_s_error_is_one_line(pipe):
    log = Log(pipe.writer, "json", now=Clock())
    with bridged(log):
        try:
            raise OSError("no more")
        except OSError as error:
            logging.getLogger("asyncio").error("Task failed\nfuture: %r", "x", exc_info=error)
    log.close()

    (line,) = map(json.loads, pipe.lines())
    where = line.pop("where")
    assert line == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "error",
        "msg": "Task failed",
        "logger": "asyncio",
        "error": "OSError: no more",
    }
    assert where.startswith("test_logs.py:")
    assert where.endswith(" in test_a_library_s_error_is_one_line")


def test_what_the_event_loop_catches_is_one_line(pipe):
    log = Log(pipe.writer, "json", now=Clock())
    loop = asyncio.new_event_loop()

    async def rest():
        loop.call_soon(int, "x")
        await asyncio.sleep(0)

    with bridged(log):
        loop.run_until_complete(rest())
    loop.close()
    log.close()

    (line,) = map(json.loads, pipe.lines())
    assert (line["level"], line["logger"]) == ("error", "asyncio")
    assert line["error"] == "ValueError: invalid literal for int() with base 10: 'x'"


def test_only_what_matters_crosses_the_bridge(pipe):
    log = Log(pipe.writer, "json", now=Clock())
    library = logging.getLogger("library")
    with bridged(log):
        library.info("chatter")
        library.warning("worry")
    library.warning("after")
    log.close()

    (line,) = map(json.loads, pipe.lines())
    assert (line["level"], line["msg"]) == ("warning", "worry")


@pytest.mark.parametrize(
    ("msg", "args"),
    [("%d of %s", (1,)), ("%d", ("x",)), ("%(name)s", ({"other": 1},))],
)
def test_arguments_that_do_not_fit_are_left_out(pipe, msg, args):
    log = Log(pipe.writer, "json", now=Clock())
    Bridge(log).handle(logging.LogRecord("library", logging.ERROR, "", 0, msg, args, None))
    log.close()

    assert json.loads(*pipe.lines())["msg"] == msg


def test_a_library_may_say_request(pipe):
    log = Log(pipe.writer, "text", now=Clock())
    with bridged(log):
        logging.getLogger("library").warning("request")
    log.close()

    assert pipe.lines() == [
        "22:13:20.250Z warning request                          logger=library\n"
    ]


def test_a_crash_says_what_and_where(pipe):
    log = Log(pipe.writer, "json", now=Clock())
    try:
        json.loads("[")
    except ValueError as error:
        log.crash(error)
    log.crash(KeyboardInterrupt())
    log.close()

    raised, bare = map(json.loads, pipe.lines())
    assert raised["msg"] == "crash"
    assert raised["error"].startswith("JSONDecodeError: Expecting value")
    assert raised["where"].startswith("decoder.py:")
    assert bare["error"] == "KeyboardInterrupt"
    assert "where" not in bare


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        (0.0, 0.0, (b"0.0", b"0.0")),
        (0.000_041_4, 1.25, (b"0.041", b"1250.0")),
        (0.000_041_5, 0.000_999_9, (b"0.042", b"1.0")),
        (-1e-9, -5.0, (b"0.0", b"0.0")),  # of two clocks' readings the later may be the smaller
        (math.inf, 1e300, (b"31536000000.0", b"31536000000.0")),
    ],
)
def test_an_answer_says_in_milliseconds_who_took_how_long(ours, theirs, said):
    gateway, upstream = said
    assert timing(ours, theirs) == (
        b"headgate-overhead-ms: " + gateway + b"\r\n"
        b"server-timing: gateway;dur=" + gateway + b", upstream;dur=" + upstream + b"\r\n"
    )
