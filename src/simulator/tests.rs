//! The simulator makes plausible towns, the same from the same seed, and files that hold what arrived.

use std::collections::BTreeSet;

use super::*;

const MINUTE: i64 = 60_000_000;

fn town(seed: u64) -> Vec<Transaction> {
    Simulator::new(seed, Settings::default()).transactions()
}

#[test]
fn the_same_seed_gives_the_same_transactions() {
    let once = town(1);
    assert_eq!(once, town(1));
    assert_ne!(once, town(2));
}

#[test]
fn a_town_is_plausible() {
    let settings = Settings::default();
    let all = town(3);
    // Two a day on average, some beyond midnight, a few customers out of reach of any terminal.
    let expected = f64::from(settings.customers * settings.days) * 2.0;
    assert!((0.7..1.1).contains(&(all.len() as f64 / expected)), "{} of {expected}", all.len());
    assert!(all.windows(2).all(|pair| pair[0].tx_datetime <= pair[1].tx_datetime));
    assert!(all.iter().zip(0..).all(|(t, id)| t.transaction_id == id));
    let end = settings.start + i64::from(settings.days) * DAY;
    assert!(all.iter().all(|t| (settings.start..end).contains(&t.tx_datetime) && t.tx_datetime % 1_000_000 == 0));
    assert!(all.iter().all(|t| t.amount >= 0.0 && t.amount == cents(t.amount)));
    assert!(all.iter().all(|t| t.amount <= SUSPICIOUS_AMOUNT || t.fraud));
    assert!(all.iter().all(|t| (0..500).contains(&t.customer_id) && (0..1_000).contains(&t.terminal_id)));

    let noon = all.iter().map(|t| (t.tx_datetime - settings.start) % DAY).sum::<i64>() / all.len() as i64;
    assert!((noon - DAY / 2).abs() < 30 * MINUTE, "{noon}");
    // A small town has as many thieves as a large one: its share of frauds is higher.
    let share = all.iter().filter(|t| t.fraud).count() as f64 / all.len() as f64;
    assert!((0.01..0.15).contains(&share), "{share}");
    // On the first day nobody is compromised yet.
    let early = all.iter().filter(|t| t.tx_datetime < settings.start + DAY && t.fraud);
    assert!(early.into_iter().all(|t| t.amount > SUSPICIOUS_AMOUNT));
}

#[test]
fn a_large_town_has_about_one_fraud_in_a_hundred() {
    let settings = Settings { customers: 2_500, terminals: 5_000, days: 90, ..Settings::default() };
    let all = Simulator::new(5, settings).transactions();
    let share = all.iter().filter(|t| t.fraud).count() as f64 / all.len() as f64;
    assert!((0.004..0.03).contains(&share), "{share}");
}

#[test]
fn nobody_and_nothing_make_no_transactions() {
    for settings in [
        Settings { customers: 0, ..Settings::default() },
        Settings { terminals: 0, ..Settings::default() },
        Settings { days: 0, ..Settings::default() },
        Settings { radius: 0.0, ..Settings::default() },
    ] {
        assert_eq!(Simulator::new(1, settings).transactions(), []);
    }
}

#[test]
fn arrivals_are_out_of_order_by_jitter_and_some_by_far() {
    let all = town(4);
    let how = Disorder { jitter: MINUTE, broken_share: 0.001, no_amount_share: 0.002, ..Disorder::default() };
    let arrivals = disorder(&all, 9, &how);
    assert_eq!(arrivals, disorder(&all, 9, &how));
    assert!(arrivals.windows(2).all(|pair| pair[0].at <= pair[1].at));
    let ids: BTreeSet<i64> = arrivals.iter().map(|a| a.transaction.transaction_id).collect();
    assert_eq!((arrivals.len(), ids.len()), (all.len(), all.len()));

    let delay = |a: &Arrival| a.at - a.transaction.tx_datetime;
    assert!(arrivals.iter().all(|a| (0..=how.max_delay).contains(&delay(a))));
    let share = |test: &dyn Fn(&Arrival) -> bool| arrivals.iter().filter(|a| test(a)).count() as f64 / all.len() as f64;
    assert!((0.0007..0.0014).contains(&share(&|a| delay(a) > how.jitter)));
    assert!((0.0007..0.0014).contains(&share(&|a| a.lost_customer)));
    assert!((0.0015..0.0026).contains(&share(&|a| a.lost_amount)));
    let newer_before = arrivals.windows(2).filter(|pair| pair[0].transaction.tx_datetime > pair[1].transaction.tx_datetime).count();
    assert!(newer_before > all.len() / 10, "{newer_before}");
}

#[test]
fn files_hold_what_arrived() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Settings { customers: 50, days: 10, ..Settings::default() };
    let all = Simulator::new(6, settings).transactions();
    let arrivals = disorder(&all, 6, &Disorder { broken_share: 0.05, no_amount_share: 0.05, ..Disorder::default() });

    let json = folder.path().join("transactions.jsonl");
    write_json_lines(&json, &arrivals).expect("written");
    let text = std::fs::read_to_string(&json).expect("read");
    assert_eq!(text.lines().count(), arrivals.len());
    for (line, arrival) in text.lines().zip(&arrivals) {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(line["transaction_id"], arrival.transaction.transaction_id);
        assert_eq!(line.get("customer_id").is_none(), arrival.lost_customer);
        assert_eq!(line["amount"].as_f64(), (!arrival.lost_amount).then_some(arrival.transaction.amount));
        let at = floodmark_features::time::Time::parse(line["tx_datetime"].as_str().expect("text")).expect("a time");
        assert_eq!(at.micros(), arrival.transaction.tx_datetime);
    }

    let path = folder.path().join("transactions.parquet");
    write_parquet(&path, &arrivals).expect("written");
    let file = std::fs::File::open(&path).expect("opens");
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(file, 1 << 20).expect("Parquet");
    let batches: Vec<_> = reader.map(|batch| batch.expect("a batch")).collect();
    let count = |f: fn(&arrow::array::RecordBatch) -> usize| batches.iter().map(f).sum::<usize>();
    assert_eq!(count(|b| b.num_rows()), arrivals.len());
    assert_eq!(count(|b| b["customer_id"].null_count()), arrivals.iter().filter(|a| a.lost_customer).count());
}
