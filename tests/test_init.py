"""A compiled module that is missing or stale says how to rebuild it."""

import re
import subprocess
import sys

import pytest

import gateway


def import_error(monkeypatch, name, attribute=None):
    """Return what importing raises if `name` cannot be loaded, or lacks `attribute`."""
    if attribute is None:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError) as caught:
        exec(f"from {name} import {attribute}" if attribute else f"import {name}", {})
    return caught.value


def test_a_missing_extension_is_to_be_rebuilt(monkeypatch):
    hint = gateway.rebuild_hint(import_error(monkeypatch, "gateway._sseparse"))
    assert hint.startswith("gateway._sseparse is not built, or not from this source (")
    assert hint.endswith("setup.py build_ext --inplace --force")


def test_an_extension_without_what_is_asked_of_it_is_to_be_rebuilt(monkeypatch):
    hint = gateway.rebuild_hint(import_error(monkeypatch, "gateway._sseparse", "TheNewestName"))
    assert "TheNewestName" in hint


def test_outside_a_source_tree_the_package_is_to_be_installed_again(monkeypatch, tmp_path):
    monkeypatch.setattr(gateway, "__file__", str(tmp_path / "gateway" / "__init__.py"))
    hint = gateway.rebuild_hint(import_error(monkeypatch, "gateway._sseparse"))
    assert hint.endswith("-m pip install --force-reinstall --no-deps headgate")


def test_another_missing_module_is_another_matter(monkeypatch):
    assert gateway.rebuild_hint(import_error(monkeypatch, "uvloop")) is None


def test_words_and_configuration_work_without_the_extension():
    """`headgate check` says what is wrong with a file, built or not."""
    program = "import sys; sys.modules['gateway._sseparse'] = None; import gateway.config"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


def test_the_command_gives_the_hint_in_one_line(tmp_path):
    config = tmp_path / "headgate.toml"
    config.write_text('[upstreams.x]\nbase_url = "http://127.0.0.1:9/v1"\n')
    program = (
        "import sys; sys.modules['gateway._sseparse'] = None; from gateway.cli import main;"
        f"sys.exit(main(['serve', '--config', {str(config)!r}]))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30
    )
    assert ran.returncode == 1
    assert re.fullmatch(r"headgate: gateway\._sseparse is not built.*\n", ran.stderr)
