"""The network checks, against servers on loopback."""

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from facts import commands
from servers import (
    Answer,
    Authority,
    drips,
    drips_headers,
    garbage,
    login_page,
    says,
    sends_to,
    serving,
    silence,
    unused_port,
)

from hackkit.doctor.checks import hugging_face_hub, mistral_api, package_index, proxy
from hackkit.doctor.diagnose import Choice, diagnose
from hackkit.doctor.findings import Finding, Status
from hackkit.project.context import Context
from hackkit.project.files import ProjectFiles

KEY = "0123456789abcdef0123456789ABCDEF"
MODELS = {"object": "list", "data": []}
INDEX_PAGE = {"name": "uv", "files": [{"filename": "uv-0.9.0.tar.gz"}]}
REFUSED = {"detail": "Unauthorized"}


def slowly(answer: Answer) -> Answer:
    def later(*words: object) -> object:
        time.sleep(1.1)
        return answer(*words)  # type: ignore[arg-type]

    return later  # type: ignore[return-value]


# Mistral's API


def ask_mistral(url: str, **env: str) -> Finding:
    return mistral_api.check(Context(env={"MISTRAL_SERVER_URL": url, **env}))


def test_mistrals_api_is_well_when_it_asks_who_we_are() -> None:
    with serving(says(REFUSED, 401)) as server:
        finding = ask_mistral(server.url)
    assert finding.status is Status.OK
    assert finding.message.startswith("answers in ")
    assert finding.message.endswith(" ms")


def test_no_key_is_sent_to_see_whether_mistrals_api_answers() -> None:
    with serving(says(REFUSED, 401)) as server:
        ask_mistral(server.url, MISTRAL_API_KEY=KEY)
    assert KEY not in str(server.received)


def test_mistrals_api_out_of_reach_warns_without_a_key() -> None:
    finding = ask_mistral(f"http://127.0.0.1:{unused_port()}")
    assert finding.status is Status.WARN
    assert "nothing listens" in finding.message


def test_mistrals_api_out_of_reach_fails_with_a_key() -> None:
    finding = ask_mistral(f"http://127.0.0.1:{unused_port()}", MISTRAL_API_KEY=KEY)
    assert finding.status is Status.FAIL


def test_mistrals_api_is_not_asked_when_the_app_uses_another_server() -> None:
    with serving(says(REFUSED, 401)) as server:
        finding = ask_mistral(server.url, LLM_BASE_URL="http://localhost:11434/v1")
    assert (finding.status, server.received) == (Status.SKIP, [])


@pytest.mark.parametrize("status", [500, 502, 503])
def test_trouble_at_mistral_points_to_its_status_page(status: int) -> None:
    with serving(says("<html>Bad gateway</html>", status, kind="text/html")) as server:
        finding = ask_mistral(server.url, MISTRAL_API_KEY=KEY)
    assert (finding.status, str(status) in finding.message) == (Status.WARN, True)
    assert finding.fix == "open https://status.mistral.ai"


def test_a_slow_answer_of_mistrals_api_warns() -> None:
    with serving(slowly(says(REFUSED, 401))) as server:
        finding = ask_mistral(server.url)
    assert finding.status is Status.WARN
    assert finding.message.startswith("answers only after 1.")


def test_a_captive_portal_is_named_with_the_page_to_log_in() -> None:
    with serving(sends_to("http://login.venue.example/")) as server:
        finding = ask_mistral(server.url, MISTRAL_API_KEY=KEY)
    assert finding.status is Status.FAIL
    assert "login.venue.example" in finding.message
    assert finding.fix == "open http://login.venue.example/ in a browser and log in"


def test_a_login_page_in_place_of_data_is_named() -> None:
    with serving(login_page) as server:
        assert "login page" in ask_mistral(server.url).message


def test_a_filter_of_the_network_is_named() -> None:
    with serving(says("<html>Blocked: AI</html>", 403, kind="text/html")) as server:
        assert "a filter of this network" in ask_mistral(server.url).message


