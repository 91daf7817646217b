# The few doors to the build, the same for people and for CI.

.DEFAULT_GOAL := help
.PHONY: help headers setup services demo test chaos check bench handbook four-weeks

help: ## Lists what there is.
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST)

setup: ## Fetches ONNX Runtime, once, for what scores with models.
	@.ci/setup

headers: ## Sees to it that there is what librdkafka is built with.
	@.ci/headers

services: ## Fetches Apache Kafka and Redis, once, for the tests; `.ci/services up DIR` starts them for you (needs Java and Maven).
	@.ci/services fetch

demo: headers ## The whole story on one machine, in a minute: events in, features and scores out, a recount that must agree.
	-@.ci/setup
	cargo run --quiet --profile fast --bin floodmark -- demo

test: headers setup services ## Every test of the house.
	REQUIRE_ORT=1 REQUIRE_SERVICES=1 cargo test --quiet --workspace

chaos: headers services ## A hundred rounds of failing workers, brokers, networks and Redis (about 45 minutes); seeds are printed.
	REQUIRE_SERVICES=1 FLOODMARK_CHAOS_ROUNDS=$${FLOODMARK_CHAOS_ROUNDS:-100} cargo test --quiet --test floodmark chaos -- --nocapture
	REQUIRE_SERVICES=1 FLOODMARK_CHAOS_ROUNDS=5 FLOODMARK_CHAOS_NODES=3 cargo test --quiet --test floodmark chaos -- --nocapture

check: ## Before each commit: form, lints, and the house's rules about itself.
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets -- -D warnings
	cargo test --quiet --test floodmark tidy

bench: headers setup services ## What speed costs; the figures are in docs/performance.md.
	cargo bench --workspace

handbook: ## The Fraud Detection Handbook's baseline from raw transactions (FLOODMARK_DATA); needs Python 3.11 or newer.
	cargo build --quiet --release --bin floodmark
	python3 examples/fraud/handbook.py

four-weeks: headers setup ## A model that is refreshed each week against one that is not, on four weeks of the same transactions (about ten minutes).
	cargo build --quiet --profile fast --bin floodmark
	python3 examples/fraud/four_weeks.py
