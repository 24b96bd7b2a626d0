"""A configuration to begin with, and the one line that is said of a fault in it."""

import pytest

from gateway import config
from gateway.errors import ConfigError


ENV = {"OPENAI_API_KEY": "sk-live", "EMPTY": ""}

# Each table as an operator's first file has it; a case replaces what it is about.
UPSTREAM = """
[upstreams.openai]
base_url = "https://api.openai.com/v1"
"""
MODEL = """
[models."*"]
targets = [{ upstream = "openai" }]
"""

# What is said where targets are expected.
TARGETS = 'an array of targets such as [{ upstream = "openai" }]'


def refusal(read, *args):
    """Return what `read` says of a value that it refuses."""
    with pytest.raises(ConfigError) as caught:
        read(*args)
    return caught.value.message


def parse(text, env=ENV):
    return config.parse(text, name="headgate.toml", env=env)


def faults(text, env=ENV):
    """Return the lines of the error that `text` raises."""
    return refusal(parse, text, env).split("\n")


def fault(text, env=ENV):
    """Return the only line of the error, without the name of the file."""
    [line] = faults(text, env)
    return line.removeprefix("headgate.toml: ")
