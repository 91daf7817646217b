//! Every metric there is: its name, kind, labels and meaning. docs/metrics.md has the same table, and a test holds them together.

/// What kind of number it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, from 0 when the process starts. Its name ends in `_total`.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Observations by size: `_bucket`, `_sum` and `_count`.
    Histogram,
}

/// A metric.
#[derive(Debug)]
pub struct Metric {
    /// As it is exposed; a unit stands in the name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

macro_rules! catalog {
    ($($constant:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $constant: Metric = Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };
        )*
        /// All of them, in the order of the page.
        pub static ALL: &[&Metric] = &[$(&$constant),*];
    };
}

catalog! {
    BUILD: Gauge "floodmark_build_info" ["version"] "Always 1; the version is in the label.";
    CALLS: Counter "floodmark_calls_total" ["transport", "method", "code"]
        "Calls that ended, by their status as in google.rpc.Code; CANCELLED where the caller went away. Those of floodmark.v1 over HTTP have the name of their gRPC method.";
    CALL_SECONDS: Histogram "floodmark_call_duration_seconds" ["transport", "method"]
        "Time from the read that brought a call to its answer; of a stream, to its end.";
    CALLS_IN_FLIGHT: Gauge "floodmark_calls_in_flight" ["transport", "method"] "Calls that have begun and not ended.";
    CALLS_REFUSED: Counter "floodmark_calls_refused_total" []
        "Calls over gRPC that were refused as others waited too long already; they are among the calls with RESOURCE_EXHAUSTED.";
    HTTP_REQUESTS: Counter "floodmark_http_requests_total" ["status"] "Requests answered on the HTTP port, by status.";
    HTTP_SECONDS: Histogram "floodmark_http_request_duration_seconds" [] "Time from a request's head to its answer on the HTTP port.";
    HTTP_IN_FLIGHT: Gauge "floodmark_http_requests_in_flight" [] "Requests on the HTTP port that are not answered yet, the scrape included.";
    HTTP_TURNED_AWAY: Counter "floodmark_http_connections_refused_total" [] "Connections to the HTTP port beyond the limit.";
    EVENTS_READ: Counter "floodmark_events_read_total" ["source"] "Events taken in; each has one outcome.";
    EVENTS: Counter "floodmark_events_total" ["source", "outcome"] "Events by outcome: accepted, late, rejected, duplicate.";
    EVENTS_PARTIALLY_LATE: Counter "floodmark_events_partially_late_total" ["source"] "Of the accepted, those that missed values which were final.";
    VIEW_EVENTS: Counter "floodmark_view_events_total" ["view", "outcome"]
        "Events by what a view made of them: accepted, late, duplicate; unassigned to any window.";
    VIEW_EVENTS_PARTIALLY_LATE: Counter "floodmark_view_events_partially_late_total" ["view"]
        "Of the accepted, those that missed values of the view which were final.";
    WATERMARK: Gauge "floodmark_source_watermark_seconds" ["source"]
        "Up to here event time is complete, since the epoch. Absent before the first event; +Inf once all inputs have ended.";
    WATERMARK_LAG: Gauge "floodmark_source_watermark_lag_seconds" ["source"]
        "How far the watermark is behind the clock. Absent where it is absent or +Inf.";
    KAFKA_LAG: Gauge "floodmark_kafka_lag_records" ["source", "partition"]
        "Records of a Kafka partition that cannot be read here yet. Absent before a broker has answered.";
    KAFKA_IDLE: Gauge "floodmark_kafka_partition_idle" ["source", "partition"]
        "1 while a Kafka partition is at its end for longer than the source's idle_timeout: it does not hold the watermark back.";
    KAFKA_DELAY: Gauge "floodmark_kafka_delay_seconds" ["source"]
        "From Kafka's timestamp of the oldest record of the newest batch until it could be read.";
    KAFKA_TROUBLES: Counter "floodmark_kafka_troubles_total" ["source"] "What the Kafka client complained of: a broker that is away, a connection cut.";
    KAFKA_CLIENTS: Counter "floodmark_kafka_clients_replaced_total" ["source"]
        "Kafka clients that were replaced as they had no broker for 20 seconds, or did not answer.";
    PUBLISHED: Counter "floodmark_published_total" []
        "Late events, closed windows, rejected records and scores in Kafka transactions that were committed.";
    PUBLISH_TRANSACTIONS: Counter "floodmark_publish_transactions_total" ["outcome"]
        "Kafka transactions of side outputs: committed, aborted (and sent again).";
    PUBLISH_PRODUCERS: Counter "floodmark_publish_producers_replaced_total" []
        "Producers that were thrown away, as what became of their transaction was not known, or they were fenced.";
    PUBLISH_TROUBLES: Counter "floodmark_publish_troubles_total" []
        "What the Kafka clients of side outputs complained of: a broker that is away, a connection cut.";
    PIPELINE_READ: Counter "floodmark_pipeline_read_total" ["role", "source"]
        "Records that a worker has taken in: of a source's topic, or of the feature log. Counted once they are committed.";
    PIPELINE_REJECTED: Counter "floodmark_pipeline_rejected_total" ["role", "source"]
        "Records that route has refused.";
    PIPELINE_SKIPPED: Counter "floodmark_pipeline_skipped_total" ["role", "source"]
        "Offsets that a topic no longer had when route came to them (its retention), and that it passed over (lost=skip).";
    PIPELINE_PUBLISHED: Counter "floodmark_pipeline_published_total" ["role", "source"]
        "Late events and closed windows that apply has published.";
    PIPELINE_TRANSACTIONS: Counter "floodmark_pipeline_transactions_total" ["role", "source", "outcome"]
        "Kafka transactions of a worker: committed, aborted (and done again).";
    PIPELINE_PRODUCERS: Counter "floodmark_pipeline_producers_replaced_total" ["role", "source"]
        "Producers that were thrown away, as what became of their transaction was not known, or they were fenced.";
    PIPELINE_REBALANCES: Counter "floodmark_pipeline_rebalances_total" ["role", "source"]
        "Changes of which partitions a worker has.";
    PIPELINE_TROUBLES: Counter "floodmark_pipeline_troubles_total" ["role", "source"]
        "What a worker's clients complained of: a broker that is away, a connection cut, a Redis that does not answer.";
    PIPELINE_CLIENTS: Counter "floodmark_pipeline_clients_replaced_total" ["role", "source"]
        "How often a worker began anew with other Kafka clients, as the ones it had knew no broker for 20 seconds, or did not come back.";
    PIPELINE_PARTITIONS: Gauge "floodmark_pipeline_partitions" ["role", "source"]
        "Partitions that a worker has.";
    PIPELINE_LAG: Gauge "floodmark_pipeline_lag_records" ["role", "source", "partition"]
        "Records of a partition that the worker has still to take in. Absent before a broker has answered.";
    PIPELINE_WATERMARK: Gauge "floodmark_pipeline_watermark_seconds" ["source", "partition"]
        "Up to here event time is complete in a partition of the feature log, since the epoch.";
    PIPELINE_VIEW_EVENTS: Gauge "floodmark_pipeline_view_events" ["view", "outcome"]
        "Events of the worker's partitions by what a view made of them, since the pipeline began: accepted (the partially late ones among them), partially_late, late, duplicate, unassigned.";
    OFFLINE_ROWS: Counter "floodmark_offline_rows_total" ["kind"]
        "Rows brought into the tables of the offline store: event, side (late events, rejected records, closed windows).";
    OFFLINE_COMMITS: Counter "floodmark_offline_commits_total" []
        "Commits to tables of the offline store.";
    OFFLINE_FAILURES: Counter "floodmark_offline_failures_total" []
        "How often the offline store could not be written; what waited goes on waiting.";
    OFFLINE_WAITING: Gauge "floodmark_offline_events_waiting" ["source"]
        "Events that can be read and are not in the offline store yet, late ones and duplicates included.";
    FOLLOWED_EVENTS: Counter "floodmark_followed_events_total" []
        "Events that `serve --offline` has taken in from the offline store since it began to answer.";
    FOLLOW_FAILURES: Counter "floodmark_follow_failures_total" []
        "How often `serve --offline` could not read the offline store; what it has is served, and it goes on trying.";
    BACKFILL_EVENTS: Gauge "floodmark_backfill_events" ["state"]
        "Events of the offline store for views that `--backfill` added: taken, and all that there are.";
    BACKFILL_FAILURES: Counter "floodmark_backfill_failures_total" []
        "How often these could not be read or taken; where the offline store was away it is tried again.";
    VIEW_BACKFILLING: Gauge "floodmark_view_backfilling" ["view"]
        "1 while a view is being computed from history and not answered; absent otherwise.";
    ONLINE_WRITES: Counter "floodmark_online_writes_total" []
        "Rounds of writes to the online store.";
    ONLINE_WRITE_SECONDS: Gauge "floodmark_online_write_seconds" []
        "Time that these took altogether.";
    ONLINE_TAKEN_OVER: Counter "floodmark_online_partitions_taken_over_total" []
        "Partitions of the online store that a worker took over: at its start, from another worker, or again as Redis had lost something.";
    STORE_VERSION: Gauge "floodmark_store_version_seconds" [] "The newest version that can be read, which is a time since the epoch; 0 before the first.";
    COMMITS: Counter "floodmark_store_commits_total" [] "Durable commits. One may hold several batches.";
    COMMIT_SECONDS: Counter "floodmark_store_commit_seconds_total" [] "Time that the disk took for durable commits.";
    LOG_BYTES: Gauge "floodmark_store_log_bytes" [] "Log behind the last checkpoint: what opening the store would replay.";
    TIMELINE_BYTES: Gauge "floodmark_store_timeline_bytes" [] "Memory that timelines take.";
    MODEL_STATE: Gauge "floodmark_model_state" ["model", "version", "state"] "1 for the state that a version is in: ready, loading, unavailable, retired.";
    MODEL_LOADS: Counter "floodmark_model_loads_total" [] "Versions that were loaded.";
    MODEL_LOAD_FAILURES: Counter "floodmark_model_load_failures_total" ["step"] "Versions that were refused when they were loaded, by step.";
    MODEL_RUNS: Counter "floodmark_model_runs_total" ["model", "version"]
        "Runs of a version that serves, from 0 when it is loaded; those for comparison included.";
    MODEL_ERRORS: Counter "floodmark_model_errors_total" ["model", "version"] "Of these, those that failed.";
    MODEL_ROWS: Counter "floodmark_model_rows_total" ["model", "version"] "Rows that a version scored.";
    MODEL_MISSING: Counter "floodmark_model_missing_inputs_total" ["model", "version"] "Inputs that were missing in these rows.";
    MODEL_BATCH: Histogram "floodmark_model_batch_rows" ["model", "version"] "Rows of a run that did not fail.";
    MODEL_SCORE: Histogram "floodmark_model_score" ["model", "version"] "Scores.";
    COMPARED: Histogram "floodmark_model_score_difference" ["model", "answered", "beside"]
        "Size of the difference between the score that was answered and that of the version beside it (a shadow or the stable one), row by row.";
    COMPARED_DROPPED: Counter "floodmark_model_comparisons_dropped_total" ["model", "answered", "beside"] "Rows that were not compared, as too many waited.";
    COMPARED_ERRORS: Counter "floodmark_model_comparison_errors_total" ["model", "answered", "beside"]
        "Rows that the version beside cannot be given, or has no score for.";
    STREAM_SCORES: Counter "floodmark_stream_scores_total" ["outcome"] "Events scored as they came: scored, failed.";
    STREAM_WAITS: Counter "floodmark_stream_score_waits_total" [] "How often events had to wait as no version of their model was ready.";
    STREAM_WAITING: Gauge "floodmark_stream_events_waiting" ["source"] "Events that can be read and have not been scored yet.";
    PREDICTIONS: Counter "floodmark_logged_predictions_total" ["outcome"]
        "Rows for the log of predictions: written, dropped (the queue was full), failed (no score), lost (the store refused them).";
    PREDICTIONS_REMOVED: Counter "floodmark_logged_predictions_removed_total" [] "Logged predictions that were removed to make room for newer ones.";
    MEMORY: Gauge "floodmark_process_resident_memory_bytes" [] "Memory of the process that is in RAM.";
    CPU: Counter "floodmark_process_cpu_seconds_total" [] "Time on cores, of all threads, in the system's steps of a hundredth.";
}
