"""``onefill demo``: the same orders twice over the same faulty network."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import TaskID

from onefill import __version__
from onefill.cli import options
from onefill.cli.loop import run_loop
from onefill.cli.output import ExitCode, console, errors, print_json, print_table, progress, told
from onefill.core.errors import CallerError
from onefill.gameday.demo import DemoSettings, Progress, run_demo
from onefill.gameday.demo_chart import standalone_svg
from onefill.gameday.demo_page import demo_page
from onefill.gameday.demo_result import DemoResult
from onefill.gameday.processes import DrillFailed

_DEFAULT = DemoSettings()
Output = Annotated[Path | None, typer.Option(dir_okay=False)]


def demo(
    seed: Annotated[int, typer.Option(help="Decides orders, faults and kills.", min=0)] = _DEFAULT.seed,
    intents: Annotated[int, typer.Option(help="How many orders.", min=1, max=1_000_000)] = _DEFAULT.intents,
    faults: Annotated[str, typer.Option(help="How bad the network is: calm, rough or storm.")] = _DEFAULT.faults,
    kills: Annotated[int, typer.Option(help="How often Onefill is killed with -9.", min=0)] = _DEFAULT.kills,
    html: Annotated[Path, typer.Option("--html", help="Where the page goes.", dir_okay=False)] = Path("demo.html"),
    svg: Annotated[Path | None, typer.Option("--svg", help="Write just the chart here.", dir_okay=False)] = None,
    keep: Annotated[
        Path | None, typer.Option("--keep", help="Keep ledger, blotter and answers in this new folder.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Send the same orders twice over the same faulty network: by a naive client, and by Onefill. Exit code 5 if a
    promise is broken.
    """
    with told(as_json=as_json):
        settings = DemoSettings(seed=seed, intents=intents, faults=faults, kills=kills)
        with _folder(keep) as folder, _bars(settings, shown=not as_json) as bars:
            try:
                result = run_loop(run_demo(settings, folder, bars.show))
            except DrillFailed as error:
                errors.print(f"the demo could not be carried out: {error}", markup=False)
                raise typer.Exit(ExitCode.UNAVAILABLE) from None
        again = f"onefill demo --seed {seed} --intents {intents} --faults {faults} --kills {kills}"
        _write(html, demo_page(result, command=again, version=__version__))
        if svg is not None:
            _write(svg, standalone_svg(result))
        _report(result, html, keep, as_json=as_json)
        if result.broken_promises:
            raise typer.Exit(ExitCode.BROKEN)


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="onefill-demo-") as name:
            yield Path(name)
        return
    try:
        keep.mkdir(parents=True)
    except FileExistsError:
        raise CallerError(f"--keep {keep}: is there already; name a folder that is not. Nothing was run") from None
    except OSError as error:
        raise CallerError(f"--keep {keep}: cannot be made: {error.strerror or error}. Nothing was run") from error
    yield keep


class _Bars:
    """One progress bar for each side; a bar beyond its end is what the naive client is about."""

    def __init__(self, settings: DemoSettings, *, shown: bool) -> None:
        self._progress = progress(shown=shown)
        names = {"naive": "naive client", "onefill": "Onefill"}
        self._tasks: dict[str, TaskID] = {
            side: self._progress.add_task(name, total=settings.intents, start=False, note="")
            for side, name in names.items()
        }

    def __enter__(self) -> "_Bars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, news: Progress) -> None:
        """Show how far a side is."""
        task = self._tasks[news.side]
        if not self._progress.tasks[task].started:
            self._progress.start_task(task)
        note = f"{news.attempts:,} attempts, {news.orders:,} orders, {news.fills:,} fills"
        self._progress.update(task, completed=news.fills, note=f"{note} · {news.note}" if news.note else note)


def _bars(settings: DemoSettings, *, shown: bool) -> _Bars:
    return _Bars(settings, shown=shown)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CallerError(f"{path}: cannot be written: {error.strerror or error}") from error


def _report(result: DemoResult, html: Path, keep: Path | None, *, as_json: bool) -> None:
    if as_json:
        print_json(result.as_json())
        return
    print_table(
        "The same orders over the same faulty network",
        [("", "left"), ("naive client", "right"), ("Onefill", "right")],
        result.table(),
    )
    colour = "red" if result.broken_promises else "green"
    console.print(f"[bold {colour}]{result.verdict()}[/]")
    console.print(f"The chart: {html}", markup=False)
    if keep is not None:
        console.print(f"Look into the ledger: onefill positions --ledger {keep / 'orders.db'}", markup=False)
