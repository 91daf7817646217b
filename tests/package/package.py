"""The package against what `floodmark training-set` has made of the same events and the same spine.

    package.py ADDRESS DEFINITIONS EVENTS OFFLINE SPINE SERVED CORRECTED

EVENTS are JSON lines in the order in which they came, some of them late, some broken; OFFLINE is the offline store that they went to.
"""

import datetime
import json
import math
import sys
import warnings

import floodmark
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from same import same

address, definitions, events_path, offline, spine_path, served_path, corrected_path = sys.argv[1:]
served, corrected = pl.read_parquet(served_path), pl.read_parquet(corrected_path)
of = {"service": "all", "time": "at", "event_id": "id"}
client = floodmark.Client(address)
spine = pq.read_table(spine_path)
added = [name for name in served.columns if name not in spine.schema.names]


def refused(call, *words):
    try:
        call()
    except floodmark.FloodmarkError as error:
        assert all(word in str(error) for word in words), f"{words}: {error}"
        assert "gRPC client debug context" not in str(error) and len(str(error)) < 4_000, error
    else:
        raise AssertionError(f"not refused: {words}")


def parsed(line):
    try:
        return json.loads(line)
    except ValueError:
        return None


rows = [row for row in map(parsed, open(events_path)) if row]
events = pa.Table.from_pylist(rows).select(["id", "at", "card", "shop", "amount"])
events = events.set_column(1, "at", events["at"].cast(pa.timestamp("us")))

# Late events are late in the process, too, and are not left out in silence.
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    found = floodmark.training_set(definitions, {"payments": events}, spine, **of)
assert any(it.category is floodmark.FloodmarkWarning and "came too late" in str(it.message) for it in said), said
assert said[0].filename == __file__, said[0].filename
same(found, served, "frames in this process, as served")
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    twice = pa.concat_tables([events.slice(0, 100), events.slice(0, 3), events.slice(0, 1).set_column(2, "card", pa.array([None], pa.int64()))])
    floodmark.training_set(definitions, {"payments": twice}, spine.slice(0, 0), **of)
assert all(words in str(said[0].message) for words in ("3 events have the id of one", "1 events break the source's rules", "row 103: ")), said[0].message
warnings.simplefilter("ignore", floodmark.FloodmarkWarning)
same(floodmark.training_set(definitions, {"payments": events}, spine, mode="as_corrected", **of), corrected, "frames, as corrected")
for mode, expected in (("as_served", served), ("as_corrected", corrected)):
    same(floodmark.training_set(definitions, offline, spine, mode=mode, **of), expected, f"the offline store in this process, {mode}")
    same(client.training_set(spine, mode=mode, **of), expected, f"the server, {mode}")
assert not served.equals(corrected), "late events make a difference"

# What is given comes back: the kind, the rows, their order, other columns, the index.
same(client.training_set(pl.read_parquet(spine_path), **of), served, "Polars")
frame = spine.to_pandas().set_index(pd.RangeIndex(7, 7 + spine.num_rows))
for what, found in (
    ("pandas from the server", client.training_set(frame, progress=True, **of)),
    ("pandas in this process", floodmark.training_set(definitions, offline, frame, **of)),
):
    assert isinstance(found, pd.DataFrame) and found.index.equals(frame.index)
    same(pl.from_pandas(found[added].reset_index(drop=True)), served.select(added), what)
    pd.testing.assert_frame_equal(found[list(frame.columns)], frame)
same(client.training_set(spine.slice(0, 0), **of), served.head(0), "no rows from the server")
same(floodmark.training_set(definitions, offline, spine.slice(0, 0), **of), served.head(0), "no rows in this process")
statuses = client.training_set(spine, statuses=True, **of)
same(floodmark.training_set(definitions, offline, spine, statuses=True, **of), pl.from_arrow(statuses), "statuses")
assert set(pl.from_arrow(statuses)["spend.n_1h.status"].cast(pl.String)) >= {"PRESENT", "NOT_FOUND"}

