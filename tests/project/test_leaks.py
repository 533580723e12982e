"""What a secret looks like: what is found, what is left alone, and what is taken out."""

import re
import time

import pytest
import yaml
from conftest import ROOT
from made_up_rare_keys import mcp_settings, rare_tokens
from planted import Planted, planted
from projects import HF_TOKEN, MISTRAL_KEY

from hackkit.project.leaks import (
    KNOWN,
    PAGES,
    Leak,
    is_env_file,
    is_lock,
    leaks,
    scrub,
    secrets_among,
    unique,
)
from hackkit.project.secret_rules import RULES, SETTINGS, Rule, written

TEMPLATES = ROOT / "templates"
GITHUB_TOKEN = "ghp_" + "aB3d" * 9
PRIVATE_KEY = "-----BEGIN RSA PRIVATE " + "KEY-----"

SECRETS = {
    "python call": f'client = Mistral(api_key="{MISTRAL_KEY}")',
    ".env": f"MISTRAL_API_KEY={MISTRAL_KEY}",
    "yaml": f"mistral:\n  key: {MISTRAL_KEY}",
    "notebook": f'"os.environ[\\"MISTRAL_API_KEY\\"] = \\\\\\n",\n    "\'{MISTRAL_KEY}\'\\n"',
    "capitals": f"Mistral Key {MISTRAL_KEY.upper()}",
    "two lines below": f"mistral = (\n    # ours\n    '{MISTRAL_KEY}'\n)",
    "api key of another": f"LLM_API-KEY: {MISTRAL_KEY}",
    "bearer": f"curl -H 'Authorization: Bearer {MISTRAL_KEY}'",
    "hugging face": f"login({HF_TOKEN!r})",
    "github": f"GH_TOKEN={GITHUB_TOKEN}",
    "private key": PRIVATE_KEY,
}
HARMLESS = {
    "placeholder": "MISTRAL_API_KEY=your-key-goes-here",
    "empty": "MISTRAL_API_KEY=\nLLM_BASE_URL=",
    "checksum": f"mistral wheel sha256:{'0a' * 32}",
    "far away": f"mistral\n\n\n\n{MISTRAL_KEY}",
    "no name": f"id = {MISTRAL_KEY}",
    "letters only": "mistral " + "abcdefgh" * 4,
    "digits only": "mistral " + "12345678" * 4,
    "class of transformers": "from transformers import Mistral3ForConditionalGeneration",
    "class of as many letters": 'mistral = "Ministral3ForTokenClassification"',
    "a password to fill in": "POSTGRES_PASSWORD: change-Me-2026\nDB_PASSWORD=${DB_PASSWORD_2}",
    "a password of code": "DB_PASSWORD = getPassword2(Name)\nDB_PASSWORD = settings2.Password\n"
    'A_PASSWORD = ObjectId("a1.2")',
    "curl without a password": "curl -u ada: https://example.org; curl -u user:password1A x.org",
    "a database of this machine": "root:" + "Swordfish26@tcp(127.0.0.1:3306)/app",
    "a public key of PostHog": "posthog.init('phc_" + "aB3d" * 10 + "')",
    "bearer of a name": "bearer YOUR_TOKEN_GOES_IN_THIS_PLACE",
}


# One text for each rule, made here so that no scanner takes this file for a leak.
PLANTED = {each.kind: each.data.decode() for each in planted() if b"\0" not in each.data[:1000]}
EXAMPLES = {
    "a Mistral API key": SECRETS["two lines below"],
    "a bearer token": SECRETS["bearer"],
    "a Hugging Face token": SECRETS["hugging face"],
    "a GitHub token": PLANTED["GitHub fine-grained"],
    "an API key": PLANTED["OpenAI project"],
    "an AWS key": PLANTED["AWS key"],
    "a Google key": PLANTED["Google API"],
    "a Slack token": PLANTED["Slack bot"],
    "a Discord or Telegram token": PLANTED["Telegram"],
    "an Azure key": PLANTED["Azure storage"],
    "a token (JWT)": PLANTED["service JWT"],
    "a private key": PRIVATE_KEY,
    "a Zhipu key": PLANTED["Zhipu"],
    "an access token": PLANTED["Linear"],
    "a password": PLANTED["password in YAML"],
    "a token of a package registry": PLANTED["npm"],
    "a password in an address": PLANTED["PostgreSQL"],
    "a key of a service": PLANTED["Cohere"],
    "a value that looks like a key": PLANTED["unknown service"],
}
PROD_ENV = "DEBUG=1\nDB_PASSWORD=correct-horse\n"