def test_an_intercepting_proxy_is_named(tmp_path: Path) -> None:
    trusted, other = Authority(tmp_path), Authority(tmp_path, "Snoopy Inc")
    with serving(says(REFUSED, 401), other.certify()) as server:
        finding = ask_mistral(server.url, **trusted.trusted)
    assert "'Snoopy Inc'" in finding.message
    assert "SSL_CERT_FILE" in finding.fix


def test_a_wrong_clock_is_not_taken_for_an_intercepting_proxy(tmp_path: Path) -> None:
    trusted = Authority(tmp_path)
    expired = trusted.certify(until=datetime(2001, 1, 1, tzinfo=UTC))
    with serving(says(REFUSED, 401), expired) as server:
        finding = ask_mistral(server.url, **trusted.trusted)
    assert "clock" in finding.message
    assert finding.fix == "sudo timedatectl set-ntp true"


def test_an_address_that_ends_in_v1_is_a_known_mistake() -> None:
    with serving(says({}, 404)) as server:
        finding = ask_mistral(f"{server.url}/v1")
    assert "ends in /v1" in finding.message
    assert finding.fix == f"edit .env: set MISTRAL_SERVER_URL={server.url}"


def test_another_service_at_that_address_is_seen() -> None:
    with serving(says("pong", kind="text/plain")) as server:
        assert "is not Mistral's API" in ask_mistral(server.url).message


def test_what_is_not_http_is_no_answer_of_mistrals() -> None:
    with serving(garbage) as server:
        assert "does not answer in HTTP" in ask_mistral(server.url).message


# The Hugging Face hub


def ask_hub(url: str) -> Finding:
    return hugging_face_hub.check(Context(env={"HF_ENDPOINT": url}))


def test_the_hub_is_well_when_it_lists_models() -> None:
    with serving(says([{"id": "a/b"}])) as server:
        assert ask_hub(server.url).status is Status.OK
    assert server.received[0].target == "/api/models?limit=1"


def test_a_hub_out_of_reach_only_warns() -> None:
    finding = ask_hub(f"http://127.0.0.1:{unused_port()}")
    assert (finding.status, bool(finding.fix)) == (Status.WARN, True)


@pytest.mark.parametrize("answer", [says({}, 503), says("what", kind="text/plain")])
def test_a_hub_in_trouble_points_to_its_status_page(answer: Answer) -> None:
    with serving(answer) as server:
        finding = ask_hub(server.url)
    assert (finding.status, "status.huggingface.co" in finding.fix) == (Status.WARN, True)


def test_a_slow_hub_warns() -> None:
    with serving(slowly(says([]))) as server:
        assert ask_hub(server.url).message.startswith("answers only after 1.")


def test_a_login_page_in_place_of_the_hub_is_named() -> None:
    with serving(login_page) as server:
        assert "login page" in ask_hub(server.url).message


# The package index


def ask_index(folder: Path, said: str = "", **env: str) -> Finding:
    run = commands({"uv pip install --help": said, "python3": None})
    return package_index.check(Context(folder=folder, env=env, uv=("uv",), run=run))


def test_the_index_is_asked_for_one_small_page(tmp_path: Path) -> None:
    with serving(says(INDEX_PAGE)) as server:
        finding = ask_index(tmp_path, UV_DEFAULT_INDEX=f"{server.url}/simple/")
    assert finding.status is Status.OK
    assert server.received[0].target == "/simple/uv/"


def test_an_index_that_lists_its_files_as_a_page_is_well(tmp_path: Path) -> None:
    page = '<!DOCTYPE html><html><a href="uv-0.9.0.tar.gz">uv-0.9.0.tar.gz</a></html>'
    with serving(says(page, kind="text/html")) as server:
        assert ask_index(tmp_path, UV_DEFAULT_INDEX=server.url).status is Status.OK


def test_an_index_without_that_package_answers_all_the_same(tmp_path: Path) -> None:
    with serving(says("<html>No such package</html>", 404, kind="text/html")) as server:
        assert ask_index(tmp_path, UV_DEFAULT_INDEX=server.url).status is Status.OK


