"""Who works on a task: a planner that hands its parts to two specialists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langchain.agents.middleware import AgentMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph.state import CompiledStateGraph

from agent import prompts
from agent.calls import agent
from agent.tools import needs_approval

PLANNER = """
You lead a team and have no other tools than your specialists. Break the task into parts, hand each
part to the specialist whose job it is, with everything that is needed to do it (they do not see
this conversation), and put the final answer together from what they report.
"""


@dataclass(frozen=True)
class Specialist:
    """A member of the team: `job` tells the planner what to hand over."""

    name: str
    job: str
    prompt: str
    writes: bool  # whether it gets the tools that change something


TEAM = (
    Specialist(
        "researcher",
        "Finds things out: reads files and pages, queries databases, calculates. Changes nothing.",
        "You research. Report facts with their source, and say what you could not find.",
        writes=False,
    ),
    Specialist(
        "writer",
        "Writes: turns findings into text and puts it into files. Give it all the findings.",
        "You write. Use only the findings that you were given, and the format that was asked for.",
        writes=True,
    ),
)


def build(
    model: BaseChatModel,
    tools: Sequence[BaseTool],
    shorten: AgentMiddleware[Any, Any],
    saver: BaseCheckpointSaver[str],
) -> CompiledStateGraph[Any]:
    """The planner. `shorten` keeps a long talk within the model's memory, `saver` keeps it."""
    hand_overs = [_hand_over(model, each, tools) for each in TEAM]
    lead = prompts.SYSTEM + PLANNER
    return agent(model, hand_overs, lead, first=[shorten], checkpointer=saver)


def _hand_over(model: BaseChatModel, member: Specialist, tools: Sequence[BaseTool]) -> BaseTool:
    """A tool that lets a specialist work on a part of the task, and returns its report."""
    theirs = [tool for tool in tools if member.writes or not needs_approval(tool)]
    specialist = agent(model, theirs, f"{prompts.SYSTEM}\n{member.prompt}", member.name)

    @tool(f"ask_{member.name}", description=member.job)
    def hand_over(task: str) -> str:
        report: str = specialist.invoke({"messages": [HumanMessage(task)]})["messages"][-1].text
        return report

    hand_over.metadata = {"patient": True}  # its own tools have time limits, it has none
    return hand_over
