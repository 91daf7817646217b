//! What is noted for a mirror, against a recount of all that has happened; and who notes what.

use std::collections::BTreeMap;

use super::*;

const KEYS: [&[u8]; 4] = [b"a", b"b", b"c", b"d"];

/// Everything that has happened, in order, and what of it the mirror has taken.
#[derive(Default)]
struct Recount {
    now: usize,
    /// For each entity and key, when it was noted and whether as a whole: what was not taken yet.
    notes: BTreeMap<(usize, usize), Vec<(usize, bool)>>,
    /// When it was dropped from memory.
    forgotten: BTreeMap<(usize, usize), Vec<usize>>,
    /// When the round began.
    round: usize,
}

impl Recount {
    /// What of the round is left: a timeline is whole if it was noted so, or was dropped from memory after it had been noted.
    fn left(&self) -> BTreeMap<(usize, usize), bool> {
        let whole = |(of, notes): (&(usize, usize), &Vec<(usize, bool)>)| {
            let mut of_round = notes.iter().filter(|(at, _)| *at < self.round).peekable();
            let first = of_round.peek()?.0;
            let dropped = self.forgotten.get(of).is_some_and(|all| all.iter().any(|at| *at > first));
            Some((*of, dropped || of_round.any(|(_, whole)| *whole)))
        };
        self.notes.iter().filter_map(whole).collect()
    }

    fn taken(&mut self, of: (usize, usize)) {
        let round = self.round;
        self.notes.entry(of).or_default().retain(|(at, _)| *at >= round);
    }
}

#[test]
fn what_a_round_takes_agrees_with_a_recount_of_all_that_has_happened() {
    let (mut wholes, mut parts) = (0, 0);
    for seed in 1..400_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut below = |bound: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % bound) as usize
        };
        let changes = Changes::new(1, 2);
        changes.begin();
        let mut recount = Recount::default();
        for _ in 0..60 {
            recount.now += 1;
            let (entity, key, now) = (below(2), below(4), recount.now);
            let mut changed = changes.lock(0);
            match below(10) {
                0..4 => {
                    let whole = below(4) == 0;
                    changed.note(entity, KEYS[key], whole);
                    recount.notes.entry((entity, key)).or_default().push((now, whole));
                }
                4..6 => {
                    changed.forget_which(entity, KEYS[key]);
                    recount.forgotten.entry((entity, key)).or_default().push(now);
                }
                6 => {
                    assert!(!changed.begin_round(), "seed {seed}: there is room");
                    recount.round = now;
                }
                7 => {
                    drop(changed);
                    changes.note_whole(0, entity, vec![KEYS[key].into()]);
                    recount.notes.entry((entity, key)).or_default().push((now, true));
                }
                _ => {
                    let (most, left) = (1 + below(3), recount.left());
                    let taken = changed.take(most);
                    assert_eq!(taken.len(), most.min(left.len()), "seed {seed}: {left:?}");
                    for (entity, key, whole) in taken {
                        let of = (entity, KEYS.iter().position(|known| **known == *key).expect("a key"));
                        assert_eq!(left.get(&of), Some(&whole), "seed {seed}: {of:?} of {left:?}");
                        recount.taken(of);
                        *if whole { &mut wholes } else { &mut parts } += 1;
                    }
                }
            }
        }
    }
    assert!(wholes > 500 && parts > 500, "{wholes} whole, {parts} in part");
}

/// What is left of a round, whole or in part.
fn round(changes: &Changes) -> Vec<(usize, Vec<u8>, bool)> {
    let mut changed = changes.lock(0);
    changed.begin_round();
    let mut taken: Vec<_> = changed.take(usize::MAX).into_iter().map(|(entity, key, whole)| (entity, key.to_vec(), whole)).collect();
    taken.sort_unstable();
    taken
}

#[test]
fn nothing_is_noted_before_a_mirror_asks() {
    let changes = Changes::new(1, 2);
    changes.note_whole(0, 1, vec![KEYS[0].into()]);
    assert!(round(&changes).is_empty());
    changes.begin();
    changes.note_whole(0, 1, Vec::new());
    assert!(round(&changes).is_empty());
    changes.note_whole(0, 1, vec![KEYS[0].into(), KEYS[1].into()]);
    assert_eq!(round(&changes), [(1, b"a".to_vec(), true), (1, b"b".to_vec(), true)]);
}

#[test]
fn an_entity_that_leaves_memory_is_written_whole_if_it_was_noted_and_is_not_noted_for_that() {
    let changes = Changes::new(1, 1);
    changes.begin();
    changes.lock(0).note(0, KEYS[0], false);
    changes.lock(0).note(0, KEYS[1], false);
    changes.lock(0).begin_round();
    changes.lock(0).note(0, KEYS[2], false);
    // The first is under way, the third waits for the next round, of the fourth nothing was to be written.
    for key in [KEYS[0], KEYS[2], KEYS[3]] {
        changes.lock(0).forget_which(0, key);
    }
    // Noted again in part, it stays whole: the round under way, if it fails, is part of the next.
    changes.lock(0).note(0, KEYS[0], false);
    assert_eq!(round(&changes), [(0, b"a".to_vec(), true), (0, b"b".to_vec(), false), (0, b"c".to_vec(), true)]);
}

#[test]
fn where_there_are_too_many_all_are_looked_through_once() {
    let changes = Changes::new(1, 1);
    changes.begin();
    let key = |at: usize| Arc::<[u8]>::from(at.to_be_bytes());
    changes.note_whole(0, 0, (0..MOST_NOTED).map(key).collect());
    changes.lock(0).note(0, &key(7), false);
    assert!(!changes.lock(0).any, "one that is known needs no room");
    changes.note_whole(0, 0, vec![key(MOST_NOTED)]);
    changes.lock(0).forget_which(0, &key(7));
    changes.lock(0).note(0, &key(8), true);
    assert!(changes.lock(0).begin_round(), "all have to be looked through");
    assert!(changes.lock(0).take(usize::MAX).is_empty());
    assert!(!changes.lock(0).begin_round(), "once");
}
