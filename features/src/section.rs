//! Routed events: what the router hands to the log, and what the engine applies, for one source and one entity.
//!
//! All views on the same source and entity share the routed rows; each takes the columns that it keeps.

use crate::definition::{Definitions, View};
use crate::key::hash_key;
use crate::row::{HEADER, Layout, NULLS, Row, RowBuffer, VERSION};
use crate::time::Time;
use crate::value::Type;

/// What routed rows of one source and entity look like, and which views take them.
#[derive(Debug)]
pub struct SectionPlan {
    /// Position in [`Definitions::sources`].
    pub source: usize,
    /// Position in [`Definitions::entities`].
    pub entity: usize,
    /// The source's columns of the entity's keys.
    pub key_columns: Vec<usize>,
    /// The source's columns that any of the views keeps, ascending.
    pub columns: Vec<usize>,
    /// What the words of a routed row mean.
    pub layout: Layout,
    /// Who takes the rows.
    pub views: Vec<ViewPlan>,
    /// Whether any of the views emits closed windows.
    pub emits: bool,
}

/// How one view takes routed rows.
#[derive(Debug)]
pub struct ViewPlan {
    /// Position in [`Definitions::views`].
    pub view: usize,
    /// Its place among the timelines of an entity.
    pub place: usize,
    /// For each column of the view, its place in a routed row.
    pub projection: Vec<usize>,
    /// What the words of the view's rows mean.
    pub layout: Layout,
}

/// The plans of all sections, one for each source, entity and assignment of keys that some view uses.
pub fn section_plans(definitions: &Definitions) -> Vec<SectionPlan> {
    let mut plans: Vec<SectionPlan> = Vec::new();
    for view in &definitions.views {
        if !plans.iter().any(|p| takes(p, view)) {
            plans.push(SectionPlan {
                source: view.source,
                entity: view.entity,
                key_columns: view.key_columns.clone(),
                columns: Vec::new(),
                layout: Layout { types: Box::default(), id_is_text: false },
                views: Vec::new(),
                emits: false,
            });
        }
    }
    for plan in &mut plans {
        let views: Vec<(usize, &View)> = definitions.views.iter().enumerate().filter(|(_, v)| takes(plan, v)).collect();
        plan.columns = views.iter().flat_map(|(_, v)| v.columns.iter().copied()).collect();
        plan.columns.sort_unstable();
        plan.columns.dedup();
        let schema = &definitions.sources[plan.source].schema;
        let types: Vec<Type> = plan.columns.iter().map(|c| schema.columns[*c].kind).collect();
        let id_is_text = views.first().is_some_and(|(_, v)| v.layout(&definitions.sources).id_is_text);
        plan.layout = Layout { types: types.into(), id_is_text };
        plan.emits = views.iter().any(|(_, v)| v.closed_windows != crate::definition::ClosedWindows::Silent);
        plan.views = views
            .into_iter()
            .map(|(at, view)| ViewPlan {
                view: at,
                place: place_of_view(definitions, at),
                projection: view.columns.iter().filter_map(|c| plan.columns.binary_search(c).ok()).collect(),
                layout: view.layout(&definitions.sources),
            })
            .collect();
    }
    plans
}

fn takes(plan: &SectionPlan, view: &View) -> bool {
    plan.source == view.source && plan.entity == view.entity && plan.key_columns == view.key_columns
}

/// Where the timeline of a view stands among those of its entity.
pub fn place_of_view(definitions: &Definitions, view: usize) -> usize {
    let entity = definitions.views[view].entity;
    definitions.views[..view].iter().filter(|v| v.entity == entity).count()
}

/// Routed events of one section, in the order of the source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// Where in the source each event stands, counted over all its partitions.
    pub sequence: Vec<u64>,
    /// Key bytes, one after the other.
    pub keys: Vec<u8>,
    /// Where each key ends.
    pub key_ends: Vec<u32>,
    /// The hash of each key; not stored.
    pub hashes: Vec<u64>,
    /// Time, id, `visible_from` and columns; the version is filled in when the section is committed.
    pub rows: RowBuffer,
    /// What the side output wants to know of events that missed final values, in order.
    pub late: Vec<LateNote>,
}

/// What is known of an event that came behind the watermark, beyond its row.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LateNote {
    /// Which row of the section.
    pub row: u32,
    /// The watermark of the event's partition when it came.
    pub watermark: Time,
    /// Where the event stands in its source.
    pub position: Position,
    /// The event as JSON.
    pub payload: String,
}

/// Where a record stands in a source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Position {
    /// Name of the source's partition: a file, a Kafka partition, a producer.
    pub partition: String,
    /// Number of the record in it, from 0.
    pub offset: u64,
}

impl Section {
    /// Number of events.
    pub fn len(&self) -> usize {
        self.sequence.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sequence.is_empty()
    }

    /// Makes room for so many more events of so many words each.
    pub fn reserve(&mut self, events: usize, words: usize) {
        self.sequence.reserve(events);
        self.key_ends.reserve(events);
        self.hashes.reserve(events);
        self.rows.words.reserve(events * words);
    }

    /// The key of an event.
    pub fn key(&self, row: usize) -> &[u8] {
        let start = row.checked_sub(1).map_or(0, |before| self.key_ends[before] as usize);
        &self.keys[start..self.key_ends[row] as usize]
    }

    /// Computes the hashes of a section that was read back.
    pub fn rehash(&mut self) {
        self.hashes = (0..self.len()).map(|row| hash_key(self.key(row))).collect();
    }

    /// The note of a late event.
    pub fn note(&self, row: usize) -> Option<&LateNote> {
        let at = self.late.binary_search_by_key(&row, |note| note.row as usize).ok()?;
        Some(&self.late[at])
    }

    /// Lets no event count before an instant; returns those that else had counted from their own time on.
    pub fn see_from(&mut self, earliest: Time) -> Vec<usize> {
        self.rows.see_from(earliest, self.len())
    }

    /// Forgets the events and keeps the memory.
    pub fn clear(&mut self) {
        self.sequence.clear();
        self.keys.clear();
        self.key_ends.clear();
        self.hashes.clear();
        self.rows.words.clear();
        self.rows.heap.clear();
        self.late.clear();
    }
}

impl ViewPlan {
    /// Makes the view's row from a routed one; text stays where it is.
    #[inline]
    pub fn project(&self, routed: &Row<'_>, version: u64, into: &mut Vec<u64>) {
        into.clear();
        into.extend((0..HEADER).map(|at| routed.word(at)));
        into[VERSION] = version;
        let nulls = into[NULLS];
        if nulls != 0 {
            into[NULLS] = self.projection.iter().enumerate().fold(0, |bits, (to, from)| bits | (nulls >> from & 1) << to);
        }
        into.extend(self.projection.iter().map(|from| routed.word(HEADER + from)));
    }
}