def test_without_any_setting_uv_is_asked_for_its_own_index(tmp_path: Path) -> None:
    with serving(says(INDEX_PAGE)) as server:
        said = (
            f"  The default package index (by\n          default: <{server.url}/simple>) [env: U]"
        )
        finding = ask_index(tmp_path, said)
    assert (finding.status, server.received[0].target) == (Status.OK, "/simple/uv/")


def test_without_uv_it_is_pips_index_that_counts(tmp_path: Path) -> None:
    with serving(says(INDEX_PAGE)) as server:
        run = commands({"python3 -m pip config list": f"global.index-url='{server.url}/pip'"})
        finding = package_index.check(Context(folder=tmp_path, run=run))
    assert (finding.status, server.received[0].target) == (Status.OK, "/pip/uv/")


def test_without_uv_and_settings_pip_is_asked_for_its_own_index(tmp_path: Path) -> None:
    with serving(says(INDEX_PAGE)) as server:
        answers = {
            "python3 -m pip config list": "global.timeout='9'",
            "python3 -m pip install --help": f"  Base URL (default {server.url}/simple). This",
        }
        finding = package_index.check(Context(folder=tmp_path, run=commands(answers)))
    assert (finding.status, server.received[0].target) == (Status.OK, "/simple/uv/")


def test_without_uv_and_pip_there_is_nothing_to_ask(tmp_path: Path) -> None:
    assert package_index.check(Context(folder=tmp_path)).status is Status.SKIP


SETTINGS = {
    "pyproject.toml": '[[tool.uv.index]]\nname = "ours"\nurl = "{}"\ndefault = true\n',
    "uv.toml": 'index-url = "{}"\n',
}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_projects_own_settings_count(tmp_path: Path, name: str) -> None:
    with serving(says(INDEX_PAGE)) as server:
        (tmp_path / name).write_text(SETTINGS[name].format(server.url))
        assert ask_index(tmp_path).status is Status.OK
    assert len(server.received) == 1


def test_the_users_settings_of_uv_count(tmp_path: Path) -> None:
    settings = tmp_path / "config" / "uv" / "uv.toml"
    settings.parent.mkdir(parents=True)
    with serving(says(INDEX_PAGE)) as server:
        settings.write_text(f'index-url = "{server.url}"\n')
        ask_index(tmp_path, XDG_CONFIG_HOME=str(tmp_path / "config"))
    assert len(server.received) == 1


def test_extra_indexes_are_asked_too(tmp_path: Path) -> None:
    with serving(says(INDEX_PAGE)) as one, serving(says(INDEX_PAGE)) as two:
        ask_index(tmp_path, UV_DEFAULT_INDEX=one.url, UV_INDEX=f"ours={two.url}")
    assert len(one.received) == len(two.received) == 1


def test_an_index_out_of_reach_fails_before_anything_is_installed(tmp_path: Path) -> None:
    finding = ask_index(tmp_path, UV_DEFAULT_INDEX=f"http://127.0.0.1:{unused_port()}")
    assert finding.status is Status.FAIL
    assert "nothing listens" in finding.message


def test_an_index_out_of_reach_only_warns_once_all_is_installed(tmp_path: Path) -> None:
    project = ProjectFiles(tmp_path)
    project.python.parent.mkdir(parents=True)
    project.python.write_bytes(b"")
    env = {"UV_DEFAULT_INDEX": f"http://127.0.0.1:{unused_port()}"}
    context = Context(folder=tmp_path, project=project, env=env, uv=("uv",))
    assert package_index.check(context).status is Status.WARN


def test_pips_own_index_is_offered_when_uvs_is_out_of_reach(tmp_path: Path) -> None:
    run = commands({"python3 -m pip config list": "global.index-url='https://mirror.example/s'"})
    env = {"UV_DEFAULT_INDEX": f"http://127.0.0.1:{unused_port()}"}
    finding = package_index.check(Context(folder=tmp_path, env=env, uv=("uv",), run=run))
    assert finding.fix == "export UV_DEFAULT_INDEX=https://mirror.example/s"


