"""The demo's page: one self-contained HTML file with the charts, the table, the faults and how to do it again."""

import html
from collections.abc import Iterable, Sequence

from onefill.core.values import plain
from onefill.gameday.demo_chart import NARROW, WIDE, bars_svg, chart_svg, css
from onefill.gameday.demo_result import DemoResult
from onefill.gameday.naive_client import MAX_ATTEMPTS
from onefill.sim.link_plan import FaultKind

FAULTS = {
    FaultKind.REFUSE: "connection refused",
    FaultKind.BLACK_HOLE: "request swallowed, no reply",
    FaultKind.DELAY_REQUEST: "request held, delivered late",
    FaultKind.DELAY_REPLY: "reply held",
    FaultKind.CUT_BEFORE_REQUEST: "connection cut, request lost",
    FaultKind.CUT_AFTER_REQUEST: "request delivered, reply lost",
    FaultKind.CUT_INSIDE_REPLY: "reply cut in the middle",
    FaultKind.DUPLICATE: "look-up doubled on the way",
    FaultKind.REORDER: "request overtaken by a later one",
    FaultKind.STREAM_CUT: "execution stream cut",
    FaultKind.STREAM_DELAY: "execution stream held up",
    FaultKind.STREAM_BLACK_HOLE: "execution stream silent",
}
PROMISES = {
    "ONE-ORDER": "no second order for any intent, and nothing sent when the file is run once more",
    "NO-LOSS": "an order at the venue for every intent",
    "FILL-ONCE": "the ledger's position equals the venue's",
    "SAME-ANSWER": "running the file once more gives the same answers, byte for byte",
    "APPEND-ONLY": "the ledger's hash chain verifies",
    "CONVERGES": "every run after the last kill ended by itself, in time",
}
_STYLE = """
:root{color-scheme:light dark;--ground:#fff;--panel:#f6f7f9;--ink:#1c2128;--muted:#57606a;--grid:#e4e7eb;--edge:#d0d7de;
--attempts:#6e7781;--naive:#c4500b;--onefill:#0b66a8}
@media (prefers-color-scheme:dark){:root{--ground:#0f1318;--panel:#171c23;--ink:#e6e9ed;--muted:#9aa4b0;--grid:#262d36;
--edge:#323b46;--attempts:#8b95a1;--naive:#f08c4a;--onefill:#5ab0ea}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif}
main{max-width:64rem;margin:0 auto;padding:2.5rem 1.5rem 4rem}
header p{margin:0;color:var(--muted)}
h1{font-size:1.75rem;line-height:1.25;font-weight:650;margin:.35rem 0 .75rem;letter-spacing:-.01em;text-wrap:balance}
h2{font-size:1.125rem;font-weight:650;margin:3rem 0 .75rem}
p{max-width:46rem;margin:.5rem 0}
.naive{color:var(--naive)}.onefill{color:var(--onefill)}
figure{margin:1.75rem 0 0}figcaption{color:var(--muted);font-size:.875rem;margin-top:.5rem;max-width:46rem}
svg.plot{display:block;width:100%;height:auto}.narrow{display:none}
@media (max-width:640px){main{padding:1.5rem 1rem 3rem}h1{font-size:1.375rem}.wide{display:none}.narrow{display:block}}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.4rem .75rem .4rem 0;border-bottom:1px solid var(--grid);text-align:right;vertical-align:baseline}
th:first-child,td:first-child{text-align:left}th:last-child,td:last-child{padding-right:0}
thead th{color:var(--muted);font-weight:500;font-size:.875rem;border-bottom-color:var(--edge)}
tbody th{font-weight:400}tr.strong td,tr.strong th{font-weight:650}
.words td,.words th{text-align:left}
caption{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
code,pre{font:.875rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{background:var(--panel);border:1px solid var(--edge);border-radius:6px;padding:.75rem 1rem;overflow-x:auto;margin:.75rem 0}
.kept::before{content:"\\2713\\00a0"}.broken{color:var(--naive);font-weight:650}.broken::before{content:"\\2717\\00a0"}
footer{margin-top:3rem;color:var(--muted);font-size:.875rem}
"""


def demo_page(result: DemoResult, *, command: str, version: str) -> str:
    """Return the page. ``command`` is what to type to do it again."""
    parts = (
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Onefill demo: {len(result.intents):,} orders over a faulty network</title>",
        f"<style>{_STYLE}{css()}</style></head><body><main>",
        _head(result),
        _figures(result),
        "<h2>Result</h2>",
        _result_table(result),
        "<h2>Promises, checked at the venue and in the ledger</h2>",
        _promise_table(result),
        "<h2>What the network did</h2>",
        _fault_table(result),
        "<h2>How it was done</h2>",
        _method(result),
        "<h2>Do it again</h2>",
        f"<pre><code>{html.escape(command)}</code></pre>",
        "<p>The seed decides the orders, the faults and the moments of the kills. The faults follow the orders and not the "
        "clock, but what a time-out or a kill catches under way differs a little from run to run and machine to machine.</p>",
        f"<footer>Onefill {html.escape(version)} · seed {result.seed} · faults “{html.escape(result.preset)}” · "
        f"naive client {result.naive.seconds:.1f} s, Onefill {result.onefill.seconds:.1f} s, restarts included</footer>",
        "</main></body></html>\n",
    )
    return "\n".join(parts)


