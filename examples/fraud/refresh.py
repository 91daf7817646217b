"""Models follow the newest data: the next version is trained, watched as a shadow, judged on live scores, and promoted or not.

    floodmark up --definitions examples/fraud/floodmark.yaml --store state --offline history --models models --log-predictions all &
    python3 examples/fraud/refresh.py train --address 127.0.0.1:7070 --models models     # on Mondays
    python3 examples/fraud/refresh.py judge --address 127.0.0.1:7070 --models models     # every day

`train` takes the newest days whose labels are known as a training set from the server, has train.py make the next version of them
in the repository that the server reads, and labels it `shadow`; the first version of all is labelled `stable`, and serves. `judge` takes
what was scored live since the shadow's last day of learning and is old enough for its label to be known, has both versions score it
again from the log of predictions, as of the same time and at the same version of the store, and promotes the shadow if its average
precision is higher, and card precision and calibration are not clearly worse, or says why not. Without a command both are done, with
as long a wait between them as it takes.

The server goes on serving throughout. Live scores have to name their events (`event_source="transactions"`), as labels come with events.
Nobody looks at the label of an event before it is known: not the training set, not the judgement. Progress is said on stderr; stdout has
one line of JSON.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time as clock
from datetime import datetime, timedelta, timezone
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
from train import LABEL_DELAY

SERVICE, SOURCE = "fraud", "transactions"
TIME, EVENT_ID, CARD, LABEL = "tx_datetime", "transaction_id", "customer_id", "fraud"
DELAY = timedelta(days=LABEL_DELAY)
ONE_DAY = timedelta(days=1)
# A shadow has to be better in average precision, and may be worse by so much in the others, which are noisier: in card precision by
# this difference, in the Brier score by this share.
CARDS_SLACK = 0.01
BRIER_SLACK = 0.05
# So many times rows are drawn anew, to tell how much of a difference may be chance.
DRAWN = 100
# How far back in the log of predictions the newest score is looked for; then in all of it.
LOOK_BACK = [timedelta(minutes=1), timedelta(hours=1), ONE_DAY]


def main():
    arguments = parse()
    client = floodmark.Client(arguments.address)
    try:
        if arguments.step:
            said = STEPS[arguments.step](client, arguments)
        else:
            said = {"train": train(client, arguments)}
            if said["train"]["label"] == "shadow":
                said["judge"] = judge(client, arguments)
    except floodmark.FloodmarkError as error:
        sys.exit(f"refresh: {error}{WAYS_OUT.get(error.code, '')}")
    print(json.dumps(said), flush=True)


WAYS_OUT = {
    "UNAVAILABLE": "; see whether the server runs and --address is its gRPC address",
    "UNIMPLEMENTED": "; it has to be `floodmark up --offline PLACE --models DIR --log-predictions all`",
    "NOT_FOUND": "; the server has to be of examples/fraud/floodmark.yaml, and --models the folder that it reads",
}


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", nargs="?", choices=list(STEPS), help="one step alone; both in a row if not said")
    parser.add_argument("--address", required=True, metavar="HOST:PORT", help="gRPC of a running `floodmark up`")
    parser.add_argument("--models", required=True, type=Path, metavar="DIR", help="the repository that it was started with")
    parser.add_argument("--model", default="fraud", help="the model's name in it (default: fraud)")
    parser.add_argument("--now", type=instant, metavar="TIME", help="labels are known of what happened "
                        f"{LABEL_DELAY} days before; the as-of time of the newest score if not said")
    parser.add_argument("--days", type=int, default=28, help="learn from so many days, the newest (default: 28)")
    parser.add_argument("--enough", type=int, default=20_000, metavar="ROWS", help="judge by so many live scores with known labels "
                        "at least (default: 20000)")
    parser.add_argument("--patience", type=float, metavar="SECONDS", help="wait so long for enough of them (default: judge alone does "
                        "not wait; after a training, as long as it takes)")
    arguments = parser.parse_args()
    if arguments.days < 1 or arguments.enough < 1:
        parser.error("--days and --enough are at least 1")
    if not arguments.models.is_dir():
        parser.error(f"--models is the folder that the server reads, and there is none. models={arguments.models}")
    if arguments.patience is None:
        arguments.patience = 0 if arguments.step else float("inf")
    return arguments


def instant(text):
    """A time without a zone is UTC."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)


