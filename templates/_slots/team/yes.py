"""Builds the graph: a planner that gives parts of the task to two specialists."""

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

from agent import offline, prompts
from agent.middleware import agent
from agent.tools import needs_approval

PLANNER = """
You lead a team; your only tools are your specialists. Split the task into parts, give each part to
the specialist for it, with all the information that is needed (they do not see this conversation),
and write the final answer from their reports.
"""


@dataclass(frozen=True)
class Specialist:
    """A member of the team; `job` is its description for the planner."""

    name: str
    job: str
    prompt: str
    writes: bool  # whether it gets the tools that change data


TEAM = (
    Specialist(
        "researcher",
        "Researches: reads files and pages, queries databases, calculates. Changes nothing.",
        "You research. Report facts with their source, and say what you could not find.",
        writes=False,
    ),
    Specialist(
        "writer",
        "Writes text from findings and saves it in files. Give it all the findings.",
        "You write. Use only the findings in the task, and the format that it asks for.",
        writes=True,
    ),
)


def build(
    model: BaseChatModel,
    tools: Sequence[BaseTool],
    shorten: AgentMiddleware[Any, Any],
    saver: BaseCheckpointSaver[str],
) -> CompiledStateGraph[Any]:
    """The planner. `shorten` fits a long chat into the context window, `saver` stores it."""
    specialists = [_specialist(model, each, tools) for each in TEAM]
    lead = prompts.SYSTEM + PLANNER
    return agent(model, specialists, lead, first=[shorten], checkpointer=saver)


def _specialist(model: BaseChatModel, member: Specialist, tools: Sequence[BaseTool]) -> BaseTool:
    """A tool that runs a specialist on a part of the task and returns its report."""
    allowed = [tool for tool in tools if member.writes or not needs_approval(tool)]
    specialist = agent(model, allowed, f"{prompts.SYSTEM}\n{member.prompt}", member.name)

    @tool(f"ask_{member.name}", description=member.job)
    def ask(task: str) -> str:
        report: str = specialist.invoke({"messages": [HumanMessage(task)]})["messages"][-1].text
        return report

    ask.metadata = {"patient": True}  # no time limit here: the specialist's own tools have theirs
    return ask


def _hand_over(state: offline.TaskState) -> list[offline.ToolCall]:
    """Offline: research goes to the researcher, its findings then to the writer."""
    findings = "\n\n".join(text for tool, text in state.results if tool == "ask_researcher")
    alone = offline.TaskState(state.task, frozenset(), ())
    if not findings and any(rule(alone) for rule in offline.RESEARCH):
        return [("ask_researcher", {"task": state.task})]
    target = offline.target_of(state.task)
    task = f"Write the findings to {target}.\n\n{findings}" if findings else state.task
    return [("ask_writer", {"task": task})] if target else []


offline.RULES.insert(0, _hand_over)
