"""Tool: search your own documents, with sources."""

from __future__ import annotations

from agent.tools import ToolError, tool


@tool
def search_documents(question: str) -> str:
    """Search the documents for the chunks that answer a question best, each with its source.

    Use it for any question that the documents may answer. Write a full question in plain words;
    name the source of what you use.
    """
    from rag import bm25, pipeline, prompts
    from rag.__main__ import ready

    if not question.strip():
        raise ToolError("The question is empty. Say what to search for.")
    ready()
    try:
        found = pipeline.retrieve(question)
    except bm25.IndexCorrupted as error:
        raise ToolError(pipeline.CORRUPTED) from error
    if not found:
        return "The documents say nothing about it. Try other words."
    chunks = (each.chunk for each in found)
    return "\n\n".join(
        f"[{number}] {prompts.where(chunk)}\n{chunk.text}"
        for number, chunk in enumerate(chunks, start=1)
    )
