"""The baseline of the Fraud Detection Handbook, from raw transactions on, with the features that floodmark computes.

`make handbook` replays the transactions into a store that vanishes, takes the training set of all of them, trains the
Handbook's models on a week, waits a week for labels, and tests on the week after: what the authors print in their chapter
"Baseline fraud detection system". Where they have published their features as well, in spring, the same is done with those, on days
of spring.

The transactions are in the folder that FLOODMARK_DATA names. Progress is said on stderr; the last line of stdout is JSON, AUC ROC
and average precision of each model, and the line before it is JSON too if there are published features: the same by source of features.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import packages

HERE = Path(__file__).resolve().parent
packages.enter("examples", HERE / "requirements.txt")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

# The Handbook's windows in its order, by our name and by theirs.
DAYS = ["1d", "7d", "30d"]
CUSTOMER = [(f"customer_spend.{name}_{days}", f"customer_{name}_{days}") for days in DAYS for name in ("nb_tx", "avg_amount")]
TERMINAL = [(f"terminal_risk.{name}_{days}", f"terminal_{name}_{days}") for days in DAYS for name in ("nb_tx", "risk")]
WINDOWS = CUSTOMER + TERMINAL
FLAGS = ["during_weekend", "during_night"]

MODELS = {
    "logistic_regression": lambda: LogisticRegression(random_state=0),
    "random_forest": lambda: RandomForestClassifier(random_state=0, n_jobs=-1),
}
# Days in a period: to learn from, to wait for labels, to be tested on.
WEEK = 7
# Cards that can be looked into on a day.
CARDS = 100
BASELINE = date(2018, 7, 25)
# The authors' table for it.
AUTHORS = {
    "logistic_regression": {"auc": 0.871, "ap": 0.606, "cards": 0.291},
    "random_forest": {"auc": 0.867, "ap": 0.658, "cards": 0.287},
}
# How far AUC ROC and average precision may be from the authors' table, and from those of the authors' features.
NEAR = 0.02
# A split within what the authors have published of their features, past the windows' first 37 days.
PUBLISHED = date(2018, 5, 9)


@dataclass
class Rows:
    """Transactions in the order of their ids, with a model's inputs."""

    day: np.ndarray
    customer: np.ndarray
    fraud: np.ndarray
    inputs: np.ndarray

    def where(self, chosen):
        return Rows(self.day[chosen], self.customer[chosen], self.fraud[chosen], self.inputs[chosen])


def main():
    arguments = parse()
    data = Path(os.environ.get("FLOODMARK_DATA") or packages.ROOT.parent / "shared" / "data")
    transactions, published = data / "transactions.parquet", data / "published_features_to_2018-05.parquet"
    if not transactions.exists():
        sys.exit(f"handbook: there are no transactions; FLOODMARK_DATA names the folder they are in. expected={transactions}")

    with tempfile.TemporaryDirectory() as home:
        table = pq.read_table(training_set(arguments.floodmark, transactions, Path(home)))
    ours = rows(table, [name for name, _ in WINDOWS], [numbers(table[name]) for name in FLAGS])

    print(f"{'':24}{'features':12}{'AUC ROC':>9}{'average precision':>19}{f'card precision@{CARDS}':>20}")
    spring = {}
    if published.exists():
        spring = compare(PUBLISHED, {"floodmark": ours, "published": published_rows(published, table)})
    else:
        say(f"SKIPPED: the authors' features are not there. expected={published}")
    figures = compare(BASELINE, {"floodmark": ours})["floodmark"]
    for model, theirs in AUTHORS.items():
        line(model, "their table", theirs)
    if spring:
        print(json.dumps({source: rounded(by_model) for source, by_model in spring.items()}))
    print(json.dumps(rounded(figures)), flush=True)

    if spring:
        near(spring["floodmark"], spring["published"], "the authors' features")
    near(figures, AUTHORS, "the authors' table")


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--floodmark", default=packages.ROOT / "target" / "release" / "floodmark", help="the command")
    return parser.parse_args()


def training_set(floodmark, transactions, home):
    """Replays the transactions and asks for the features of each, as of its own time."""
    store, out = home / "store", home / "training.parquet"
    say("replaying the transactions ...")
    run([floodmark, "replay", "--definitions", HERE / "handbook.yaml", "--store", store, f"transactions={transactions}"])
    say("taking the training set ...")
    spine = ["--spine", transactions, "--time", "tx_datetime", "--event-id", "transaction_id"]
    run([floodmark, "training-set", "--store", store, "--service", "handbook", *spine, "--out", out])
    return out


def run(command):
    subprocess.run(command, check=True, stdout=sys.stderr)


def rows(table, windows, flags):
    """The rows of a table as a model sees them: the amount, the flags, the windows."""
    inputs = [numbers(table["amount"]), *flags, *(numbers(table[name]) for name in windows)]
    whole = Rows(days(table), numbers(table["customer_id"]), numbers(table["fraud"]), np.column_stack(inputs))
    return whole.where(np.argsort(numbers(table["transaction_id"]), kind="stable"))


