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

from hackkit.project import secret_parts as parts


@dataclass(frozen=True)
class Rule:
    """A kind of secret ("a GitHub token") and its pattern.

    `keywords` are in every text that the pattern matches, in lower case: a text without them is
    skipped, which is many times faster. `page` is where a leaked secret is replaced. `in_data`:
    training data is searched for it too.
    """

    name: str
    pattern: str
    keywords: tuple[str, ...]
    page: str = ""
    in_data: bool = True

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
        rf"\b(?:{'|'.join(parts.PREFIXES.values())})",
        tuple(" ".join(parts.PREFIXES).split()),
    ),
    Rule(
        "an access token",
        rf"\b(?:{'|'.join(parts.RARE_PREFIXES.values())})",
        tuple(" ".join(parts.RARE_PREFIXES).split()),
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
        r"(?<![\w/+])(?:AIza[\w-]{35}|GOCSPX-[\w-]{28}|ya29\.[\w-]{40,}|1//0[\w-]{50,}|AQ\.Ab8[\w-]{30,})",
        ("aiza", "gocspx-", "ya29.", "1//0", "aq.ab8"),
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
    Rule(
        "a Zhipu key",
        r"\b(?<![./-])[0-9a-f]{32}\.(?=[A-Za-z]{0,15}[0-9])(?=[A-Z0-9]{0,15}[a-z])(?=[a-z0-9]{0,15}[A-Z])"
        r"[A-Za-z0-9]{16}(?![\w.-])",
        (".",),
        in_data=False,
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
        "a password",
        # Of Docker, of curl, of a database: root:…@tcp(…), Server=…;Password=…, DB_PASSWORD: …
        r"(?:\x22auth\x22\s{0,9}:\s{0,9}\x22(?=[\w+/]{15,}={0,2}\x22)"
        r"|\bcurl\b[^\n]{0,200}?[ ](?:-u|--user)[ =]{0,3}[\x22']?[\w.@+-]{1,60}:(?=[^\s\x22'`]{6})"
        r"|(?<![\w.-])[\w.-]{1,40}:(?=[^\s:@/\x22'`]{6,99}@tcp\((?!localhost|127\.))"
        r"|(?i:;[ ]?(?:password|pwd)[ ]?=[ ]?)(?=[^;\s\x22'`]{6})"
        r"|\b[A-Z][A-Z0-9_]{0,40}(?:PASSWORD|PASSWD|_PWD|_PASS)[\x22']?[ ]{0,3}[:=][ ]{0,3}[\x22']?"
        rf"(?!\w{{1,60}}\.[A-Za-z_.]{{1,60}}(?:[\s(,;)]|\Z))(?=[^\s\x22'`]{{8}}))(?P<secret>{parts.REAL}[^\s\x22'`;@,(){{}}<>$\[\]]{{6,100}})(?![\w(\[{{$<])",
        ('"auth"', "curl", "@tcp(", "password", "passwd", "pwd", "_pass"),
        in_data=False,
    ),
    Rule(
        "a bearer token",
        r"(?i:\bbearer|\bauthorization[\x22':\s]{1,6}basic)\s+"
        r"(?P<secret>(?=[\w.~+/-]*[0-9])(?!dXNlc|QWxhZGRpb)[\w.~+/-]{20,})",
        ("bearer", "basic"),
    ),
    Rule(
        "a key of a service",
        rf"(?i:\b(?:{parts.SERVICES})[^\n]{{0,60}}?(?<![\w/.-])(?P<secret>(?=[a-z]*[0-9])"
        r"(?=[0-9]*[a-z])(?:[a-z0-9]{32}|[a-z0-9]{40}|[a-z0-9]{64}))(?![\w/.-]))",
        tuple(parts.SERVICES.split("|")),
    ),
    Rule(
        "a value that looks like a key",
        # After a name like "api_key" 16 characters are enough, after "key" or "token" 32.
        r"(?i:(?:(?P<sure>(?:api|access|auth|client|bot|app|account|service|signing|encryption"
        r"|session|jwt|private|refresh|admin|secret)[_-]?(?:key|token|secret)|secret|passw(?:or)?d)"
        rf"|key|token|auth){parts.IS}(?(sure)|(?=[\w+/=~-]{{32}}))"
        rf"(?P<secret>{parts.MIXED}[\w+/=~-]{{16,}})(?![\w.(\[]))",
        ("key", "token", "secret", "passw", "auth"),
    ),
)

