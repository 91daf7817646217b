"""The kernel in this process: training sets from events at hand, with no server."""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pyarrow as pa

from floodmark import _kernel
from floodmark.errors import FloodmarkError, FloodmarkWarning, told
from floodmark.frames import Frame, Mode, to_arrow, to_reader, with_whole_keys
from floodmark.progress import bar

#: Columns of the offline store's events: they carry what was decided when the event came.
DECIDED = ("_visible_from", "_version", "_sequence")

Order: TypeAlias = Literal["arrival", "event_time"]


def training_set(
    definitions: str | os.PathLike[str] | _kernel.Definitions,
    events: Mapping[str, Frame] | str | os.PathLike[str],
    spine: Frame,
    *,
    service: str,
    time: str,
    event_id: str | None = None,
    mode: Mode = "as_served",
    version: int | None = None,
    statuses: bool = False,
    order: Order = "arrival",
    threads: int | None = None,
    progress: bool | None = None,
) -> Any:
    """The rows of ``spine``, in their order, with the features of ``service`` beside each, as of the time of each.

    :param definitions: the path of a definition file.
    :param events: by source, its events as a frame or a Parquet path; or where an offline store is (a folder, ``s3://BUCKET/PREFIX``).
        Events that have the offline store's columns (``_visible_from``, ...) keep what was decided when they came.
    :param spine: the rows to build for, with a column for each key and one for the time.
    :param time: the spine's column with the time that a row's features are as of.
    :param event_id: its column with the id of the event that a row stands for: that event counts in its own windows, ties go by it.
    :param mode: ``as_served``: as it was, or would have been, served. ``as_corrected``: with late events.
    :param version: only commits up to this version are seen; only of an offline store's events.
    :param statuses: adds a column ``NAME.status`` for each feature: PRESENT, NULL, NOT_FOUND or EXPIRED.
    :param order: events arrive in the order in which they are (``arrival``: those that are too late by the definition's rules are left out,
        with a warning), or as if each had come on time (``event_time``).
    :param threads: all cores if not said.
    :param progress: whether to show a bar; ``None`` shows one where it is likely to be looked at.
    :returns: what ``spine`` is: pandas, Polars or Arrow.
    :raises FloodmarkError: it names what is wrong and the way out.
    """
    parsed = parse(definitions)
    rows, back = to_arrow(spine)
    with told():
        rows = with_whole_keys(spine, rows, lambda: [event_id, *(key for _, _, keys, _ in parsed.parts(service) for key in keys)])
        store = _kernel.Events(parsed)
        take(parsed, store, events, order)
        reader = store.training_set(
            parsed,
            rows,
            service=service,
            features=None,
            time=time,
            event_id=event_id,
            mode=mode,
            version=version,
            statuses=statuses,
            threads=threads,
        )
        return back(read(reader, rows.num_rows, progress))


def parse(definitions: str | os.PathLike[str] | _kernel.Definitions) -> _kernel.Definitions:
    """The definition file at a path."""
    if isinstance(definitions, _kernel.Definitions):
        return definitions
    try:
        text = Path(definitions).read_text(encoding="utf-8")
    except OSError as error:
        raise FloodmarkError(f"the definition file cannot be read: {error.strerror}. file={definitions}") from None
    return _kernel.Definitions(os.fspath(definitions), text)


def take(parsed: _kernel.Definitions, store: _kernel.Events, events: Mapping[str, Frame] | str | os.PathLike[str], order: Order) -> None:
    """Takes all events in."""
    if isinstance(events, (str, os.PathLike)):
        store.recall_place(os.fspath(events) if "://" in os.fspath(events) else str(Path(events).absolute()))
        return
    readers = {source: to_reader(frame) for source, frame in events.items()}
    decided = {source for source, reader in readers.items() if all(name in reader.schema.names for name in DECIDED)}
    if decided and decided != set(readers):
        raise FloodmarkError(
            "either all sources' events are the offline store's, or none are: their versions are one order."
            f" of the offline store={','.join(sorted(decided))} others={','.join(sorted(set(readers) - decided))}"
        )
    if decided:
        store.recall(list(readers.items()))
        return
    if order not in ("arrival", "event_time"):
        raise FloodmarkError(f"no order has this name. order={order} known=arrival,event_time")
    for source, reader in readers.items():
        _complain(source, store.take(source, reader, order == "event_time"))


def _complain(source: str, counts: Mapping[str, Any]) -> None:
    """Nothing is dropped in silence."""
    said = []
    if counts["late"] or counts["partially_late"]:
        said.append(
            f"{counts['late']} events came too late for every window and {counts['partially_late']} for some, in the order in which they are:"
            " order=\"event_time\" takes them as if each had come on time"
        )
    if counts["rejected"]:
        said.append(f"{counts['rejected']} events break the source's rules and are left out; the first is {counts['first_rejection']}")
    if counts["duplicates"]:
        said.append(f"{counts['duplicates']} events have the id of one that came before, and are left out")
    if said:
        warnings.warn(f"source={source} events={counts['read']}: {'; '.join(said)}", FloodmarkWarning, stacklevel=4)


def read(reader: pa.RecordBatchReader, rows: int, progress: bool | None) -> pa.Table:
    """Reads all batches, under a bar."""
    batches = []
    with bar("training set", rows, progress) as done:
        for batch in reader:
            batches.append(batch)
            done(batch.num_rows)
    return pa.Table.from_batches(batches, reader.schema)