def test_a_password_in_an_address_is_used_but_never_shown(tmp_path: Path) -> None:
    with serving(says({}, 401)) as server:
        url = server.url.replace("://", "://ada:lovelace@")
        finding = ask_index(tmp_path, UV_DEFAULT_INDEX=url)
    assert finding.status is Status.WARN
    assert "requires a login (401)" in finding.message
    assert server.received[0].headers["authorization"].startswith("Basic ")
    assert "lovelace" not in str(finding)


def test_an_index_in_trouble_fails(tmp_path: Path) -> None:
    with serving(says("", 503)) as server:
        finding = ask_index(tmp_path, UV_DEFAULT_INDEX=server.url)
    assert (finding.status, "server error (503)" in finding.message) == (Status.FAIL, True)


def test_a_slow_index_warns(tmp_path: Path) -> None:
    with serving(slowly(says(INDEX_PAGE))) as server:
        finding = ask_index(tmp_path, UV_DEFAULT_INDEX=server.url)
    assert (finding.status, "only after 1.1 s" in finding.message) == (Status.WARN, True)


def test_a_login_page_in_place_of_the_index_is_named(tmp_path: Path) -> None:
    with serving(login_page) as server:
        finding = ask_index(tmp_path, UV_DEFAULT_INDEX=server.url)
    assert (finding.status, "login page" in finding.message) == (Status.FAIL, True)


def test_an_index_that_is_a_folder_is_looked_at(tmp_path: Path) -> None:
    finding = ask_index(tmp_path, UV_DEFAULT_INDEX=tmp_path.as_uri())
    assert (finding.status, str(tmp_path) in finding.message) == (Status.OK, True)


def test_an_index_that_is_a_missing_folder_fails(tmp_path: Path) -> None:
    finding = ask_index(tmp_path, UV_DEFAULT_INDEX=(tmp_path / "gone").as_uri())
    assert (finding.status, "does not exist" in finding.message) == (Status.FAIL, True)


# Proxies


def look_for_proxies(system: str = "linux", **env: str) -> Finding:
    return proxy.check(Context(env=env, system=system))


def test_no_proxy_is_fine() -> None:
    finding = look_for_proxies(no_proxy="localhost")
    assert (finding.status, finding.message) == (Status.OK, "none set")


def test_a_proxy_that_localhost_bypasses_is_ok_and_named_without_its_password() -> None:
    finding = look_for_proxies(
        HTTP_PROXY="http://ada:lovelace@proxy.example:3128",
        https_proxy="proxy.example:3128",
        NO_PROXY="localhost, 127.0.0.1, .example",
    )
    assert finding.status is Status.OK
    assert finding.message.startswith("HTTP_PROXY and https_proxy: proxy.example:3128;")
    assert "lovelace" not in str(finding)


def test_a_star_in_no_proxy_disables_every_proxy() -> None:
    finding = look_for_proxies(HTTP_PROXY="http://p:1", NO_PROXY="*")
    assert (finding.status, "none is used" in finding.message) == (Status.OK, True)


def test_a_proxy_for_https_alone_leaves_this_machine_alone() -> None:
    assert look_for_proxies(HTTPS_PROXY="http://p:1").status is Status.OK


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_a_proxy_that_this_machine_is_asked_through_is_a_warning(name: str) -> None:
    finding = look_for_proxies(**{name: "http://p:1"})
    assert finding.status is Status.WARN
    assert finding.fix == "export NO_PROXY=localhost,127.0.0.1"


def test_entries_of_no_proxy_are_kept() -> None:
    finding = look_for_proxies(HTTP_PROXY="http://p:1", no_proxy="localhost,.corp.example")
    assert finding.message.startswith("NO_PROXY lacks 127.0.0.1: ")
    assert finding.fix == "export no_proxy=localhost,127.0.0.1,.corp.example"


def test_a_network_in_no_proxy_does_not_cover_this_machine() -> None:
    env = {"HTTP_PROXY": "http://p:1", "NO_PROXY": "localhost,127.0.0.0/8"}
    assert "lacks 127.0.0.1" in look_for_proxies(**env).message


def test_windows_gets_its_own_command() -> None:
    finding = look_for_proxies("windows", HTTP_PROXY="http://p:1")
    assert finding.fix == "$env:NO_PROXY = 'localhost,127.0.0.1'"


