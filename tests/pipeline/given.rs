//! The real transactions through a topic of four partitions, routed and applied by two workers each: every feature of every customer and
//! terminal is the embedded store's, and that of plain loops over all transactions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use floodmark_features::definition::Definitions;
use floodmark_features::engine::EnginePlan;
use floodmark_features::feature_log::decode_batch;

use super::world::World;
use crate::disorder_real::arrivals::{DAY, Transaction, all_transactions};
use crate::disorder_real::recount::{Ask, Mode, Recount};
use crate::disorder_real::serving::Server;
use crate::harness::kafka::{Kafka, Record};
use crate::harness::real::{data, floodmark, fraud_definitions, text};
use crate::harness::redis::Redis;

const PARTITIONS: usize = 4;

fn json(it: &Transaction) -> String {
    let Transaction { id, at, customer, terminal, amount, fraud } = it;
    format!(
        r#"{{"transaction_id":{id},"tx_datetime":{at},"customer_id":{customer},"terminal_id":{terminal},"amount":{amount},"fraud":{fraud}}}"#
    )
}

/// Each customer and each terminal, as of the last transaction and of some times before.
fn asks(transactions: &[Transaction]) -> Vec<Ask> {
    let highest = |of: fn(&Transaction) -> i64| transactions.iter().map(of).max().unwrap_or(0);
    let (customers, terminals) = (highest(|it| it.customer) + 1, highest(|it| it.terminal) + 1);
    let last = transactions.last().map_or(0, |it| it.at);
    let times = [last, last - DAY / 3, last - 8 * DAY];
    let ask = |at: i64, number: i64| Ask { customer: number % customers, terminal: number % terminals, as_of: at, own: None };
    times.into_iter().flat_map(|at| (0..customers.max(terminals)).map(move |number| ask(at, number))).collect()
}

fn bits(answers: Vec<[Option<f64>; 15]>) -> Vec<[Option<u64>; 15]> {
    answers.into_iter().map(|row| row.map(|value| value.map(f64::to_bits))).collect()
}

#[test]
fn two_workers_of_each_role_make_the_features_of_the_real_transactions() {
    let Some(transactions) = all_transactions() else { return };
    let (Some(kafka), Some(redis)) = (Kafka::shared(), Redis::start(None)) else { return };
    let definitions = std::fs::read_to_string(fraud_definitions()).expect("definitions");
    let mut world = World::new(&kafka, &redis, "given", &definitions, "transactions");
    kafka.make_topic("given-in", PARTITIONS as i32);
    let lines: Vec<String> = transactions.iter().map(json).collect();
    // Keyed by transaction: each goes where its id says.
    let partition = |it: &Transaction| (it.id as usize % PARTITIONS) as i32;
    let records = transactions.iter().zip(&lines).map(|(it, line)| Record {
        partition: partition(it),
        payload: Some(line.as_bytes()),
        timestamp: None,
    });
    kafka.produce("given-in", records);
    let began = Instant::now();
    for name in ["a", "b"] {
        world.route(name, &["given-in"]);
        world.apply(name);
    }
    world.until_taken("customer_spend", transactions.len() as u64);
    world.until_taken("terminal_risk", transactions.len() as u64);
    eprintln!("{} events in {:?}", transactions.len(), began.elapsed());
    world.stop_all();

    let store = world.home().join("store");
    let input = format!("transactions={}", text(&data("transactions.parquet").expect("the data")));
    floodmark(&["replay", "--json", "--definitions", &fraud_definitions(), "--store", &text(&store), &input]);
    let asks = asks(&transactions);
    let recount = Recount::of(transactions.iter().copied());
    let counted = bits(asks.iter().map(|ask| recount.answer(ask, Mode::AsServed)).collect());
    let embedded = bits(Server::start(&store).look_up(&asks, Mode::AsServed));
    let online = bits(Server::start_online(&redis.url(), "given").look_up(&asks, Mode::AsServed));
    let differing = (0..asks.len()).filter(|at| online[*at] != embedded[*at] || online[*at] != counted[*at]).count();
    eprintln!("{differing} of {} rows of 15 features differ", asks.len());
    assert_eq!(differing, 0);

    // What committed readers see of the log: each transaction once for its customer, once for its terminal.
    let plan = EnginePlan::new(Arc::new(Definitions::parse("floodmark.yaml", &definitions).expect("definitions")));
    let mut seen: HashMap<(usize, String), usize> = HashMap::new();
    for found in kafka.records("given.log", "read_committed") {
        for (at, section) in decode_batch(&plan, &found.value).expect("a batch").sections {
            let rows = section.rows.rows(&plan.sections[at].layout);
            rows.iter().for_each(|row| *seen.entry((at, row.id().to_string())).or_default() += 1);
        }
    }
    assert_eq!(seen.len(), 2 * transactions.len(), "each event is there for both entities");
    assert!(seen.values().all(|times| *times == 1), "and once");
    assert!(kafka.committed("given.late").is_empty() && kafka.committed("given.rejects").is_empty());
}
