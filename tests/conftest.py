"""How async tests are run, and what several files of tests are given."""

import asyncio
import importlib
import inspect
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import uvloop
from hypothesis import HealthCheck, settings


# A busy machine is no failure; and what CI runs is the same for everybody who runs it.
settings.register_profile(
    "ours",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
settings.load_profile("ours")


BENCH = Path(__file__).parent.parent / "bench"

# Seconds after which a test that waits for something is broken, not slow.
PATIENCE = 30.0


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an async test on an event loop of its own, the one the gateway runs on."""
    test = pyfuncitem.obj
    if not inspect.iscoroutinefunction(test):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}

    async def patiently() -> None:
        await asyncio.wait_for(test(**arguments), PATIENCE)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"the test left tasks behind: {left}"

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(patiently())
    return True


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request):
    """Run a coroutine on each kind of loop, for what must work on both; none may complain."""

    def run(coroutine):
        complaints = []
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.get_loop().set_exception_handler(lambda _, context: complaints.append(context))
            result = runner.run(asyncio.wait_for(coroutine, 30))
        assert complaints == []
        return result

    return run


@pytest.fixture(scope="module")
def relay() -> Iterator[ModuleType]:
    """Import the bench, which is a folder of scripts and no package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCH)
        yield importlib.import_module("relay")


@pytest.fixture(scope="module")
def program(relay: ModuleType) -> Path:
    """Compile the load generator."""
    if not shutil.which("cc"):
        pytest.skip("no C compiler (cc)")
    built: Path = relay.LOADGEN.build()
    return built
