"""Which calls wait for a person's approval, and what a decision means for LangChain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from langchain.agents.middleware import (
    AgentMiddleware,
    HumanInTheLoopMiddleware,
    ToolCallRequest,
)
from langchain_core.tools import BaseTool
from pydantic import BaseModel, ValidationError

from agent import prompts
from agent.events import CURRENT_RUN, Approval, Decision
from plumbing.settings import problems


def approval(tools: Sequence[BaseTool]) -> AgentMiddleware[Any, Any]:
    """Interrupts a call that needs approval, before any other middleware handles it."""
    asking: Any = {
        tool.name: {
            "allowed_decisions": ["approve", "edit", "reject"],
            "when": partial(_must_ask, (tool.metadata or {})["asks_first"]),
        }
        for tool in tools
        if (tool.metadata or {}).get("asks_first")
    }
    return HumanInTheLoopMiddleware(asking, interrupt_mode="per_call")


def _must_ask(asks: Any, request: ToolCallRequest) -> bool:
    """`asks`: True, or a function that looks at the tool, the arguments and the events so far."""
    run, call = CURRENT_RUN.get(), request.tool_call
    if run.yes or asks is True:
        return not run.yes
    # LangChain asks again when the run resumes, and ignores a decision after a no.
    events = run.history()
    asked = any(isinstance(event, Approval) and event.id == call["id"] for event in events)
    return asked or bool(asks(call["name"], call["args"], events))


def misfit(decision: Decision, tool: BaseTool | None) -> str:
    """Why the arguments of an edited call cannot be used; "" if they can."""
    if decision.choice != "edit":
        return ""
    if not isinstance(decision.args, Mapping):
        return prompts.NOT_FITTING.format(problem=prompts.NOT_JSON)
    schema = tool.tool_call_schema if tool else None
    try:
        if isinstance(schema, type) and issubclass(schema, BaseModel):
            schema.model_validate(decision.args)
    except ValidationError as error:
        return prompts.NOT_FITTING.format(problem=problems(error))
    return ""


def as_langchain(decision: Decision, name: str) -> dict[str, Any]:
    """A decision in LangChain's format; anything but approve and edit is a rejection."""
    if decision.choice == "edit":
        edited = {"name": name, "args": dict(decision.args or {})}
        return {"type": "edit", "edited_action": edited}
    if decision.choice == "approve":
        return {"type": "approve"}
    return {"type": "reject", **({"message": decision.reason} if decision.reason else {})}
