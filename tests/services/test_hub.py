"""A hub that answers with nonsense: an error with words."""

from collections.abc import Callable

import pytest
from hub import TOKEN
from servers import says, serving

from hackkit.errors import HackkitError
from hackkit.project.context import Context
from hackkit.services.hub import Hub

ASKED: dict[str, Callable[[Hub], object]] = {
    "owners": lambda hub: hub.owners(),
    "find": lambda hub: hub.find("ada/app"),
    "state": lambda hub: hub.state("ada/app"),
}


@pytest.mark.parametrize("body", [{}, [], None, b'"hello"', 7, {"name": None}], ids=repr)
@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_an_answer_that_is_not_the_hubs_is_an_error_with_words(
    ask: Callable[[Hub], object], body: object
) -> None:
    with serving(says(body)) as server, pytest.raises(HackkitError) as caught:
        ask(Hub(Context(env={"HF_ENDPOINT": server.url, "HF_TOKEN": TOKEN})))
    assert server.url in caught.value.problem or "Hugging Face" in caught.value.problem
    assert caught.value.fix
    assert TOKEN not in caught.value.problem
