"""Builds the graph: a single agent with all the tools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain.agents.middleware import AgentMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph.state import CompiledStateGraph

from agent import prompts
from agent.middleware import agent


def build(
    model: BaseChatModel,
    tools: Sequence[BaseTool],
    shorten: AgentMiddleware[Any, Any],
    saver: BaseCheckpointSaver[str],
) -> CompiledStateGraph[Any]:
    """The agent. `shorten` fits a long chat into the context window, `saver` stores it."""
    return agent(model, tools, prompts.SYSTEM, first=[shorten], checkpointer=saver)
