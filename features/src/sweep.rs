//! Sweeping one timeline for many moments: counts, sums and means of any window as the difference of two running totals.
//!
//! Exact, so the same to the bit as [`Plan::evaluate`]: counts and integers are, and floats are added as integers (see
//! [`crate::aggregate::exact`]), which can be taken away again. Whatever cannot be taken away (min, distinct, sessions) is left to the
//! plan. Running totals hold the rows that count from their own time on; the rare ones that came late are looked at one by one.

use crate::aggregate::{Lifted, WindowFacts};
use crate::definition::View;
use crate::evaluate::{Moment, Plan};
use crate::key::EventId;
use crate::lookup::{Cell, Mode, Status};
use crate::row::Layout;
use crate::time::Time;
use crate::timeline::Timeline;
use crate::value::Value;
use crate::window::{Extent, Frame, Window};

/// Some outputs of a view, arranged for sweeping.
#[derive(Debug)]
pub struct SweepPlan {
    frames: Vec<SweptFrame>,
    /// Slots of the view that have running totals.
    slots: Vec<usize>,
    /// What has to be evaluated moment by moment, if anything.
    pub rest: Option<Plan>,
    /// What all outputs are, for timelines that cannot be swept.
    pub all: Plan,
}

/// The outputs over one window.
#[derive(Debug)]
struct SweptFrame {
    frame: Frame,
    /// `(output of the view, place among the slots, position in the answer)`.
    targets: Vec<(usize, usize, usize)>,
}

/// Running totals of a timeline at one version, and where the sweep has come to.
#[derive(Debug)]
pub struct Totals {
    /// The store holds something for this entity at this version.
    found: bool,
    times: Vec<Time>,
    ids: Ids,
    /// For each row, and for the end, the totals of all rows before it, slot by slot.
    before: Vec<Lifted>,
    exceptions: Vec<Exception>,
    /// What retention has dropped, slot by slot.
    folded: Option<Vec<Lifted>>,
    /// For each frame, where its last extent began and ended.
    cursors: Vec<(usize, usize)>,
}

#[derive(Debug)]
enum Ids {
    Int(Vec<i64>),
    Text(Vec<Box<str>>),
}

/// A row that is not in the running totals.
#[derive(Debug)]
struct Exception {
    row: usize,
    /// When it begins to count; `None` if it was committed later than the sweep's version.
    visible: Option<Time>,
    lifted: Vec<Lifted>,
}

impl SweepPlan {
    /// Arranges `(output of the view, position in the answer)`.
    pub fn new(view: &View, outputs: &[(usize, usize)]) -> SweepPlan {
        let mut plan = SweepPlan { frames: Vec::new(), slots: Vec::new(), rest: None, all: Plan::new(view, outputs) };
        let (swept, rest): (Vec<_>, Vec<_>) = outputs.iter().partition(|(output, _)| may_sweep(view, *output));
        for (output, position) in swept {
            let frame = view.outputs[output].frame;
            let slot = view.features[view.outputs[output].feature].slot;
            let place = plan.slots.iter().position(|s| *s == slot).unwrap_or_else(|| {
                plan.slots.push(slot);
                plan.slots.len() - 1
            });
            match plan.frames.iter_mut().find(|f| f.frame == frame) {
                Some(found) => found.targets.push((output, place, position)),
                None => plan.frames.push(SweptFrame { frame, targets: vec![(output, place, position)] }),
            }
        }
        plan.rest = (!rest.is_empty()).then(|| Plan::new(view, &rest));
        plan
    }

    /// Whether running totals are of any use.
    pub fn sweeps(&self) -> bool {
        !self.frames.is_empty()
    }

