"""The checks of keys and services, against servers on loopback."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from servers import (
    Answer,
    drips,
    garbage,
    login_page,
    routes,
    says,
    sends_to,
    serving,
    silence,
    unused_port,
)

from hackkit.doctor.checks import (
    hugging_face_token,
    llm_server,
    local_models,
    mistral_key,
    mistral_models,
)
from hackkit.doctor.findings import Finding, Status
from hackkit.project.app_status import AppStatus
from hackkit.project.context import Context
from hackkit.project.files import ProjectFiles

KEY = "0123456789abcdef0123456789ABCDEF"
OTHER_KEY = "fedcba9876543210fedcba9876543210"
TOKEN = "hf_" + "a1" * 17


def project(folder: Path, **variables: str) -> ProjectFiles:
    lines = [f"{name}={value}\n" for name, value in variables.items()]
    (folder / ".env").write_text("".join(lines), "utf-8")
    return ProjectFiles(folder)


# The key itself


def look_at_key(**env: str) -> Finding:
    return mistral_key.check(Context(env=env))


def test_a_key_of_the_usual_shape_is_well_and_not_shown() -> None:
    finding = look_at_key(MISTRAL_API_KEY=KEY)
    assert finding.status is Status.OK
    assert finding.message == "set in the environment (32 characters)"


def test_a_key_in_the_env_file_is_found(tmp_path: Path) -> None:
    finding = mistral_key.check(Context(project=project(tmp_path, MISTRAL_API_KEY=KEY)))
    assert finding.message == "set in .env (32 characters)"


def test_a_missing_key_names_the_file_to_put_it_in(tmp_path: Path) -> None:
    finding = mistral_key.check(Context(project=project(tmp_path)))
    assert finding.status is Status.WARN
    assert finding.fix.startswith("edit .env: ")


def test_a_missing_key_outside_a_project_names_the_page_that_makes_one() -> None:
    finding = look_at_key()
    assert (finding.status, "console.mistral.ai" in finding.fix) == (Status.WARN, True)


def test_no_key_is_needed_with_another_server() -> None:
    assert look_at_key(LLM_BASE_URL="http://localhost:11434/v1").status is Status.SKIP


def test_the_environments_key_wins_over_another_one_in_the_file(tmp_path: Path) -> None:
    mine = project(tmp_path, MISTRAL_API_KEY=OTHER_KEY)
    finding = mistral_key.check(Context(env={"MISTRAL_API_KEY": KEY}, project=mine))
    assert finding.status is Status.WARN
    assert "have different keys" in finding.message
    assert finding.fix == "unset MISTRAL_API_KEY"


def test_the_same_key_in_both_places_is_well(tmp_path: Path) -> None:
    mine = project(tmp_path, MISTRAL_API_KEY=KEY)
    finding = mistral_key.check(Context(env={"MISTRAL_API_KEY": KEY}, project=mine))
    assert finding.status is Status.OK


@pytest.mark.parametrize(
    ("key", "word"),
    [
        (f'"{KEY}"', "quotes"),
        (f"'{KEY}", "quotes"),
        (f"Bearer {KEY}", "Bearer"),
        (f"{KEY[:16]} {KEY[16:]}", "spaces"),
        ("your-key-here", "placeholder"),
        ("MISTRAL_API_KEY", "placeholder"),
        ("x" * 32, "placeholder"),
        ("...", "placeholder"),
        ("<key>", "placeholder"),
        (KEY[:31] + "é", "not ASCII"),
        (TOKEN, "a Hugging Face token"),
        ("sk-" + KEY, "another provider's"),
    ],
)
def test_what_cannot_be_a_key_fails(key: str, word: str) -> None:
    finding = look_at_key(MISTRAL_API_KEY=key)
    assert finding.status is Status.FAIL
    assert word in finding.message
    assert key not in finding.message


def test_a_bad_key_that_is_not_used_only_warns() -> None:
    env = {"MISTRAL_API_KEY": "your-key-here", "LLM_BASE_URL": "http://localhost:11434/v1"}
    assert look_at_key(**env).status is Status.WARN


def test_a_key_that_was_cut_short_warns() -> None:
    finding = look_at_key(MISTRAL_API_KEY=KEY[:31])
    assert (finding.status, "31 characters" in finding.message) == (Status.WARN, True)


def test_a_gateways_key_may_have_any_length() -> None:
    env = {"MISTRAL_API_KEY": KEY + "00", "MISTRAL_SERVER_URL": "https://gateway.example"}
    assert look_at_key(**env).status is Status.OK


def test_spaces_around_a_key_do_no_harm() -> None:
    assert look_at_key(MISTRAL_API_KEY=f" {KEY}\n").status is Status.OK


# What Mistral's API says to it

CARDS = {
    "object": "list",
    "data": [
        {"id": "mistral-small-2603", "aliases": ["mistral-small-latest"], "type": "base"},
        {"id": "mistral-embed", "aliases": []},
        {
            "id": "mistral-old-2401",
            "deprecation": "2026-12-24T00:00:00Z",
            "deprecation_replacement_model": "mistral-small-latest",
        },
    ],
}


def ask_models(url: str, app: Callable[[], AppStatus] = AppStatus, **env: str) -> Finding:
    env = {"MISTRAL_API_KEY": KEY, "MISTRAL_SERVER_URL": url, **env}
    return mistral_models.check(Context(env=env, app=app))


def chosen(chat: str, embed: str = "mistral-embed") -> Callable[[], AppStatus]:
    return lambda: AppStatus(provider="mistral", chat_model=chat, embed_model=embed)


def test_an_accepted_key_is_shown_with_its_number_of_models() -> None:
    with serving(says(CARDS)) as server:
        finding = ask_models(server.url)
    assert finding.status is Status.OK
    assert finding.message == "3 models, with mistral-small-latest and mistral-embed"
    assert len(server.received) == 1
    assert server.received[0].target == "/v1/models"
    assert server.received[0].headers["authorization"] == f"Bearer {KEY}"


def test_the_remaining_quota_is_shown() -> None:
    headers = {"x-ratelimit-remaining-req-minute": "58", "x-ratelimit-limit-req-minute": "60"}
    with serving(says(CARDS, headers=headers)) as server:
        finding = ask_models(server.url)
    assert finding.message.endswith("; left: 58 req/minute")


def test_a_quota_that_is_used_up_warns() -> None:
    with serving(says(CARDS, headers={"X-RateLimit-Remaining-Tokens-Month": "0"})) as server:
        finding = ask_models(server.url)
    assert finding.status is Status.WARN
    assert "the quota is used up: 0 tokens/month left" in finding.message


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_fails_and_names_the_page_for_a_new_one(status: int) -> None:
    with serving(says({"detail": "Unauthorized"}, status)) as server:
        finding = ask_models(server.url)
    assert finding.status is Status.FAIL
    assert "https://console.mistral.ai" in finding.fix


def test_too_many_requests_warn_with_what_the_headers_say() -> None:
    headers = {"Retry-After": "20", "x-ratelimit-remaining-req-minute": "0"}
    with serving(says({}, 429, headers)) as server:
        finding = ask_models(server.url)
    assert finding.status is Status.WARN
    assert finding.message == "too many requests for 20 s; left: 0 req/minute"


@pytest.mark.parametrize("status", [500, 503])
def test_trouble_at_mistral_warns_with_its_status_page(status: int) -> None:
    with serving(says("oops", status)) as server:
        finding = ask_models(server.url)
    assert (finding.status, "status.mistral.ai" in finding.fix) == (Status.WARN, True)


@pytest.mark.parametrize(
    "content", ["not JSON", "[1, 2]", '{"data": 5}', '{"data": [5]}', "[" * 99_999]
)
def test_a_list_that_cannot_be_read_warns(content: str) -> None:
    with serving(says(content)) as server:
        finding = ask_models(server.url)
    assert (finding.status, "not return a list of models" in finding.message) == (Status.WARN, True)


@pytest.mark.parametrize("answer", [login_page, sends_to("http://login.venue.example")])
def test_a_login_page_in_place_of_the_models_is_named(answer: Answer) -> None:
    with serving(answer) as server:
        finding = ask_models(server.url)
    assert (finding.status, "login page" in finding.message) == (Status.WARN, True)


def test_without_a_key_nothing_is_asked() -> None:
    with serving(says(CARDS)) as server:
        finding = ask_models(server.url, MISTRAL_API_KEY="")
    assert (finding.status, server.received) == (Status.SKIP, [])


def test_with_another_server_nothing_is_asked() -> None:
    with serving(says(CARDS)) as server:
        finding = ask_models(server.url, LLM_BASE_URL="http://localhost:1/v1")
    assert (finding.status, server.received) == (Status.SKIP, [])


def test_an_api_that_cannot_be_reached_is_another_checks_problem() -> None:
    with serving(garbage) as server:
        assert ask_models(server.url).status is Status.SKIP


def test_the_projects_own_models_are_looked_for() -> None:
    with serving(says(CARDS)) as server:
        finding = ask_models(server.url, chosen("mistral-smal-latest"))
    assert finding.status is Status.FAIL
    assert "but not mistral-smal-latest" in finding.message
    assert finding.fix == "edit .env: set CHAT_MODEL=mistral-small-latest"


def test_a_missing_embedding_model_only_warns() -> None:
    with serving(says(CARDS)) as server:
        finding = ask_models(server.url, chosen("mistral-small-latest", "codestral-embed"))
    assert finding.status is Status.WARN
    assert finding.fix == "edit .env: set EMBED_MODEL=mistral-embed"


def test_a_deprecated_model_warns_with_its_replacement() -> None:
    with serving(says(CARDS)) as server:
        finding = ask_models(server.url, chosen("mistral-old-2401"))
    assert finding.status is Status.WARN
    assert finding.message == "mistral-old-2401 is deprecated (until 2026-12-24)"
    assert finding.fix == "edit .env: set CHAT_MODEL=mistral-small-latest"


def test_a_project_without_embeddings_needs_no_embedding_model() -> None:
    with serving(says({"data": CARDS["data"][:1]})) as server:
        finding = ask_models(server.url, chosen("mistral-small-latest", ""))
    assert finding.message == "1 model, with mistral-small-latest"


def test_variables_count_where_the_app_cannot_name_its_models() -> None:
    broken = lambda: AppStatus(problem="no environment")  # noqa: E731 - a fact, not a function
    with serving(says(CARDS)) as server:
        finding = ask_models(server.url, broken, CHAT_MODEL="nonsense", EMBED_MODEL="none")
    assert (finding.status, "nonsense" in finding.message) == (Status.FAIL, True)


def test_an_app_that_hangs_is_not_waited_for() -> None:
    release, ended = threading.Event(), threading.Event()

    def hangs() -> AppStatus:
        release.wait(60)
        ended.set()
        return AppStatus()

    with serving(says(CARDS)) as server:
        assert ask_models(server.url, hangs).status is Status.OK
    assert not ended.is_set()
    release.set()


# A server of one's own

OWN = {"object": "list", "data": [{"id": "ministral-3:8b"}, {"id": "nomic-embed-text:latest"}]}


def ask_server(base: str, app: Callable[[], AppStatus] = AppStatus, **env: str) -> Finding:
    env = {"LLM_BASE_URL": base, "EMBED_MODEL": "nomic-embed-text", **env}
    return llm_server.check(Context(env=env, app=app))


def test_a_server_with_the_models_is_well_also_offline() -> None:
    with serving(routes({"/v1/models": says(OWN)})) as server:
        finding = ask_server(f"{server.url}/v1/")
    assert finding.status is Status.OK
    assert "has ministral-3:8b and nomic-embed-text" in finding.message


def test_without_the_variable_no_server_is_looked_for() -> None:
    assert llm_server.check(Context()).status is Status.SKIP


def test_a_server_elsewhere_is_not_asked_offline() -> None:
    finding = ask_server("http://gpu.example:8000/v1")
    assert (finding.status, "--offline" in finding.message) == (Status.SKIP, True)


def test_an_address_without_http_is_a_mistake_also_offline() -> None:
    finding = ask_server("localhost:11434/v1")
    assert (finding.status, "http://" in finding.message) == (Status.FAIL, True)


def test_the_servers_key_is_sent() -> None:
    with serving(says(OWN)) as server:
        ask_server(f"{server.url}/v1", LLM_API_KEY="abc")
    assert server.received[0].headers["authorization"] == "Bearer abc"


def test_an_address_without_v1_is_a_known_mistake() -> None:
    with serving(routes({"/v1/models": says(OWN)})) as server:
        finding = ask_server(server.url)
    assert finding.status is Status.FAIL
    assert finding.fix == f"edit .env: set LLM_BASE_URL={server.url}/v1"


def test_a_server_that_is_not_there_fails() -> None:
    finding = ask_server(f"http://127.0.0.1:{unused_port()}/v1")
    assert (finding.status, "nothing listens" in finding.message) == (Status.FAIL, True)
    assert "LLM_BASE_URL" in finding.fix


def test_an_ollama_that_does_not_run_is_started_by_its_own_command() -> None:
    assert llm_server.no_answer_fix("http://127.0.0.1:11434/v1") == "ollama serve"


@pytest.mark.parametrize(
    "answer", [login_page, says("what", kind="text/plain"), says({"models": []}), says({}, 404)]
)
def test_a_server_that_is_not_openai_compatible_fails(answer: Answer) -> None:
    with serving(answer) as server:
        finding = ask_server(f"{server.url}/v1")
    assert (finding.status, "no OpenAI-compatible server" in finding.message) == (Status.FAIL, True)


def test_a_server_without_http_fails() -> None:
    with serving(garbage) as server:
        assert ask_server(server.url).status is Status.FAIL


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_refuses_the_key_fails(status: int) -> None:
    with serving(says({}, status)) as server:
        finding = ask_server(f"{server.url}/v1", LLM_API_KEY="abc")
    assert (finding.status, "LLM_API_KEY" in finding.message) == (Status.FAIL, True)


def test_a_gateway_that_refuses_the_key_with_400_is_named_so() -> None:
    words = {
        "error": {"message": "Authentication Error, LiteLLM Virtual Key expected", "code": 400}
    }
    with serving(says(words, 400)) as server:
        finding = ask_server(f"{server.url}/v1", LLM_API_KEY="abc")
        plain = ask_models(server.url)
    assert finding.message == "it refuses the key in LLM_API_KEY (400)"
    assert plain.message == "the key is refused (400)"


def test_a_server_that_answers_late_is_a_warning() -> None:
    with serving(silence) as server:
        assert ask_server(f"{server.url}/v1").status is Status.WARN


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_warns(status: int) -> None:
    with serving(says({}, status)) as server:
        assert ask_server(f"{server.url}/v1").status is Status.WARN


def test_a_missing_chat_model_fails_and_offers_one_that_is_there() -> None:
    with serving(says({"data": [{"id": "mistral-7b"}]})) as server:
        finding = ask_server(f"{server.url}/v1")
    assert (finding.status, finding.message) == (Status.FAIL, "it lacks ministral-3:8b")
    assert finding.fix == "edit .env: set CHAT_MODEL=mistral-7b"


def test_ollama_pulls_what_is_missing() -> None:
    assert llm_server.missing_model_fix(
        "ministral-3:8b", "CHAT_MODEL", "http://localhost:11434/v1", []
    ) == ("ollama pull ministral-3:8b")


def test_a_missing_embedding_model_of_the_server_only_warns() -> None:
    with serving(says(OWN)) as server:
        finding = ask_server(f"{server.url}/v1", EMBED_MODEL="mistral-embed")
    assert (finding.status, "keywords only" in finding.message) == (Status.WARN, True)


def test_no_embedding_model_is_looked_for_when_none_is_wanted() -> None:
    with serving(says({"data": OWN["data"][:1]})) as server:
        assert ask_server(f"{server.url}/v1", EMBED_MODEL="none").status is Status.OK


def test_the_projects_own_models_are_looked_for_on_its_server() -> None:
    mine = AppStatus(provider="server", chat_model="mistral-7b", embed_model="")
    with serving(says(OWN)) as server:
        finding = ask_server(f"{server.url}/v1", lambda: mine)
    assert "it lacks mistral-7b" in finding.message


def test_a_server_without_any_model_fails() -> None:
    with serving(says({"object": "list", "data": None})) as server:
        finding = ask_server(f"{server.url}/v1")
    assert (finding.status, finding.details) == (Status.FAIL, ("it has: no model",))


def test_llama_cpp_answers_by_any_name() -> None:
    with serving(says({"data": [{"id": "/m/x.gguf", "owned_by": "llamacpp"}]})) as server:
        assert ask_server(f"{server.url}/v1").status is Status.OK


# The Hugging Face token


def who(role: str = "write", *, pro: bool = True, **more: object) -> dict[str, object]:
    token = {"role": role, **more}
    return {"type": "user", "name": "ada", "isPro": pro, "auth": {"accessToken": token}}


def ask_token(url: str, **env: str) -> Finding:
    return hugging_face_token.check(Context(env={"HF_ENDPOINT": url, "HF_TOKEN": TOKEN, **env}))


def test_a_token_that_may_write_on_a_pro_account_is_well() -> None:
    with serving(says(who())) as server:
        finding = ask_token(server.url)
    assert (finding.status, finding.message) == (
        Status.OK,
        "ada's token can write, on a PRO account",
    )
    assert server.received[0].target == "/api/whoami-v2"
    assert server.received[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_no_token_is_no_problem() -> None:
    finding = hugging_face_token.check(Context())
    assert (finding.status, "a deployment to Spaces" in finding.message) == (Status.SKIP, True)


def test_a_token_that_may_only_read_warns() -> None:
    with serving(says(who("read"))) as server:
        finding = ask_token(server.url)
    assert (finding.status, "is read-only" in finding.message) == (Status.WARN, True)


@pytest.mark.parametrize(
    ("permissions", "status"), [(["repo.write"], Status.OK), (["repo.content.read"], Status.WARN)]
)
def test_a_fine_grained_token_is_read(permissions: list[str], status: Status) -> None:
    scoped = [{"entity": {"type": "user"}, "permissions": permissions}]
    with serving(says(who("fineGrained", fineGrained={"scoped": scoped}))) as server:
        assert ask_token(server.url).status is status


def test_a_free_account_warns_since_gradio_spaces_need_pro() -> None:
    with serving(says(who(pro=False))) as server:
        finding = ask_token(server.url)
    assert (finding.status, "Gradio Spaces need PRO" in finding.message) == (Status.WARN, True)


def test_a_paying_organisation_will_do() -> None:
    with serving(says({**who(pro=False), "orgs": [{"isEnterprise": True}]})) as server:
        assert ask_token(server.url).status is Status.OK


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_warns(status: int) -> None:
    with serving(says({"error": "Invalid credentials"}, status)) as server:
        finding = ask_token(server.url)
    assert (finding.status, "refused" in finding.message) == (Status.WARN, True)
    assert "settings/tokens" in finding.fix


@pytest.mark.parametrize(
    "answer", [says({}, 503), says("what", kind="text/plain"), says([1]), says({}, 429)]
)
def test_a_hub_without_an_account_in_its_answer_warns(answer: Answer) -> None:
    with serving(answer) as server:
        assert ask_token(server.url).status is Status.WARN


def test_a_login_page_in_place_of_the_account_is_named() -> None:
    with serving(login_page) as server:
        assert "login page" in ask_token(server.url).message


def test_a_hub_that_cannot_be_reached_is_another_checks_problem() -> None:
    with serving(garbage) as server:
        assert ask_token(server.url).status is Status.SKIP


@pytest.mark.parametrize(
    ("file", "variable", "value"),
    [
        (".cache/huggingface/token", "HOME", "."),
        ("hub/token", "HF_HOME", "hub"),
        ("mine", "HF_TOKEN_PATH", "mine"),
    ],
)
def test_the_token_of_a_login_is_found(
    tmp_path: Path, file: str, variable: str, value: str
) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{TOKEN}\n")
    with serving(says(who())) as server:
        env = {"HF_ENDPOINT": server.url, variable: str(tmp_path / value)}
        finding = hugging_face_token.check(Context(env=env))
    assert finding.status is Status.OK
    assert TOKEN not in str(finding)


# Model servers on this machine


def test_the_models_of_a_running_ollama_are_listed() -> None:
    models = {"object": "list", "data": [{"id": "ministral-3:8b", "owned_by": "library"}]}
    with serving(says(models)) as server:
        finding = local_models.find([server.url])
    assert (finding.status, finding.message) == (Status.OK, "Ollama: ministral-3:8b")


def test_several_servers_are_listed_by_name() -> None:
    one = {"object": "list", "data": [{"id": "a", "owned_by": "vllm"}]}
    two = {"object": "list", "data": [{"id": "b.gguf", "owned_by": "llamacpp"}]}
    nowhere = f"http://127.0.0.1:{unused_port()}"
    with serving(says(one)) as vllm, serving(says(two)) as llama:
        finding = local_models.find([nowhere, vllm.url, llama.url])
    assert finding.message == "vLLM: a; llama.cpp: b.gguf"


def test_a_long_list_is_cut_short() -> None:
    models = {"object": "list", "data": [{"id": str(number)} for number in range(9)]}
    with serving(says(models)) as server:
        finding = local_models.find([server.url])
    assert finding.message == "Ollama: 0, 1, 2, 3 and 5 more"
    assert "7, 8" in finding.details[0]


def test_an_ollama_without_a_model_is_named() -> None:
    with serving(says({"object": "list", "data": None})) as server:
        assert local_models.find([server.url]).message == "Ollama without a model"


@pytest.mark.parametrize("answer", [login_page, garbage, says({"detail": "no"}, 404), says([])])
def test_another_service_on_such_a_port_is_passed_over(answer: Answer) -> None:
    with serving(answer) as server:
        assert local_models.find([server.url]).status is Status.SKIP


def test_where_nothing_runs_nothing_is_found() -> None:
    finding = local_models.find([f"http://127.0.0.1:{unused_port()}"] * 3)
    assert finding.message == "no Ollama, vLLM or llama.cpp on this machine's usual ports"


def test_servers_that_hang_are_given_up() -> None:
    with serving(silence) as one, serving(drips) as two:
        assert local_models.find([one.url, two.url]).status is Status.SKIP


def test_an_ollama_elsewhere_is_not_asked_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr("socket.getaddrinfo", lambda *words, **_: asked.append(words))
    assert local_models.find(["http://gpu.example:11434"]).status is Status.SKIP
    assert asked == []


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),  # noqa: S104 - nothing is bound here
        (":8123", "http://127.0.0.1:8123"),
        ("gpu.example", "http://gpu.example:11434"),
        ("gpu.example:80", "http://gpu.example:80"),
        ("https://gpu.example/", "https://gpu.example:443"),
        ("[::1]", "http://[::1]:11434"),
        ("[::1]:8123", "http://[::1]:8123"),
    ],
)
def test_ollamas_address_is_read_in_all_its_forms(host: str, address: str) -> None:
    assert local_models.ollama(host) == address
