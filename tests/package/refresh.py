"""The log of predictions and models over the client, and examples/fraud/refresh.py against a running server: a better version is promoted,
a worse one is not, and the server answers throughout.

    refresh.py ADDRESS MODELS REFRESH TRANSACTIONS

MODELS is the empty repository of a server with an offline store that logs all that it scores; TRANSACTIONS are those of a made-up town.
"""

import datetime
import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import floodmark
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

address, models, refresh_py, transactions_path = sys.argv[1:]
models, train_py = Path(models), Path(refresh_py).with_name("train.py")
client = floodmark.Client(address)
transactions = pq.read_table(transactions_path)
transactions = transactions.filter(transactions["customer_id"].is_valid()).sort_by("tx_datetime")
at = transactions["tx_datetime"].cast(pa.timestamp("us", "UTC"))
UTC = datetime.timezone.utc
# The town lives for sixty days: the last eighteen are scored live, and learnt from are twenty before.
LIVE, NOW = datetime.datetime(2018, 5, 12, tzinfo=UTC), datetime.datetime(2018, 5, 30, tzinfo=UTC)
of = {"source": "transactions", "partition": "town"}


def refused(call, *words):
    try:
        call()
    except floodmark.FloodmarkError as error:
        assert all(word in str(error) for word in words), f"{words}: {error}"
    else:
        raise AssertionError(f"not refused: {words}")


def run(*command, fails=False):
    # It enters the environment that it pins.
    made = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True)
    assert (made.returncode != 0) == fails, f"{made.stdout}\n{made.stderr}"
    return made.stderr if fails else json.loads(made.stdout.splitlines()[-1])


def refresh(step, *more, fails=False):
    common = ["--address", address, "--models", models, "--enough", 500, "--days", 20]
    return run(refresh_py, *step, *common, *more, fails=fails)


def train_on_chance(version, now):
    """A version that has learnt labels that were dealt out anew, one in ten of them fraud."""
    last = (now - datetime.timedelta(days=8)).date()
    first = last - datetime.timedelta(days=19)
    spine = client.events(source="transactions", between=(first, last + datetime.timedelta(days=1)))
    training = client.training_set(spine, service="fraud", time="tx_datetime", event_id="transaction_id", progress=False)
    place, metadata = training.schema.get_field_index("fraud"), training.schema.metadata
    dealt = [id * 2_654_435_761 % 1_000 < 100 for id in training["transaction_id"].to_pylist()]
    training = training.set_column(place, "fraud", pa.array(dealt))
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        pq.write_table(training.replace_schema_metadata(metadata), file.name)
        days = ["--from", first, "--to", last]
        run(train_py, "--training-set", file.name, "--out", models / "fraud" / str(version), *days)


def labels():
    return {info["version"]: info["labels"] for info in client.models("fraud")}


def scored(rows):
    """Scores rows live, a day's worth at a time, each without its label, and then pushes them."""
    for begin in range(0, rows.num_rows, 200):
        events = rows.slice(begin, 200)
        client.score(events.drop_columns(["fraud"]), model="fraud", event_source="transactions")
        assert client.push(events, **of)["rejected"] == 0


assert client.models() == []
assert client.predictions().num_rows == 0 and client.predictions().column_names[:3] == ["at", "as_of", "version"]
client.push(transactions.filter(pc.less(at, LIVE)), **of)
wait_until = datetime.datetime.now() + datetime.timedelta(seconds=20)
while client.events(source="transactions", between=("2018-05-10", "2018-05-12")).num_rows == 0:
    assert datetime.datetime.now() < wait_until, "events come to the offline store"

# The first version is one that knows nothing.
train_on_chance(1, LIVE)
refused(lambda: client.load_model("fraud", 7), "fraud", "7")
loaded = client.load_model("fraud", 1)
assert (loaded["version"], loaded["state"], loaded["service"], loaded["labels"]) == (1, "READY", "fraud", []), loaded
assert "no version is labelled shadow" in refresh(["judge"], fails=True)
assert "say --now" in refresh(["train"], fails=True)

# Somebody asks all the time, and is always answered.
over, answers, failures = threading.Event(), [], []


def ask():
    with floodmark.Client(address) as asking:
        while not over.wait(0.02):
            try:
                [row] = asking.score([{"customer_id": 5, "terminal_id": 7, "amount": 20.0}], model="fraud", request=["amount"], as_of=LIVE)
                answers.append(row["model_version"])
            except floodmark.FloodmarkError as error:
                failures.append(str(error))


asker = threading.Thread(target=ask)
asker.start()