def hooks(text: str, path: str = "app.py") -> bool:
    """Return whether the project's check before each commit stops a file, as `pygrep` reads it."""
    config = yaml.safe_load((TEMPLATES / "_shared" / ".pre-commit-config.yaml").read_text("utf-8"))
    for hook in config["repos"][0]["hooks"]:
        if not re.search(hook.get("files", ""), path):
            continue
        whole = "--multiline" in hook.get("args", [])
        if any(
            re.search(hook["entry"].encode(), part.encode())
            for part in ([text] if whole else text.split("\n"))
        ):
            return True
    return False


@pytest.mark.parametrize("text", SECRETS.values(), ids=SECRETS)
def test_a_secret_is_found_as_before_a_commit(text: str) -> None:
    assert list(leaks(text))
    assert hooks(text)


@pytest.mark.parametrize("text", HARMLESS.values(), ids=HARMLESS)
def test_what_is_no_secret_is_left_alone_as_before_a_commit(text: str) -> None:
    assert not list(leaks(text))
    assert not hooks(text)


def test_every_project_has_the_rules_word_for_word() -> None:
    fix = "uv run python -m hackkit.project.secret_rules"
    places = list(written(TEMPLATES))
    assert len(places) == 2
    for path, text in places:
        assert path.read_text("utf-8") == text, fix
        config = "".join(re.findall(r'r"(.*)"', text)) if path.suffix == ".py" else text
        rules = [rule for rule in RULES if rule.in_data or path.suffix != ".py"]
        assert all((rule.plain in config or rule.pattern in config) for rule in rules)


@pytest.mark.parametrize("rule", [*RULES, *SETTINGS], ids=lambda rule: rule.name)
def test_a_pattern_means_the_same_in_verbose_mode(rule: Rule) -> None:
    assert "#" not in rule.pattern
    assert " " not in re.sub(r"\[[^]]*\]", "", rule.pattern)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_kind_of_secret_has_its_rule_and_its_words(rule: Rule) -> None:
    text = EXAMPLES[rule.name]
    assert rule.name in {leak.kind for leak in leaks(text)}
    assert hooks(text)


RARE = [each for each in planted() if each.kind in {*rare_tokens(), *mcp_settings()}]


@pytest.mark.parametrize("each", RARE, ids=lambda each: each.kind)
def test_a_rare_kind_is_found_as_before_a_commit(each: Planted) -> None:
    assert list(leaks(each.data.decode(), path=each.path))
    assert hooks(each.data.decode(), each.path)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("prod.env", PROD_ENV),
        (".envrc", "export SESSION_SECRET='swordfish'\n"),
        (".streamlit/secrets.toml", 'password = "swordfish"\n'),
        ("mcp.json", '{"env": {"API_KEY": "swordfish"}}'),
        (".vscode/mcp.json", '{"args": ["--token", "swordfish"]}'),
        (".netrc", "machine example.org\nlogin ada\npassword swordfish\n"),
        (".pypirc", "[pypi]\nusername: ada\npassword: swordfish\n"),
    ],
)
def test_in_a_file_of_settings_every_value_with_a_secrets_name_is_one(path: str, text: str) -> None:
    assert list(leaks(text, path=path))
    assert hooks(text, path)
    assert not list(leaks(text, path="notes.md"))
    assert not hooks(text)


@pytest.mark.parametrize(
    "text",
    [
        "API_KEY=\nDB_PASSWORD=\n",
        "API_KEY=your-key-here\nTOKEN=<your token>\nSECRET_KEY=change-me-please\n",
        '{"env": {"API_KEY": "${SEARCH_KEY}"}, "args": ["--token", "${env:TOKEN}"]}',
        '{"args": ["--token", "--verbose", "--port", "8000"]}',
        '{"env": {"MODEL": "claude-sonnet-4-20250514", "AWS_REGION": "ap-southeast-2a"}}',
        '{"env": {"BACKEND": "localhost:8080", "SERVER": "127.0.0.1:8000"}}',
        '{"env": {"LOGS": "/var/log/app12"}}',
        '{"headers": {"Authorization": "Token ${TOKEN_2026}", "X-Api-Version": "2026-01-01"}}',
        '{"url": "https://example.org/v1/servers/files/mcp?version=2026-01"}',
        '{"args": ["-y", "@modelcontextprotocol/server-filesystem@2026.1.14", "/home/ada/app1"]}',
        "MAX_TOKENS=100000000\nKEY_FILE=/run/secrets/key\nTOKEN=100000000\nMONKEY=none\n",
    ],
)
def test_a_file_of_settings_without_values_is_well(text: str) -> None:
    assert not list(leaks(text, path="prod.env"))
    assert not hooks(text, "prod.env")


def test_a_sample_of_settings_is_no_file_of_settings() -> None:
    assert not list(leaks(PROD_ENV, path="prod.env.example"))
    assert not list(leaks(PROD_ENV, path="example.env"))


