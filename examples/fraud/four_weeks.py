"""Four weeks of transactions at speed through a running server, with a refresh of the model each week and without.

`make four-weeks` replays ten weeks of the transactions into a store that vanishes, starts a server on it, and has refresh.py train the
first version on the labels that are known by then. Then it lives through four weeks: each transaction is scored before it is pushed,
a few hundred at a time, without its label; each week refresh.py trains a new version, and judges it some days later, once there are
enough live scores whose labels are known. The first version scores the same rows beside, as if there had been no refresh.

The transactions are in the folder that FLOODMARK_DATA names. Labels are seen by the features that wait for them, by refresh.py as they
become known, and by the report at the end. Progress is said on stderr; stdout has the report, by day, and its last line is JSON.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import packages

HERE = Path(__file__).resolve().parent
packages.enter("examples", HERE / "requirements.txt")
sys.path.append(str(packages.ROOT / "python"))

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sklearn.metrics import average_precision_score

import floodmark
import handbook
from train import LABEL_DELAY, WINDOWS_FILL

DEFINITIONS = HERE / "floodmark.yaml"
COLUMNS = ["transaction_id", "tx_datetime", "customer_id", "terminal_id", "amount", "fraud"]
MODEL, SOURCE, FIRST = "fraud", "transactions", 1
BEGIN = date(2018, 4, 1)
# Days to learn from: as many as refresh.py takes if nothing else is said. The first of them is the first with full windows.
LEARNT = 28
LIVE = BEGIN + timedelta(days=WINDOWS_FILL + LEARNT + LABEL_DELAY)
WEEKS, WEEK = 4, 7
# Transactions that are scored, and then pushed, together: about an hour.
TOGETHER = 500
ONE_DAY = timedelta(days=1)


def main():
    arguments = parse()
    data = Path(os.environ.get("FLOODMARK_DATA") or packages.ROOT.parent / "shared" / "data")
    path = data / "transactions.parquet"
    if not path.exists():
        sys.exit(f"four_weeks: there are no transactions; FLOODMARK_DATA names the folder they are in. expected={path}")
    transactions = pq.read_table(path, columns=COLUMNS)
    with tempfile.TemporaryDirectory() as home:
        with Server(arguments.floodmark, Path(home), between(transactions, BEGIN, LIVE)) as server:
            lived, judged = live(server, transactions, arguments.weeks)
            answered = server.answered()
            same = scored_again_the_same(server, lived)
    print(f"{answered} calls, none failed, and the server of process {server.process.pid} ran from the first to the last")
    print(f"{same} rows of the last day, scored again from the log by version {FIRST}: the same to the bit")
    report(lived, judged, {"calls": answered, "scored_again": same})


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--floodmark", default=packages.ROOT / "target" / "fast" / "floodmark", help="the command")
    parser.add_argument("--weeks", type=int, default=WEEKS, help=f"so many (default: {WEEKS})")
    return parser.parse_args()


def between(transactions, first, end):
    """Those of the days from one to before another."""
    at = transactions["tx_datetime"].cast(pa.timestamp("us"), safe=False)
    inside = pc.and_(pc.greater_equal(at, midnight(first).replace(tzinfo=None)), pc.less(at, midnight(end).replace(tzinfo=None)))
    return transactions.filter(inside)


def midnight(day):
    return datetime(day.year, day.month, day.day, tzinfo=timezone.utc)


class Server:
    """`floodmark up` on a history, and somebody who asks it for a score all the time: no call may fail."""

    def __init__(self, floodmark_command, home, history):
        self.models = home / "models"
        self.models.mkdir()
        store, file = home / "store", home / "history.parquet"
        pq.write_table(history, file)
        say(f"replaying {history.num_rows} transactions, {BEGIN} to {LIVE - ONE_DAY} ...")
        common = ["--definitions", DEFINITIONS, "--store", store, "--offline", home / "offline"]
        subprocess.run([floodmark_command, "replay", *common, f"{SOURCE}={file}"], check=True, stdout=sys.stderr)
        # A day passes in a second or two here, so events are not to wait for their table.
        serves = ["--offline-interval", "500", "--models", self.models, "--log-predictions", "all", "--longest-wait", "0"]
        command = [floodmark_command, "up", *common, *serves, "--listen", "127.0.0.1:0", "--json"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line:
            sys.exit("four_weeks: the server did not start; see above")
        self.address = json.loads(line)["grpc"]
        self.client = floodmark.Client(self.address)
        self.calls, self.failures, self.over = 0, [], threading.Event()
        self.asking = threading.Thread(target=self.ask, daemon=True)

    def ask(self):
        """A score every tenth of a second, from another connection."""
        with floodmark.Client(self.address) as client:
            while not self.over.wait(0.1):
                try:
                    client.score([{"customer_id": 596, "terminal_id": 3156, "amount": 57.16}], model=MODEL, request=["amount"],
                                 as_of=midnight(LIVE))
                    self.calls += 1
                except floodmark.FloodmarkError as error:
                    self.failures.append(str(error))

    def answered(self):
        """How many calls were; it ends here where one was not."""
        self.over.set()
        self.asking.join()
        if self.failures or self.process.poll() is not None:
            sys.exit(f"four_weeks: the server has not served throughout. ended={self.process.poll()} failures={self.failures[:3]}")
        return self.calls

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over.set()
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def live(server, transactions, weeks):
    """Scores and pushes day by day, refreshes week by week; what was scored, and what refresh.py said."""
    said = [refresh(server, "train", LIVE)]
    server.asking.start()
    days, shadow = [], False
    for number in range(weeks * WEEK):
        day = LIVE + number * ONE_DAY
        if shadow:
            said.append(refresh(server, "judge", day))
            shadow = said[-1]["decision"] == "wait"
        if number and number % WEEK == 0:
            said.append(refresh(server, "train", day))
            shadow = True
        began = datetime.now(timezone.utc)
        days.append(live_through(server, between(transactions, day, day + ONE_DAY)) | {"day": day, "began": began})
        say(f"{day}: {len(days[-1]['fraud'])} transactions, scored by version {','.join(map(str, np.unique(days[-1]['version'])))}")
    return days, [it for it in said if it.get("decision") in ("promote", "keep")]


def live_through(server, today):
    """Scores each transaction of a day, by what serves and by the first version, and then pushes it."""
    scores, versions, firsts = [], [], []
    for begin in range(0, today.num_rows, TOGETHER):
        events = today.slice(begin, TOGETHER)
        unlabelled = events.drop_columns(["fraud"])
        served = server.client.score(unlabelled, model=MODEL, event_source=SOURCE)
        first = server.client.score(unlabelled, model=MODEL, model_version=str(FIRST), event_source=SOURCE)
        pushed = server.client.push(events, source=SOURCE, partition="live")
        server.calls += 3
        if pushed["accepted"] != events.num_rows:
            sys.exit(f"four_weeks: not every transaction was accepted. pushed={pushed}")
        scores.append(served["score"].to_numpy())
        versions.append(served["model_version"].to_numpy())
        firsts.append(first["score"].to_numpy())
    told = {"with": np.concatenate(scores), "without": np.concatenate(firsts), "version": np.concatenate(versions)}
    return told | {"id": today["transaction_id"].to_numpy(), "card": today["customer_id"].to_numpy(),
                   "fraud": today["fraud"].cast(pa.int8()).to_numpy()}


def refresh(server, step, day):
    """A step of refresh.py, as a cron job would start it on the morning of a day."""
    command = [sys.executable, HERE / "refresh.py", step, "--address", server.address, "--models", server.models,
               "--now", midnight(day).isoformat(), "--days", str(LEARNT)]
    made = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if made.returncode != 0:
        sys.exit(f"four_weeks: refresh.py {step} failed; see above")
    said = json.loads(made.stdout)
    say(f"{day}: {step}: {json.dumps(said)}")
    return said | {"day": str(day)}


def scored_again_the_same(server, lived):
    """Has the first version score the last day's live rows again, from the log: what it said at the time, or it ends here."""
    last = lived[-1]
    logged = server.client.predictions(between=(last["began"], datetime.now(timezone.utc) + ONE_DAY))
    logged = logged.filter(pc.is_in(logged["transaction_id"], pa.array(last["id"])))
    again = server.client.score_again(logged, model_version=FIRST)
    at_the_time = dict(zip(last["id"].tolist(), last["without"].tolist()))
    differing = [it for it, score in zip(again["transaction_id"].to_pylist(), again["score"].to_pylist()) if at_the_time[it] != score]
    missing = set(at_the_time) - set(logged["transaction_id"].to_pylist())
    if differing or missing:
        sys.exit(f"four_weeks: the log differs from what was said. differing={len(differing)} missing={len(missing)}")
    return again.num_rows


