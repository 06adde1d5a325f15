"""The demo's charts as SVG text: every point is a count of the run, nothing is smoothed or invented.

Colours are CSS variables, which the page sets for light and dark; :func:`standalone_svg` brings fixed ones and a ground of
its own, so that it can be read on any page.
"""

import html
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate

import msgspec

from onefill.gameday.demo_result import DemoResult

_CHARACTER = 0.56
"""The width of an average character in units of its size."""


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """A drawing's measures in its own units. ``name`` sets apart the ids of several drawings on one page."""

    name: str
    width: int
    height: int
    text: int
    left: int
    right: int
    legend_columns: int


WIDE = Layout(name="wide", width=920, height=400, text=14, left=52, right=64, legend_columns=3)
NARROW = Layout(name="narrow", width=360, height=360, text=13, left=40, right=48, legend_columns=1)

_LIGHT = {"ground": "#ffffff", "ink": "#1c2128", "muted": "#57606a", "grid": "#e4e7eb", "edge": "#d0d7de"}
_SERIES = {"attempts": "#6e7781", "naive": "#c4500b", "onefill": "#0b66a8"}
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


class _Line(msgspec.Struct, frozen=True):
    """One line of the chart: ``beyond[k]`` is its count after ``k`` intents, less ``k``."""

    css: str
    label: str
    beyond: list[int]
    dash: str

    @property
    def total(self) -> int:
        return self.beyond[-1] + len(self.beyond) - 1


def _lines(result: DemoResult) -> list[_Line]:
    keys = [intent.key for intent in result.intents]
    counted = (
        ("attempts", "attempts, naive", result.naive.attempts, "5 4"),
        ("naive", "naive fills", result.naive.fills_of, ""),
        ("onefill", "Onefill fills", result.onefill.fills_of, ""),
    )
    return [
        _Line(css, label, [0, *accumulate(by_key.get(key, 0) - 1 for key in keys)], dash)
        for css, label, by_key, dash in counted
    ]


def chart_svg(result: DemoResult, layout: Layout) -> str:
    """Return the chart *attempts / naive fills / Onefill fills* as an ``svg`` element."""
    lines = _lines(result)
    intents = len(result.intents)
    told = "; ".join(f"{line.label}: {line.total:,}, {line.beyond[-1]:+,} against the intents" for line in lines)
    title = "Attempts, naive fills and Onefill fills beyond one per intent"
    describe = f"After {intents:,} intents. {told}."
    legend, top = _legend(lines, layout)
    bottom = layout.height - 2.9 * layout.text
    low, high, step = _scale(min(min(line.beyond) for line in lines), max(max(line.beyond) for line in lines))

    def x(intent: float) -> float:
        return layout.left + (layout.width - layout.left - layout.right) * intent / intents

    def y(count: float) -> float:
        return bottom - (bottom - top) * (count - low) / (high - low)

    parts = [legend, *_axes(layout, intents, (low, high, step), x, y)]
    parts += [_path(line, x, y) for line in lines]
    places = _apart([y(line.beyond[-1]) for line in lines], layout.text * 1.25, bottom)
    parts += [
        _text(x(intents) + 8, place + layout.text * 0.35, f"{line.beyond[-1]:+,}", f"end {line.css}")
        for line, place in zip(lines, places, strict=True)
    ]
    return _svg(layout.width, layout.height, f"chart-{layout.name}", title, describe, parts, layout.text)


def bars_svg(result: DemoResult, layout: Layout) -> str:
    """Return the orders at the venue as two bars from zero, what was not intended set off, as an ``svg`` element."""
    naive, onefill, text = result.naive, result.onefill, layout.text
    sides = (("naive", "Naive client", naive), ("onefill", "Onefill", onefill))
    most = max(naive.venue_orders, onefill.venue_orders, len(result.intents))
    room = layout.width - 2
    bar, pitch = text * 1.5, text * 3.9
    parts, told = [], []
    for number, (css, label, side) in enumerate(sides):
        top = 2 + number * pitch
        said = f"{label}: {side.venue_orders:,} orders, {side.duplicates:,} duplicates, {side.missing:,} missing"
        told.append(said)
        parts.append(_text(0, top + text, said, "label"))
        right = room * (side.venue_orders - side.duplicates) / most
        parts.append(_rect(0, top + text * 1.5, right, bar, f"bar {css}"))
        if side.duplicates:
            parts.append(_rect(right + 2, top + text * 1.5, room * side.duplicates / most - 2, bar, f"bar extra {css}"))
    mark = room * len(result.intents) / most
    height = round(2 + 2 * pitch)
    parts.append(f'<line class="mark" x1="{mark:.1f}" x2="{mark:.1f}" y1="{text * 1.4:.1f}" y2="{height - 6}"/>')
    describe = f"{len(result.intents):,} were intended. {'. '.join(told)}."
    return _svg(layout.width, height, f"bars-{layout.name}", "Orders at the venue", describe, parts, text)


def standalone_svg(result: DemoResult) -> str:
    """Return the chart as a file of its own: no scripts, no outside parts, legible on light and dark pages."""
    inner = chart_svg(result, WIDE)
    margin, head = 20, 54
    width, height = WIDE.width + 2 * margin, WIDE.height + head + margin
    colours = "".join(f"--{name}:{value};" for name, value in {**_LIGHT, **_SERIES}.items())
    heading = f"The same {len(result.intents):,} orders over the same faulty network, sent by two clients"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="{html.escape(heading)}">\n'
        f"<style>svg{{{colours}font-family:{_FONT}}}{css()}.heading{{font-size:18px;font-weight:600;fill:var(--ink)}}"
        "</style>\n"
        f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8" fill="#ffffff" stroke="#d0d7de"/>\n'
        f'<text class="heading" x="{margin}" y="36">{html.escape(heading)}</text>\n'
        f'<g transform="translate({margin} {head})">\n{inner}\n</g>\n</svg>\n'
    )


