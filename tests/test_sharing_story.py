"""Whoever arrives, leaves, and however answers end: what is shared is as a simple model says."""

from types import SimpleNamespace
from typing import ClassVar

from hypothesis import given
from hypothesis import strategies as st

from gateway._sseparse import Batch
from gateway.dialects.calls import Call
from gateway.dialects.known import CLIENTS
from gateway.eventlog import State, Whole
from gateway.order import Order
from gateway.settings import Coalesce, Model
from gateway.sharing import Hit, Sharing
from gateway.targets import Targets
from gateway.upstream_errors import UpstreamTimeout
from gateway.views.whole import WholeView
from tests.asking import head
from tests.scenes import LogScene
from tests.view_scenes import Client


TTL = 60.0
HEAD = head("POST /v1/chat/completions")
MODEL = Targets(Model("m", ()), ())


class Job:
    """Asks nobody; the story says how it ends."""

    last = 0.0
    dropped: ClassVar[list[str]] = []

    def __init__(self, story: "Story", number: int) -> None:
        self.number = number
        self.live = story.hub.open(self, kind=Whole)

    def begin(self) -> None: ...

    def left(self) -> None: ...

    def fields(self) -> bytes:
        return b""

    def finish(self) -> None:
        self.live.log.media = "text/plain"
        self.live.log.append(Batch(b"%d" % self.number, 1, 1))
        self.live.close(State.FINISHED, "finished")

    def fail(self) -> None:
        self.live.close(State.FAILED, "timeout", UpstreamTimeout(str(self.number), kind="idle"))

    def cancel(self, reason: str) -> None:
        self.live.close(State.CANCELLED, reason)


class Story(LogScene, Sharing):
    """The sharing as it is, and beside it what should come of it."""

    def __init__(self) -> None:
        LogScene.__init__(self)
        self.desk.log = SimpleNamespace(request=lambda record, ago: None)
        Sharing.__init__(self, self.desk, ["m"])
        self.jobs: list[Job] = []
        self.clients: list[tuple[int, Client, WholeView]] = []  # the job that is to answer each
        self.current: dict[int, int] = {}  # by question, the job that should answer it
        self.fresh: dict[int, float] = {}  # until when a finished one does
        self.gone: set[int] = set()  # clients
        self.ends: dict[int, str] = {}  # of jobs

    def _ask(self, *args: object) -> Job:
        self.jobs.append(Job(self, len(self.jobs)))
        return self.jobs[-1]

    def arrive(self, question: int) -> None:
        body = {"question": question}
        order = Order(
            Call(dialect="openai", model="m", stream=False, wants_usage=False, body=body),
            "/x", HEAD, route="r", targets=MODEL, dialect=CLIENTS["openai"], coalesce=Coalesce(TTL),
        )  # fmt: skip
        request = SimpleNamespace(client="", head=HEAD, received=self.loop.now)
        expected, client = self._expected(question), Client(method="POST")
        seat = self.seat(order, request, client.reply)
        job = len(self.jobs) - 1 if expected is None else expected
        assert isinstance(seat, Hit) is (expected is not None)
        assert seat.live is self.jobs[job].live
        self.current[question] = job
        view = WholeView(seat.live, client.reply, fields=seat.fields, left=seat.left)
        self.clients.append((job, client, view))
        view.attach()
        seat.begin()

    def _expected(self, question: int) -> int | None:
        job = self.current.get(question)
        if job is None or self.ends.get(job, "finish") != "finish":
            return None
        return job if self.loop.now < self.fresh.get(job, float("inf")) else None

    def leave(self, number: int) -> None:
        if not self.clients:
            return
        number %= len(self.clients)
        job, client, _ = self.clients[number]
        if client.reply.on_gone is None:
            return  # it has its answer, or has left before
        client.reply.on_gone()
        self.gone.add(number)
        if all(one != job or n in self.gone for n, (one, *_) in enumerate(self.clients)):
            self.ends[job] = "leave"

    def end(self, question: int, how: str) -> None:
        job = self.current.get(question)
        if job is None or job in self.ends:
            return
        self.ends[job] = how
        self.fresh[job] = self.loop.now + TTL
        getattr(self.jobs[job], how)()

    def wind(self, seconds: float) -> None:
        self.loop.wind(seconds)
        self.hub.loop.wind(seconds)

    def check(self) -> None:
        for number, (job, client, _) in enumerate(self.clients):
            how = self.ends.get(job)
            if number in self.gone or how is None:
                assert client.wire.writes == []
            elif how == "finish":
                assert (client.status, client.body) == (200, b"%d" % job)
            else:
                assert client.status == 504
                assert b'"message":"%d"' % job in client.body
        for number, job in enumerate(self.jobs):
            waiting = [n for n, (one, *_) in enumerate(self.clients)
                       if one == number and n not in self.gone]  # fmt: skip
            assert job.live.log.closed is (number in self.ends)
            assert len(job.live.readers) == (0 if number in self.ends else len(waiting))
        open_jobs = len(self.jobs) - len(self.ends)
        assert open_jobs <= len(self.current)


QUESTIONS = st.integers(0, 1)
STEPS = st.one_of(
    st.tuples(st.just("arrive"), QUESTIONS),
    st.tuples(st.just("leave"), st.integers(0, 30)),
    st.tuples(st.just("end"), QUESTIONS, st.sampled_from(["finish", "fail"])),
    st.tuples(st.just("wind"), st.sampled_from([1.0, TTL - 1, TTL])),
)


@given(st.lists(STEPS, max_size=40))
def test_all_who_ask_the_same_at_once_get_the_same_and_nobody_gets_what_is_over(steps):
    story = Story()
    for name, *arguments in steps:
        getattr(story, name)(*arguments)
        story.check()
