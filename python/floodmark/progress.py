"""A progress bar for what takes long: in a terminal or a notebook, not in a log."""

import contextlib
import sys
from collections.abc import Callable, Iterator

#: Fewer rows are done before a bar could be read.
WORTH_A_BAR = 200_000


@contextlib.contextmanager
def bar(what: str, rows: int, wanted: bool | None) -> Iterator[Callable[[int], object]]:
    """A function that is told how many rows more are done. With ``None`` there is a bar where somebody is likely to look at it."""
    shown = (rows >= WORTH_A_BAR and (sys.stderr.isatty() or "ipykernel" in sys.modules)) if wanted is None else wanted
    if not shown:
        yield lambda more: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=rows, desc=what, unit="row", unit_scale=True) as progress:
        yield progress.update