    /// The running totals of a timeline; `None` if its sums do not fit in them.
    pub fn totals(&self, view: &View, layout: &Layout, timeline: Option<&Timeline>, version: u64, mode: Mode) -> Option<Totals> {
        let rows = timeline.map_or(0, Timeline::len);
        let mut totals = Totals {
            found: timeline.and_then(Timeline::oldest_version).is_some_and(|oldest| oldest <= version),
            times: Vec::with_capacity(rows),
            ids: if layout.id_is_text { Ids::Text(Vec::with_capacity(rows)) } else { Ids::Int(Vec::with_capacity(rows)) },
            before: Vec::with_capacity((rows + 1) * self.slots.len()),
            exceptions: Vec::new(),
            folded: None,
            cursors: vec![(0, 0); self.frames.len()],
        };
        let mut sum = vec![Lifted::default(); self.slots.len()];
        if let Some(folded) = timeline.and_then(Timeline::folded) {
            totals.folded = Some(self.slots.iter().map(|slot| Lifted::of(&folded.partials[*slot])).collect::<Option<_>>()?);
        }
        for chunk in timeline.map(Timeline::chunks).unwrap_or_default() {
            for row in chunk.rows(layout).iter() {
                totals.before.extend_from_slice(&sum);
                totals.times.push(row.time());
                match &mut totals.ids {
                    Ids::Int(ids) => ids.push(row.int_id()),
                    Ids::Text(ids) => ids.push(row.text_id().into()),
                }
                let known = row.version() <= version;
                if known && (mode == Mode::AsCorrected || row.visible_from() <= row.time()) {
                    for (slot, into) in self.slots.iter().zip(&mut sum) {
                        *into = into.plus(view.slots[*slot].lift(&row)?)?;
                    }
                } else {
                    let visible = known.then_some(row.visible_from());
                    let lifted = self.slots.iter().map(|slot| view.slots[*slot].lift(&row)).collect::<Option<_>>()?;
                    totals.exceptions.push(Exception { row: totals.times.len() - 1, visible, lifted });
                }
            }
        }
        totals.before.extend_from_slice(&sum);
        Some(totals)
    }

    /// Fills the cells of the swept outputs, as [`Plan::evaluate`] would. Quickest where moments come in the order of time.
    /// False, and nothing of worth filled, if a sum does not fit.
    pub fn evaluate(&self, view: &View, layout: &Layout, totals: &mut Totals, moment: &Moment<'_>, cells: &mut [Cell]) -> bool {
        let counts_own = moment.own.is_some_and(|own| !own.event.exclude);
        let not_found = !totals.found && !counts_own;
        let mut sums = [Lifted::default(); MOST_SLOTS];
        for (at, swept) in self.frames.iter().enumerate() {
            sums[..self.slots.len()].fill(Lifted::default());
            if !not_found
                && let Some(extent) = swept.frame.extent(moment.as_of)
                && self.sum(view, layout, totals, at, extent, moment, &mut sums).is_none()
            {
                return false;
            }
            let size = swept.frame.window.size();
            let facts = WindowFacts { end: moment.as_of - swept.frame.delay, size };
            for (output, place, position) in &swept.targets {
                let feature = &view.features[view.outputs[*output].feature];
                let partial = sums[*place].partial(&view.slots[self.slots[*place]]);
                // Part by part, for the reason given in `Feature::lower`.
                let cell = &mut cells[*position];
                cell.approximate = feature.lower(&partial, facts, &mut cell.value);
                cell.status = match cell.value {
                    _ if not_found => Status::NotFound,
                    Value::Null => Status::Null,
                    _ => Status::Present,
                };
                cell.provisional = moment.as_of > moment.final_until;
            }
        }
        true
    }

    /// Adds up an extent.
    #[inline]
    fn sum(
        &self,
        view: &View,
        layout: &Layout,
        totals: &mut Totals,
        at: usize,
        extent: Extent,
        moment: &Moment<'_>,
        sums: &mut [Lifted],
    ) -> Option<()> {
        let Extent { from, to, visible } = extent;
        let visible = if moment.mode == Mode::AsCorrected { Time::MAX } else { visible };
        if from > to {
            return Some(());
        }
        if visible < to {
            // Rows in the running totals might not count yet.
            return None;
        }
        let (mut low, mut high) = totals.cursors[at];
        low = seek(&totals.times, low, |time| time < from);
        high = seek(&totals.times, high, |time| time <= to);
        totals.cursors[at] = (low, high);
        if from == Time::NONE
            && let Some(folded) = &totals.folded
        {
            self.add(sums, |slot| folded[slot])?;
        }
        let Some(own) = moment.own.filter(|own| own.event.time >= from && own.event.time <= to) else {
            return self.add_rows(totals, low, high, visible, sums);
        };
        // The stored copy of the own event is passed over, and it is counted once, whatever its visibility.
        let (place, stored) = totals.place_of(own.event.time, &own.event.id, high)?;
        self.add_rows(totals, low, place, visible, sums)?;
        if to > own.event.time {
            self.add_rows(totals, place + usize::from(stored), high, visible, sums)?;
        }
        if own.event.exclude {
            return Some(());
        }
        if stored && totals.knows(place) {
            return self.add(sums, |slot| totals.lifted(place, slot, self.slots.len()));
        }
        match own.row() {
            Some(row) => {
                debug_assert_eq!(row.layout, layout);
                for (slot, into) in self.slots.iter().zip(sums) {
                    *into = into.plus(view.slots[*slot].lift(&row)?)?;
                }
                Some(())
            }
            None => Some(()),
        }
    }

