"""Trains the fraud example's model on a training set that floodmark wrote, and writes it where floodmark finds it.

    floodmark demo --seed 2 --store state
    floodmark training-set --store state --service fraud --spine state/input/labels.parquet --time tx_datetime \\
        --event-id transaction_id --out training.parquet
    python3 examples/fraud/train.py --training-set training.parquet --out models/fraud/1

So was the example's model made, `models/fraud/1` beside this file; `floodmark demo` scores the town of another seed with it.

A version of a model is a folder: `model.onnx`; `manifest.json`, which says what each input is and what becomes of it where it
is missing; `golden.json`, rows with the scores that the model must give wherever it is loaded; `learnt.json`, the days that it
has learnt from. The same training set gives the same bytes. Progress is said on stderr; the last line of stdout is JSON.
"""

import argparse
import hashlib
import json
import re
import shutil
import sys
from datetime import date, timedelta
from pathlib import Path

import packages

packages.enter("examples", Path(__file__).resolve().parent / "requirements.txt")

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from onnx import helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import average_precision_score, roc_auc_score

REJECT = "reject"
# The model's inputs in their order, and what stands for a missing one. Exported trees cannot be given NaN: they send it one way
# at each node, whatever was learnt. So a count, an average or a risk of nothing is 0, and an amount without a past is as usual.
WINDOWS = {"customer_spend": ["nb_tx", "avg_amount"], "terminal_risk": ["nb_tx", "risk"]}
INPUTS = {
    "amount": REJECT,
    **{f"{view}.{name}_{days}": 0 for view, names in WINDOWS.items() for name in names for days in ("1d", "7d", "30d")},
    "amount_ratio": 1,
}
# Small, so that scoring costs microseconds; half of the rows for each tree, so that fewer trees say as much. A leaf of few rows that the trees
# before were sure of would have a value without measure.
MODEL = {"n_estimators": 60, "max_depth": 4, "min_samples_leaf": 20, "subsample": 0.5, "random_state": 0}
# ONNX versions that every runtime of the last years knows.
OPSETS = {"": 18, "ai.onnx.ml": 3}
TOLERANCE = 1e-5
# Fraud is known so many days later.
LABEL_DELAY = 7
# Days until the longest window is full: thirty, that end a week ago.
WINDOWS_FILL = 37
# Days that the model is tested on, after those whose labels were not known yet.
TESTED = 7


def main():
    arguments = parse()
    service, columns_id = origin(arguments)
    table = pq.read_table(arguments.training_set)
    usable = table.filter(pc.and_(table["amount"].is_valid(), table[arguments.label_column].is_valid()))
    day = usable["tx_datetime"].cast(pa.timestamp("us"), safe=False).cast(pa.date32()).cast(pa.int32()).to_numpy()
    given, label = given_inputs(usable), usable[arguments.label_column].cast(pa.int8()).to_numpy()
    inputs = as_model_sees(given)

    first, last = period(arguments, day)
    learnt = (day >= first) & (day <= last)
    tested = (day > last + LABEL_DELAY) & (day <= last + LABEL_DELAY + TESTED)
    say(f"training on {learnt.sum()} rows of {name(first)} to {name(last)}, {label[learnt].sum()} of them frauds ...")
    if not 0 < label[learnt].sum() < learnt.sum():
        sys.exit("train: these days need rows with fraud and rows without")
    model = GradientBoostingClassifier(**MODEL).fit(inputs[learnt], label[learnt])
    onnx = export(model)
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])

    exported, trained = score(session, inputs[learnt]), model.predict_proba(inputs[learnt])[:, 1]
    if np.abs(exported - trained).max() > TOLERANCE:
        sys.exit(f"train: the exported model scores otherwise than the trained one. difference={np.abs(exported - trained).max()}")
    report = {"out": str(arguments.out), "rows": int(learnt.sum()), "bytes": len(onnx)}
    if 0 < label[tested].sum() < tested.sum():
        scores = score(session, inputs[tested])
        report["tested"] = {
            "rows": int(tested.sum()),
            "from": name(last + LABEL_DELAY + 1),
            "to": name(last + LABEL_DELAY + TESTED),
            "auc": round(float(roc_auc_score(label[tested], scores)), 4),
            "ap": round(float(average_precision_score(label[tested], scores)), 4),
        }
    golden = golden_rows(session, given[learnt], exported)
    learnt_from = {"from": name(first), "to": name(last), "rows": int(learnt.sum()), "frauds": int(label[learnt].sum())}
    write(arguments.out, onnx, manifest(service, columns_id, onnx), golden, learnt_from)
    print(json.dumps(report))


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--training-set", required=True, type=Path, metavar="FILE.parquet",
                        help="as `floodmark training-set` wrote it")
    parser.add_argument("--service", default="fraud", help="the service whose features it has (default: fraud)")
    parser.add_argument("--columns-id", metavar="HEX", help="the service's columns_id, as 16 hexadecimal digits; "
                        "the training set's own, if it says one")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR/NAME/VERSION", help="a new folder; VERSION is a number")
    parser.add_argument("--label-column", default="fraud", help="true for what the model is to find (default: fraud)")
    parser.add_argument("--from", dest="first", type=date.fromisoformat, metavar="DATE",
                        help=f"first day to learn from; if not said, the training set's first and {WINDOWS_FILL} days")
    parser.add_argument("--to", dest="last", type=date.fromisoformat, metavar="DATE",
                        help=f"last day to learn from; if not said, {LABEL_DELAY + TESTED} days before the training set's last")
    arguments = parser.parse_args()
    if not re.fullmatch(r"[1-9][0-9]*", arguments.out.name):
        parser.error(f"--out ends with the version, a number without leading zeros. found={arguments.out.name}")
    if arguments.out.exists():
        parser.error(f"--out is there already, and a version never changes. out={arguments.out}")
    return arguments


