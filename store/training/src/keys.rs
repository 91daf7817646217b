//! Rows by key: first to the partition of their key, then, partition by partition, all rows of a key together in the order of time.

use std::ops::Range;

use floodmark_features::key::{encode_key, hash_key, partition_of};
use floodmark_features::lookup::Lookup;
use hashbrown::HashTable;

use crate::spine::{Block, Spine};

/// The keys of an entity: places in the look-up's keys, and the reads that are of that entity.
#[derive(Debug)]
pub(crate) struct KeySet {
    pub(crate) keys: Vec<usize>,
    /// Positions in the look-up's reads.
    pub(crate) reads: Vec<usize>,
}

/// The reads of a look-up by the keys that they go by.
pub(crate) fn key_sets(lookup: &Lookup) -> Vec<KeySet> {
    let mut sets: Vec<KeySet> = Vec::new();
    for (at, read) in lookup.reads.iter().enumerate() {
        match sets.iter_mut().find(|set| set.keys == read.keys) {
            Some(set) => set.reads.push(at),
            None => sets.push(KeySet { keys: read.keys.clone(), reads: vec![at] }),
        }
    }
    sets
}

/// A row with the hash of its key.
type Routed = (u64, u32);

/// For each partition, the rows of a range whose key is there.
pub(crate) type Buckets = Vec<Vec<Routed>>;

/// Rows of one key.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) hash: u64,
    pub(crate) rows: Range<usize>,
}

impl KeySet {
    /// The bytes of a row's key; false if it has none.
    #[inline]
    pub(crate) fn key_of(&self, spine: &Spine, block: &Block, row: usize, key: &mut Vec<u8>) -> bool {
        key.clear();
        for at in &self.keys {
            let column = &block.columns[spine.keys[*at]];
            if column.is_null(row) {
                return false;
            }
            encode_key(&[column.value(row)], key);
        }
        true
    }

    /// Sends rows to the partition of their key; those without a key or a time go nowhere.
    pub(crate) fn route(&self, spine: &Spine, block: &Block, rows: Range<usize>, partitions: usize) -> Buckets {
        let time = &block.columns[spine.time];
        let expected = rows.len() / partitions + rows.len() / partitions / 4;
        let mut buckets: Buckets = (0..partitions).map(|_| Vec::with_capacity(expected)).collect();
        let mut key = Vec::new();
        for row in rows {
            if !time.is_null(row) && time.word(row) != i64::MIN as u64 && self.key_of(spine, block, row, &mut key) {
                let hash = hash_key(&key);
                buckets[partition_of(hash, partitions)].push((hash, row as u32));
            }
        }
        buckets
    }

    /// Puts the rows of one partition in groups of one key each, by time within a group.
    pub(crate) fn group<'a>(
        &self,
        spine: &Spine,
        block: &Block,
        routed: impl Iterator<Item = &'a Vec<Routed>> + Clone,
    ) -> (Vec<Group>, Vec<u32>) {
        let count = routed.clone().map(Vec::len).sum();
        // For each key its hash, one of its rows, and how many there are.
        let mut found: Vec<(u64, u32, u32)> = Vec::new();
        let mut table: HashTable<u32> = HashTable::new();
        let mut of_row: Vec<u32> = Vec::with_capacity(count);
        let same = |a: u32, b: u32| {
            self.keys.iter().all(|at| {
                let column = &block.columns[spine.keys[*at]];
                column.value(a as usize) == column.value(b as usize)
            })
        };
        for (hash, row) in routed.clone().flatten() {
            let is_it = |group: &u32| found[*group as usize].0 == *hash && same(found[*group as usize].1, *row);
            let group = match table.find(*hash, is_it) {
                Some(group) => *group,
                None => {
                    let group = found.len() as u32;
                    found.push((*hash, *row, 0));
                    table.insert_unique(*hash, group, |g| found[*g as usize].0);
                    group
                }
            };
            found[group as usize].2 += 1;
            of_row.push(group);
        }
        let mut starts: Vec<usize> = Vec::with_capacity(found.len());
        let mut end = 0;
        for (_, _, rows) in &found {
            starts.push(end);
            end += *rows as usize;
        }
        let mut next = starts.clone();
        let mut rows = vec![0; count];
        for ((_, row), group) in routed.flatten().zip(&of_row) {
            let place = &mut next[*group as usize];
            rows[*place] = *row;
            *place += 1;
        }
        let time = &block.columns[spine.time];
        let at = |row: &u32| time.word(*row as usize) as i64;
        let groups: Vec<Group> =
            found.iter().zip(&starts).map(|((hash, _, n), start)| Group { hash: *hash, rows: *start..start + *n as usize }).collect();
        for group in &groups {
            let rows = &mut rows[group.rows.clone()];
            if !rows.is_sorted_by_key(at) {
                rows.sort_by_key(at);
            }
        }
        (groups, rows)
    }
}
