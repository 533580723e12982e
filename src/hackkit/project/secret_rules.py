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


RULES = (
    Rule(
        "a Mistral API key",
        # 32 letters and digits near "mistral" or "api key", on the same line or one of the next
        # two. A class of transformers may be as long (Mistral3ForConditionalGeneration).
        r"(?i:(?:mistral|api.?key)[^\n]{0,60}(?:\n[^\n]{0,20}){0,2}"
        r"\b(?P<secret>(?=[a-z]*[0-9])(?=[0-9]*[a-z])(?!\w+(?:generation|classification)\b)"
        r"[a-z0-9]{32})\b)",
        ("mistral", "api"),
        "https://console.mistral.ai",
    ),
    Rule(
        "a bearer token",
        r"(?i:\bbearer)\s+(?P<secret>(?=[\w.~+/-]*[0-9])[\w.~+/-]{20,})",
        ("bearer",),
    ),
    Rule(
        "a Hugging Face token",
        r"\bhf_[A-Za-z0-9]{30,}",
        ("hf_",),
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
        r"\b(?:sk|pk|rk)[-_](?=[\w-]*\d)[\w-]{20,}",
        ("sk-", "pk-", "rk-", "sk_", "pk_", "rk_"),
    ),
    Rule("an AWS key", r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b", ("akia", "asia")),
    Rule("a Google key", r"\bAIza[\w-]{35}", ("aiza",)),
    Rule("a Slack token", r"\bxox[abprs]-[\w-]{10,}", ("xox",)),
    Rule("a token (JWT)", r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}", ("eyj",)),
    Rule("a private key", r"-----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----", ("private key-----",)),
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
"""
_SHORT, _LONG = 86, 74  # characters: a name and a pattern on one line, a pattern on its own
_TABLE = re.compile(r"^SECRETS = \{\n.*?^\}\n", re.MULTILINE | re.DOTALL)


def written(templates: Path) -> Iterator[tuple[Path, str]]:
    """Yield each file of the templates that contains the rules, with its text as it must be."""
    hook = _HOOK + " |\n".join(f"          {rule.plain}" for rule in RULES) + "\n"
    yield templates / "_shared" / ".pre-commit-config.yaml", hook
    checks = templates / "fine-tune" / "project" / "tune" / "checks.py"
    yield checks, _TABLE.sub(lambda _: _table(), checks.read_text("utf-8"), count=1)


def _table() -> str:
    lines = [f'    "{rule.name}": {_literal(rule.pattern, len(rule.name))},\n' for rule in RULES]
    return "".join(["SECRETS = {\n", *lines, "}\n"])


def _literal(pattern: str, before: int) -> str:
    """Write a pattern as raw strings that fit on a line each, broken behind a group or a count."""
    if len(pattern) + before <= _SHORT:
        return f'r"{pattern}"'
    parts = re.findall(rf".{{1,{_LONG}}}(?:[)}}](?![{{?*+)])|$)", pattern)
    return "(\n" + "".join(f'        r"{part}"\n' for part in parts) + "    )"


if __name__ == "__main__":
    from hackkit.project.catalog import Catalog

    for path, text in written(Catalog.here().templates_folder):
        path.write_text(text, "utf-8")
