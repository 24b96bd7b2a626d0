"""Every dialect by its name, as the operator's file has it."""

from gateway.dialects import anthropic, openai


DIALECTS = {dialect.name: dialect for dialect in (openai.DIALECT, anthropic.DIALECT)}
