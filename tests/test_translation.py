"""Translation of streams: each recorded one says the same in every dialect."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chat import Usage
from gateway.dialects.known import UPSTREAMS
from tests.stories import CASES, as_read_in, case, check_order, put_together, read
from tests.translations import others, parsed, spoken, translation_of


# Recorded streams: what is said in them.

STORIES: dict[str, dict[str, Any]] = {
    "anthropic-text": {
        "parts": [("content", "Hello!")],
        "stop": ("stop", ""),
        "usage": Usage(25, 15),
    },
    "anthropic-tool": {
        "parts": [("content", "Okay, let's check the weather for San Francisco, CA:")],
        "calls": {
            0: (
                "toolu_01T1x1fJ34qAmk2tNTrN7Up6",
                "get_weather",
                '{"location": "San Francisco, CA", "unit": "fahrenheit"}',
            )
        },
        "stop": ("tool_calls", ""),
        "usage": Usage(472, 89),
    },
    "anthropic-parallel": {
        "calls": {
            0: ("toolu_01A09q90qw90lq917835lq9", "get_weather", '{"location": "Paris"}'),
            1: ("toolu_01B09q90qw90lq917835lq9", "get_time", "{}"),
        },
        "stop": ("tool_calls", ""),
        "usage": Usage(900, 101),
    },
    "anthropic-thinking": {
        "parts": [
            (
                "reasoning",
                "I need to find the GCD of 1071 and 462 using the Euclidean algorithm.\n\n"
                "1071 = 2 × 462 + 147\n462 = 3 × 147 + 21\n147 = 7 × 21 + 0\n"  # noqa: RUF001
                "The remainder is 0, so GCD(1071, 462) = 21.",
            ),
            ("signature", "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds+/x=="),
            (
                "redacted",
                "EmwKAhgBEgy3va3pzix/LafPsn4aDFIT2Xlxh0L5L8rLVyIwxtE3rAFBa8cr3qpPkNRj2YfWXGmKDxH4"
                "mPnZ5sQ7vB==",
            ),
            ("content", "The greatest common divisor of 1071 and 462 is **21**."),
        ],
        "stop": ("stop", ""),
        "usage": Usage(167, 80, cached=100, reasoning=62, written=7),
    },
    "anthropic-sequence": {
        "parts": [("content", "1, 2, ")],
        "stop": ("stop", "3"),
        "usage": Usage(9, 6),
    },
    "anthropic-refusal": {
        "parts": [("content", "I can")],
        "stop": ("content_filter", ""),
        "usage": Usage(30, 4),
    },
    "anthropic-error": {
        "parts": [("content", "Hel")],
        "usage": Usage(30, 1),
        "fault": ("Overloaded", "overloaded_error"),
    },
    "responses-text": {
        "parts": [("content", "Hi there! How can I assist you today?")],
        "stop": ("stop", ""),
        "usage": Usage(37, 11),
    },
    "responses-tool": {
        "parts": [
            (
                "redacted",
                "gAAAAABo2TA_9aBcwzsKm0jKc1AOjWhLaOBwJbo7JTTTcQtPJiM2LT1n7o9DY7uzvoHpacD_cgKgT4At==",
            )
        ],
        "calls": {
            0: (
                "call_5dp5Uj0Loqn1YcyIpqSq6sLX",
                "get_weather",
                '{ "location": "New York City, USA" }',
            )
        },
        "stop": ("tool_calls", ""),
        "usage": Usage(75, 155, reasoning=128),
    },
    "responses-parallel": {
        "parts": [("content", "Let me look.")],
        "calls": {
            0: ("call_a", "get_weather", '{"location":"Zürich"}'),
            1: ("call_b", "get_time", '{"zone":"CET"}'),
        },
        "stop": ("tool_calls", ""),
        "usage": Usage(82, 40, cached=64),
    },
    "responses-reasoning": {
        "parts": [
            (
                "reasoning",
                '**Responding to a greeting**\n\nThe user just said, "Hello!"\n\n'
                "**Keeping it short**",
            ),
            (
                "signature",
                "gAAAAABo2TBAHIAEhoF6BMeLdaTLFV8HVEe_XWvYaavDRXgA5GxGNAUXrueahZnjVjdmIj01tH0cbvfcOY_7"
                "Nr4C==",
            ),
            ("content", "Hello!"),
        ],
        "stop": ("stop", ""),
        "usage": Usage(9, 90, reasoning=64),
    },
    "responses-refusal": {
        "parts": [("refusal", "I'm sorry, I cannot assist with that request.")],
        "stop": ("stop", ""),
        "usage": Usage(81, 11),
    },
    "responses-incomplete": {
        "parts": [("content", "Once upon a")],
        "stop": ("length", ""),
        "usage": Usage(16, 16),
    },
    "responses-failed": {
        "parts": [("content", "Once")],
        "fault": ("The model failed to generate a response.", ""),
    },
    "responses-error": {
        "fault": ("Rate limit reached for gpt-4.1 on tokens per min.", ""),
    },
    "openai-text": {
        "parts": [("content", "Hello!")],
        "stop": ("stop", ""),
        "usage": Usage(9, 12, cached=4),
    },
    "openai-tool": {
        "calls": {
            0: ("call_DdmO9pD3xa9XTPNJ32zg2hcA", "get_weather", '{"location":"Paris, France"}')
        },
        "stop": ("tool_calls", ""),
        "usage": Usage(80, 17),
    },
    "openai-parallel": {
        "calls": {0: ("call_A", "get_weather", '{"a":1}'), 1: ("call_B", "get_time", "{}")},
        "stop": ("tool_calls", ""),
        "usage": Usage(80, 30),
    },
    "openai-turns": {
        "calls": {0: ("call_A", "get_weather", '{"a":1}'), 1: ("call_B", "get_time", '{"b": "}"}')},
        "stop": ("tool_calls", ""),
        "usage": Usage(80, 30),
    },
    "openai-reasoning": {
        "parts": [("reasoning", "We add."), ("content", "2")],
        "stop": ("stop", ""),
        "usage": Usage(12, 20, reasoning=14),
    },
    "openai-refusal": {
        "parts": [("refusal", "I'm sorry, but no.")],
        "stop": ("stop", ""),
        "usage": Usage(40, 9),
    },
    "openai-length": {
        "parts": [("content", "Once upon")],
        "stop": ("length", ""),
        "usage": Usage(40, 2),
    },
    "openai-error": {
        "parts": [("content", "Hel")],
        "fault": (
            "The server had an error while processing your request. Sorry about that!",
            "server_error",
        ),
    },
    "gemini-text": {
        "parts": [("content", "AI works by learning patterns from data.")],
        "stop": ("stop", ""),
        "usage": Usage(8, 32, reasoning=23),
    },
    "gemini-thinking": {
        "parts": [
            (
                "reasoning",
                "**Breaking it down**\n\nThe three conditions narrow it.\n\nAlice has the red one.",
            ),
            ("content", "Alice lives in the **red** house."),
            (
                "signature",
                "EuQFCuEFAXLI2nyUmA16xmPM/6gOhK7zEIpfhQDSpcMQWtIfmBc0PZKlAF7GZ/SW3t6hDMgKh0D+==",
            ),
        ],
        "stop": ("stop", ""),
        "usage": Usage(30, 127, cached=12, reasoning=118),
    },
    "gemini-tool": {
        "calls": {
            0: (
                "call_kvAvaNbOLe2Jz7IP_0",
                "get_current_temperature",
                '{"location":"London"}',
            )
        },
        "stop": ("tool_calls", ""),
        "usage": Usage(54, 16),
    },
    "gemini-parallel": {
        "parts": [("content", "I look it up."), ("signature", "CikBcsjafMDR+4vMZtPYnQ0/Zz==")],
        "calls": {
            0: ("vy9rjw1f", "get_weather", '{"city":"Paris"}'),
            1: ("1k8r4kzd", "get_time", "{}"),
        },
        "stop": ("tool_calls", ""),
        "usage": Usage(64, 111, reasoning=70),
    },
    "gemini-length": {
        "parts": [("content", "Once upon")],
        "stop": ("length", ""),
        "usage": Usage(7, 2),
    },
    "gemini-safety": {
        "parts": [("content", "First, take")],
        "stop": ("content_filter", ""),
        "usage": Usage(12, 3),
    },
    "gemini-blocked": {"stop": ("content_filter", ""), "usage": Usage(11, 0)},
    "gemini-malformed": {"stop": ("MALFORMED_FUNCTION_CALL", ""), "usage": Usage(80, 0)},
    "gemini-error": {
        "parts": [("content", "Hel")],
        "fault": ("The model is overloaded. Please try again later.", "overloaded_error"),
    },
}
CALLING = ("gemini-tool", "gemini-parallel")
RECORDED = pytest.mark.parametrize("name", STORIES)
BETWEEN = pytest.mark.parametrize(
    ("name", "ours"), [(name, ours) for name in STORIES for ours in others(spoken(name))]
)


def test_all_that_is_recorded_is_told():
    assert {path.stem for path in CASES.glob("*.sse")} == set(STORIES)


@RECORDED
def test_a_recorded_stream_is_read_as_it_was_meant(name):
    story = {"parts": [], "calls": {}, **STORIES[name]}
    assert put_together(read(spoken(name), case(name))) == story


@RECORDED
def test_the_parser_learns_of_a_recorded_stream_what_ends_it_and_what_it_cost(name):
    theirs, story = spoken(name), STORIES[name]
    parser, _ = parsed(theirs, [case(name)])

    assert (parser.error is None) == ("fault" not in story)
    assert parser.done == ("stop" in story)
    if parser.finish is not None:
        reason = UPSTREAMS[theirs].reason(parser.finish)
        # Gemini does not say that an answer ended because tools are called.
        assert reason == ("stop" if name in CALLING else story["stop"][0])
    if parser.usage is not None:
        assert UPSTREAMS[theirs].read_usage(parser.usage) == story["usage"]


@BETWEEN
def test_a_recorded_stream_is_told_in_other_dialects_as_it_was_meant(name, ours):
    theirs = spoken(name)
    translation = translation_of(theirs, ours)
    parser, batches = parsed(theirs, [case(name)])
    blocks = [block for data in batches for block in translation.blocks(data)]
    if parser.done:
        blocks += translation.end()

    failed = ours == "responses" and parser.error is not None
    check_order(ours, blocks, whole=parser.done or failed)
    found = put_together(read(ours, b"".join(blocks)))
    if parser.error is not None:
        found.pop("usage", None)  # it was not complete
    assert found == as_read_in(ours, STORIES[name])


@BETWEEN
@settings(max_examples=15)
@given(data=st.data())
def test_cuts_change_nothing_of_what_is_said(name, ours, data):
    theirs, raw = spoken(name), case(name)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    translation, whole = (translation_of(theirs, ours) for _ in range(2))
    _, batches = parsed(theirs, pieces)

    said = [block for batch in batches for block in translation.blocks(batch)] + translation.end()

    assert said == whole.blocks(b"".join(batches)) + whole.end()
