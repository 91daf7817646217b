//! The sweep over a block of the spine: partition by partition, key by key, each key's timeline read for all its rows at once.

use std::sync::atomic::{AtomicU64, Ordering};

use floodmark_features::lookup::Lookup;
use floodmark_features::time::Time;
use floodmark_store::{SWEEP_ROWS, Store, SweepRow};

use crate::error::TrainingError;
use crate::events::Events;
use crate::keys::{Buckets, KeySet, key_sets};
use crate::matrix::{Heap, Matrix, SEGMENT_ROWS, Shape};
use crate::spine::{Block, Spine};
use crate::tasks::in_parallel;
use crate::{Progress, TrainingSpec};

/// What sweeps blocks of a spine.
pub(crate) struct Sweeper<'a> {
    store: &'a Store,
    spec: &'a TrainingSpec,
    spine: &'a Spine,
    sets: Vec<KeySet>,
    /// For each read of the look-up.
    shapes: Vec<Shape>,
    pub(crate) version: u64,
    rows: u64,
    /// Rows evaluated, once for each view.
    evaluated: AtomicU64,
    watch: &'a (dyn Fn(Progress) + Sync),
}

/// A block whose rows have been sent to the partitions of their keys.
pub(crate) struct Routed {
    /// For each segment of rows, for each key set.
    buckets: Vec<Vec<Buckets>>,
    matrices: Vec<Matrix>,
}

/// The values of a block.
pub(crate) struct Swept {
    /// For each read of the look-up.
    matrices: Vec<Matrix>,
    /// For each task its values that are no words.
    pub(crate) heaps: Vec<Heap>,
    pub(crate) rows_without_key: u64,
}

impl<'a> Sweeper<'a> {
    pub(crate) fn new(
        store: &'a Store,
        spec: &'a TrainingSpec,
        spine: &'a Spine,
        rows: u64,
        watch: &'a (dyn Fn(Progress) + Sync),
    ) -> Result<Sweeper<'a>, TrainingError> {
        let lookup = &spec.lookup;
        // All blocks are read at the version that is the newest now.
        let version = store.sweep(lookup, spec.version, spec.mode)?.version();
        let sets = key_sets(lookup);
        let positions = |view: usize| (0..lookup.features.len()).filter(|f| lookup.features[*f].view == view).collect();
        let shapes = lookup.reads.iter().map(|read| Shape::new(positions(read.view), spec.statuses)).collect();
        Ok(Sweeper { store, spec, spine, sets, shapes, version, rows, evaluated: AtomicU64::new(0), watch })
    }

    fn lookup(&self) -> &'a Lookup {
        &self.spec.lookup
    }

    /// Sends the rows of a block to the partitions of their keys, and makes room for their values.
    pub(crate) fn route(&self, block: &Block) -> Result<Routed, TrainingError> {
        let partitions = self.store.partitions();
        let segments = in_parallel(self.spec.threads, block.rows.div_ceil(SEGMENT_ROWS), |segment| {
            let rows = segment * SEGMENT_ROWS..block.rows.min((segment + 1) * SEGMENT_ROWS);
            let buckets: Vec<Buckets> = self.sets.iter().map(|set| set.route(self.spine, block, rows.clone(), partitions)).collect();
            let empty: Vec<_> = self.shapes.iter().map(|shape| shape.segment(rows.len())).collect();
            Ok::<_, TrainingError>((buckets, empty))
        })?;
        let (buckets, empty): (Vec<_>, Vec<_>) = segments.into_iter().unzip();
        let mut matrices: Vec<Vec<_>> = self.shapes.iter().map(|_| Vec::new()).collect();
        empty.into_iter().for_each(|segments| matrices.iter_mut().zip(segments).for_each(|(matrix, segment)| matrix.push(segment)));
        let matrices = self.shapes.iter().zip(matrices).map(|(shape, segments)| Matrix::new(shape.clone(), segments)).collect();
        Ok(Routed { buckets, matrices })
    }

    /// Evaluates every row.
    pub(crate) fn sweep(&self, block: &Block, routed: Routed) -> Result<Swept, TrainingError> {
        let sets = self.sets.len();
        let heaps = in_parallel(self.spec.threads, self.store.partitions() * sets, |task| {
            self.sweep_partition(block, &routed, task, task % sets, task / sets)
        })?;
        let with_key = |set: usize| routed.buckets.iter().flat_map(|segment| &segment[set]).map(Vec::len).sum::<usize>();
        let rows_without_key = block.rows - (0..sets).map(with_key).min().unwrap_or(block.rows);
        Ok(Swept { matrices: routed.matrices, heaps, rows_without_key: rows_without_key as u64 })
    }

    fn sweep_partition(&self, block: &Block, routed: &Routed, task: usize, set: usize, partition: usize) -> Result<Heap, TrainingError> {
        let lookup = self.lookup();
        let (groups, rows) = self.sets[set].group(self.spine, block, routed.buckets.iter().map(|segment| &segment[set][partition]));
        let mut sweep = self.store.sweep(lookup, Some(self.version), self.spec.mode)?;
        let mut heap = Heap::new();
        let (mut key, mut times) = (Vec::new(), Vec::new());
        let time = &block.columns[self.spine.time];
        for read in &self.sets[set].reads {
            let view = &lookup.definitions.views[lookup.reads[*read].view];
            let layout = view.layout(&lookup.definitions.sources);
            let mut events = Events::new(view, layout, self.spine.time, block, self.spine.own[*read].as_ref());
            let matrix = &routed.matrices[*read];
            for group in &groups {
                let rows = &rows[group.rows.clone()];
                self.sets[set].key_of(self.spine, block, rows[0] as usize, &mut key);
                let mut timeline = sweep.key(lookup, *read, group.hash, &key, rows.len());
                for some in rows.chunks(SWEEP_ROWS) {
                    matrix.fetch(some);
                    events.make(some);
                    times.clear();
                    times.extend(some.iter().map(|row| Time::from_micros(time.word(*row as usize) as i64)));
                    let row = |at: usize| SweepRow { as_of: times[at], own: events.own(at) };
                    timeline.evaluate(some.len(), row, |at, cells| matrix.put(some[at] as usize, cells, task, &mut heap))?;
                }
            }
            self.tell(rows.len());
        }
        Ok(heap)
    }

    fn tell(&self, rows: usize) {
        let evaluated = self.evaluated.fetch_add(rows as u64, Ordering::Relaxed) + rows as u64;
        let done = evaluated / self.shapes.len().max(1) as u64;
        (self.watch)(Progress { done, rows: self.rows });
    }
}

impl Swept {
    /// For each of that many features, the matrix with its values, and its place there.
    pub(crate) fn places(&self, features: usize) -> Vec<(&Matrix, usize)> {
        let mut all: Vec<(usize, (&Matrix, usize))> = Vec::with_capacity(features);
        for matrix in &self.matrices {
            all.extend(matrix.shape().positions.iter().enumerate().map(|(at, position)| (*position, (matrix, at))));
        }
        all.sort_unstable_by_key(|(position, _)| *position);
        all.into_iter().map(|(_, place)| place).collect()
    }
}
