//! How well scores put frauds before the rest: three measures of a ranking, as the Fraud Detection Handbook uses them.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

/// A scored transaction, and what it was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ranked {
    pub(super) score: f64,
    pub(super) fraud: bool,
    /// Whose card it was.
    pub(super) card: i64,
}

/// The chance that a fraud has a higher score than what is none, equal scores counting half. `None` without one of each.
pub(super) fn auc_roc(rows: &[Ranked]) -> Option<f64> {
    let (mut below, mut won) = (0u64, 0.0);
    let mut lowest_first = ties(rows);
    lowest_first.reverse();
    for (frauds, genuine) in &lowest_first {
        won += *frauds as f64 * (below as f64 + *genuine as f64 / 2.0);
        below += genuine;
    }
    let frauds: u64 = lowest_first.iter().map(|(frauds, _)| frauds).sum();
    (frauds > 0 && below > 0).then(|| won / (frauds as f64 * below as f64))
}

/// The mean, over the frauds, of the share of frauds among all with the same score or a higher one. `None` without a fraud.
pub(super) fn average_precision(rows: &[Ranked]) -> Option<f64> {
    let (mut seen, mut found, mut sum) = (0, 0, 0.0);
    for (frauds, genuine) in ties(rows) {
        seen += frauds + genuine;
        found += frauds;
        sum += frauds as f64 * found as f64 / seen as f64;
    }
    (found > 0).then(|| sum / found as f64)
}

/// Of one day: of the `most` cards with the highest scores, the share with a fraud on that day. A card has the highest score of its
/// transactions; of equal ones the smaller number goes first. It is a share of `most`, also where there are fewer cards.
///
/// The Handbook leaves out cards that are known to be compromised and blocked. Here none is: it is one day, nobody was looked into
/// before, and in a small town nearly every card was a victim once.
pub(super) fn card_precision(rows: &[Ranked], most: usize) -> f64 {
    let mut cards: HashMap<i64, (f64, bool)> = HashMap::new();
    for row in rows {
        let (score, fraud) = cards.entry(row.card).or_insert((row.score, false));
        *score = score.max(row.score);
        *fraud |= row.fraud;
    }
    let mut order: Vec<(i64, f64, bool)> = cards.into_iter().map(|(card, (score, fraud))| (card, score, fraud)).collect();
    order.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let found = order.iter().take(most).filter(|(_, _, fraud)| *fraud).count();
    found as f64 / most as f64
}

/// How many cards there are.
pub(super) fn cards<'a>(rows: impl IntoIterator<Item = &'a Ranked>) -> usize {
    rows.into_iter().map(|row| row.card).collect::<HashSet<i64>>().len()
}