    /// Adds rows `low..high`, as far as they count.
    #[inline]
    fn add_rows(&self, totals: &Totals, low: usize, high: usize, visible: Time, sums: &mut [Lifted]) -> Option<()> {
        if low >= high {
            return Some(());
        }
        let slots = self.slots.len();
        let (before, after) = (&totals.before[low * slots..], &totals.before[high * slots..]);
        for ((into, before), after) in sums.iter_mut().zip(&before[..slots]).zip(&after[..slots]) {
            *into = into.plus(after.minus(*before))?;
        }
        if totals.exceptions.is_empty() {
            return Some(());
        }
        let first = totals.exceptions.partition_point(|e| e.row < low);
        for exception in totals.exceptions[first..].iter().take_while(|e| e.row < high) {
            if exception.visible.is_some_and(|from| from <= visible) {
                self.add(sums, |slot| exception.lifted[slot])?;
            }
        }
        Some(())
    }

    #[inline]
    fn add(&self, sums: &mut [Lifted], lifted: impl Fn(usize) -> Lifted) -> Option<()> {
        for (slot, into) in sums.iter_mut().enumerate().take(self.slots.len()) {
            *into = into.plus(lifted(slot))?;
        }
        Some(())
    }
}

/// Slots that are swept at the same time; a view with more of them leaves the others to the plan.
const MOST_SLOTS: usize = 32;

impl Totals {
    /// Where an event stands or would stand among the rows, and whether it is there; `None` if ids are of another type. `near` is behind it
    /// or a little before.
    fn place_of(&self, time: Time, id: &EventId, near: usize) -> Option<(usize, bool)> {
        let end = seek(&self.times, near, |t| t <= time);
        let mut start = end;
        while start > 0 && self.times[start - 1] == time {
            start -= 1;
        }
        match (&self.ids, id) {
            (Ids::Int(ids), EventId::Int(id)) => {
                let place = start + ids[start..end].partition_point(|i| i < id);
                Some((place, place < end && ids[place] == *id))
            }
            (Ids::Text(ids), EventId::Str(id)) => {
                let place = start + ids[start..end].partition_point(|i| i < id);
                Some((place, place < end && ids[place] == *id))
            }
            _ => None,
        }
    }

    /// Whether a row was there at the sweep's version.
    fn knows(&self, row: usize) -> bool {
        !self.exceptions.binary_search_by_key(&row, |e| e.row).is_ok_and(|at| self.exceptions[at].visible.is_none())
    }

    /// One row of one slot, whether or not it is in the running totals.
    fn lifted(&self, row: usize, slot: usize, slots: usize) -> Lifted {
        match self.exceptions.binary_search_by_key(&row, |e| e.row) {
            Ok(at) => self.exceptions[at].lifted[slot],
            Err(_) => self.before[(row + 1) * slots + slot].minus(self.before[row * slots + slot]),
        }
    }
}

/// The number of times for which `inside` holds, found from a place that was right a little earlier.
#[inline]
fn seek(times: &[Time], near: usize, inside: impl Fn(Time) -> bool) -> usize {
    if near > 0 && !inside(times[near - 1]) {
        return times[..near].partition_point(|t| inside(*t));
    }
    let (mut low, mut step) = (near, 1);
    while low + step <= times.len() && inside(times[low + step - 1]) {
        low += step;
        step *= 2;
    }
    if step == 1 {
        return low;
    }
    let high = times.len().min(low + step);
    low + times[low..high].partition_point(|t| inside(*t))
}

fn may_sweep(view: &View, output: usize) -> bool {
    let output = &view.outputs[output];
    let additive = view.slots[view.features[output.feature].slot].is_additive();
    additive && view.slots.len() <= MOST_SLOTS && view.ttl.is_none() && !matches!(output.frame.window, Window::Session { .. })
}