# Errors name what is wrong, from the server and in the process.
for make in (client.training_set, lambda spine, **of: floodmark.training_set(definitions, offline, spine, **of)):
    refused(lambda: make(spine.drop_columns(["at"]), **of), "spine lacks the time column", "column=at")
    refused(lambda: make(spine.drop_columns(["card"]), **of), "spine lacks the key column", "column=card")
    refused(lambda: make(spine.set_column(2, "card", pa.array(["x"] * spine.num_rows)), **of), "key column has a type", "column=card")
    refused(lambda: make(spine, **(of | {"service": "al"})), "no service has this name, did you mean all?")
    refused(lambda: make(spine, version=2**60, **of), "version")
    refused(lambda: make(object(), **of), "rows are expected as pandas, Polars or Arrow data")
refused(lambda: floodmark.training_set("none.yaml", offline, spine, **of), "cannot be read", "file=none.yaml")
refused(lambda: floodmark.training_set(definitions, {"payment": events}, spine, **of), "no source has this name, did you mean payments?")
refused(lambda: floodmark.training_set(definitions, {"payments": "none.parquet"}, spine, **of), "no such file", "path=none.parquet")
refused(lambda: floodmark.training_set(definitions, offline + "-none", spine, **of), offline + "-none")
wrong = events.set_column(4, "amount", pa.array(["x"] * events.num_rows))
refused(lambda: floodmark.training_set(definitions, {"payments": wrong}, spine, **of), "does not widen", "column=amount")
refused(lambda: client.features([{"card": 1}], service="all"), "shop")
nobody = floodmark.Client("127.0.0.1:1")
for call, code in (
    (lambda: client.training_set(spine.drop_columns(["at"]), **of), "INVALID_ARGUMENT"),
    (lambda: client.training_set(spine, **(of | {"service": "al"})), "NOT_FOUND"),
    (lambda: client.features([{"card": 1, "shop": "s1"}], service="al"), "NOT_FOUND"),
    (lambda: nobody.training_set(spine, **of), "UNAVAILABLE"),
    (lambda: nobody.services(), "UNAVAILABLE"),
):
    try:
        call()
    except floodmark.FloodmarkError as error:
        assert error.code == code, f"{error.code}: {error}"
refused(lambda: client.score([{"card": 1}], model="none"), "does not offer this call")
refused(lambda: client.table("lat"), "lat")

# Online reads: the same values.
asked = pl.from_arrow(spine).filter(pl.all_horizontal(pl.col("card", "shop", "at").is_not_null())).select("card", "shop", "at").head(300)
same(client.features(asked, service="all", time="at"), client.training_set(asked, service="all", time="at"), "online reads")
[row] = client.features([{"card": 5, "shop": "s5"}], service="all", as_of=datetime.datetime(2023, 11, 20), statuses=True)
assert row["spend.n_lifetime"] > 0 and row["spend.n_lifetime.status"] == "PRESENT", row
assert client.features(asked, features=["spend.sum_1d", "shop_load.*"], time="at").columns[3:] == ["spend.sum_1d", "shop_load.biggest_12h"]
assert client.services() == ["all"]

# Statistics are those of the training set of the same events, counted in plain steps.
kept = pl.read_delta(f"{offline}/events/payments").select(events.column_names)
starts = ["2023-11-16", "2023-11-18", "2023-11-20"]
told = pl.from_arrow(client.statistics(service="all", between=(starts[1], starts[2]), against=(starts[0], starts[1]), sample=10**7))
days = [datetime.datetime.fromisoformat(start).replace(tzinfo=datetime.timezone.utc) for start in starts]
parts = [kept.filter(pl.col("at").dt.replace_time_zone("UTC").is_between(start, end, closed="left")) for start, end in zip(days, days[1:])]
against, range_ = (floodmark.training_set(definitions, offline, part, **of) for part in parts)
assert told.height == 2 * len(added), told
for name in added:
    line = {row["range"]: row for row in told.filter(pl.col("feature") == name).iter_rows(named=True)}
    bins = []
    for which, frame in (("range", range_), ("against", against)):
        values = np.sort(frame[name].drop_nulls().cast(pl.Float64).to_numpy())
        rank = lambda share: values[max(math.ceil(share * len(values)), 1) - 1]
        found, nulls = line[which], frame[name].null_count()
        assert (found["rows"], found["nulls"], found["distinct"]) == (frame.height, nulls, len(np.unique(values))), (name, found)
        assert math.isclose(found["mean"], values.mean(), rel_tol=1e-9), (name, found)
        assert [found["min"], found["p25"], found["p50"], found["p99"], found["max"]] == [rank(q) for q in (0, 0.25, 0.5, 0.99, 1)], (name, found)
        bins.append((values, nulls, rank))
    (ours, our_nulls, _), (theirs, their_nulls, rank) = bins
    edges = np.unique([rank(tenth / 10) for tenth in range(1, 10)])
    shares = []
    for values, nulls in ((ours, our_nulls), (theirs, their_nulls)):
        counts = np.append(np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1), nulls)
        shares.append(np.maximum(counts / counts.sum(), 1e-4))
    psi = float(((shares[0] - shares[1]) * np.log(shares[0] / shares[1])).sum())
    assert math.isclose(line["range"]["psi"], psi, rel_tol=1e-9, abs_tol=1e-12) and line["against"]["psi"] is None, (name, psi, line)