def report(lived, judged, checked):
    """By day, average precision and card precision; cards that were found are blocked until the week is over."""
    figures = {way: by_day(lived, way) for way in ("without", "with")}
    print(f"\n{'':34}{'average precision':>24}{f'card precision@{handbook.CARDS}':>24}")
    print(f"{'day':12}{'version':>8}{'rows':>7}{'frauds':>7}{'without':>12}{'with':>12}{'without':>12}{'with':>12}")
    for at, day in enumerate(lived):
        versions = ",".join(map(str, np.unique(day["version"])))
        columns = "".join(f"{figures[way][measure][at]:12.3f}" for measure in ("ap", "cards") for way in figures)
        print(f"{day['day']!s:12}{versions:>8}{len(day['fraud']):7}{day['fraud'].sum():7}{columns}")
    means = {way: {measure: float(np.mean(values)) for measure, values in of.items()} for way, of in figures.items()}
    columns = "".join(f"{means[way][measure]:12.3f}" for measure in ("ap", "cards") for way in means)
    print(f"{'mean':34}{columns}\n")
    for it in judged:
        print(judgement(it))

    differing = np.array([(day["version"] != FIRST).any() for day in lived])
    differences = {}
    for measure, name in (("ap", "average precision"), ("cards", f"card precision@{handbook.CARDS}")):
        difference = np.array(figures["with"][measure]) - np.array(figures["without"][measure])
        differences[measure] = compared(name, difference[differing])
    rounded = lambda of: {measure: round(value, 4) for measure, value in of.items()}
    days = [
        {"day": str(day["day"]), "version": int(day["version"].max()), "rows": len(day["fraud"]), "frauds": int(day["fraud"].sum())}
        | {way: rounded({measure: values[at] for measure, values in of.items()}) for way, of in figures.items()}
        for at, day in enumerate(lived)
    ]
    means = {way: rounded(of) for way, of in means.items()}
    print(json.dumps(checked | {"mean": means, "differences": differences, "refreshes": judged, "days": days}), flush=True)


