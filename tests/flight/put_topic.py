"""Pushes payments in bulk, of other types than the source's, where they go to a topic; waits until they are counted.

    put_topic.py ADDRESS
"""

import json
import sys
import time

import pyarrow as pa
import pyarrow.flight as flight

client = flight.connect(f"grpc://{sys.argv[1]}")
START, ROWS = 1_700_000_000_000_000, 1_000
cards = [n % 50 for n in range(ROWS)]
cards[7] = None
payments = pa.table(
    {
        "id": pa.array(range(ROWS), pa.int32()),
        "at": pa.array([START + n * 1_000 for n in range(ROWS)], pa.timestamp("us", tz="UTC")),
        "card": pa.array(cards, pa.int16()),
        "shop": pa.array([f"s{n % 40}" for n in range(ROWS)]).dictionary_encode(),
        "amount": pa.array([0.5] * ROWS, pa.float32()),
    }
)
descriptor = flight.FlightDescriptor.for_command(json.dumps({"push": {"source": "payments"}}))
writer, reader = client.do_put(descriptor, payments.schema)
with writer:
    writer.write_table(payments)
    writer.done_writing()
    ack = json.loads(reader.read().to_pybytes())
assert ack["appended"] == ROWS, ack

spine = pa.table({"card": list(range(50)), "shop": ["s1"] * 50, "at": pa.array([START + 10**9] * 50, pa.timestamp("us"))})
until = time.time() + 60
while True:
    writer, reader = client.do_exchange(
        flight.FlightDescriptor.for_command(json.dumps({"training_set": {"service": "all", "time": "at"}}))
    )
    with writer:
        writer.begin(spine.schema)
        writer.write_table(spine)
        writer.done_writing()
        counted = sum(reader.read_all()["spend.n_lifetime"].to_pylist())
    rejects = client.do_get(client.get_flight_info(flight.FlightDescriptor.for_path("table", "rejects")).endpoints[0].ticket).read_all()
    if (counted, rejects.num_rows) == (ROWS - 1, 1):
        break
    assert time.time() < until, f"{counted} of {ROWS - 1}"
    time.sleep(0.2)
print(f"all of {ROWS - 1} payments are counted")
