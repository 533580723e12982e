"""Arithmetic in exact decimals: parses an expression and never runs it as code."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable
from decimal import (
    ROUND_CEILING,
    ROUND_FLOOR,
    ROUND_HALF_UP,
    Context,
    Decimal,
    DivisionByZero,
    InvalidOperation,
    Overflow,
    localcontext,
)

from agent.tools import ToolError, tool

MAX_CHARS = 500
EXACT, SHOWN = 40, 15  # a number of up to 40 digits is shown in full, others with 15 digits
# A number has at most 60 digits and 1,000 places: 9**9**9 fails immediately.
LIMITS = Context(prec=60, Emin=-999, Emax=999, traps=[DivisionByZero, InvalidOperation, Overflow])
SIGNS = {"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "^": "**", "π": "pi"}
HOW = (
    "Use numbers, + - * / // % ** and parentheses, 15% of 80, pi, e, and the functions "
    "abs, sqrt, round, floor, ceil, min, max, sum, mean, exp, log, ln, log10, log2, "
    "sin, cos, tan, asin, acos, atan, radians, degrees."
)


@tool
def calculate(expression: str) -> str:
    """Calculate exactly. Use it for every calculation, even a simple one.

    Examples: (1250 - 340) * 1.2, 17.5% of 2480, sqrt(2) ** 3, round(10 / 3, 2), mean(3, 5, 8).
    """
    if len(expression) > MAX_CHARS:
        raise ToolError(f"The expression is longer than {MAX_CHARS} characters: do it in parts.")
    text = _plain(expression)
    try:
        tree = ast.parse(text, mode="eval")
        with localcontext(LIMITS):
            return _readable(_value(tree.body, text))
    except (
        SyntaxError,
        UnicodeError,
        MemoryError,
        RecursionError,
    ):  # the last two: nested too deep
        raise ToolError(f"This is not arithmetic: {expression}. {HOW}") from None
    except Overflow:
        raise ToolError("The result is too large.") from None
    except DivisionByZero:
        raise ToolError("This divides by zero.") from None
    except (ArithmeticError, ValueError):
        raise ToolError("This has no result: it is not a real number, or too large.") from None


def _plain(expression: str) -> str:
    """The expression in Python's syntax: operators, percentages, no thousands separators."""
    text = " ".join(expression.split()).rstrip("=?.,; ")
    for sign, ours in SIGNS.items():
        text = text.replace(sign, ours)
    # In a function call a comma separates the arguments: max(1,200).
    separator = "[ '’]" if re.search(r"[a-z]\w* ?\(", text, re.IGNORECASE) else "[ '’,]"
    grouped = rf"(?<![\w.,])\d{{1,3}}(?:{separator}\d{{3}})+(?![\w,])"
    text = re.sub(grouped, lambda found: re.sub(r"\D", "", found[0]), text)
    percentage = r"(\d+(?:\.\d+)?) ?% ?of\b"
    if re.search(rf"(?:[/%]|\*\*)[ -]*{percentage}", text, re.IGNORECASE):
        raise ToolError("Put the percentage into parentheses, as in 100 / (10% of 50).")
    return re.sub(percentage, r"\1/100*", text, flags=re.IGNORECASE)


def _value(node: ast.expr, text: str) -> Decimal:
    """The value of a part of the expression. Raises ToolError for anything but arithmetic."""
    match node:
        case ast.Constant():  # from the text: a float would round it
            return _number(text[node.col_offset : node.end_col_offset])
        case ast.Name(id=name) if name.lower() in CONSTANTS:
            return +CONSTANTS[name.lower()]
        case ast.UnaryOp(op=ast.USub(), operand=part):
            return -_value(part, text)
        case ast.UnaryOp(op=ast.UAdd(), operand=part):
            return _value(part, text)
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in OPERATORS:
            return OPERATORS[type(sign)](_value(left, text), _value(right, text))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name.lower() in FUNCTIONS:
            return _call(name, args, text)
        case ast.Tuple():
            raise ToolError("Write numbers without thousands separators, like 1234.56.")
    raise ToolError(f"This is not arithmetic: {ast.get_source_segment(text, node)}. {HOW}")