def train(client, arguments):
    """Trains the next version, loads it, and labels it `shadow`, or `stable` where none serves."""
    now = arguments.now or newest(client, arguments.model)
    # Whole days; the last one ended a week ago.
    last = (now - DELAY).date() - ONE_DAY
    first = last - timedelta(days=arguments.days - 1)
    say(f"training set of {first} to {last} ...")
    spine = client.events(source=SOURCE, between=(first, last + ONE_DAY))
    if spine.num_rows == 0:
        sys.exit(f"refresh: the offline store has no events of these days; say another --now. from={first} to={last} now={now}")
    # Tables have no order, and the same rows in another would make another model.
    spine = spine.sort_by([(TIME, "ascending"), (EVENT_ID, "ascending")])
    training_set = client.training_set(spine, service=SERVICE, time=TIME, event_id=EVENT_ID, progress=False)

    versions = versions_of(client, arguments.model)
    version = 1 + max([*of_repository(arguments), *(it["version"] for it in versions)], default=0)
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / "training.parquet"
        pq.write_table(training_set, path)
        out = arguments.models / arguments.model / str(version)
        days = ["--from", str(first), "--to", str(last)]
        command = [sys.executable, HERE / "train.py", "--training-set", path, "--service", SERVICE, "--out", out, *days]
        made = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if made.returncode != 0:
        sys.exit("refresh: no version was made, and what serves goes on; see above")
    report = json.loads(made.stdout.splitlines()[-1])

    served, before = serving(versions), labelled(versions, "shadow")
    if served and not labelled(versions, "stable"):
        # Or the new one would serve as soon as it is loaded.
        client.label_model(arguments.model, "stable", served)
    client.load_model(arguments.model, version)
    label = "shadow" if served else "stable"
    client.label_model(arguments.model, label, version)
    if before:
        say(f"version {before} was not judged, and is the shadow no more")
        client.unload_model(arguments.model, before)
    say(f"version {version} of {arguments.model} is loaded and labelled {label}")
    of = {"model": arguments.model, "version": version, "label": label, "served": served or version}
    return of | {"now": now.isoformat(), "from": str(first), "to": str(last), "rows": report["rows"]}


def judge(client, arguments):
    """Compares the shadow with what serves on the same live rows, and promotes it if it is better."""
    versions = versions_of(client, arguments.model)
    served, shadow = serving(versions), labelled(versions, "shadow")
    if not shadow or not served:
        sys.exit(f"refresh: no version is labelled shadow: `refresh.py train` makes one. model={arguments.model}")
    since = max(learnt_until(arguments, version) for version in (served, shadow))
    rows, now, unlabelled = waited_for(client, arguments, since)
    said = {"model": arguments.model, "now": now.isoformat(), "rows": rows.num_rows, "unlabelled": unlabelled, "enough": arguments.enough}
    fraud = rows[LABEL].to_numpy().astype(bool)
    if rows.num_rows < arguments.enough or not 0 < fraud.sum() < len(fraud):
        why = f"live scores with known labels are {rows.num_rows}, {fraud.sum()} of them frauds, and {arguments.enough} are enough"
        say(f"no judgement yet: {why}")
        return said | {"decision": "wait", "served": {"version": served}, "shadow": {"version": shadow}, "reasons": [why]}

    say(f"judging version {shadow} against {served} on {rows.num_rows} live rows, {fraud.sum()} of them frauds ...")
    days = rows["as_of"].cast(pa.int64()).to_numpy() // (86_400 * 1_000_000)
    cards = handbook.Rows(days, rows[CARD].to_numpy(), fraud.astype(int), None)
    scores = {version: client.score_again(rows, model_version=version)["score"].to_numpy() for version in (served, shadow)}
    figures = {version: {"version": version} | measured(cards, scores[version]) for version in scores}
    reasons = worse(figures[served], figures[shadow])
    if not reasons:
        client.label_model(arguments.model, "stable", shadow)
    client.label_model(arguments.model, "shadow", None)
    if reasons:
        client.unload_model(arguments.model, shadow)
    say(f"version {served} goes on serving: {'; '.join(reasons)}" if reasons else f"version {shadow} is promoted")
    times = [time.isoformat() for time in (pc.min(rows["as_of"]).as_py(), pc.max(rows["as_of"]).as_py())]
    said |= {"decision": "keep" if reasons else "promote", "frauds": int(fraud.sum()), "fraud_rate": round(float(fraud.mean()), 6)}
    said |= {"ap_standard_error": standard_error(fraud, scores[served], scores[shadow])}
    return said | {"from": times[0], "to": times[1], "served": figures[served], "shadow": figures[shadow], "reasons": reasons}


STEPS = {"train": train, "judge": judge}


def newest(client, model):
    """The as-of time of the newest score."""
    for back in (*LOOK_BACK, None):
        here = datetime.now(timezone.utc)
        scored = client.predictions(between=(here - back, here + ONE_DAY) if back else None)
        scored = scored.filter(pc.equal(scored["model"], model))
        if scored.num_rows:
            return pc.max(scored["as_of"]).as_py()
    sys.exit(f"refresh: the log has no score that could tell the time: say --now, or see whether the server was started with "
             f"--log-predictions. model={model}")


