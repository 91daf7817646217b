//! What is compared, what is left out, and that nobody waits for it.

use std::time::Duration;

use super::*;
use crate::matrix::Input;
use crate::model::Settings;
use crate::registry::Registry;
use crate::repository::Repository;
use crate::testing::{self, Fraud, MANIFEST, expected, golden};

/// Version 1, and a version 2 whose scores are the logarithms of the same sums.
fn two_versions() -> Option<(Arc<Model>, Arc<Model>)> {
    testing::runtime()?;
    let folder = tempfile::tempdir().unwrap();
    let repository = folder.path().join("fraud");
    testing::write(&repository, "1", &testing::bytes(&testing::logistic()), MANIFEST, &golden());
    let row = |row: [f64; 3]| format!("{{ \"inputs\": {row:?}, \"score\": {} }}", sum(row).ln());
    let rows = format!("{{ \"tolerance\": 1e-5, \"rows\": [ {}, {} ] }}", row([1.0, 2.0, 0.25]), row([3.0, 0.0, 1.0]));
    testing::write(&repository, "2", &testing::bytes(&testing::log()), MANIFEST, &rows);
    let settings = Settings { instances: 1, warm_up_runs: 5, ..Settings::default() };
    let registry = Registry::new(Repository::new(folder.path()), None, settings);
    let load = |version| registry.load("fraud", version, &Fraud).unwrap();
    Some((load(1), load(2)))
}

fn sum(row: [f64; 3]) -> f64 {
    let score = expected(row);
    (score / (1.0 - score)).ln()
}

fn batch((answered, beside): &(Arc<Model>, Arc<Model>), rows: &[[f64; 3]]) -> Beside {
    let mut matrix = beside.matrix();
    for row in rows {
        matrix.push(|at| Input::Float(row[at])).unwrap();
    }
    let scores = rows.iter().map(|row| expected(*row)).collect();
    Beside { answered: answered.clone(), beside: beside.clone(), rows: matrix, scores, left_out: 0 }
}

/// The one difference there is, once so many rows are accounted for.
fn difference_of(comparer: &Comparer, rows: u64) -> Difference {
    loop {
        let differences = comparer.differences();
        if let [(pair, difference)] = differences.as_slice() {
            assert_eq!(*pair, ("fraud".to_owned(), 1, 2));
            if difference.rows + difference.errors + difference.dropped >= rows {
                return *difference;
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn differences_are_those_of_a_recount() {
    let Some(models) = two_versions() else { return };
    let comparer = Comparer::new();
    let rows: Vec<[f64; 3]> = (0..200).map(|n| [1.0 + f64::from(n % 7), f64::from(n % 3), 0.25 + f64::from(n % 5) / 8.0]).collect();
    rows.chunks(3).for_each(|rows| comparer.offer(batch(&models, rows)));
    let found = difference_of(&comparer, 200);
    let differences: Vec<f64> = rows.iter().map(|row| sum(*row).ln() - expected(*row)).collect();
    let near = |a: f64, b: f64| (a - b).abs() < 1e-4 * b.abs().max(1.0);
    assert_eq!((found.rows, found.errors, found.dropped), (200, 0, 0));
    assert!(near(found.sum, differences.iter().sum()), "{found:?}");
    assert!(near(found.sum_abs, differences.iter().map(|d| d.abs()).sum()), "{found:?}");
    assert!(near(found.max_abs, differences.iter().fold(0.0, |most, d| d.abs().max(most))), "{found:?}");
    let counted = DIFFERENCES.map(|bound| differences.iter().filter(|d| d.abs() <= bound).count() as u64);
    assert_eq!(found.at_most, counted);
}

#[test]
fn rows_without_a_score_are_counted() {
    let Some(models) = two_versions() else { return };
    let comparer = Comparer::new();
    // The logarithm of a negative sum is no number.
    comparer.offer(Beside { left_out: 2, ..batch(&models, &[[0.0, 8.0, 0.0], [1.0, 0.0, 0.0]]) });
    assert_eq!(difference_of(&comparer, 4).errors, 4);
}

#[test]
fn what_is_too_much_is_left_out_and_counted() {
    let Some(models) = two_versions() else { return };
    let comparer = Comparer::new();
    let many = vec![[1.0, 0.0, 0.0]; 10_000];
    (0..20).for_each(|_| comparer.offer(batch(&models, &many)));
    let found = difference_of(&comparer, 200_000);
    assert!(found.dropped > 0 && found.rows > 0, "{found:?}");
    assert_eq!(found.rows + found.dropped, 200_000);
}
