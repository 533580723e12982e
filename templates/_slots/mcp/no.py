"""All tools of the agent."""

from __future__ import annotations

from langchain_core.tools import BaseTool

from agent.tools import collect


def toolbox(wait: bool = False) -> tuple[list[BaseTool], tuple[str, ...]]:
    """The tools, and one line for each that is missing."""
    return collect(), ()
