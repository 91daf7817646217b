"""What the README says a data scientist types, against what the data's authors have published.

    readme.py README ADDRESS SPINE PUBLISHED
"""

import sys

import polars as pl

readme, address, spine, published = sys.argv[1:]
blocks = [block.split("```", 1)[0] for block in open(readme).read().split("```python\n")[1:]]
[script] = [block for block in blocks if "floodmark.Client" in block]
assert len(script.strip().splitlines()) <= 10, script
script = script.replace("127.0.0.1:7070", address).replace("transactions.parquet", spine)
made = {}
exec(script, made)
ours = made["training_set"]
theirs = pl.read_parquet(published).join(ours, on="transaction_id", how="left", maintain_order="left")
differing = pl.Series([False]).extend_constant(False, theirs.height - 1)
for days in ("1d", "7d", "30d"):
    names = {"customer_spend.nb_tx": "customer_nb_tx", "customer_spend.avg_amount": "customer_avg_amount"}
    names |= {"terminal_risk.nb_tx": "terminal_nb_tx", "terminal_risk.risk": "terminal_risk"}
    for name, published_name in names.items():
        one, other = theirs[f"{name}_{days}"].cast(pl.Float64), theirs[f"{published_name}_{days}"].cast(pl.Float64)
        assert one.null_count() == 0, name
        differing |= (one - other).abs() > 1e-9 * other.abs().clip(1.0)
# A customer has two transactions in one second, and their order is by id here and by chance there.
assert differing.sum() <= 8, f"{differing.sum()} of {theirs.height} rows differ"
assert theirs.height == 585_177 and ours.height == 1_754_155
print(f"{differing.sum()} of {theirs.height} published rows differ", file=sys.stderr)
print("all of it is the same")
