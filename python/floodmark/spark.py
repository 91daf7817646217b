"""Training sets beyond one machine: the same kernel inside Apache Spark."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from floodmark import _kernel
from floodmark.errors import FloodmarkError
from floodmark.frames import Mode
from floodmark.kernel import DECIDED

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
    rows, added = _Rows(spine.toDF(*_places(spine.columns)), list(spine.columns)), []
    for source, source_keys, keys, features in parsed.parts(service):
        if source not in events:
            raise FloodmarkError(f"the events of a source are missing. source={source} given={','.join(events)}")
        taken = _events(events[source], source, columns_of[source], source_keys, buckets)
        rows = _part(work, rows, taken, source, keys, features, buckets)
        added += features
    found = len(rows.names)
    rows = _derived(work, rows)
    names = [*spine.columns, *added, *rows.names[found:]]
    names += [f"{name}.status" for name in added] if statuses else []
    return rows.frame.select(*(rows.column(name).alias(name) for name in names))


class _Rows:
    """A frame whose columns are called by their places, as Spark takes a dot in a name for a field of a struct; and their names."""

    def __init__(self, frame: "DataFrame", names: list[str]) -> None:
        self.frame, self.names = frame, names

    def column(self, name: str) -> "Column":
        """The column of that name."""
        return self.frame[_places(self.names)[self.names.index(name)]]

    def nothing(self) -> pa.Table:
        """No rows, with the names."""
        from pyspark.sql.pandas.types import to_arrow_schema

        return to_arrow_schema(self.frame.schema).empty_table().rename_columns(self.names)

    @staticmethod
    def schema(table: pa.Table) -> Any:
        """What Spark calls the columns of a table."""
        from pyspark.sql.pandas.types import from_arrow_schema

        return from_arrow_schema(table.rename_columns(_places(table.schema.names)).schema)


def _places(names: list[str]) -> list[str]:
    return [f"c{at}" for at in range(len(names))]


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

    def derive(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """The rows with what is derived from their features."""
        return self.definitions().derive(self.service, rows)


_parsed: dict[tuple[str, str], _kernel.Definitions] = {}


def _events(frame: "DataFrame", source: str, columns: list[str], keys: list[str], buckets: int) -> _Rows:
    """The columns of a source's events that are needed, and which bucket each is in."""
    _need(f"events of {source}", frame.columns, columns)
    names = [*columns, *(name for name in _KEPT if name in frame.columns)]
    rows = _Rows(frame.select(*(f"`{name}`" for name in names)).toDF(*_places(names)), names)
    return _dealt(rows, keys, buckets)


def _dealt(rows: _Rows, keys: list[str], buckets: int) -> _Rows:
    """With the bucket of each row, by its keys as text: one may be int32 in a frame and int64 in the other."""
    from pyspark.sql import functions as F

    bucket = F.pmod(F.xxhash64(*(rows.column(name).cast("string") for name in keys)), F.lit(buckets))
    return _Rows(rows.frame.select("*", bucket.alias(_BUCKET)), rows.names)


def _need(what: str, found: list[str], wanted: list[str]) -> None:
    missing = [name for name in wanted if name not in found]
    if missing:
        raise FloodmarkError(f"{what}: a column is missing. columns={','.join(missing)} found=[{', '.join(found)}]")


def _part(work: _Work, rows: _Rows, events: _Rows, source: str, keys: list[str], features: list[str], buckets: int) -> _Rows:
    """The rows with the features of one entity from one source."""
    _need("spine", rows.names, keys)
    # What comes out is known from no rows, and wrong columns are told now and not in a worker.
    result = _plain(work.run(None, rows.nothing(), source, features))
    names, event_names = rows.names, events.names

    def of_bucket(rows: pa.Table, events: pa.Table) -> pa.Table:
        # The bucket is the last column.
        rows = rows.select(range(len(names))).rename_columns(names)
        events = events.select(range(len(event_names))).rename_columns(event_names)
        made = _plain(work.run(events, rows, source, features))
        return made.rename_columns(_places(made.schema.names))

    dealt = _dealt(rows, keys, buckets).frame.groupBy(_BUCKET)
    frame = dealt.cogroup(events.frame.groupBy(_BUCKET)).applyInArrow(of_bucket, _Rows.schema(result))
    return _Rows(frame, result.schema.names)


def _derived(work: _Work, rows: _Rows) -> _Rows:
    """The rows with what is derived from features, where the service has such."""
    names, nothing = rows.names, rows.nothing()
    result = _plain(pa.Table.from_batches([work.derive(pa.RecordBatch.from_pylist([], nothing.schema))]))
    if len(result.schema) == len(names):
        return rows

    def of_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            made = _plain(pa.Table.from_batches([work.derive(batch.rename_columns(names))]))
            yield from made.rename_columns(_places(made.schema.names)).to_batches()

    return _Rows(rows.frame.mapInArrow(of_batches, _Rows.schema(result)), result.schema.names)


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