def test_a_secret_of_two_kinds_is_named_once() -> None:
    text = f"Authorization: Bearer {MISTRAL_KEY} # mistral"
    assert len(list(leaks(f"mistral {text}"))) == 1


def test_a_leak_names_its_line_and_never_itself() -> None:
    (leak,) = leaks(f"one\ntwo\nmistral\n\n{MISTRAL_KEY}\n")
    assert leak == Leak("a Mistral API key", 5)
    assert MISTRAL_KEY not in repr(leak)


def test_a_known_secret_is_found_everywhere() -> None:
    found = list(leaks("a = 'swordfish-2026'\nb = 2\nc = 'swordfish-2026'\n", ["swordfish-2026"]))
    assert found == [Leak(KNOWN, 1), Leak(KNOWN, 3)]


def test_secrets_are_known_by_the_names_of_their_variables() -> None:
    variables = {"MISTRAL_API_KEY": f" {MISTRAL_KEY} ", "HF_TOKEN": "none", "HOST": "example.org"}
    variables["GOOGLE_CREDENTIALS"] = "/home/ada/key.json"
    assert secrets_among(variables) == {MISTRAL_KEY}


def test_a_placeholder_for_a_key_is_not_unique() -> None:
    assert unique({"not-needed", "production", "20261121000000", MISTRAL_KEY}) == {MISTRAL_KEY}


def test_a_short_value_is_in_a_file_by_chance() -> None:
    assert unique({"abcdefghij1", "abcdefghijk1"}) == {"abcdefghijk1"}  # 11 and 12 characters


def test_of_two_secrets_one_inside_the_other_nothing_is_left() -> None:
    inner, outer = "swordfish-2026", "red-swordfish-2026-blue"
    for known in ([inner, outer], [outer, inner]):
        assert scrub(f"a {outer} b {inner}", known) == "a [secret] b [secret]"


def test_scrubbing_leaves_the_rest_of_a_text() -> None:
    text = f"MISTRAL_API_KEY={MISTRAL_KEY} at https://ada:pass@example.org with hunter2-hunter2"
    clean = "MISTRAL_API_KEY=[secret] at https://[secret]@example.org with [secret]"
    assert scrub(text, ["hunter2-hunter2"]) == clean


@pytest.mark.parametrize("text", SECRETS.values(), ids=SECRETS)
def test_nothing_is_found_in_a_scrubbed_text(text: str) -> None:
    assert not list(leaks(scrub(text)))


@pytest.mark.parametrize("path", [".env", "api/.env", ".env.local", "x/.env.production"])
def test_files_with_values_are_known(path: str) -> None:
    assert is_env_file(path)


@pytest.mark.parametrize("path", [".env.example", "a/.env.sample", "env", ".envrc", "x.env/a.py"])
def test_files_without_values_are_not_meant(path: str) -> None:
    assert not is_env_file(path)


def test_a_lock_file_is_known() -> None:
    assert is_lock("uv.lock")
    assert is_lock("web/package-lock.json")
    assert not is_lock("lock.py")


def test_every_page_belongs_to_a_rule() -> None:
    assert set(PAGES) == {rule.name for rule in RULES if rule.page}


BEGINNINGS = [word for rule in RULES for word in rule.keywords]


@pytest.mark.parametrize("text", [word * 20_000 for word in BEGINNINGS], ids=BEGINNINGS)
def test_no_beginning_of_a_secret_takes_long_when_it_is_repeated(text: str) -> None:
    before = time.process_time()
    for each in (text, text.upper()):
        list(leaks(each))
    assert time.process_time() - before < 20  # a rule that tracks back would take minutes


@pytest.mark.parametrize(
    "text",
    ["mistral " * 250_000, "bearer " * 250_000, "mistral" + "a" * 2_000_000, "a1" * 1_000_000],
    ids=["words", "bearers", "one word", "no hint"],
)
def test_no_text_takes_long(text: str) -> None:
    before = time.process_time()
    assert not list(leaks(text))
    assert time.process_time() - before < 60  # a rule that tracks back would take hours


@pytest.mark.parametrize(
    "word",
    [
        '"AB":"',
        '"x-a":"',
        "://a?b=",
        "://a/b",
        "--key ",
        "curl -u a:",
        ";pwd=",
        "A_PASS=",
        '"auth":"',
    ],
)
def test_no_settings_take_long(word: str) -> None:
    before = time.process_time()
    for text in (word * 20_000, word + "a" * 200_000, word + " " * 200_000, word + "1a" * 100_000):
        list(leaks(text, path="mcp.json"))
    assert time.process_time() - before < 20  # a rule that tracks back would take minutes


def test_the_projects_own_files_hold_no_secret() -> None:
    paths = [path for path in TEMPLATES.rglob("*") if path.is_file()]
    assert len(paths) > 200
    for path in paths:
        assert not list(leaks(path.read_text("utf-8", "replace"))), path.name
