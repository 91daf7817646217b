"""Training sets beyond one machine: the same kernel inside Apache Spark."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from floodmark import _kernel
from floodmark.errors import FloodmarkError
from floodmark.kernel import DECIDED, Mode

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

#: Columns of the offline store's events that are used where they are there.
_KEPT = (*DECIDED, "_event_id")
_BUCKET = "_floodmark_bucket"


def training_set(
    spark: "SparkSession",
    definitions: str | os.PathLike[str],
    events: Mapping[str, "DataFrame"],
    spine: "DataFrame",
    *,
    service: str,
    time: str,
    event_id: str | None = None,
    mode: Mode = "as_served",
    version: int | None = None,
    statuses: bool = False,
    buckets: int | None = None,
) -> "DataFrame":
    """The rows of ``spine`` with the features of ``service`` beside each, as of the time of each.

    For each entity of the service, events and rows are dealt out by a hash of its key; a bucket at a time is worked on by the kernel in a
    Python worker. Nothing is computed before Spark is asked for rows; as with any Spark frame, they come in no order.

    :param definitions: the path of a definition file, on the driver.
    :param events: by source, its events. A Spark frame has no order, so each counts as if it had come on time, unless they have the columns
        of the offline store (``_visible_from``, ...): then as they came.
    :param spine: the rows to build for, with a column for each key and one for the time.
    :param buckets: how many buckets; a worker has one in memory at a time. ``spark.sql.shuffle.partitions`` if not said.
    :raises FloodmarkError: it names what is wrong and the way out.

    The other parameters are those of :func:`floodmark.training_set`. The package has to be installed where Spark's workers run.
    """
    work = _Work(
        name=os.fspath(definitions),
        text=Path(definitions).read_text(encoding="utf-8"),
        service=service,
        asked={"service": service, "time": time, "event_id": event_id, "mode": mode, "version": version, "statuses": statuses},
    )
    parsed = work.definitions()
    columns_of = {name: columns for name, _, _, columns in parsed.sources}
    buckets = buckets or int(spark.conf.get("spark.sql.shuffle.partitions", "200"))
    rows, added = spine, []
    for source, source_keys, keys, features in parsed.parts(service):
        if source not in events:
            raise FloodmarkError(f"the events of a source are missing. source={source} given={','.join(events)}")
        rows = _part(work, rows, events[source], source, columns_of[source], source_keys, keys, features, buckets)
        added += features
    derived = _derived(work, rows)
    names = [*spine.columns, *added, *(name for name in derived.columns if name not in rows.columns)]
    names += [f"{name}.status" for name in added] if statuses else []
    return derived.select(*(f"`{name}`" for name in names))


class _Work:
    """What is to be done, as workers are sent it."""

    def __init__(self, name: str, text: str, service: str, asked: dict[str, Any]) -> None:
        self.name, self.text, self.service, self.asked = name, text, service, asked

    def definitions(self) -> _kernel.Definitions:
        """Parsed once by each worker."""
        key = (self.name, self.text)
        if key not in _parsed:
            _parsed[key] = _kernel.Definitions(*key)
        return _parsed[key]

    def run(self, events: pa.Table | None, rows: pa.Table, source: str, features: list[str]) -> pa.Table:
        """The rows of a bucket with features of its events."""
        parsed = self.definitions()
        store = _kernel.Events(parsed)
        if events is not None and all(name in events.schema.names for name in DECIDED):
            store.recall([(source, events.to_reader())])
        elif events is not None:
            store.take(source, events.to_reader(), True)
        return store.training_set(parsed, rows, threads=1, features=features, **self.asked).read_all()


_parsed: dict[tuple[str, str], _kernel.Definitions] = {}


def _part(
    work: _Work,
    rows: "DataFrame",
    events: "DataFrame",
    source: str,
    columns: list[str],
    source_keys: list[str],
    keys: list[str],
    features: list[str],
    buckets: int,
) -> "DataFrame":
    """The rows with the features of one entity from one source."""
    from pyspark.sql.pandas.types import to_arrow_schema

    for what, frame, wanted in (("spine", rows, keys), ("events of " + source, events, columns)):
        missing = [name for name in wanted if name not in frame.columns]
        if missing:
            raise FloodmarkError(f"{what}: a column is missing. columns={','.join(missing)} found=[{', '.join(frame.columns)}]")
    kept = [*columns, *(name for name in _KEPT if name in events.columns)]
    events = events.select(*(f"`{name}`" for name in kept), _bucket(source_keys, buckets))
    # What comes out is known from no rows; wrong columns are told now, and not in a worker.
    nothing = to_arrow_schema(rows.schema).empty_table()
    result = _plain(work.run(None, nothing, source, features)).schema

    def of_bucket(rows: pa.Table, events: pa.Table) -> pa.Table:
        return _plain(work.run(events.drop_columns([_BUCKET]), rows.drop_columns([_BUCKET]), source, features))

    dealt = rows.select("*", _bucket(keys, buckets))
    return dealt.groupBy(_BUCKET).cogroup(events.groupBy(_BUCKET)).applyInArrow(of_bucket, _spark(result))


def _bucket(keys: list[str], buckets: int) -> "Column":
    """Of keys as text: one may be int32 in a frame and int64 in the other."""
    from pyspark.sql import functions as F

    return F.pmod(F.xxhash64(*(F.col(f"`{name}`").cast("string") for name in keys)), F.lit(buckets)).alias(_BUCKET)


def _derived(work: _Work, rows: "DataFrame") -> "DataFrame":
    """The rows with what is derived from features, where the service has such."""
    from pyspark.sql.pandas.types import to_arrow_schema

    nothing = to_arrow_schema(rows.schema).empty_table()

    def derive(table: pa.Table) -> pa.Table:
        batches = [work.definitions().derive(work.service, batch) for batch in table.combine_chunks().to_batches()]
        return _plain(pa.Table.from_batches(batches)) if batches else table

    result = work.definitions().derive(work.service, pa.RecordBatch.from_pylist([], nothing.schema)).schema
    if len(result) == len(nothing.schema):
        return rows

    def of_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield from derive(pa.Table.from_batches([batch])).to_batches()

    return rows.mapInArrow(of_batches, _spark(_plain(result.empty_table()).schema))


def _plain(table: pa.Table) -> pa.Table:
    """In types that Spark has: words for their places in a dictionary, text with small offsets."""
    return table.cast(pa.schema([pa.field(field.name, _plain_type(field.type)) for field in table.schema]))


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_plain_type(kind.value_type))
    return kind


def _spark(schema: pa.Schema) -> Any:
    from pyspark.sql.pandas.types import from_arrow_schema

    return from_arrow_schema(schema)
