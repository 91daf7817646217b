"""Training sets of histories that are larger than memory: time and memory as they grow, with `floodmark training-set --offline`.

    python3 benches/large_training_set.py --floodmark target/release/floodmark --events 1000000 10000000 100000000

For each size a history of card transactions is made up as Delta tables, in time order over half a year, with as many customers and terminals
for each million as the given data set has, and a spine of a tenth as many rows, chosen by chance and in no order. Then the command makes
the features of `examples/fraud/floodmark.yaml`; its time and its greatest memory are those of its process. Counts of some rows are
compared with plain counting. Progress is said on stderr; each line of stdout is JSON.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "examples" / "fraud"))

import packages

packages.enter("package", HERE.parent / "tests" / "package" / "requirements.txt")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import write_deltalake

DEFINITIONS = HERE.parent / "examples" / "fraud" / "floodmark.yaml"
START = 1_522_540_800_000_000
SPAN = 183 * 86_400_000_000
DAY = 86_400_000_000
# As the given transactions have them, for each million.
CUSTOMERS, TERMINALS, FRAUD = 2_850, 5_700, 0.0084
EVENTS_A_FILE = 1 << 20
EVENTS_A_COMMIT = 8192
ROWS_A_GROUP = 1 << 17
CHECKED = 200


def main():
    arguments = parse()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as home:
        for events in arguments.events:
            print(json.dumps(measure(arguments, Path(home), events)), flush=True)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--floodmark", required=True, type=Path, help="the command, built to be fast")
    parser.add_argument("--events", nargs="+", type=int, default=[1_000_000, 10_000_000], help="sizes of the history")
    parser.add_argument("--memory", type=int, default=1024, help="MiB that the command is told it may take for what it works on")
    parser.add_argument("--directory", help="where scratch folders are made; 100 million events take about 20 GB")
    return parser.parse_args()


def measure(arguments, home, events):
    place = home / f"history-{events}"
    floodmark = str(arguments.floodmark.resolve())
    # The tables as floodmark makes them, with one event; then the rest.
    (home / "one.jsonl").write_text(json.dumps({
        "transaction_id": -1, "tx_datetime": START - DAY, "customer_id": -1, "terminal_id": -1, "amount": 1.0, "fraud": False}) + "\n")
    subprocess.run([floodmark, "replay", "--json", "--definitions", DEFINITIONS, "--store", home / f"store-{events}", "--offline", place,
                    f"transactions={home / 'one.jsonl'}"], check=True, stdout=subprocess.DEVNULL)
    began = time.monotonic()
    chance = np.random.default_rng(events)
    size = {"customers": max(1, events * CUSTOMERS // 1_000_000), "terminals": max(1, events * TERMINALS // 1_000_000)}
    spine, checked = [], []
    watched = int(chance.integers(size["customers"]))
    for first in range(0, events, EVENTS_A_FILE):
        many = min(EVENTS_A_FILE, events - first)
        table = made_up(chance, first, many, events, size)
        write_deltalake(str(place / "events" / "transactions"), table, mode="append")
        chosen = np.sort(chance.choice(many, many // 10, replace=False))
        spine.append(table.select(["transaction_id", "tx_datetime", "customer_id", "terminal_id", "amount"]).take(pa.array(chosen)))
        mine = table.filter(pa.compute.equal(table["customer_id"], watched))
        checked.append(mine["tx_datetime"].cast(pa.int64()).to_numpy())
    spine = pa.concat_tables(spine)
    spine = spine.take(pa.array(chance.permutation(spine.num_rows)))
    rows = spine.num_rows
    pq.write_table(spine, home / "spine.parquet", row_group_size=ROWS_A_GROUP)
    del spine
    say(f"{events} events and {rows} rows made in {time.monotonic() - began:.0f} s")

    out = home / "training.parquet"
    command = [floodmark, "training-set", "--json", "--offline", place, "--definitions", DEFINITIONS, "--service", "fraud", "--spine",
               home / "spine.parquet", "--time", "tx_datetime", "--event-id", "transaction_id", "--memory", str(arguments.memory), "--out", out]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    if status != 0:
        sys.exit(f"the command failed. status={status}")
    wrong, compared = check(out, np.concatenate(checked), watched)
    for made in (place, home / f"store-{events}"):
        shutil.rmtree(made)
    return {"events": events, "rows": json.loads(said)["rows"], "features": json.loads(said)["features"], "seconds": round(seconds, 2),
            "events_per_second": round(events / seconds), "peak_mib": usage.ru_maxrss // 1024, "user_seconds": round(usage.ru_utime, 1),
            "counts_compared": compared, "counts_wrong": wrong}


def made_up(chance, first, many, events, size):
    at = START + np.arange(first, first + many, dtype=np.int64) * (SPAN // events)
    numbers = np.arange(first, first + many, dtype=np.int64)
    times = pa.array(at).cast(pa.timestamp("us")).cast(pa.timestamp("us", tz="UTC"))
    return pa.table({
        "transaction_id": numbers,
        "tx_datetime": times,
        "customer_id": chance.integers(size["customers"], size=many),
        "terminal_id": chance.integers(size["terminals"], size=many),
        "amount": np.round(chance.gamma(2.0, 25.0, many), 2),
        "fraud": chance.random(many) < FRAUD,
        "_visible_from": times,
        "_partition": pa.array(["made up"] * many),
        "_offset": numbers,
        "_version": 2_000_000_000_000_000 + numbers // EVENTS_A_COMMIT,
        "_sequence": 1_000 + numbers,
    })


def check(out, times, customer):
    """The counts of one customer's rows, each against all of its transactions."""
    table = pq.read_table(out, filters=[("customer_id", "=", customer)], columns=[
        "tx_datetime", *(f"customer_spend.nb_tx_{days}d" for days in (1, 7, 30))])
    wrong = compared = 0
    for row in table.slice(0, CHECKED).to_pylist():
        at = int(row["tx_datetime"].timestamp() * 1_000_000)
        for days in (1, 7, 30):
            compared += 1
            wrong += int(((times > at - days * DAY) & (times <= at)).sum()) != row[f"customer_spend.nb_tx_{days}d"]
    return wrong, compared


def say(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