NAMED = Rule(
    "the value of a secret",
    r"(?i:(?:--?[\w-]{0,40}(?:key|token|secret|password)[\x22']?[\s,=]{1,60}[\x22']?"
    r"|(?:key|token|secret|passw(?:or)?d|passphrase|pwd|pass|credentials?|auth|cookie|_api"
    r"|(?<![a-z])pat)[\x22']?"
    r"[ ]{0,3}[:=][ ]{0,3}[\x22']?|(?<![\w-])password[ ]{1,9})"
    r"(?P<secret>(?![^\s\x22',]{0,90}(?:your|example|placeholder|dummy|replace|insert|change|xxx|here\b))"
    r"(?![0-9]{1,90}(?![^\s\x22',])|[~./-]|[a-z]:\\|\w+://)[^\s\x22',{}<>$%]{8,}))",
    ("key", "token", "secret", "pass", "pwd", "credential", "auth", "cookie", "_api", "pat"),
)
# The settings of MCP servers: a variable, a header, a parameter or a part of an address.
SERVER = Rule(
    "a key in the settings of a server",
    r"(?:\x22(?![A-Z0-9_]{0,40}(?:MODEL|REGION|ZONE|VERSION|HOST|UR[LI]|PATH|DIR|FILE|ENDPOINT|NAME"
    r"|USER|EMAIL|DATE|PROJECT|LOG|AGENT|IMAGE|DEPLOYMENT|DATABASE|DB|BUCKET|INDEX|_S?ID|OPTIONS)\x22)"
    r"[A-Z][A-Z0-9_]{1,60}\x22\s{0,9}[:=]\s{0,9}\x22(?=[^\x22]{12})"
    r"|\x22(?i:(?:proxy-)?authorization|cookie|x-[\w-]{1,40}|[\w-]{0,20}(?:key|token))"
    r"(?:\x22\s{0,9}[:=]\s{0,9}\x22|[:=][ ]?)(?:[A-Za-z]{1,20}[ ])?"
    r"|://[^\s\x22']{1,200}?(?:[?&;][\w.-]{1,40}=(?=[\w%+/.~-]{12})"
    r"|/(?=[\w=%+-]{20,200}(?:/(?:mcp|sse)\b|\x22))))"
    r"(?P<secret>(?![^\s\x22]{0,90}(?i:your|example|placeholder|dummy|replace|insert|change|xxx))"
    r"(?=[^\s\x220-9]{0,90}[0-9])(?=[^\s\x22A-Za-z]{0,90}[A-Za-z])"
    r"(?![~./@-]|[A-Za-z]:\\|\w+://|localhost|[\w.-]{1,60}\.[a-z]{2,6}[0-9]?\x22)"
    r"[^\s\x22'&,{}<>$]{12,}(?![\w${]))",
    ("://", '"'),
)
SETTINGS = (NAMED, SERVER)  # the rules for files of settings

_LONGEST = 88  # characters of a pattern on a line
_BREAK = re.compile(r"[)}\]](?![{?*+)])|\|(?!\|)")
_TABLE = re.compile(r"^SECRETS = \{\n.*?^\}\n", re.MULTILINE | re.DOTALL)


def written(templates: Path) -> Iterator[tuple[Path, str]]:
    """Yield each file of the templates that contains the rules, with its text as it must be."""
    rules = " |\n".join(f"          {rule.plain}" for rule in RULES)
    hook = parts.HOOK.format(
        rules=rules, files=parts.SETTINGS_FILE, named=f"{NAMED.plain}|{SERVER.plain}"
    )
    yield templates / "_shared" / ".pre-commit-config.yaml", hook
    checks = templates / "fine-tune" / "project" / "tune" / "checks.py"
    yield checks, _TABLE.sub(lambda _: _table(), checks.read_text("utf-8"), count=1)


def _table() -> str:
    lines = [
        f'    "{rule.name}": {_literal(rule.pattern, len(rule.name))},\n'
        for rule in RULES
        if rule.in_data
    ]
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