def css() -> str:
    """Return the style rules that the drawings need, in terms of the colour variables."""
    return (
        ".plot text{fill:var(--muted);font-variant-numeric:tabular-nums}"
        ".plot .label,.plot .legend{fill:var(--ink)}"
        ".plot .grid{stroke:var(--grid);stroke-width:1}.plot .zero{stroke:var(--muted);stroke-width:1}"
        ".plot .line{fill:none;stroke-width:2.25;stroke-linejoin:round}"
        ".plot .end{font-weight:600}.plot .mark{stroke:var(--ink);stroke-width:1;stroke-dasharray:2 3}"
        + "".join(
            f".plot .line.{name}{{stroke:var(--{name})}}.plot .end.{name}{{fill:var(--{name})}}"
            f".plot .bar.{name}{{fill:var(--{name});opacity:.45}}.plot .bar.extra.{name}{{opacity:1}}"
            for name in _SERIES
        )
        + ".plot .bar.onefill{opacity:.75}"
    )


def _legend(lines: Sequence[_Line], layout: Layout) -> tuple[str, float]:
    """Return the legend and where the plot may begin below it."""
    parts, at, row = [], 0.0, 0
    for number, line in enumerate(lines):
        if number and number % layout.legend_columns == 0:
            at, row = 0.0, row + 1
        base = layout.text * (1.2 + 1.6 * row)
        said = f"{line.label} {line.total:,}"
        parts.append(_stroke(line, f"M{at:.1f} {base - layout.text * 0.35:.1f}h26"))
        parts.append(_text(at + 34, base, said, "legend"))
        at += 34 + len(said) * layout.text * _CHARACTER + 30
    return "".join(parts), layout.text * (1.2 + 1.6 * row + 2.6)


def _axes(
    layout: Layout,
    intents: int,
    counts: tuple[int, int, int],
    x: Callable[[float], float],
    y: Callable[[float], float],
) -> Iterable[str]:
    low, high, step = counts
    text = layout.text
    yield _text(0, y(high) - text * 0.8, "beyond one per intent", "axis")
    for count in range(low, high + 1, step):
        at = y(count)
        kind = "zero" if count == 0 else "grid"
        yield f'<line class="{kind}" x1="{layout.left}" x2="{x(intents):.1f}" y1="{at:.1f}" y2="{at:.1f}"/>'
        yield _text(layout.left - 8, at + text * 0.35, f"{count:+,}" if count else "0", "axis", "end")
    across = _nice(intents, 5 if layout.width > 500 else 3)
    for intent in range(0, intents + 1, across):
        yield _text(x(intent), y(low) + text * 1.5, f"{intent:,}", "axis", "middle")
    yield _text(x(intents), y(low) + text * 2.7, "intents, in the order of the blotter", "axis", "end")


def _scale(least: int, most: int) -> tuple[int, int, int]:
    """Return an axis that holds both ends: its own ends and its step, all whole."""
    step = _nice(max(most - min(least, 0), 4), 5)
    return -(-max(-least, 0) // step) * -step, max(-(-most // step), 1) * step, step


def _nice(span: int, parts: int) -> int:
    """Return a round step that divides ``span`` into about so many parts."""
    size = 1
    while True:
        for step in (1, 2, 5):
            if size * step * parts >= span:
                return size * step
        size *= 10


def _path(line: _Line, x: Callable[[float], float], y: Callable[[float], float]) -> str:
    """Draw a line as the steps it is made of, leaving out points where nothing changes."""
    last = len(line.beyond) - 1
    points = [f"M{x(0):.1f} {y(line.beyond[0]):.1f}"]
    for intent in range(1, last + 1):
        if line.beyond[intent] != line.beyond[intent - 1]:
            points.append(f"H{x(intent):.1f}V{y(line.beyond[intent]):.1f}")
    return _stroke(line, "".join([*points, f"H{x(last):.1f}"]))


def _stroke(line: _Line, path: str) -> str:
    dash = f' stroke-dasharray="{line.dash}"' if line.dash else ""
    return f'<path class="line {line.css}" d="{path}"{dash}/>'


def _apart(places: Sequence[float], gap: float, lowest: float) -> list[float]:
    """Move labels up until none covers another."""
    moved = list(places)
    limit = lowest
    for number in sorted(range(len(places)), key=lambda n: -places[n]):
        moved[number] = min(places[number], limit)
        limit = moved[number] - gap
    return moved


def _rect(x: float, y: float, width: float, height: float, css_class: str) -> str:
    return f'<rect class="{css_class}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}" rx="2"/>'


def _text(x: float, y: float, text: str, css_class: str, anchor: str = "start") -> str:
    where = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text class="{css_class}" x="{x:.1f}" y="{y:.1f}"{where}>{html.escape(text)}</text>'


def _svg(width: int, height: int, name: str, title: str, describe: str, parts: Iterable[str], text: int) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-size="{text}" role="img" aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{html.escape(title)}</title><desc id="{name}-desc">{html.escape(describe)}</desc>'
        f"{''.join(parts)}</svg>"
    )
