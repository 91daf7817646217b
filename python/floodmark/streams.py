"""Arrow Flight's streams: what is sent while the answers to it come."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

#: Rows of a message: small enough for a bar to move, large enough to cost nothing.
CHUNK_ROWS = 1 << 16
#: What can become of a pushed event.
COUNTS = ("accepted", "partially_late", "late", "rejected", "duplicates", "appended")


def exchange(rows: pa.Table, writer: Any, reader: Any, done: Callable[[int], object]) -> pa.Table:
    """Writes and reads at once: the server answers while it reads."""
    failures: list[Exception] = []

    def send() -> None:
        try:
            writer.begin(rows.schema)
            writer.write_table(rows, max_chunksize=CHUNK_ROWS)
            writer.done_writing()
        except Exception as error:  # where the server has said why, the reader says it first
            failures.append(error)

    batches = []
    with beside(send, reader.cancel):
        for chunk in reader:
            batches.append(chunk.data)
            done(chunk.data.num_rows)
    if failures:
        raise failures[0]
    return pa.Table.from_batches(batches, reader.schema)


@contextlib.contextmanager
def beside(send: Callable[[], None], cancel: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Sends while what is inside receives, and is over when both are: a stream may not be closed while it is written to. Where receiving
    ends early, by an error or Ctrl-C, so does sending."""
    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    try:
        yield
    except BaseException:
        cancel()
        raise
    finally:
        sender.join()


def send(batches: list[pa.RecordBatch], writer: Any) -> None:
    """Writes all of them, and the end."""
    try:
        for batch in batches:
            writer.write_batch(batch)
        writer.done_writing()
    except pa.ArrowException:
        pass  # whoever reads the acknowledgements is told why


def add(total: dict[str, Any], ack: dict[str, Any], firsts: list[int]) -> None:
    """Adds an acknowledgement, whose rows are numbered within their batch."""
    for name in COUNTS:
        total[name] += ack.get(name, 0)
    total["version"] = max(total["version"], ack.get("version", 0))
    first = firsts[ack["batch"]]
    total["rejections"] += [{"row": first + it["index"], "code": it["code"], "message": it["message"]} for it in ack.get("rejections", ())]