def by_day(lived, way):
    aps = [float(average_precision_score(day["fraud"], day[way])) for day in lived]
    cards = []
    for week in range(0, len(lived), WEEK):
        of_week = lived[week:week + WEEK]
        numbers = np.concatenate([np.full(len(day["fraud"]), at) for at, day in enumerate(of_week)])
        every = lambda name: np.concatenate([day[name] for day in of_week])
        shares = handbook.card_precisions(handbook.Rows(numbers, every("card"), every("fraud"), None), every(way))
        cards += [shares[at] for at in range(len(of_week))]
    return {"ap": aps, "cards": cards}


def judgement(it):
    served, shadow = it["served"], it["shadow"]
    of = lambda version: (f"version {version['version']}: average precision {version['ap']:.3f}, cards {version['cards']:.3f}, "
                          f"Brier {version['brier']:.5f}, mean score {version['mean_score']:.5f}")
    decided = f"version {shadow['version']} promoted" if it["decision"] == "promote" else f"not promoted: {'; '.join(it['reasons'])}"
    difference = f"{shadow['ap'] - served['ap']:+.4f} in average precision, standard error {it['ap_standard_error']:.4f}"
    rows = f"on {it['rows']} live rows, fraud rate {it['fraud_rate']:.5f}"
    return f"{it['day']}, {rows}:\n  {of(served)}\n  {of(shadow)}\n  {difference}: {decided}"


def compared(name, difference):
    """With refresh less without, over the days on which another version than the first has scored."""
    if not len(difference):
        print(f"{name}: no other version than the first has scored, so a refresh changed nothing")
        return {"days": 0}
    mean = float(difference.mean())
    error = float(difference.std(ddof=1) / np.sqrt(len(difference))) if len(difference) > 1 else float("nan")
    what = "better" if mean > 2 * error else "worse" if mean < -2 * error else "neither better nor worse beyond chance"
    print(f"{name}: {mean:+.4f} with refresh, standard error {error:.4f}, on the {len(difference)} days that a later version scored, "
          f"{int((difference > 0).sum())} of them better and {int((difference < 0).sum())} worse: {what}")
    return {"days": len(difference), "mean": round(mean, 5), "standard_error": round(error, 5), "verdict": what}


def say(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
