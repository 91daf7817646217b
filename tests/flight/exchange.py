"""Pulls training sets over Arrow Flight, and compares them with the file that `floodmark training-set` has made of the same spine.

    exchange.py ADDRESS SERVICE TIME EVENT_ID SPINE EXPECTED LATE REJECTS WINDOWS

The last three say how many side outputs of each kind there are.
"""

import json
import random
import sys

import polars as pl
import pyarrow as pa
import pyarrow.flight as flight
import pyarrow.parquet as pq

address, service, time, event_id, spine_path, expected_path, *side = sys.argv[1:]
client = flight.connect(f"grpc://{address}")


def exchange(spine, **more):
    ask = {"training_set": {"service": service, "time": time, "event_id": event_id} | more}
    writer, reader = client.do_exchange(flight.FlightDescriptor.for_command(json.dumps(ask)))
    with writer:
        writer.begin(spine.schema)
        writer.write_table(spine, max_chunksize=10_000)
        writer.done_writing()
        return pl.from_arrow(reader.read_all())


def refused(spine, *words, **more):
    try:
        exchange(spine, **more)
    except pa.ArrowException as error:
        assert all(word in str(error) for word in words), f"{words}: {error}"
    except Exception as error:  # flight errors have several parents
        assert all(word in str(error) for word in words), f"{words}: {error}"
    else:
        raise AssertionError(f"not refused: {words}")


def same(found, expected, what):
    assert found.columns == expected.columns, f"{what}: {found.columns}"
    assert found.height == expected.height, f"{what}: {found.height} rows"
    differing = [name for name in found.columns if not found[name].equals(expected[name].cast(found[name].dtype), null_equal=True)]
    assert not differing, f"{what}: {differing}"


spine, expected = pq.read_table(spine_path), pl.read_parquet(expected_path)
same(exchange(spine), expected, "as it is")
same(exchange(spine.slice(0, 0)), expected.head(0), "no rows")
rows = random.Random(7).choices(range(spine.num_rows), k=min(spine.num_rows, 50_000))
same(exchange(spine.take(rows)), expected[rows], "out of order and repeated")
refused(spine.drop_columns([time]), "spine lacks the time column", time)
refused(spine.drop_columns([spine.schema.names[2]]), "spine lacks the key column", spine.schema.names[2])
refused(spine.set_column(2, spine.schema.names[2], pa.array(["x"] * spine.num_rows)), "key column has a type", spine.schema.names[2])
refused(spine, "unknown field `mood`", mood="as_served")
refused(spine, "no service has this name, did you mean", service=service + "x")
refused(spine, "no commit has this version yet", version=2**60)
flights = {b"/".join(info.descriptor.path).decode(): info.schema.names for info in client.list_flights()}
added = flights["training_set/" + service]
assert added == [name for name in expected.columns if name not in spine.schema.names], flights
for table, rows in zip(["late", "rejects", "windows"], side):
    info = client.get_flight_info(flight.FlightDescriptor.for_path("table", table))
    found = client.do_get(info.endpoints[0].ticket).read_all()
    assert (found.num_rows, found.schema.names) == (int(rows), flights["table/" + table]), f"{table}: {found.num_rows} of {rows}"
print(f"all of {spine.num_rows} rows and {len(added)} features are the same")
