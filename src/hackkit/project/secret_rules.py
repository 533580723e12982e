r"""The patterns of secrets: the one list that hackkit and every generated project search with.

`python -m hackkit.project.secret_rules` writes it into the templates: the check before each commit
(`_shared/.pre-commit-config.yaml`) and the check of training data (`tune/checks.py`).

A pattern works with and without `re.VERBOSE`: a space is `[ ]`, and there is no `#`. The group
`secret` is what to hide; without it, all of the match is.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Rule:
    """A kind of secret ("a GitHub token") and its pattern.

    `keywords` are in every text that the pattern matches, in lower case: a text without them is
    skipped, which is many times faster. `page` is where a leaked secret is replaced.
    """

    name: str
    pattern: str
    keywords: tuple[str, ...]
    page: str = ""

    @property
    def plain(self) -> str:
        """The pattern without the group `secret`."""
        return self.pattern.replace("(?P<secret>", "(?:")


# Keys that begin with their maker's letters: the keywords and the pattern of each.
_PREFIXES = {
    "sk- pk- rk- sk_ pk_ rk_ tvly- sb_secret_": (  # OpenAI, Anthropic, Stripe, Tavily, Supabase
        r"(?:(?:sk|pk|rk)[-_]|tvly-|sb_secret_)(?=[\w-]{0,60}\d)[\w-]{20,}"
    ),
    "glpat- gldt- glptt- gloas-": r"gl(?:pat|dt|ptt|oas)-[\w-]{20,}",  # GitLab
    "gsk_ xai- csk- pplx- jina_ ntn_": r"(?:gsk_|xai-|csk-|pplx-|jina_|ntn_)[A-Za-z0-9]{40,}",
    "nvapi- tgp_v1_ figd_ pa-": r"(?:nvapi-|tgp_v1_|figd_|pa-(?=[\w-]{0,40}\d))[\w-]{40,}",
    "pcsk_ wandb_v1_": r"(?:pcsk_|wandb_v1_)\w{40,}",
    "lsv2_": r"lsv2_(?:pt|sk)_[0-9a-f]{32}\w*",  # LangSmith
    "r8_ rnd_ whsec_ nfp_": r"(?:r8_|rnd_|whsec_|nfp_)(?=[A-Za-z]{0,40}\d)[A-Za-z0-9]{24,}",
    "fw_ ak- as-": r"(?:fw_|a[ks]-)(?=[A-Za-z]{0,22}\d)[A-Za-z0-9]{22,}",  # Fireworks, Modal
    "fo1_ fm1 fm2": r"(?:fo1_|fm[12][ar]?_)[\w+/=-]{40,}",  # Fly
    "sk dapi fc- key- kgat_ sbp_ e2b_ dop_v1_": (  # Twilio, Databricks, Firecrawl, Mailgun
        r"(?:SK|dapi|fc-|key-|KGAT_|sbp_|e2b_|dop_v1_)[0-9a-f]{32,64}"
    ),
    "sg.": r"SG\.[\w-]{16,32}\.[\w-]{30,}",  # SendGrid
    "pat": r"pat[A-Za-z0-9]{14}\.[0-9a-f]{64}",  # Airtable
    "atatt3 hvs. glsa_ sntr pscale_": r"(?:ATATT3|hvs\.|glsa_|sntr|pscale_)[\w=+/.-]{30,}",
    "-us": r"[0-9a-f]{32}-us\d{1,2}\b",  # Mailchimp
    "age-secret-key-1": r"AGE-SECRET-KEY-1[A-Z0-9]{50,}",
}
# What follows the name of a secret, as in `api_key: str = "…"`, `"api_key", "…"` or `key=…`.
_IS = r"[\\\x22'\])]{0,4}\s{0,4}(?::\s?\w{1,20}\s?=|:=|=>|[:=,])\s{0,4}[\\\x22'`]{0,3}"
# Mixed letters and digits: no word, no name of a variable.
_MIXED = (
    r"(?=(?:[A-Za-z_+/=~-]{0,60}[0-9]){3})(?=[\w+/=~-]{0,90}?[A-Za-z][0-9]{1,12}[A-Za-z])"
    r"(?![\w+/=~-]{0,90}(?:your|example|placeholder|dummy|replace|insert|change|xxxx))"
)
_SERVICES = (
    r"wandb|cohere|azure|twilio|pinecone|together|deepgram|assemblyai|elevenlabs|serper|serpapi"
    r"|cloudflare|heroku|vercel|kaggle|algolia|datadog"
)

RULES = (
    Rule(
        "a Mistral API key",
        # 32 letters and digits near "mistral" or "api key", on the same line or one of the next
        # two. A class of transformers may be as long (Mistral3ForConditionalGeneration).
        r"(?i:(?:mistral|api.?key)[^\n]{0,60}(?:\n[^\n]{0,20}){0,2}"
        r"\b(?<![<-])(?P<secret>(?=[a-z]*[0-9])(?=[0-9]*[a-z])(?!\w+(?:generation|classification)\b)"
        r"[a-z0-9]{32})\b)",
        ("mistral", "api"),
        "https://console.mistral.ai",
    ),
    Rule(
        "a Hugging Face token",
        r"\b(?:hf|api_org)_[A-Za-z0-9]{30,}",
        ("hf_", "api_org_"),
        "https://huggingface.co/settings/tokens",
    ),
    Rule(
        "a GitHub token",
        r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{50,})",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        "https://github.com/settings/tokens",
    ),
    Rule(
        "an API key",
        rf"\b(?:{'|'.join(_PREFIXES.values())})",
        tuple(" ".join(_PREFIXES).split()),
    ),
    Rule(
        "an AWS key",
        r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
        r"|(?i:\baws\w{0,12}(?:secret|key)[^\n]{0,40}?[^\w/+])(?P<secret>"
        r"(?=[A-Za-z/+]*[0-9])(?=[^a-z]*[a-z])(?=[^A-Z]*[A-Z])[\w/+]{40})(?![\w/+])",
        ("akia", "asia", "aws"),
    ),
    Rule(
        "a Google key",
        r"(?<![\w/+])(?:AIza[\w-]{35}|GOCSPX-[\w-]{28}|ya29\.[\w-]{40,}|AQ\.Ab8[\w-]{30,})",
        ("aiza", "gocspx-", "ya29.", "aq.ab8"),
    ),
    Rule(
        "a Slack token",
        r"\b(?:xox[abeprs]-(?=[\w-]{0,60}[0-9])|xapp-[0-9]-)[\w-]{10,}"
        r"|\bhooks\.slack\.com/(?:services|workflows)/(?P<secret>T[A-Z0-9]{5,}/\w+/\w{16,})",
        ("xox", "xapp-", "hooks.slack.com/"),
    ),
    Rule(
        "a Discord or Telegram token",
        r"\b(?:[MNO][\w-]{23,26}\.[\w-]{6}\.[\w-]{27,40}|[0-9]{8,10}:(?=[\w-]{0,34}[A-Z])(?=[\w-]{0,34}[a-z])[\w-]{35})"
        r"(?![\w-])"
        r"|\bdiscord(?:app)?\.com/api/webhooks/(?P<secret>[0-9]{16,20}/[\w-]{60,})",
        (".", ":"),
    ),
    Rule(
        "an Azure key",
        r"\b(?:AccountKey|SharedAccessKey|SharedAccessSignature|sig)=(?P<secret>[\w+/%]{40,}={0,2})"
        r"|\b[A-Za-z0-9]{3}[0-9]Q~[\w~.-]{31,34}|\b[A-Za-z0-9]{50,54}JQQJ9[A-Za-z0-9]{20,30}\b",
        ("accountkey", "sharedaccess", "sig=", "q~", "jqqj9"),
    ),
    Rule("a token (JWT)", r"(?<![\w-])eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}", ("eyj",)),
    Rule(
        "a private key",
        r"-----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY(?:[ ]BLOCK)?-----|\bPuTTY-User-Key-File-[0-9]:"
        r"|\bclient-key-data:\s{1,9}(?P<secret>[\w+/=]{40,})",
        ("private key", "putty-user-key-file", "client-key-data"),
    ),
    Rule(
        "a token of a package registry",
        r"\b(?:npm_[A-Za-z0-9]{36}|pypi-AgE[\w-]{40,}|dckr_pat_[\w-]{20,}|rubygems_[0-9a-f]{48})"
        r"|(?i:[/:]_(?:authToken|auth|password)\s{0,2}=\s{0,2}[\x22']?(?P<secret>[^\s\x22'$]{12,}))",
        ("npm_", "pypi-age", "dckr_pat_", "rubygems_", "_auth", "_password"),
    ),
    Rule(
        "a password in an address",
        # With a digit, or a long one at a host with a dot: no placeholder, none of this machine.
        r"\b[a-z][a-z0-9+]{1,24}://[^\s:@/\x22'<>`]{0,60}:(?P<secret>"
        r"(?:(?=(?:%[0-9A-Fa-f]{2}|[^\s@%0-9]){0,99}[0-9])(?=[^A-Za-z@]{0,99}[A-Za-z])"
        r"|(?=[^\s%@]{10,99}@(?![\w.-]{0,60}example)[\w-]+\.[a-z]))"
        r"(?!(?i:\w{0,3}pass|secret|change|example|your|user|test|dummy|xxx)\w*@)"
        r"[^\s:@/\x22'<>{}$`\\]{6,100})@(?!localhost|127\.|0\.0\.0\.0|host[:/])[\w-]",
        ("://",),
    ),
    Rule(
        "a bearer token",
        r"(?i:\bbearer|\bauthorization[\x22':\s]{1,6}basic)\s+"
        r"(?P<secret>(?=[\w.~+/-]*[0-9])(?!dXNlc|QWxhZGRpb)[\w.~+/-]{20,})",
        ("bearer", "basic"),
    ),
    Rule(
        "a key of a service",
        rf"(?i:\b(?:{_SERVICES})[^\n]{{0,60}}?(?<![\w/.-])(?P<secret>(?=[a-z]*[0-9])"
        r"(?=[0-9]*[a-z])(?:[a-z0-9]{32}|[a-z0-9]{40}|[a-z0-9]{64}))(?![\w/.-]))",
        tuple(_SERVICES.split("|")),
    ),
    Rule(
        "a value that looks like a key",
        # After a name like "api_key" 16 characters are enough, after "key" or "token" 32.
        r"(?i:(?:(?P<sure>(?:api|access|auth|client|bot|app|account|service|signing|encryption"
        r"|session|jwt|private|refresh|admin|secret)[_-]?(?:key|token|secret)|secret|passw(?:or)?d)"
        rf"|key|token|auth){_IS}(?(sure)|(?=[\w+/=~-]{{32}}))"
        rf"(?P<secret>{_MIXED}[\w+/=~-]{{16,}})(?![\w.(\[]))",
        ("key", "token", "secret", "passw", "auth"),
    ),
)

# A file of settings: the value of every name like API_KEY in it is a secret.
SETTINGS_FILE = (
    r"(?i)(?:^|/)(?!.*(?:example|sample|template|\.dist$|\.lock$))(?:[^/]*\.env|\.env\.[^/]+|\.envrc"
    r"|env\.(?:prod|dev|local|stag|test)\w*|[^/]*mcp[^/]*\.json|claude_desktop_config\.json"
    r"|secrets?\.(?:toml|ya?ml|json|ini)|[^/]*credentials|\.npmrc|\.pypirc|[._]netrc|\.s3cfg"
    r"|kubeconfig[^/]*|\.kube/config|\.docker/config\.json|\.dockercfg)$"
)
NAMED = Rule(
    "the value of a secret",
    r"(?i:(?:--?[\w-]{0,40}(?:key|token|secret|password)[\x22']?[\s,=]{1,9}[\x22']?"
    r"|(?:key|token|secret|passw(?:or)?d|passphrase|pwd|pass|credentials?|auth)[\x22']?"
    r"[ ]{0,3}[:=][ ]{0,3}[\x22']?|(?<![\w-])password[ ]{1,9})"
    r"(?P<secret>(?![^\s\x22',]{0,90}(?:your|example|placeholder|dummy|replace|insert|change|xxx|here\b))"
    r"(?![0-9]{1,90}(?![^\s\x22',])|[~./-]|[a-z]:\\|\w+://)[^\s\x22',{}<>$%]{8,}))",
    ("key", "token", "secret", "passw", "pwd", "pass", "credential", "auth"),
)

_HOOK = """\
# Stops a commit that contains an API key or a token. Installed by: uv run pre-commit install
repos:
  - repo: local
    hooks:
      - id: no-secret
        name: no API key, no token
        language: pygrep
        types: [text]
        # A Mistral key is 32 letters and digits near the words "mistral" or "api key", on the same
        # line or one of the next two: in Python, YAML, a notebook, a .env file.
        args: [--multiline]
        entry: >-
          (?x)
{rules}
      - id: no-secret-in-settings
        name: no secret in a file of settings
        language: pygrep
        # prod.env, mcp.json, .npmrc and others, where a name says that a value is secret
        files: {files}
        args: [--multiline]
        entry: >-
          {named}