def _head(result: DemoResult) -> str:
    naive, onefill, intents = result.naive, result.onefill, len(result.intents)
    lost = f" and <span class='naive'>{naive.missing:,} lost</span>" if naive.missing else ""
    first = (
        f"{intents:,} intents. A client that retries on time-out: "
        f"<span class='naive'>{naive.venue_orders:,} orders</span>{lost}. "
        f"Onefill: <span class='onefill'>{onefill.venue_orders:,}</span>."
    )
    broken = result.broken_promises
    verdict = (
        f"Broken promises: {', '.join(broken)}."
        if broken
        else f"Onefill was killed with -9 {_times(sum(kill.landed for kill in onefill.kills))} on the way."
    )
    return (
        "<header><p>The same orders, twice over the same faulty network</p>"
        f"<h1>{first}</h1><p>{html.escape(verdict)} Positions: intended {plain(result.intended)} BTC, naive "
        f"{plain(naive.position)}, Onefill {plain(onefill.position)}.</p></header>"
    )


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _figures(result: DemoResult) -> str:
    def both(draw: Iterable[str]) -> str:
        wide, narrow = draw
        return f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div>'

    chart = both(chart_svg(result, layout) for layout in (WIDE, NARROW))
    bars = both(bars_svg(result, layout) for layout in (WIDE, NARROW))
    return (
        f"<figure>{chart}<figcaption>Cumulative counts less the number of intents so far, intent by intent: zero means "
        "exactly one each. Attempts are the naive client's.</figcaption></figure>"
        "<h2>Orders at the venue</h2>"
        f"<figure>{bars}<figcaption>From zero; the dotted mark is what was intended, the solid part beyond it nobody "
        "wanted.</figcaption></figure>"
    )


def _table(caption: str, heads: Sequence[str], rows: Iterable[str], css_class: str = "") -> str:
    named = f' class="{css_class}"' if css_class else ""
    head = "".join(f'<th scope="col">{text}</th>' for text in heads)
    return (
        f"<table{named}><caption>{html.escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _row(cells: Sequence[str], css_class: str = "") -> str:
    named = f' class="{css_class}"' if css_class else ""
    first, *rest = cells
    return f'<tr{named}><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>'


def _result_table(result: DemoResult) -> str:
    strong = {"duplicates", "missing", "difference, BTC"}
    rows = (_row([html.escape(cell) for cell in row], "strong" if row[0] in strong else "") for row in result.table())
    heads = ("", '<span class="naive">naive client</span>', '<span class="onefill">Onefill</span>')
    return _table("Both clients in figures", heads, rows)


def _promise_table(result: DemoResult) -> str:
    broken = set(result.broken_promises)
    rows = (
        _row(
            [
                f"<code>{name}</code>",
                f'<span class="{"broken" if name in broken else "kept"}">{"broken" if name in broken else "kept"}</span>',
                html.escape(meaning),
            ]
        )
        for name, meaning in PROMISES.items()
    )
    return _table("Promises of Onefill", ("promise", "", "checked"), rows, "words")


def _fault_table(result: DemoResult) -> str:
    naive, onefill = result.naive.faults, result.onefill.faults

    def injected(kind: FaultKind) -> tuple[int, int]:
        return tuple(side[kind].injected if kind in side else 0 for side in (naive, onefill))  # type: ignore[return-value]

    rows = [
        _row([html.escape(said), *(f"{count:,}" for count in injected(kind))])
        for kind, said in FAULTS.items()
        if any(injected(kind))
    ]
    sides = (result.naive, result.onefill)
    rows.append(_row(["requests hurt", *(f"{side.hurt:,}" for side in sides)], "strong"))
    rows.append(_row(["requests in all", *(f"{side.requests:,}" for side in sides)]))
    return _table("Injected faults by kind", ("fault", "naive client", "Onefill"), rows)


def _method(result: DemoResult) -> str:
    onefill = result.onefill
    kills = "; ".join(
        f"after {kill.after_fills:,} fills, {kill.under_way:,} requests under way"
        for kill in onefill.kills
        if kill.landed
    )
    killed = f" Killed with -9: {kills}." if kills else ""
    return (
        "<p>Each client has an exchange and a link of its own with the same settings. The exchange frees a client order id "
        "once its order is filled, so a late or repeated request makes a second order. The k-th attempt at an order meets "
        "the same fault on both sides; a new order is never doubled on the way. Onefill's look-ups and its execution "
        "stream go through its link too, and are hurt as well.</p>"
        f"<p>The naive client sends, waits one time-out, and sends again with a fresh client order id, {MAX_ATTEMPTS} times "
        f"at most, with back-off: {result.naive.unanswered:,} attempts had no answer, {result.naive.given_up:,} orders were "
        "given up.</p>"
        f"<p>Onefill is the command <code>onefill run</code> in a process of its own.{html.escape(killed)} At the end the "
        f"same file was run once more: {onefill.replay_sent:,} requests were sent. Orders, fills and positions are read from "
        "the exchange itself.</p>"
    )