def published_rows(path, transactions):
    """The authors' features; the flags are computed here, from the transaction's time."""
    features = pq.read_table(path)
    kept = ["transaction_id", "tx_datetime", "customer_id", "amount", "fraud"]
    table = transactions.select(kept).join(features, "transaction_id", join_type="inner")
    if len(table) != len(features):
        sys.exit(f"handbook: published features without a transaction. rows={len(features) - len(table)}")
    hour = seconds(table) % 86_400 // 3_600
    weekday = (days(table) + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0.
    return rows(table, [name for _, name in WINDOWS], [weekday >= 5, hour <= 6])


def numbers(column):
    if column.null_count:
        sys.exit("handbook: a feature is missing where the Handbook has none missing")
    return column.cast(pa.float64()).to_numpy() if pa.types.is_floating(column.type) else column.cast(pa.int64()).to_numpy()


def seconds(table):
    return table["tx_datetime"].cast(pa.timestamp("s"), safe=False).cast(pa.int64()).to_numpy()


def days(table):
    return seconds(table) // 86_400


def compare(first, sources):
    """Trains and tests each model on each source of features; figures by source and model."""
    tested = first + timedelta(days=2 * WEEK)
    last = timedelta(days=WEEK - 1)
    print(f"trained {first} to {first + last}, tested {tested} to {tested + last}")
    figures = {source: {} for source in sources}
    for model, make in MODELS.items():
        for source, all_rows in sources.items():
            train, test = split(all_rows, first)
            say(f"{model} on {source}: {len(train.fraud)} rows to learn from, {train.fraud.sum()} of them frauds, "
                f"{len(test.fraud)} to test on, {test.fraud.sum()} of them frauds ...")
            figures[source][model] = assess(make(), train, test)
            line(model, source, figures[source][model])
    return figures


def split(all_rows, first):
    """A week to learn from, and the week to be tested on that begins when the labels of the last day are known.

    A card whose fraud is known by then is blocked, so its transactions are not in the test: on each test day, frauds of the
    training week, and those that are older than the wait, up to the day before.
    """
    begin = (first - date(1970, 1, 1)).days
    train = all_rows.where((all_rows.day >= begin) & (all_rows.day < begin + WEEK))
    blocked = np.unique(train.customer[train.fraud == 1])
    chosen = np.zeros(len(all_rows.day), dtype=bool)
    for day in range(begin + 2 * WEEK, begin + 3 * WEEK):
        known = (all_rows.day == day - WEEK - 1) & (all_rows.fraud == 1)
        blocked = np.union1d(blocked, all_rows.customer[known])
        chosen |= (all_rows.day == day) & ~np.isin(all_rows.customer, blocked)
    return train, all_rows.where(chosen)


def assess(model, train, test):
    scaler = StandardScaler().fit(train.inputs)
    model.fit(scaler.transform(train.inputs), train.fraud)
    score = model.predict_proba(scaler.transform(test.inputs))[:, 1]
    return {
        "auc": float(roc_auc_score(test.fraud, score)),
        "ap": float(average_precision_score(test.fraud, score)),
        "cards": card_precision(test, score),
    }


def card_precision(test, score):
    """The share of compromised cards among those with the highest scores of a day, its mean over the days."""
    return float(np.mean(list(card_precisions(test, score).values())))


def card_precisions(test, score):
    """By day, the share of compromised cards among those with the highest scores; a card that was found is blocked."""
    found, shares = np.array([], dtype=test.customer.dtype), {}
    for day in np.unique(test.day):
        today = (test.day == day) & ~np.isin(test.customer, found)
        cards, of_card = np.unique(test.customer[today], return_inverse=True)
        highest, fraud = np.zeros(len(cards)), np.zeros(len(cards), dtype=bool)
        np.maximum.at(highest, of_card, score[today])
        np.logical_or.at(fraud, of_card, test.fraud[today] == 1)
        top = np.argsort(-highest, kind="stable")[:CARDS]
        shares[int(day)] = float(fraud[top].sum() / CARDS)
        found = np.concatenate([found, cards[top][fraud[top]]])
    return shares


def rounded(figures):
    return {model: {key: round(f[key], 4) for key in ("auc", "ap")} for model, f in figures.items()}


def near(ours, theirs, whose):
    off = [model for model in MODELS if any(abs(ours[model][key] - theirs[model][key]) > NEAR for key in ("auc", "ap"))]
    if off:
        sys.exit(f"handbook: further than {NEAR} from {whose}. models={','.join(off)}")


def line(model, source, figures):
    print(f"  {model:22}{source:12}{figures['auc']:9.3f}{figures['ap']:19.3f}{figures['cards']:20.3f}", flush=True)


def say(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