# A version of the labels that are known at the time is the shadow, and what served goes on.
trained = refresh(["train"], "--now", LIVE.isoformat())
assert (trained["version"], trained["label"], trained["served"], trained["to"]) == (2, "shadow", 1, "2018-05-04"), trained
assert labels() == {1: ["stable"], 2: ["shadow"]}
scored(transactions.filter(pc.and_(pc.greater_equal(at, LIVE), pc.less(at, NOW))))

# What was scored, by name, and what the shadow made of it: the same to the bit, however often it is asked.
log = client.predictions()
live = log.filter(log["transaction_id"].is_valid())
wanted = transactions.filter(pc.and_(pc.greater_equal(at, LIVE), pc.less(at, NOW)))
assert live.num_rows == wanted.num_rows and set(live["model_version"].to_pylist()) == {1}, live.num_rows
assert live["transaction_id"].to_pylist() == wanted["transaction_id"].to_pylist() and "fraud" not in live.column_names
assert live["as_of"].equals(wanted["tx_datetime"].cast(pa.timestamp("us", "UTC"))) and live["amount"].equals(wanted["amount"])
assert live["error"].null_count == live.num_rows and log.column_names[-1] == "request"
assert client.score_again(live, model_version=1).equals(live), "the same again"
shadowed = client.score_again(live, model_version="@shadow")
assert shadowed["model_version"].to_pylist() == [2] * live.num_rows and not shadowed["score"].equals(live["score"])
some = live.take([7, 3, 400])
assert client.score_again(some, model_version=2)["score"].equals(shadowed["score"].take([7, 3, 400]))
[compared] = next(info for info in client.models("fraud") if info["version"] == 2)["differences"]
assert compared["answered_version"] == 1 and compared["rows"] > live.num_rows - compared["dropped"] - 1, compared
assert client.predictions(limit=3).equals(log.slice(0, 3).select(client.predictions(limit=3).column_names))
first, last = log["at"][0].as_py(), log["at"][log.num_rows - 1].as_py()
ever = ("2018-01-01", "2100-01-01")
assert client.predictions(between=(first, last)).num_rows < log.num_rows <= client.predictions(between=ever).num_rows
assert client.score_again(live.slice(0, 0), model_version=2).num_rows == 0
refused(lambda: client.score_again(live, model_version=9), "9")
refused(lambda: client.score_again(live.drop_columns(["request"]), model_version=2), "lack the column request")
refused(lambda: client.predictions(between=("then", "now")), "a time is expected", "found=then")

# On the twentieth few labels are known, too few to judge by; later there are enough, and it is better.
waits = refresh(["judge"], "--now", "2018-05-20")
assert waits["decision"] == "wait" and 0 < waits["rows"] < 500 and "500 are enough" in waits["reasons"][0], waits
assert labels() == {1: ["stable"], 2: ["shadow"]}
judged = refresh(["judge"])
assert (judged["decision"], judged["reasons"], labels()) == ("promote", [], {1: [], 2: ["stable"]}), judged
assert judged["shadow"]["ap"] > judged["served"]["ap"] + 0.1 and judged["rows"] >= 500, judged
assert datetime.datetime.fromisoformat(judged["to"]) < datetime.datetime.fromisoformat(judged["now"]) - datetime.timedelta(days=7)
now_by = client.score(wanted.slice(0, 1).drop_columns(["fraud"]), model="fraud", event_source="transactions")
assert now_by["model_version"].to_pylist() == [2]

# A worse one is not promoted, with the reason, and goes.
train_on_chance(3, LIVE)
client.load_model("fraud")
client.label_model("fraud", "shadow", 3)
kept = refresh(["judge"], "--now", NOW.isoformat())
assert kept["decision"] == "keep" and "average precision is no better" in kept["reasons"][0], kept
assert labels() == {1: [], 2: ["stable"], 3: []}
assert {info["version"]: info["state"] for info in client.models()} == {1: "READY", 2: "READY", 3: "RETIRED"}

# In a row: the next number, and no judgement without patience.
both = refresh([], "--now", NOW.isoformat(), "--enough", 1_000_000, "--patience", 0)
assert (both["train"]["version"], both["judge"]["decision"], labels()[4]) == (4, "wait", ["shadow"]), both
assert client.unload_model("fraud", 1)["state"] == "RETIRED"
assert client.label_model("fraud", "shadow", None)[-1]["labels"] == []

over.set()
asker.join()
assert not failures and set(answers) == {1, 2}, failures[:3]
said = run(refresh_py, "train", "--address", "127.0.0.1:1", "--models", models, fails=True)
assert "see whether the server runs" in said, said
print(f"{len(answers)} answers meanwhile, {judged['rows']} rows judged: {judged['served']['ap']}, {judged['shadow']['ap']}", file=sys.stderr)
print("all of it is the same")
