"""What the bench finds out of the machine it runs on."""

import importlib
import struct
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def machine(relay: ModuleType) -> ModuleType:
    return importlib.import_module("machine")  # which stands beside relay


def test_cores_are_kept_awake_where_that_is_allowed(machine: ModuleType, tmp_path: Path) -> None:
    knob = tmp_path / "knob"
    knob.touch()
    with machine.awake(knob) as kept_awake:
        assert kept_awake
        assert knob.read_bytes() == struct.pack("i", 0)


def test_a_machine_that_does_not_allow_it_is_measured_all_the_same(
    machine: ModuleType, tmp_path: Path
) -> None:
    with machine.awake(tmp_path / "nothing") as kept_awake:
        assert not kept_awake


def test_what_a_core_loses_in_gaps_is_counted_and_short_ones_are_not(machine: ModuleType) -> None:
    readings = iter([0.0, 0.1, 0.1002, 0.4, 0.4001, 1.0])
    core = min(machine.os.sched_getaffinity(0))
    assert machine.lost(core, 1.0, lambda: next(readings)) == pytest.approx(0.1 + 0.2998)


def test_what_the_host_took_of_our_cores_is_counted(machine: ModuleType, tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    cores = "".join(f"cpu{core} 5 5 5 5 5 5 5 {core + 1}00 0 0\n" for core in range(11))
    stat.write_text(f"cpu  9 9 9 9 9 9 9 6600 0 0\n{cores}intr 9 9\n")
    second = machine.os.sysconf("SC_CLK_TCK")
    assert machine.stolen_ns({0, 10}, stat) == (100 + 1100) * 10**9 // second


def test_only_what_spoils_figures_is_remarked(machine: ModuleType) -> None:
    assert list(machine.remarks(kept_awake=True, share=0.001)) == []
    asleep, taken = machine.remarks(kept_awake=False, share=0.02)
    assert "sleep" in asleep
    assert "2.0%" in taken
