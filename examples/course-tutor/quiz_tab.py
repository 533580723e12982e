"""The quiz's tab: a question, your answer, the verdict, and where in the course the answer is."""

from __future__ import annotations

import html

import gradio as gr

import quiz
from rag import ui
from rag.chunks import Citation
from rag.pipeline import Answer


def build(page: gr.Blocks) -> None:
    """The question and the answer box on the left; the source, once answered, on the right."""
    deck = gr.State([])
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=320):
            question = gr.HTML()
            answer = gr.Textbox(label="Your answer", max_length=2000, elem_id="quiz-answer")
            with gr.Row():
                check = gr.Button("Check", variant="primary")
                skip = gr.Button("Next question")
            verdict = gr.HTML(elem_id="verdict")
        with gr.Column(scale=2, min_width=300):
            panel = gr.HTML()
    shown = [deck, question, answer, verdict, panel]
    for draw in (page.load, skip.click):
        draw(next_question, deck, shown, api_visibility="private")
    for listen in (check.click, answer.submit):
        listen(check_answer, [deck, answer], [verdict, panel], api_visibility="private")


def next_question(deck: list[quiz.Card]) -> tuple[list[quiz.Card], str, str, str, str]:
    """The next question, with an empty box and without the answer."""
    deck = deck[1:] or quiz.deck()
    return deck, f"<h2>{html.escape(deck[0].question)}</h2>", "", "", ""


def check_answer(deck: list[quiz.Card], answer: str) -> tuple[str, str]:
    """The verdict, the course's answer, and the chunk of the course that it comes from."""
    if not answer.strip():
        return "<p>Write your answer first, in your own words.</p>", ""
    card = deck[0]
    verdict, missing = quiz.mark(card, answer)
    lines = [f"The course's answer: {card.answer}", quiz.comment(card, answer)]
    if missing:
        lines.insert(1, f"Not in your answer: {', '.join(missing)}.")
    text = "".join(f"<p>{html.escape(line)}</p>" for line in lines)
    found = quiz.source(card)
    cited = (Citation(1, found),) if found else ()
    return f"<h3>{verdict}</h3>{text}", ui.sources(Answer("", cited), card.answer, 0)