def versions_of(client, model):
    """Of the server; none where it does not know the model yet."""
    return [it for it in client.models() if it["model"] == model]


def of_repository(arguments):
    folder = arguments.models / arguments.model
    return [int(it.name) for it in folder.iterdir() if it.name.isdecimal()] if folder.is_dir() else []


def labelled(versions, label):
    return next((it["version"] for it in versions if label in it["labels"]), None)


def serving(versions):
    """The version labelled `stable`, or else the greatest that is ready."""
    ready = [it["version"] for it in versions if it["state"] == "READY"]
    return labelled(versions, "stable") or max(ready, default=None)


def learnt_until(arguments, version):
    """The end of the last day that a version has learnt from; one that does not say was trained elsewhere, on other days."""
    said = arguments.models / arguments.model / str(version) / "learnt.json"
    if not said.exists():
        return datetime.fromtimestamp(0, timezone.utc)
    return instant(json.loads(said.read_text())["to"]) + ONE_DAY


def waited_for(client, arguments, since):
    """Live rows with their labels, once there are enough or patience is over; what the time is; how many are without a label."""
    give_up = clock.monotonic() + arguments.patience
    while True:
        now = arguments.now or newest(client, arguments.model)
        rows, unlabelled = live_rows(client, arguments.model, since, now - DELAY)
        left = give_up - clock.monotonic()
        if rows.num_rows >= arguments.enough or left <= 0:
            return rows, now, unlabelled
        say(f"{rows.num_rows} live scores with known labels of {arguments.enough} that are enough; waiting ...")
        # Labels are known a week later: a minute is soon enough.
        clock.sleep(min(left, 60))


def live_rows(client, model, since, until):
    """What was scored live as of a time between two, the first score of each event, with its label; and how many events have none."""
    logged = client.predictions()
    of_model = pc.and_(pc.equal(logged["model"], model), logged["score"].is_valid())
    of_time = pc.and_(pc.greater_equal(logged["as_of"], pa.scalar(since)), pc.less(logged["as_of"], pa.scalar(until)))
    logged = logged.filter(pc.and_(of_model, of_time))
    if logged.num_rows and not {EVENT_ID, CARD} <= set(logged.column_names):
        sys.exit(f"refresh: live scores do not name their events, so no label can be found: score with event_source=\"{SOURCE}\"")
    if logged.num_rows == 0:
        return pa.table({name: pa.array([], kind) for name, kind in ((LABEL, pa.bool_()), ("as_of", pa.timestamp("us", "UTC")))}), 0
    logged = logged.filter(logged[EVENT_ID].is_valid())
    logged = logged.take(np.unique(logged[EVENT_ID].to_numpy(), return_index=True)[1])
    # Up to `until`, and no label after.
    events = client.events(source=SOURCE, between=(pc.min(logged["as_of"]).as_py(), until)).select([EVENT_ID, LABEL])
    events = events.filter(events[LABEL].is_valid())
    places = pc.index_in(logged[EVENT_ID], events[EVENT_ID])
    if LABEL in logged.column_names:
        logged = logged.drop_columns([LABEL])
    rows = logged.append_column(LABEL, events[LABEL].take(places)).filter(places.is_valid())
    return rows, logged.num_rows - rows.num_rows


def measured(rows, scores):
    """How well scores rank, how many cards they find, and whether they are probabilities."""
    return {
        "ap": round(float(average_precision_score(rows.fraud, scores)), 6),
        "cards": round(handbook.card_precision(rows, scores), 6),
        "brier": round(float(np.mean((scores - rows.fraud) ** 2)), 6),
        "mean_score": round(float(scores.mean()), 6),
    }


def standard_error(fraud, served, shadow):
    """Of the difference in average precision: how far it would come out otherwise with other rows of the same kind."""
    chance, differences = np.random.default_rng(0), []
    for _ in range(DRAWN):
        drawn = chance.integers(len(fraud), size=len(fraud))
        differences.append(average_precision_score(fraud[drawn], shadow[drawn]) - average_precision_score(fraud[drawn], served[drawn]))
    return round(float(np.std(differences)), 6)


def worse(served, shadow):
    """Why the shadow is not to serve; nothing if it is to."""
    reasons = []
    if shadow["ap"] <= served["ap"]:
        reasons.append(f"average precision is no better: {shadow['ap']} after {served['ap']}")
    if shadow["cards"] < served["cards"] - CARDS_SLACK:
        reasons.append(f"card precision@{handbook.CARDS} is worse: {shadow['cards']} after {served['cards']}")
    if shadow["brier"] > served["brier"] * (1 + BRIER_SLACK):
        reasons.append(f"calibration is worse, by its Brier score: {shadow['brier']} after {served['brier']}")
    return reasons


def say(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