"""
_LONGEST = 86  # characters of a pattern on a line
_BREAK = re.compile(r"[)}\]](?![{?*+)])|\|(?!\|)")
_TABLE = re.compile(r"^SECRETS = \{\n.*?^\}\n", re.MULTILINE | re.DOTALL)


def written(templates: Path) -> Iterator[tuple[Path, str]]:
    """Yield each file of the templates that contains the rules, with its text as it must be."""
    rules = " |\n".join(f"          {rule.plain}" for rule in RULES)
    hook = _HOOK.format(rules=rules, files=SETTINGS_FILE, named=NAMED.plain)
    yield templates / "_shared" / ".pre-commit-config.yaml", hook
    checks = templates / "fine-tune" / "project" / "tune" / "checks.py"
    yield checks, _TABLE.sub(lambda _: _table(), checks.read_text("utf-8"), count=1)


def _table() -> str:
    lines = [f'    "{rule.name}": {_literal(rule.pattern, len(rule.name))},\n' for rule in RULES]
    return "".join(["SECRETS = {\n", *lines, "}\n"])


def _literal(pattern: str, before: int) -> str:
    """Write a pattern as raw strings that fit on a line each, broken behind a group or a choice."""
    if len(pattern) + before <= _LONGEST:
        return f'r"{pattern}"'
    lines = list[str]()
    while len(pattern) > _LONGEST:
        end = max(match.end() for match in _BREAK.finditer(pattern, 0, _LONGEST))
        lines, pattern = [*lines, pattern[:end]], pattern[end:]
    return "(\n" + "".join(f'        r"{each}"\n' for each in (*lines, pattern)) + "    )"


if __name__ == "__main__":
    from hackkit.project.catalog import Catalog

    for path, text in written(Catalog.here().templates_folder):
        path.write_text(text, "utf-8")