sampled = client.statistics(service="all", between=(starts[0], starts[2]), sample=1_000)
assert sampled["rows"].to_pylist() == [1_000] * len(added) and sampled.equals(client.statistics(service="all", between=(starts[0], starts[2]), sample=1_000))
refused(lambda: client.statistics(service="al", between=(starts[0], starts[1])), "no service has this name, did you mean all?")
refused(lambda: client.statistics(service="all", between=("then", starts[1])), "a time is expected", "found=then")
assert client.statistics(service="all", between=("1999-01-01", "1999-01-02"))["rows"].to_pylist() == [0] * len(added)

# Events as a spine: all of some days, and some of them.
rows = client.events(source="payments", between=(starts[1], starts[2]))
assert pl.from_arrow(rows).sort("id").equals(parts[1].sort("id"))
some = client.events(source="payments", between=(starts[1], starts[2]), sample=500)
assert (some.num_rows, some.schema) == (500, rows.schema) and some.equals(client.events(source="payments", between=(starts[1], starts[2]), sample=500))
same(client.training_set(some, **of), floodmark.training_set(definitions, offline, pl.from_arrow(some), **of), "sampled events")
# The history of one card's values: its events, each with the features that it was scored with.
mine = client.values(service="all", between=(starts[1], starts[2]), where={"card": 7}, statuses=True)
assert mine.num_rows == sum(card == 7 for card in rows["card"].to_pylist()) > 0 and set(mine["card"].to_pylist()) == {7}
spine = rows.filter(pa.compute.equal(rows["card"], 7))
assert mine.equals(client.training_set(spine, service="all", time="at", event_id="id", statuses=True), check_metadata=False)
refused(lambda: client.values(service="all", between=(starts[1], starts[2]), where={"card": "seven"}), "a value of type int64 is expected")
refused(lambda: client.events(source="payment", between=(starts[0], starts[1])), "no source has this name, did you mean payments?")

# Events in bulk: what became of each, and what the next read sees.
new = pd.DataFrame({"id": [-1, -2, -3], "at": pd.to_datetime(["2023-11-30"] * 3), "card": [901, 901, None], "shop": "s1", "amount": 0.5})
new["card"] = new["card"].astype("Int64")
ack = client.push(new, source="payments", partition="notebook")
assert (ack["accepted"], ack["rejected"], [it["row"] for it in ack["rejections"]]) == (2, 1, [2]), ack
assert client.push(new, source="payments", partition="notebook")["duplicates"] == 2
# Rejections are told by row however the rows are chunked.
chunks = pa.concat_tables([pa.Table.from_pandas(new.assign(id=new["id"] - 10 * n), preserve_index=False) for n in range(1, 4)])
assert [it["row"] for it in client.push(chunks, source="payments", partition="notebook")["rejections"]] == [2, 5, 8]
[row] = client.features([{"card": 901, "shop": "s1"}], service="all", as_of=datetime.datetime(2023, 11, 30, 1))
assert row["spend.n_lifetime"] == 8, row
assert client.table("late").num_rows > 1_000
print("all of it is the same")
