"""Frames of pandas, Polars and Arrow as Arrow tables, and back as what they were."""

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from floodmark.errors import FloodmarkError

#: pandas, Polars or Arrow data, a path of Parquet files, a list of rows as dictionaries, or columns by name.
Frame: TypeAlias = Any
#: Which events a value counts: those that counted when it was served, or late ones too.
Mode: TypeAlias = Literal["as_served", "as_corrected"]
#: Makes what was given of an Arrow table.
Back: TypeAlias = Callable[[pa.Table], Any]


def to_arrow(frame: Frame) -> tuple[pa.Table, Back]:
    """The rows as an Arrow table, and how to give a table of as many rows back as what was given."""
    kind = _kind(frame)
    if kind == "pandas":
        table = pa.Table.from_pandas(frame, preserve_index=False)
        return table.replace_schema_metadata(None), lambda table: _pandas(table, frame.index)
    if kind == "polars":
        import polars as pl

        return frame.collect().to_arrow() if isinstance(frame, pl.LazyFrame) else frame.to_arrow(), pl.from_arrow
    if isinstance(frame, (str, os.PathLike)):
        return pq.read_table(frame), _same
    if isinstance(frame, pa.Table):
        return frame, _same
    if isinstance(frame, pa.RecordBatch):
        return pa.Table.from_batches([frame]), _same
    if isinstance(frame, Mapping):
        return pa.table(dict(frame)), lambda table: table.to_pydict()
    if hasattr(frame, "__arrow_c_stream__"):
        return pa.table(frame), _same
    if isinstance(frame, Sequence):
        return pa.Table.from_pylist(list(frame)), lambda table: table.to_pylist()
    raise FloodmarkError(f"rows are expected as pandas, Polars or Arrow data, a Parquet path, or dictionaries. found={type(frame)}")


def with_whole_keys(frame: Frame, table: pa.Table, names: Callable[[], Iterable[str | None]]) -> pa.Table:
    """The same with keys and ids as integers that pandas has as floats only because some of them are missing."""
    for name in names() if _kind(frame) == "pandas" else ():
        if name in table.schema.names and pa.types.is_floating(table.schema.field(name).type):
            with contextlib.suppress(pa.ArrowInvalid):  # it has fractions: what is wrong is said where the keys are known
                column = pc.cast(table.column(name), pa.int64())
                table = table.set_column(table.schema.get_field_index(name), name, column)
    return table


def with_columns(rows: pa.Table, added: pa.Table) -> pa.Table:
    """The rows with what was computed for each beside it."""
    metadata = {**(rows.schema.metadata or {}), **(added.schema.metadata or {})}
    metadata.pop(b"pandas", None)  # it describes the columns that there were
    schema = pa.schema([*rows.schema, *added.schema], metadata)
    return pa.table([*rows.columns, *added.columns], schema=schema)


def to_reader(frame: Frame) -> pa.RecordBatchReader:
    """The rows as a stream of batches: from files, no more than a few are in memory."""
    if isinstance(frame, pa.RecordBatchReader):
        return frame
    if isinstance(frame, (str, os.PathLike)):
        import pyarrow.dataset as ds

        if not Path(frame).exists():
            raise FloodmarkError(f"there is no such file: check the path. path={frame}")
        scanner = ds.dataset(frame, format="parquet").scanner(batch_size=1 << 16)
        return scanner.to_reader()
    return to_arrow(frame)[0].to_reader(max_chunksize=1 << 16)


def _kind(frame: Frame) -> str:
    return type(frame).__module__.split(".", 1)[0]


def _same(table: pa.Table) -> pa.Table:
    return table


def _pandas(table: pa.Table, index: Any) -> Any:
    frame = table.to_pandas()
    frame.index = index
    return frame