@pytest.mark.parametrize("value", ["http://", "ftp://p:1", "http://p:99999"])
def test_a_proxy_that_makes_no_sense_fails_and_can_be_unset(value: str) -> None:
    finding = look_for_proxies(HTTPS_PROXY=value)
    assert (finding.status, finding.fix) == (Status.FAIL, "unset HTTPS_PROXY")


def test_windows_unsets_it_in_its_own_way() -> None:
    assert (
        look_for_proxies("windows", ALL_PROXY="x://y").fix
        == "Remove-Item Env:ALL_PROXY -ErrorAction Ignore"
    )


def look_for_socks(folder: Path) -> Finding:
    env = {"ALL_PROXY": "socks5://p:1080", "NO_PROXY": "localhost,127.0.0.1"}
    return proxy.check(Context(folder=folder, project=ProjectFiles(folder), env=env))


def test_a_socks_proxy_needs_a_package(tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    finding = look_for_socks(tmp_path)
    assert finding.status is Status.FAIL
    assert finding.fix.endswith("add socksio")


def test_a_socks_proxy_with_that_package_is_fine(tmp_path: Path) -> None:
    (tmp_path / ".venv/lib/python3.11/site-packages/socksio").mkdir(parents=True)
    assert look_for_socks(tmp_path).status is Status.OK


def test_a_variable_that_another_spelling_overrides_is_named() -> None:
    env = {
        "http_proxy": "http://a:1",
        "HTTP_PROXY": "http://b:1",
        "no_proxy": "localhost,127.0.0.1",
    }
    finding = look_for_proxies(**env)
    assert "HTTP_PROXY differs from http_proxy, which wins" in finding.details


# Whatever a server does, all checks that ask one end in time

ASKING = ("mistral-api", "hugging-face-hub", "package-index")
ASKING_WITH_A_KEY = ("mistral-models", "hugging-face-token")


@pytest.mark.parametrize("answer", [silence, drips, drips_headers])
def test_every_check_that_asks_a_server_ends_in_time(tmp_path: Path, answer: Answer) -> None:
    with serving(answer) as server:
        names = ("MISTRAL_SERVER_URL", "HF_ENDPOINT", "UV_DEFAULT_INDEX", "UV_INDEX")
        env = dict.fromkeys(names, server.url) | {"MISTRAL_API_KEY": KEY, "HF_TOKEN": "hf"}
        context = Context(folder=tmp_path, env=env, uv=("uv",), offline=False)
        report = diagnose(context, Choice(only=(*ASKING, *ASKING_WITH_A_KEY)))
    assert all(result.seconds < 2.4 and not result.broken for result in report.results)
    ends = {result.id: result.finding.status for result in report.results}
    assert all(ends[each] is not Status.OK for each in ASKING)
    assert {Status.WARN, Status.FAIL} & {
        ends[each] for each in ASKING
    }  # the one that is shown for all
    assert all(ends[each] is Status.SKIP for each in ASKING_WITH_A_KEY)


@pytest.mark.parametrize("answer", [silence, drips])
def test_a_server_of_ones_own_that_hangs_is_a_warning_in_time(answer: Answer) -> None:
    with serving(answer) as server:
        context = Context(env={"LLM_BASE_URL": server.url})
        (result,) = diagnose(context, Choice(only=["llm-server"])).results
    assert (result.finding.status, result.broken) == (Status.WARN, False)
    assert result.seconds < 2.4


@pytest.mark.parametrize(
    ("system", "begin"), [("linux", "unset http_proxy"), ("windows", "Remove-Item Env:HTTP_PROXY")]
)
def test_a_proxy_that_is_not_there_can_be_unset(system: str, begin: str) -> None:
    env = {"HTTPS_PROXY": f"http://127.0.0.1:{unused_port()}"}
    finding = mistral_api.check(Context(env=env, system=system))
    assert finding.message.startswith("no proxy answers at")
    assert finding.fix.startswith(begin)
    cause = hugging_face_hub.check(Context(env=env)).explanation.cause
    assert finding.explanation.cause == cause != ""