def origin(arguments):
    """Which service the training set is of, and the identity of its columns."""
    noted = {key.decode(): value.decode() for key, value in (pq.read_metadata(arguments.training_set).metadata or {}).items()}
    service, columns_id = noted.get("floodmark.service"), noted.get("floodmark.columns_id")
    if service not in (None, arguments.service):
        sys.exit(f"train: the training set is of another service. found={service} expected={arguments.service}")
    if columns_id and arguments.columns_id and columns_id != arguments.columns_id.lower():
        sys.exit(f"train: the training set has other columns. found={columns_id} expected={arguments.columns_id}")
    columns_id = (arguments.columns_id or columns_id or "").lower()
    if not re.fullmatch(r"[0-9a-f]{16}", columns_id):
        sys.exit("train: --columns-id is needed: 16 hexadecimal digits, `columns_id` of the service's GetService")
    return arguments.service, columns_id


def period(arguments, day):
    first = days_of(arguments.first) if arguments.first else day.min() + WINDOWS_FILL
    last = days_of(arguments.last) if arguments.last else day.max() - LABEL_DELAY - TESTED
    return first, last


def days_of(day):
    return (day - date(1970, 1, 1)).days


def name(day):
    return str(date(1970, 1, 1) + timedelta(days=int(day)))


def given_inputs(table):
    """The inputs as floodmark gives them; NaN is one that is missing."""
    absent = [column for column in INPUTS if column not in table.column_names]
    if absent:
        sys.exit(f"train: the training set lacks inputs of the model. absent={','.join(absent)}")
    return np.column_stack([table[column].cast(pa.float64()).to_numpy(zero_copy_only=False) for column in INPUTS])


def as_model_sees(given):
    """What the manifest makes of them: defaults for what is missing, and 32 bits."""
    defaults = np.array([0.0 if missing == REJECT else missing for missing in INPUTS.values()])
    return np.where(np.isnan(given), defaults, given).astype(np.float32)


def export(model):
    tensor = [("X", FloatTensorType([None, len(INPUTS)]))]
    # Plain tensors out: a ZipMap would make a map of each row.
    options = {id(model): {"zipmap": False}}
    exported = convert_sklearn(model, name="fraud", initial_types=tensor, options=options, target_opset=OPSETS)
    # So that a manifest with the inputs in another order is refused.
    helper.set_model_props(exported, {"floodmark.columns": json.dumps(list(INPUTS))})
    # They come out of a set, in any order.
    opsets = sorted(exported.opset_import, key=lambda opset: opset.domain)
    del exported.opset_import[:]
    exported.opset_import.extend(opsets)
    return exported.SerializeToString(deterministic=True)


def score(session, inputs):
    return session.run(["probabilities"], {"X": inputs})[0][:, 1]


def manifest(service, columns_id, onnx):
    missing = lambda policy: policy if policy == REJECT else {"default": policy}
    features = [{"column": column, "missing": missing(policy)} for column, policy in INPUTS.items()]
    return {
        "format": 1,
        "service": service,
        "columns_id": columns_id,
        "inputs": {"tensor": "X", "features": features},
        "score": {"output": "probabilities", "column": 1},
        "golden": "golden.json",
        "sha256": hashlib.sha256(onnx).hexdigest(),
    }


def golden_rows(session, given, scores):
    """Rows from the lowest score to the highest, rows beyond anything seen, and rows with inputs missing."""
    spread = np.argsort(scores, kind="stable")[np.linspace(0, len(scores) - 1, 20).astype(int)]
    usual, least, most = np.nanmedian(given, axis=0), np.nanmin(given, axis=0), np.nanmax(given, axis=0)
    columns = np.array(list(INPUTS))
    of = lambda prefix: np.char.startswith(columns, prefix)
    optional = np.array([policy != REJECT for policy in INPUTS.values()])
    without = lambda row, gone: np.where(gone, np.nan, row)
    with_most = lambda prefix: np.where(of(prefix), most, usual)
    extremes = [usual, least, most, np.zeros(len(columns)), most * 1e6, *map(with_most, ("amount", "terminal_risk.risk", "customer_spend"))]
    missing = [
        without(usual, optional), without(most, optional), without(usual, of("customer_spend") | of("amount_ratio")),
        without(usual, of("terminal_risk")), without(usual, of("amount_ratio")),
    ]
    rows = np.vstack([given[spread], *extremes, *missing])
    expected = [float(score(session, as_model_sees(row[None]))[0]) for row in rows]
    if np.abs(score(session, as_model_sees(rows)) - expected).max() > TOLERANCE:
        sys.exit("train: the model scores rows one by one otherwise than all at once")
    # Whole numbers are written as such.
    number = lambda value: None if np.isnan(value) else int(value) if float(value).is_integer() else float(value)
    return [{"inputs": [number(value) for value in row], "score": wanted} for row, wanted in zip(rows, expected)]


def write(out, onnx, manifest, golden, learnt_from):
    """All of it or nothing: whoever watches the folder never sees half a version."""
    making = out.with_name(f".tmp-{out.name}")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    (making / "model.onnx").write_bytes(onnx)
    (making / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    (making / "learnt.json").write_text(json.dumps(learnt_from) + "\n")
    rows = ",\n".join(json.dumps(row) for row in golden)
    (making / "golden.json").write_text(f'{{"tolerance": {TOLERANCE}, "rows": [\n{rows}\n]}}\n')
    making.rename(out)


def say(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
