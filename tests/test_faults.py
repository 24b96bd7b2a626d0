"""Every fault of a provider, for every kind of client: what it sees, and what we count."""

import contextlib
import os

import pytest

from gateway.dialects.anthropic_writer import ERROR_TYPES
from gateway.series import COUNTED
from tests.fakes import until
from tests.fault_clients import KINDS, Kind, Seen, Wish
from tests.fault_table import GARBLED, ROWS, WORDS, Fate, Place, Row, mocked
from tests.stand import Stand


MODELS = """
[upstreams.backup]
base_url = "{url}/v1"
keys = ["sk-backup-canary"]

[models.alone]
targets = [{{ upstream = "mock" }}]
retry.attempts = 1

[models.pair]
targets = [{{ upstream = "mock" }}, {{ upstream = "backup", priority = 2 }}]
"""
UPSTREAMS = ("openai", "anthropic", "responses", "gemini")
# Whom the others ask: their own dialect and another, so that each is translated into each way.
ASKED = {
    "messages": ("anthropic", "gemini"),
    "unary message": ("anthropic", "responses"),
    "responses": ("responses", "anthropic"),
    "unary response": ("responses", "gemini"),
}

Series = dict[str, float]


def asked_of(kind: str) -> tuple[str, ...]:
    """Return the dialects of the upstreams that one kind of client meets."""
    if kind in ("sse", "unary"):
        return UPSTREAMS
    # Who does not post reads a log, which is in OpenAI's dialect whoever spoke.
    return ASKED.get(kind, ("openai",))


def fate_of(row: Row, kind: Kind, upstream: str) -> Fate | None:
    """Return what a row comes to for one kind of client."""
    if upstream in row.but and (kind.streams or row.unary):
        return row.but[upstream]
    if kind.streams and row.translated and kind.dialect != upstream:
        return row.translated
    return row.streamed if kind.streams else row.unary


CASES = {
    f"{name}, {kind} of {upstream}": (name, kind, upstream, fate)
    for name, row in ROWS.items()
    for kind in KINDS
    for upstream in asked_of(kind)
    if (fate := fate_of(row, KINDS[kind], upstream)) is not None
}
# Where nobody else is asked, one dialect is enough to see that.
PAIRS = {id: case for id, case in CASES.items() if case[3].cause or case[2] == "openai"}


@pytest.mark.parametrize(("name", "kind", "upstream", "fate"), CASES.values(), ids=CASES.keys())
async def test_alone(name: str, kind: str, upstream: str, fate: Fate) -> None:
    await Trial(ROWS[name], KINDS[kind], upstream, fate).run("alone")


@pytest.mark.parametrize(("name", "kind", "upstream", "fate"), PAIRS.values(), ids=PAIRS.keys())
async def test_with_another(name: str, kind: str, upstream: str, fate: Fate) -> None:
    await Trial(ROWS[name], KINDS[kind], upstream, fate).run("pair")


