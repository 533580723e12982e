"""The smoke test asks a running app one question, over Gradio's protocol."""

import re
import threading

import pytest
from gradio_server import ANSWER, PAGE, App, event, running

from hackkit.deploy import smoke_test
from hackkit.errors import HackkitError, Problem

QUESTION = "What do the judges look at?"
TOKEN = "hf_" + "aB3" * 11
HTML = (200, "text/html", PAGE)


def ask(app: App, seconds: float = 5, token: str = "") -> smoke_test.Answer:
    with running(app):
        return smoke_test.ask(app.address, QUESTION, {}, token=token, seconds=seconds)


def refusal(app: App, seconds: float = 5, token: str = "") -> HackkitError:
    """Ask, and return the error; with ADDRESS for the address, which differs each time."""
    with pytest.raises(HackkitError) as caught:
        ask(app, seconds, token)
    seen = caught.value
    seen.explanation = Problem(seen.problem.replace(app.address, "ADDRESS"), seen.fix)
    return seen


def test_the_answer_comes_from_the_endpoint_ask() -> None:
    app = App()
    asked = ask(app)
    assert (asked.text, app.asked) == (ANSWER["answer"], [QUESTION])
    assert 0 < asked.seconds < 5


def test_an_app_may_answer_with_plain_text() -> None:
    assert ask(App(stream=event("complete", ["Four things."]))).text == "Four things."


def test_the_apps_notice_is_returned() -> None:
    said = ANSWER | {"notice": "No network."}
    assert ask(App(stream=event("complete", [said]))).notice == "No network."


def test_parts_of_an_answer_are_not_taken_for_the_whole() -> None:
    stream = event("generating", ["Four"]) + event("complete", ["Four things."])
    assert ask(App(stream=stream)).text == "Four things."


def test_lines_may_end_as_on_windows() -> None:
    stream = event("complete", ["Four things."]).replace(b"\n", b"\r\n")
    assert ask(App(stream=stream)).text == "Four things."


def test_a_complete_answer_ends_the_wait_although_the_stream_goes_on() -> None:
    assert ask(App(hangs=True)).seconds < 2


def test_an_answer_after_the_limit_is_an_error() -> None:
    error = refusal(App(stream=b"", hangs=True), seconds=1)
    assert re.fullmatch(r"The app did not answer the question within \d s\.", error.problem)


def test_an_answer_may_contain_the_protocols_words() -> None:
    app = App(stream=event("generating", ["event: complete"]), hangs=True)
    assert "did not answer" in refusal(app, seconds=1).problem


def test_control_characters_of_a_server_are_removed() -> None:
    app = App(stream=event("error", {"error": "\x1b]0;title\x07no\nindex"}))
    assert refusal(app).problem == "The app answered with an error: ]0;titleno index"


def test_an_error_in_the_app_is_reported() -> None:
    app = App(stream=event("error", {"error": "The index is damaged."}))
    assert refusal(app).problem == "The app answered with an error: The index is damaged."


def test_an_error_without_a_message_is_reported_too() -> None:
    app = App(stream=event("error", {"error": None}))
    assert refusal(app).problem == "The app answered with an error."


@pytest.mark.parametrize("said", [{"answer": ""}, "", "  ", None, {}])
def test_an_empty_answer_is_an_error(said: object) -> None:
    assert refusal(App(stream=event("complete", [said]))).problem == "The app's answer is empty."


@pytest.mark.parametrize("stream", [event("heartbeat", None), b"event: complete\ndata: [1"])
def test_an_incomplete_answer_is_an_error(stream: bytes) -> None:
    error = refusal(App(stream=stream))
    assert error.problem == "The connection broke before the app's answer was complete."


@pytest.mark.parametrize("info", [{"named_endpoints": {}}, {}, [], "nothing"])
def test_an_app_without_the_endpoint_gets_the_fix(info: object) -> None:
    error = refusal(App(info=info))
    assert isinstance(error, smoke_test.NoEndpointError)
    assert "no API endpoint `ask`" in error.problem
    assert 'api_name="ask"' in error.fix


def test_another_server_has_no_such_endpoint() -> None:
    bodies = {"/gradio_api/info": (404, "application/json", b"{}")}
    assert isinstance(refusal(App(bodies=bodies)), smoke_test.NoEndpointError)


