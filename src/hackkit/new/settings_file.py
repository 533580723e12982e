"""The defaults in a project's settings.py: reads them, and writes others as a person would."""

import ast
import json
import re
from collections.abc import Iterator

from hackkit.errors import HackkitError

Plain = str | int | float | bool
Value = Plain | list[Plain]

_WIDTH = 100  # columns, as in the projects' pyproject.toml


def defaults(source: str) -> dict[str, Value]:
    """Return the defaults in the class `Settings` that example.toml can hold, by field."""
    values: dict[str, Value] = {}
    for field in _fields(source):
        try:
            value = ast.literal_eval(_default(field))
        except ValueError:  # computed from something else
            continue
        items = value if isinstance(value, tuple) else (value,)
        if all(isinstance(item, Plain) for item in items):
            values[_name(field)] = [*value] if isinstance(value, tuple) else value
    return values


def with_default(name: str, value: Value, source: str) -> str:
    """Return the source with another default. Raises HackkitError for a field that it lacks."""
    for field in _fields(source):
        if _name(field) == name:
            return _replaced(source, field, value)
    raise HackkitError(f'Settings has no field "{name}" with a default.')


def _fields(source: str) -> Iterator[ast.AnnAssign]:
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and node.name == "Settings":
            yield from (
                each for each in node.body if isinstance(each, ast.AnnAssign) and each.value
            )


def _name(field: ast.AnnAssign) -> str:
    return ast.unparse(field.target)


def _default(field: ast.AnnAssign) -> ast.expr:
    """Return the default of a field: its value, or the `default` of its `Field(...)`."""
    value = field.value or field.target
    if isinstance(value, ast.Call):
        return next((each.value for each in value.keywords if each.arg == "default"), value)
    return value


def _replaced(source: str, field: ast.AnnAssign, value: Value) -> str:
    old = _default(field)
    start = _offset(source, old.lineno, old.col_offset)
    end = _offset(source, old.end_lineno, old.end_col_offset)
    if old is field.value:  # brackets around it belong to the statement only
        annotation = field.annotation
        start = _offset(source, annotation.end_lineno, annotation.end_col_offset)
        start = source.index("=", start) + 2
        end = _offset(source, field.end_lineno, field.end_col_offset)
    column = start - (source.rfind("\n", 0, start) + 1)
    return source[:start] + _written(value, column) + source[end:]


def _offset(source: str, line: int | None, column: int | None) -> int:
    """Return the place in a text of a line and column of its syntax tree, which counts bytes."""
    before = source.split("\n")[: line or 0]
    last = before.pop().encode()[: column or 0].decode()
    return len("\n".join([*before, last]))


def _written(value: Value, column: int) -> str:
    """Write a value as the formatter would, where a line has this many columns already."""
    if isinstance(value, list):
        items = "".join(f"{_text(item)},\n" for item in value)
        return f"(\n{items}    )" if items else "()"
    if isinstance(value, str) and column + len(_literal(value)) > _WIDTH:
        return f"(\n{_text(value)}\n    )"
    return _literal(value)


def _text(value: Plain) -> str:
    """Write a value in brackets, on as many lines as it needs: broken behind a space."""
    parts = [""]
    for word in re.findall(r"\S+\s*|\s+", value) if isinstance(value, str) else ():
        if len(_literal(parts[-1] + word)) + 8 >= _WIDTH:  # a comma follows
            parts.append("")
        parts[-1] += word
    texts = parts if isinstance(value, str) else [value]
    return "\n".join(f"{' ' * 8}{_literal(each)}" for each in texts)


def _literal(value: Plain) -> str:
    if not isinstance(value, str):
        return repr(value)
    text = json.dumps(value, ensure_ascii=False)
    if value.count('"') > value.count("'"):  # the quotes that need fewer backslashes
        return "'" + text[1:-1].replace('\\"', '"').replace("'", "\\'") + "'"
    return text