/// How many frauds and how many others have each score, the highest score first.
fn ties(rows: &[Ranked]) -> Vec<(u64, u64)> {
    let mut order: Vec<&Ranked> = rows.iter().collect();
    order.sort_unstable_by(|a, b| b.score.total_cmp(&a.score));
    let same = |a: &&Ranked, b: &&Ranked| a.score.total_cmp(&b.score) == Ordering::Equal;
    let count = |tied: &[&Ranked]| {
        let frauds = tied.iter().filter(|row| row.fraud).count() as u64;
        (frauds, tied.len() as u64 - frauds)
    };
    order.chunk_by(same).map(count).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Ranked, auc_roc, average_precision, card_precision};

    fn rows(text: &[(f64, bool, i64)]) -> Vec<Ranked> {
        text.iter().map(|(score, fraud, card)| Ranked { score: *score, fraud: *fraud, card: *card }).collect()
    }

    #[test]
    fn a_ranking_is_as_good_as_told() {
        let best = rows(&[(0.9, true, 1), (0.8, true, 2), (0.2, false, 3)]);
        assert_eq!((auc_roc(&best), average_precision(&best)), (Some(1.0), Some(1.0)));
        let worst = rows(&[(0.1, true, 1), (0.8, false, 2), (0.2, false, 3)]);
        assert_eq!((auc_roc(&worst), average_precision(&worst)), (Some(0.0), Some(1.0 / 3.0)));
        let blind = rows(&[(0.5, true, 1), (0.5, false, 2), (0.5, false, 3), (0.5, false, 4)]);
        assert_eq!((auc_roc(&blind), average_precision(&blind)), (Some(0.5), Some(0.25)));
        assert_eq!((auc_roc(&best[..2]), average_precision(&best[2..])), (None, None));
    }

    #[test]
    fn a_card_has_its_highest_score_and_counts_once() {
        let day = rows(&[(0.9, false, 1), (0.1, true, 1), (0.8, false, 2), (0.7, true, 3), (0.6, true, 3), (0.5, true, 4)]);
        assert_eq!(card_precision(&day, 1), 1.0, "card 1 was compromised, by its other payment");
        assert_eq!(card_precision(&day, 2), 0.5);
        assert_eq!(card_precision(&day, 3), 2.0 / 3.0);
        assert_eq!(card_precision(&day, 100), 0.03, "a share of what could be looked into");
        let equal = rows(&[(0.5, true, 2), (0.5, false, 1)]);
        assert_eq!(card_precision(&equal, 1), 0.0, "the smaller number goes first");
    }

    /// Few scores, so that many are equal.
    fn any_rows() -> impl Strategy<Value = Vec<Ranked>> {
        let row = (0u8..12, any::<bool>(), 0i64..15).prop_map(|(score, fraud, card)| Ranked { score: f64::from(score) / 8.0, fraud, card });
        prop::collection::vec(row, 0..60)
    }

    /// Every fraud against everything else.
    fn pairs(rows: &[Ranked]) -> Option<f64> {
        let (mut won, mut all) = (0.0, 0.0);
        for fraud in rows.iter().filter(|row| row.fraud) {
            for genuine in rows.iter().filter(|row| !row.fraud) {
                all += 1.0;
                won += if fraud.score > genuine.score { 1.0 } else { f64::from(u8::from(fraud.score == genuine.score)) / 2.0 };
            }
        }
        (all > 0.0).then(|| won / all)
    }

    /// For each fraud, everything from its score up.
    fn precisions(rows: &[Ranked]) -> Option<f64> {
        let frauds: Vec<&Ranked> = rows.iter().filter(|row| row.fraud).collect();
        let precision = |fraud: &&Ranked| {
            let from_there: Vec<&Ranked> = rows.iter().filter(|row| row.score >= fraud.score).collect();
            from_there.iter().filter(|row| row.fraud).count() as f64 / from_there.len() as f64
        };
        (!frauds.is_empty()).then(|| frauds.iter().map(precision).sum::<f64>() / frauds.len() as f64)
    }

    /// Cards before which fewer than `most` others go.
    fn first_cards(rows: &[Ranked], most: usize) -> f64 {
        let highest = |card: i64| rows.iter().filter(|row| row.card == card).map(|row| row.score).fold(f64::MIN, f64::max);
        let there = |card: &i64| rows.iter().any(|row| row.card == *card);
        let goes_before = |other: i64, card: i64| (-highest(other), other).partial_cmp(&(-highest(card), card)).is_some_and(|o| o.is_lt());
        let chosen = (0..15).filter(there).filter(|card| (0..15).filter(there).filter(|other| goes_before(*other, *card)).count() < most);
        chosen.filter(|card| rows.iter().any(|row| row.card == *card && row.fraud)).count() as f64 / most as f64
    }

    fn near(a: Option<f64>, b: Option<f64>) -> bool {
        a.is_some() == b.is_some() && a.zip(b).is_none_or(|(a, b)| (a - b).abs() < 1e-12)
    }

    proptest! {
        #[test]
        fn measures_agree_with_counting_pairs(rows in any_rows(), most in 1usize..20) {
            prop_assert!(near(auc_roc(&rows), pairs(&rows)), "{:?} and {:?}", auc_roc(&rows), pairs(&rows));
            prop_assert!(near(average_precision(&rows), precisions(&rows)), "{:?} and {:?}", average_precision(&rows), precisions(&rows));
            prop_assert_eq!(card_precision(&rows, most), first_cards(&rows, most));
        }
    }
}
