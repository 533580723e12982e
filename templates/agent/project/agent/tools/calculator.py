"""Arithmetic: simpleeval evaluates an expression, and nothing in it runs as code."""

from __future__ import annotations

import ast
import math
import re
import statistics
from decimal import ROUND_HALF_UP, Decimal

from simpleeval import DEFAULT_OPERATORS, SimpleEval

from agent.tools import ToolError, tool

MAX_CHARS = 500
SIGNS = str.maketrans("×·÷−–", "**/--") | str.maketrans({"^": "**", "π": "pi", "[": "", "]": ""})
NODES = (ast.Constant, ast.Name, ast.UnaryOp, ast.BinOp, ast.Call)  # the only syntax that is used
MATH = "sqrt exp log log2 log10 floor ceil sin cos tan asin acos atan radians degrees"


@tool
def calculate(expression: str) -> str:
    """Calculate. Use it for every calculation, even a simple one.

    Examples: (1250 - 340) * 1.2, 17.5% of 2480, sqrt(2) ** 3, round(10 / 3, 2), mean(3, 5, 8).
    """
    text = _plain(expression)
    evaluator = SimpleEval(OPERATORS, FUNCTIONS, {"pi": math.pi, "e": math.e})
    evaluator.nodes = {kind: evaluator.nodes[kind] for kind in NODES}
    try:
        if len(text) > MAX_CHARS or not re.fullmatch(r"[\w\s.,()+*/%-]+", text):
            raise SyntaxError(f"only numbers and signs, at most {MAX_CHARS} characters")
        value = evaluator.eval(text, ast.parse(text, mode="eval").body)
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError("it is not a real number")
        return f"{value + 0:.15g}" if isinstance(value, float) else str(value)
    except (ArithmeticError, ValueError) as error:
        raise ToolError(f"There is no result, or it is too large ({error}).") from None
    except Exception as error:
        how = f"Use 1234.5, + - * / // % ** ( ), 15% of 80, pi, e, {', '.join(FUNCTIONS)}."
        raise ToolError(f"This is not arithmetic ({error}). {how}") from None


def _plain(expression: str) -> str:
    """The expression in Python's syntax: operators, percentages, no thousands separators."""
    text = " ".join(expression.lower().split()).rstrip("=?.,; ").translate(SIGNS)
    separator = "[ '’]" if re.search(r"[a-z]\w* ?\(", text) else "[ '’,]"  # as max(1,200)
    grouped = rf"(?<![\w.,])\d{{1,3}}(?:{separator}\d{{3}})+(?![\w,])"
    text = re.sub(grouped, lambda found: re.sub(r"\D", "", found[0]), text)
    percentage = r"(\d+(?:\.\d+)?) ?% ?of\b"
    if re.search(rf"(?:[/%]|\*\*)[ -]*{percentage}", text):
        raise ToolError("Put the percentage into parentheses, as in 100 / (10% of 50).")
    return re.sub(percentage, r"\1/100*", text)


def _power(base: float, exponent: float) -> float:
    rough = float(base) ** float(exponent)  # raises above 1e308, before any long calculation
    return base**exponent if isinstance(base, int) and isinstance(exponent, int) else rough


def _round(value: float, digits: int = 0) -> float:
    """Rounds half up, as people do."""
    return float(Decimal(str(value)).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP))


OPERATORS = DEFAULT_OPERATORS | {ast.Pow: _power}
FUNCTIONS = {name: getattr(math, name) for name in MATH.split()}
FUNCTIONS |= {"abs": abs, "ln": math.log, "min": min, "max": max, "round": _round}
FUNCTIONS |= {"sum": lambda *items: sum(items), "mean": lambda *items: statistics.mean(items)}