def _number(digits: str) -> Decimal:
    if not re.fullmatch(r"(\d[\d_]*)?\.?[\d_]*(e[+-]?\d+)?", digits, re.IGNORECASE):
        raise ToolError(f"This is not a number: {digits}. {HOW}")
    return +Decimal(digits)  # the plus applies the limits


def _call(name: str, parts: list[ast.expr], text: str) -> Decimal:
    """A function's value; a list among its arguments counts as its items."""
    args: list[Decimal] = []
    for part in parts:
        items = part.elts if isinstance(part, (ast.List, ast.Tuple)) else [part]
        args += [_value(item, text) for item in items]
    try:
        return FUNCTIONS[name.lower()](*args)
    except TypeError:
        raise ToolError(f"{name} does not take {len(args)} numbers.") from None


def _readable(value: Decimal) -> str:
    """A number in a readable form: in full if it is short, without rounding errors at its end."""
    if not value.is_finite():  # log(0)
        raise ArithmeticError
    whole = len(value.normalize().as_tuple().digits) <= EXACT
    shown = (value if whole else Context(prec=SHOWN).plus(value)).normalize()
    plain = not shown or -10 < shown.adjusted() < (EXACT if whole else SHOWN)
    return f"{shown + 0:f}" if plain else f"{shown:e}"


def _remainder(left: Decimal, right: Decimal) -> Decimal:
    """The remainder, with the sign of the divisor, as in Python."""
    if not right:
        raise DivisionByZero
    rest = left % right
    return rest + right if rest and (rest < 0) != (right < 0) else rest


def _quotient(left: Decimal, right: Decimal) -> Decimal:
    return ((left - _remainder(left, right)) / right).to_integral_value()


def _divide(left: Decimal, right: Decimal) -> Decimal:
    if not right:
        raise DivisionByZero
    return left / right


def _round(value: Decimal, digits: Decimal = Decimal(0)) -> Decimal:
    """Rounds half up, as people do."""
    if digits != digits.to_integral_value() or abs(digits) > 30:
        raise ToolError("round takes a number and the number of decimals: round(2.345, 2).")
    step = Decimal(1).scaleb(-int(digits))
    return (value / step).to_integral_value(ROUND_HALF_UP) * step


def _log(value: Decimal, base: Decimal | None = None) -> Decimal:
    return value.ln() if base is None else value.ln() / base.ln()


def _float(function: Callable[[float], float]) -> Callable[[Decimal], Decimal]:
    """A function that exists only for floats; digits after the 15th decimal are inexact."""
    return lambda value: Decimal(repr(round(function(float(value)), 15)))


def _mean(*values: Decimal) -> Decimal:
    return sum(values, Decimal(0)) / len(values)


CONSTANTS = {
    "pi": Decimal("3.14159265358979323846264338327950288419716939937510582097494"),
    "e": Decimal("2.71828182845904523536028747135266249775724709369995957496697"),
}
OPERATORS: dict[type[ast.operator], Callable[[Decimal, Decimal], Decimal]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: _divide,
    ast.FloorDiv: _quotient,
    ast.Mod: _remainder,
    ast.Pow: operator.pow,
}
FUNCTIONS: dict[str, Callable[..., Decimal]] = {
    "abs": abs,
    "sqrt": Decimal.sqrt,
    "round": _round,
    "floor": lambda value: value.to_integral_value(ROUND_FLOOR),
    "ceil": lambda value: value.to_integral_value(ROUND_CEILING),
    "min": lambda *values: min(values),
    "max": lambda *values: max(values),
    "sum": lambda *values: sum(values, Decimal(0)),
    "mean": _mean,
    "exp": Decimal.exp,
    "log": _log,
    "ln": Decimal.ln,
    "log10": Decimal.log10,
    "log2": lambda value: _log(value, Decimal(2)),
}
FUNCTIONS |= {
    function.__name__: _float(function)
    for function in (math.sin, math.cos, math.tan, math.asin, math.acos, math.atan)
}
FUNCTIONS |= {"radians": _float(math.radians), "degrees": _float(math.degrees)}
