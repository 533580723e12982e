"""Tool: search your own documents, with sources."""

from __future__ import annotations

from agent.tools import ToolError, tool


@tool
def search_documents(question: str) -> str:
    """Search the documents for the passages that answer a question best, each with its source.

    Use it for any question that the documents may answer. Write a full question in plain words;
    name the source of what you use.
    """
    from rag import bm25, pipeline, prompts
    from rag.__main__ import ready

    if not question.strip():
        raise ToolError("The question is empty. Say what to search for.")
    ready()
    try:
        found = pipeline.search(question)
    except bm25.Damaged as error:
        raise ToolError(pipeline.DAMAGED) from error
    if not found:
        return "The documents say nothing about it. Try other words."
    passages = (each.passage for each in found)
    return "\n\n".join(
        f"[{number}] {prompts.where(passage)}\n{passage.text}"
        for number, passage in enumerate(passages, start=1)
    )
