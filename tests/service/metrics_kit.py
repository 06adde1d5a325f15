"""What tests of the metrics share: what a PromQL expression speaks of, and a reader for the rules file's plain YAML."""

import json
import re
from typing import Any

_FUNCTIONS = {"sum", "max", "min", "avg", "count", "rate", "increase", "delta", "histogram_quantile"}
_WORDS = _FUNCTIONS | {"by", "without", "and", "or", "unless", "on", "ignoring", "offset", "bool"}
_TOKEN = re.compile(
    r"\s+|(?P<text>\"(?:\\.|[^\"\\])*\")|(?P<variable>\$\w+)|(?P<duration>\d+(?:\.\d+)?(?:ms|[smhdwy])\b)"
    r"|(?P<number>\d+(?:\.\d+)?(?:e-?\d+)?)|(?P<name>[A-Za-z_:][\w:]*)|(?P<operator>=~|!~|==|!=|>=|<=|[-+*/^%<>=(){}\[\],])"
)


def tokens(expression: str) -> list[tuple[str, str]]:
    """Return (kind, text) of every token. Raises ValueError at what is none, and where brackets do not match."""
    found, place, open_brackets = [], 0, []
    while place < len(expression):
        match = _TOKEN.match(expression, place)
        if match is None:
            raise ValueError(f"{expression!r}: not PromQL from {expression[place:]!r}")
        place = match.end()
        if match.lastgroup is None:
            continue
        text = match.group()
        found.append((match.lastgroup, text))
        if text in "([{":
            open_brackets.append(text)
        elif text in ")]}" and (not open_brackets or open_brackets.pop() + text not in ("()", "[]", "{}")):
            raise ValueError(f"{expression!r}: brackets do not match")
    if open_brackets:
        raise ValueError(f"{expression!r}: brackets do not match")
    return found


def speaks_of(expression: str) -> tuple[dict[str, set[str]], set[str]]:
    """Return the metrics that an expression names, each with the labels it is selected by; and all labels it groups by."""
    metrics: dict[str, set[str]] = {}
    groups: set[str] = set()
    inside, current, grouping = "", "", False
    for kind, text in tokens(expression):
        if kind == "name" and inside == "{":
            metrics[current].add(text)
        elif kind == "name" and grouping:
            groups.add(text)
        elif kind == "name" and text in ("by", "without", "on", "ignoring"):
            grouping = True
        elif kind == "name" and text not in _WORDS:
            current = text
            metrics.setdefault(current, set())
        elif text == "{":
            inside = "{"
        elif text == "}":
            inside = ""
        elif text == ")":
            grouping = False
    return metrics, groups


def rules(text: str) -> list[dict[str, Any]]:
    """Return the rules of a file that has one key a line, texts in double quotes, and no more of YAML than that."""
    found: list[dict[str, Any]] = []
    nested: dict[str, Any] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = re.fullmatch(r"( *)(- )?([a-z]+):(?: (.+))?", line)
        if match is None:
            raise ValueError(f"line {number}: {line!r} is not what the reader of this test knows")
        depth, key, value = len(match[1]), match[3], match[4]
        if value is not None and value.startswith('"'):
            value = json.loads(value)
        elif value is not None and re.search(r"[:#{}\[\],&*?|<>=!%@\\\"']", value):
            raise ValueError(f"line {number}: {value!r} needs quotes")
        if depth == 6 and match[2]:
            found.append({key: value})
        elif depth == 8:
            if value is None:
                nested = found[-1][key] = {}
            else:
                found[-1][key] = value
        elif depth == 10:
            nested[key] = value
    return found