class Trial:
    """One request to a provider that errs, and all that must be true of it."""

    def __init__(self, row: Row, kind: Kind, upstream: str, fate: Fate) -> None:
        self.row, self.kind, self.fate = row, kind, fate
        self.upstream = f'dialect = "{upstream}"\n{row.limits}\n'
        self.moves = False  # another provider answers

    async def run(self, model: str) -> None:
        """Ask once, and hold what is seen and counted against the table."""
        self.moves = model == "pair" and bool(self.fate.cause)
        open_before = sockets()
        async with self.row.provider() as first, mocked() as second:
            upstream = self.upstream + (f'ca_file = "{first.ca_file}"' if first.ca_file else "")
            more = MODELS.format(url=second.url)
            async with Stand(url=first.url, upstream=upstream, more=more) as stand:
                before = await self._warmed(stand, first)
                seen = await self.kind.ask(stand, Wish(model))
                counted = moved(before, await self._quiet(stand, first))
        await until(lambda: sockets() == open_before)

        self._check_seen(seen)
        assert counted == self._expected(model)
        self._check_line(stand, model)
        assert second.asked == self.moves
        if first.mock is not None:
            reached = self.fate.kind != "tls"
            assert first.asked == reached + self.row.warmed + bool(self.fate.again)

    async def _warmed(self, stand: Stand, first: Place) -> Series:
        if not self.row.warmed:
            return {}
        assert (await self.kind.ask(stand, Wish("alone"))).finished
        return await self._quiet(stand, first)

    async def _quiet(self, stand: Stand, first: Place) -> Series:
        """Return what was counted once all is accounted for, and nothing is under way."""
        desk = stand.server.desk
        await desk.jobs.empty()
        await stand.server.public.host.connections.empty()
        if first.mock is not None:
            await first.mock.until(lambda: not first.mock.open_streams)
        assert all(not provider.pool.active for provider in stand.server.providers.values())
        assert all(live.producer is None for live in desk.hub._open), "a log is still being filled"
        found = counted_by(stand)
        assert not [name for name, value in found.items() if "streams_active" in name and value]
        if self.kind.reads is None:
            found = {name: n for name, n in found.items() if self.kind.reading not in name}
        return found

    def _check_seen(self, seen: Seen) -> None:
        fate = self.fate
        if self.moves or fate.well:
            text = seen.text.replace(GARBLED, "")
            assert (text, seen.error, seen.finished) == (WORDS, None, True)
            return
        assert not seen.finished
        assert WORDS.startswith(seen.text)
        assert bool(seen.text) is not bool(fate.status), "amid, and only amid, something was said"
        assert seen.error is not None
        assert fate.says in seen.error["message"]
        assert "canary" not in str(seen.error)
        if seen.status:
            assert seen.status == (fate.status or 200)
        if self.kind.dialect == "anthropic" and fate.code:
            late = "timeout_error" if fate.end == "timeout" else "api_error"
            assert seen.error["type"] == ERROR_TYPES.get(fate.status, late)
        elif fate.code:
            assert seen.error["code"] == fate.code

    @property
    def _logged(self) -> int:
        """The status of the request in log and metrics."""
        if self.kind.status:
            return self.kind.status
        return 200 if self.moves else self.fate.status or 200

    def _expected(self, model: str) -> dict[str, float]:
        fate, name = self.fate, "backup" if self.moves else "mock"
        series = [
            requests(self._logged, model, self.kind.route, name),
            f'streams_ended_total{{reason="{"finished" if self.moves else fate.end}"}}',
        ]
        series += [requests(status, "", self.kind.reading, "") for status in self.kind.reads or ()]
        if fate.kind:
            told = (self.moves and fate.first) or fate.kind
            series.append(f'upstream_errors_total{{kind="{told}",upstream="mock"}}')
        if self.moves:
            series.append(f'retries_total{{cause="{fate.cause}"}}')
        if fate.again:
            series.append(f'retries_total{{cause="{fate.again}"}}')
        if fate.cause == "key":
            series.append('upstream_keys_out{upstream="mock"}')
        return dict.fromkeys(series, 1.0)

    def _check_line(self, stand: Stand, model: str) -> None:
        lines = [line for line in stand.log_lines if line.get("model") == model]
        (line,) = lines[self.row.warmed and model == "alone" :]
        assert (line["status"], line["end"]) == (
            self._logged, "finished" if self.moves else self.fate.end
        )
        assert line["upstream"] == ("backup" if self.moves else "mock")
        assert line.get("retries", 0) == self.moves + bool(self.fate.again)
        assert ("error" in line) is not (self.moves or self.fate.well)
        assert "canary" not in str(stand.log_lines)


def requests(status: int, model: str, route: str, upstream: str) -> str:
    labels = f'code="{status}",model="{model}",route="{route}",upstream="{upstream}"'
    return f"requests_total{{{labels}}}"


def counted_by(stand: Stand) -> Series:
    """Return what was counted so far of requests and failures, by the names of the series."""
    found: Series = {}
    for name in COUNTED:
        for values, count in stand.server.desk.metrics.counts(name).items():
            pairs = zip(COUNTED[name].labels, values, strict=True)
            labels = ",".join(sorted(f'{label}="{value}"' for label, value in pairs))
            found[f"{name}{{{labels}}}"] = count
    for provider in stand.server.providers.values():
        found[f'upstream_keys_out{{upstream="{provider.name}"}}'] = provider.keys.out
    return found


# Told besides of every stream, and of no failure.
QUIET = ("streams_active", "tokens_total", "resumes_total")


def moved(before: Series, after: Series) -> Series:
    """Return by how much the series moved that tell of requests and of failures."""
    by = {name: after[name] - before.get(name, 0) for name in after}
    return {name: more for name, more in by.items() if more and not name.startswith(QUIET)}


def sockets() -> int:
    """Return how many this process has; what the loop keeps for itself are others."""
    count = 0
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # of the listing itself
            count += os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
    return count
