"""Pushes payments in bulk over Arrow Flight, and looks them up again.

    put.py ADDRESS
"""

import collections
import json
import sys

import pyarrow as pa
import pyarrow.flight as flight

client = flight.connect(f"grpc://{sys.argv[1]}")
START, ROWS = 1_700_000_000_000_000, 100_000


def put(table, chunk=30_000, **push):
    descriptor = flight.FlightDescriptor.for_command(json.dumps({"push": {"source": "payments"} | push}))
    writer, reader = client.do_put(descriptor, table.schema)
    with writer:
        writer.write_table(table, max_chunksize=chunk)
        writer.done_writing()
        said = []
        while (ack := reader.read()) is not None:
            said.append(json.loads(ack.to_pybytes()))
    return said


def total(acks, what):
    return sum(ack[what] for ack in acks)


def refused(table, *words, **push):
    try:
        put(table, **push)
    except Exception as error:
        assert all(word in str(error) for word in words), f"{words}: {error}"
    else:
        raise AssertionError(f"not refused: {words}")


cards = [n % 50 for n in range(ROWS)]
cards[7] = cards[40_000] = None
amounts = [n / 7 for n in range(ROWS)]
amounts[11] = float("inf")
payments = pa.table(
    {
        "id": pa.array(range(ROWS), pa.int32()),
        "at": pa.array([START + n * 1_000 for n in range(ROWS)], pa.timestamp("us", tz="UTC")),
        "card": pa.array(cards, pa.int32()),
        "shop": pa.array([f"s{n % 40}" for n in range(ROWS)]).dictionary_encode(),
        "amount": amounts,
    }
)
acks = put(payments, partition="nightly")
assert [ack["batch"] for ack in acks] == [0, 1, 2, 3], acks
assert (total(acks, "accepted"), total(acks, "rejected")) == (ROWS - 3, 3), acks
places = [(ack["batch"], it["index"], it["code"]) for ack in acks for it in ack["rejections"]]
assert [(batch, index) for batch, index, _ in places] == [(0, 7), (0, 11), (1, 10_000)], places
again = put(payments, partition="nightly", chunk=ROWS)
assert len(again) == 2 and total(again, "duplicates") == ROWS - 3, again  # a piece is a commit

refused(payments.drop_columns(["amount"]), "a column of the source is missing", "column=amount")
refused(payments.set_column(2, "card", pa.array(["x"] * ROWS)), "does not widen", "column=card")
refused(payments, "no source has this name", source="payment")
refused(payments, "unknown field `form`", form="raw")

# Each can be read at once.
counts = collections.Counter(card for n, card in enumerate(cards) if card is not None and n != 11)
spine = pa.table({"card": list(counts), "shop": ["s1"] * 50, "at": pa.array([START + 10**9] * 50, pa.timestamp("us"))})
ask = {"training_set": {"service": "all", "time": "at"}}
writer, reader = client.do_exchange(flight.FlightDescriptor.for_command(json.dumps(ask)))
with writer:
    writer.begin(spine.schema)
    writer.write_table(spine)
    writer.done_writing()
    found = reader.read_all()
assert found["spend.n_lifetime"].to_pylist() == [counts[card] for card in found["card"].to_pylist()]
print(f"all of {ROWS} payments are counted")
