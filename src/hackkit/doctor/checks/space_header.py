"""Is the README's header valid for a Hugging Face Space?

Warns when there is no header, or when a key in it would break a deployment: an unknown sdk, colour
or licence, a version that differs from `uv.lock`, an app file that does not exist.
"""

from collections.abc import Mapping

from hackkit.doctor.findings import Category, Finding, ok, skipped, warning
from hackkit.project.context import Context
from hackkit.project.lockfile import locked_version
from hackkit.services.space_header import issues, parse_header

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
        fix = "open https://huggingface.co/docs/hub/spaces-config-reference"
        return warning(f"README.md {header.error}", fix)
    gradio = locked_version(context.folder, "gradio")
    found = issues(header.values, gradio, context.folder)
    if found:
        first, *others = found
        more = f" (and {len(others)} more)" if others else ""
        fix = f"edit README.md: {first.key} must be {first.expected}"
        return warning(f"{first}{more}", fix, details=tuple(map(str, others)))
    return ok(_words(header.values))


def _words(values: Mapping[str, object]) -> str:
    version = values.get("sdk_version", "")
    return f"valid, {values['sdk']} {version}".strip()
