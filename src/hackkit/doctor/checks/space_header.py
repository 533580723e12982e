"""Is the README's header valid for a Hugging Face Space?

Warns when there is no header, or when a key in it would break a deployment: an unknown sdk, colour
or licence, a version that differs from `uv.lock`, an app file that does not exist.
"""

from collections.abc import Mapping

from hackkit.doctor.findings import Category, Finding, ok, skipped, warning
from hackkit.project.context import Context
from hackkit.project.lockfile import locked_version
from hackkit.services.space_header import READ_DOCS, issues, parse_header
from hackkit.system.wording import first_of

TITLE = "Space header"
CATEGORY = Category.PROJECT


def check(context: Context) -> Finding:
    try:
        text = (context.folder / "README.md").read_text("utf-8")
    except FileNotFoundError:
        return skipped("there is no README.md")
    except (OSError, UnicodeError):
        return skipped("README.md cannot be read as UTF-8")
    header = parse_header(text)
    if header.error:
        return warning(f"README.md {header.error}", READ_DOCS)
    gradio = locked_version(context.folder, "gradio")
    found = issues(header.values, gradio, context.folder)
    if found:
        messages = tuple(map(str, found))
        return warning(first_of(messages), found[0].fix, details=messages[1:])
    return ok(_words(header.values))


def _words(values: Mapping[str, object]) -> str:
    version = values.get("sdk_version", "")
    return f"valid, {values['sdk']} {version}".strip()