def test_a_page_in_place_of_the_api_is_reported() -> None:
    error = refusal(App(bodies={"/gradio_api/info": HTML}))
    assert error.problem == "ADDRESS has a page where a Gradio app has its API."


@pytest.mark.parametrize("path", ["/gradio_api/call/ask", "/gradio_api/call/ask/e1"])
def test_a_server_error_is_quoted(path: str) -> None:
    error = refusal(App(bodies={path: (500, "text/plain", b"Internal Server Error")}))
    assert re.search(r'ADDRESS answered 500 for the \w+: "Internal Server Error"', error.problem)


def test_an_app_that_still_starts_is_waited_for() -> None:
    starting = {"/gradio_api/info": (503, "text/html", PAGE)}
    app = App(bodies=starting)
    threading.Timer(0.5, starting.clear).start()
    assert ask(app).text == ANSWER["answer"]


def test_an_app_that_does_not_start_is_an_error() -> None:
    error = refusal(App(bodies={"/gradio_api/info": (503, "text/html", PAGE)}), seconds=2)
    assert "ADDRESS answered 503 for its API" in error.problem


def test_an_unknown_answer_to_the_question_is_reported() -> None:
    error = refusal(App(bodies={"/gradio_api/call/ask": (200, "application/json", b"[]")}))
    assert "is not Gradio's" in error.problem


def test_the_token_opens_a_private_app() -> None:
    app = App(token=TOKEN)
    assert ask(app, token=TOKEN).text == ANSWER["answer"]
    assert set(app.tokens) == {f"Bearer {TOKEN}"}


def test_the_password_opens_an_app_with_a_login() -> None:
    with running(App(password="open sesame")) as app:
        env = {"APP_PASSWORD": "open sesame"}
        assert smoke_test.ask(app.address, QUESTION, env).text == ANSWER["answer"]


@pytest.mark.parametrize(("given", "why"), [("", "is not set here"), ("wrong", "is not the app's")])
def test_without_the_password_the_variable_is_named(given: str, why: str) -> None:
    with running(App(password="open sesame")) as app, pytest.raises(HackkitError) as caught:
        smoke_test.ask(app.address, QUESTION, {"APP_PASSWORD": given})
    assert caught.value.problem == f"The app asks for a password, and APP_PASSWORD {why}."
    assert caught.value.fix == "edit .env: set APP_PASSWORD to the app's password"


def test_without_a_token_none_is_sent() -> None:
    app = App()
    ask(app)
    assert set(app.tokens) == {""}


@pytest.mark.parametrize("token", ["", "hf_" + "zY9" * 11])
def test_a_private_app_differs_from_a_broken_one(token: str) -> None:
    error = refusal(App(token=TOKEN), token=token)
    assert "ADDRESS does not show its API (401): it is private" in error.problem
    assert error.fix == "hf auth login"
    assert "hf_" not in error.problem


def test_a_private_space_answers_not_found_with_a_page() -> None:
    error = refusal(App(bodies={"/gradio_api/info": (404, "text/html", PAGE)}))
    assert "it is private or does not exist" in error.problem


def test_a_refused_connection_is_reported() -> None:
    app = App()
    with running(app):
        address = app.address
    with pytest.raises(HackkitError, match="did not answer: nothing listens"):
        smoke_test.ask(address, QUESTION, {})


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_this_machine_is_never_asked_through_a_proxy(name: str) -> None:
    with running(App()) as app:
        asked = smoke_test.ask(app.address, QUESTION, {name: "http://127.0.0.1:9"})
    assert asked.text == ANSWER["answer"]


def test_the_page_is_loaded() -> None:
    with running(App()) as app:
        assert smoke_test.load_page(app.address, {}).body == PAGE


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((500, "text/plain", b"Internal Server Error"), 'answered 500 for the page: "Internal'),
        ((500, "text/html", PAGE), "answered 500 for the page: an HTML page"),
        ((200, "application/json", b"{}"), "answered, but not with a page"),
        ((403, "text/html", PAGE), "it is private or does not exist"),
    ],
)
def test_an_answer_that_is_not_a_page_is_reported(
    answer: tuple[int, str, bytes], words: str
) -> None:
    with running(App(bodies={"/": answer})) as app, pytest.raises(HackkitError, match=words):
        smoke_test.load_page(app.address, {})
