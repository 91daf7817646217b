//! Evaluation: what the features of one view are worth for one entity, as of `(t, version)`.
//!
//! The one place where a feature value is made: the stream's closed windows, an online read and a training set all end here.
//! Windows that end at the same instant are computed from the shortest to the longest, each adding only what the one before did not span.

use crate::aggregate::{Partial, WindowFacts};
use crate::definition::{Output, Slot, View};
use crate::lookup::{Cell, Mode, OwnEvent, Status};
use crate::row::{Layout, Row, RowBuffer, Rows};
use crate::time::{Span, Time};
use crate::timeline::{Cut, Nested, Range, Sink, Timeline};
use crate::value::Value;
use crate::window::{Extent, Window};

/// Some outputs of a view, arranged so that what they share is computed once.
#[derive(Debug)]
pub struct Plan {
    chains: Vec<Chain>,
    /// The columns of the view that any of them looks at.
    columns: Vec<usize>,
}

/// Windows that end at the same instant, shortest first.
#[derive(Debug)]
struct Chain {
    /// Slots that any of them needs.
    slots: Vec<usize>,
    links: Vec<Link>,
}

/// One window of a chain.
#[derive(Debug)]
struct Link {
    /// An output of the view with this window and delay.
    output: usize,
    /// `(output of the view, its slot's place in the chain, position in the answer)`.
    targets: Vec<(usize, usize, usize)>,
}

/// The moment and the knowledge that values are for.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// Values are as of this event time.
    pub as_of: Time,
    /// Events committed later are not known.
    pub version: u64,
    /// Whether visibility (T9) is judged.
    pub mode: Mode,
    /// The event that counts itself (T5), if it is one of this view's source.
    pub own: Option<Own<'a>>,
    /// Values as of later than this may still change.
    pub final_until: Time,
}

/// The event that is being scored, as the view would keep it.
#[derive(Clone, Copy, Debug)]
pub struct Own<'a> {
    /// What the request says.
    pub event: &'a OwnEvent,
    /// Where its columns are as a row of this view, if the request gives them.
    pub row: Option<(&'a dyn OwnRows, usize)>,
}

/// Rows of own events. Each is made when it is first needed, which is rare in a training set: an event that the store has is taken from there.
pub trait OwnRows: std::fmt::Debug {
    /// The row at a place; none if it would have been refused.
    fn own_row(&self, at: usize) -> Option<Row<'_>>;
}

impl<'a> Own<'a> {
    /// Its columns as a row of this view.
    pub fn row(&self) -> Option<Row<'a>> {
        self.row.and_then(|(rows, at)| rows.own_row(at))
    }
}

impl Plan {
    /// Arranges `(output of the view, position in the answer)`.
    pub fn new(view: &View, outputs: &[(usize, usize)]) -> Plan {
        let mut ordered: Vec<(usize, usize)> = outputs.to_vec();
        ordered.sort_by_key(|(output, _)| chain_order(&view.outputs[*output]));
        let mut chains: Vec<Chain> = Vec::new();
        for (output, position) in ordered {
            let frame = view.outputs[output].frame;
            let slot = view.features[view.outputs[output].feature].slot;
            let joins = |chain: &Chain| may_share(&view.outputs[chain.links[0].output], &view.outputs[output]);
            let at = chains.iter().position(joins).unwrap_or_else(|| {
                chains.push(Chain { slots: Vec::new(), links: Vec::new() });
                chains.len() - 1
            });
            let chain = &mut chains[at];
            let place = chain.slots.iter().position(|s| *s == slot).unwrap_or_else(|| {
                chain.slots.push(slot);
                chain.slots.len() - 1
            });
            match chain.links.last_mut() {
                Some(link) if view.outputs[link.output].frame == frame => link.targets.push((output, place, position)),
                _ => chain.links.push(Link { output, targets: vec![(output, place, position)] }),
            }
        }
        let slots = chains.iter().flat_map(|chain| &chain.slots).map(|slot| &view.slots[*slot]);
        let mut columns: Vec<usize> = slots
            .flat_map(|slot| slot.column.into_iter().chain(slot.filter.iter().flat_map(|filter| filter.inputs().iter().copied())))
            .collect();
        columns.sort_unstable();
        columns.dedup();
        Plan { chains, columns }
    }

    /// Begins to fetch from memory what [`Plan::evaluate`] will look at.
    #[inline]
    pub fn fetch(&self, view: &View, timeline: &Timeline, as_of: Time) {
        for chain in &self.chains {
            let extents = chain.links.iter().filter_map(|link| view.outputs[link.output].frame.extent(as_of));
            for (at, extent) in extents.enumerate() {
                if at == 0 {
                    timeline.fetch(extent.to, &self.columns);
                }
                timeline.fetch(extent.from, &self.columns);
            }
        }
    }

    /// Fills the cells of this plan's outputs. `timeline` is `None` for an entity that the store does not know.
    pub fn evaluate(&self, view: &View, layout: &Layout, timeline: Option<&Timeline>, moment: &Moment<'_>, cells: &mut [Cell]) {
        let reader = Reader { view, layout, timeline: timeline.unwrap_or(&NO_EVENTS), moment };
        let empty = reader.emptiness(timeline);
        for chain in &self.chains {
            match empty {
                Some(status) => chain.fill_empty(view, moment, status, cells),
                None => chain.evaluate(&reader, cells),
            }
        }
    }
}

static NO_EVENTS: Timeline = Timeline::EMPTY;

/// Rolling windows of one delay by size, then the lifetime; the others keep to themselves.
fn chain_order(output: &Output) -> (Span, Span) {
    let length = match output.frame.window {
        Window::Rolling { size } => size,
        Window::Lifetime => Span::from_micros(i64::MAX),
        Window::Tumbling { size, .. } | Window::Sliding { size, .. } => size,
        Window::Session { gap } => gap,
    };
    (output.frame.delay, length)
}

fn may_share(a: &Output, b: &Output) -> bool {
    let ends_at_t = |o: &Output| matches!(o.frame.window, Window::Rolling { .. } | Window::Lifetime);
    a.frame == b.frame || (ends_at_t(a) && ends_at_t(b) && a.frame.delay == b.frame.delay)
}

impl Chain {
    fn evaluate(&self, reader: &Reader<'_>, cells: &mut [Cell]) {
        let mut totals = Totals { chain: self, slots: &reader.view.slots, partials: self.identities(reader.view) };
        let shortest = reader.extent(&reader.view.outputs[self.links[0].output]);
        match shortest.filter(|extent| !reader.may_hold_own(extent)) {
            Some(extent) => reader.walk(extent, &mut totals, cells),
            None => self.evaluate_link_by_link(reader, &mut totals, cells),
        }
    }

    /// For what a walk over all links does not know: sessions of nothing, and the own event (T5), which cuts a link in two.
    fn evaluate_link_by_link(&self, reader: &Reader<'_>, totals: &mut Totals<'_>, cells: &mut [Cell]) {
        let mut done: Option<Extent> = None;
        for link in &self.links {
            let extent = reader.extent(&reader.view.outputs[link.output]);
            if let Some(extent) = extent {
                reader.add(extent, done, totals);
                done = Some(extent);
            }
            link.lower(reader.view, reader.moment, &totals.partials, cells);
        }
    }

    fn fill_empty(&self, view: &View, moment: &Moment<'_>, status: Status, cells: &mut [Cell]) {
        let partials = self.identities(view);
        for link in &self.links {
            link.lower(view, moment, &partials, cells);
            link.targets.iter().for_each(|(_, _, position)| cells[*position].status = status);
        }
    }

    fn identities(&self, view: &View) -> Vec<Partial> {
        self.slots.iter().map(|slot| view.slots[*slot].identity()).collect()
    }
}

impl Link {
    fn lower(&self, view: &View, moment: &Moment<'_>, partials: &[Partial], cells: &mut [Cell]) {
        let frame = &view.outputs[self.output].frame;
        let facts = WindowFacts { end: moment.as_of - frame.delay, size: frame.window.size() };
        for (output, place, position) in &self.targets {
            let feature = &view.features[view.outputs[*output].feature];
            // Part by part, for the reason given in `Feature::lower`.
            let cell = &mut cells[*position];
            cell.approximate = feature.lower(&partials[*place], facts, &mut cell.value);
            cell.status = if matches!(cell.value, Value::Null) { Status::Null } else { Status::Present };
            cell.provisional = moment.as_of > moment.final_until;
        }
    }
}

/// One view's timeline at one moment.
struct Reader<'a> {
    view: &'a View,
    layout: &'a Layout,
    timeline: &'a Timeline,
    moment: &'a Moment<'a>,
}

impl<'a> Reader<'a> {
    /// Why there is nothing to look at, if so.
    fn emptiness(&self, timeline: Option<&Timeline>) -> Option<Status> {
        let known = timeline.and_then(Timeline::oldest_version).is_some_and(|oldest| oldest <= self.moment.version);
        let own = self.moment.own.is_some_and(|own| !own.event.exclude);
        if !known && !own {
            return Some(Status::NotFound);
        }
        let ttl = self.view.ttl?;
        let last = self.timeline.last_before(self.moment.as_of, None, self.cut(self.moment.as_of), self.layout);
        (!own && last.is_none_or(|at| self.moment.as_of.since(at) > ttl)).then_some(Status::Expired)
    }

    fn cut(&self, visible: Time) -> Cut {
        let visible = if self.moment.mode == Mode::AsCorrected { Time::MAX } else { visible };
        Cut { visible, version: self.moment.version }
    }

    /// What the window spans; `None` if that is nothing.
    fn extent(&self, output: &Output) -> Option<Extent> {
        if let Some(extent) = output.frame.extent(self.moment.as_of) {
            return Some(extent);
        }
        let Window::Session { gap } = output.frame.window else { return None };
        let at = self.moment.as_of - output.frame.delay;
        let to = output.frame.last_instant(at);
        let own = self.moment.own.filter(|own| !own.event.exclude && own.event.time <= to);
        let before = self.id_limit(to);
        let cut = self.cut(self.moment.as_of);
        let from = self.timeline.session_start(at, to, before, own.map(|own| own.event.time), gap, cut, self.layout)?;
        Some(Extent { from, to, visible: self.moment.as_of })
    }

    /// Events at the own event's instant count only up to its id (T5).
    fn id_limit(&self, to: Time) -> Option<&'a crate::key::EventId> {
        self.moment.own.filter(|own| own.event.time == to).map(|own| &own.event.id)
    }

    /// Whether the own event may lie in windows that end where this one does.
    fn may_hold_own(&self, extent: &Extent) -> bool {
        self.moment.own.is_some_and(|own| own.event.time <= extent.to)
    }

    /// Fills the cells of a chain whose shortest window spans that, in one walk over all of its windows.
    fn walk(&self, shortest: Extent, totals: &mut Totals<'_>, cells: &mut [Cell]) {
        let cut = self.cut(shortest.visible);
        let mut descent = Descent { reader: self, links: &totals.chain.links, from: shortest.to, totals, cells };
        descent.begin(shortest.from);
        self.timeline.visit_nested(shortest.from, shortest.to, cut, &self.view.slots, self.layout, &mut descent);
    }

    /// Adds what the extent spans beyond what is done already.
    fn add(&self, extent: Extent, done: Option<Extent>, totals: &mut Totals<'_>) {
        let to = done.map_or(extent.to, |d| d.from.previous_tick());
        if done.is_some_and(|d| d.from == Time::NONE) || extent.from > to {
            return;
        }
        let cut = self.cut(extent.visible);
        let Some(own) = self.moment.own.filter(|own| own.event.time >= extent.from && own.event.time <= to) else {
            return self.visit(Range { from: extent.from, after: None, to, before: None }, cut, totals);
        };
        // The stored copy of the own event is passed over, and it is counted once, whatever its visibility. A copy that was committed
        // later is not known yet: at that version the request's own fields counted.
        let (at, id) = (own.event.time, &own.event.id);
        self.visit(Range { from: extent.from, after: None, to: at, before: Some(id) }, cut, totals);
        if extent.to > at {
            self.visit(Range { from: at, after: Some(id), to, before: None }, cut, totals);
        }
        if !own.event.exclude {
            let stored = self.timeline.find(at, id, self.layout).filter(|row| row.version() <= self.moment.version);
            if let Some(row) = stored.or_else(|| own.row()) {
                totals.rows(row.alone(), None);
            }
        }
    }

    fn visit(&self, range: Range<'_>, cut: Cut, totals: &mut Totals<'_>) {
        if range.from == Time::NONE
            && let Some(folded) = self.timeline.folded()
        {
            totals.partials(&folded.partials);
        }
        self.timeline.visit(&range, cut, &self.view.slots, self.layout, totals);
    }
}

/// The partials of a chain as far as they have been added up.
struct Totals<'a> {
    chain: &'a Chain,
    slots: &'a [Slot],
    partials: Vec<Partial>,
}

impl Sink for Totals<'_> {
    #[inline]
    fn partials(&mut self, partials: &[Partial]) {
        for (slot, into) in self.chain.slots.iter().zip(&mut self.partials) {
            self.slots[*slot].merge(into, &partials[*slot]);
        }
    }

    #[inline]
    fn rows(&mut self, rows: Rows<'_>, cut: Option<Cut>) {
        for (slot, into) in self.chain.slots.iter().zip(&mut self.partials) {
            match cut {
                None => self.slots[*slot].add_rows(into, rows),
                Some(cut) => self.slots[*slot].add_rows_if(into, rows, |row| cut.admits(row)),
            }
        }
    }
}

/// A walk from the shortest window of a chain to the longest.
struct Descent<'a, 'c> {
    reader: &'a Reader<'a>,
    totals: &'a mut Totals<'c>,
    /// The current link and those to come.
    links: &'a [Link],
    /// Where the current link begins.
    from: Time,
    cells: &'a mut [Cell],
}

impl Descent<'_, '_> {
    /// Goes on to a window that begins there. Without beginning, it spans what retention has dropped; that counts once.
    fn begin(&mut self, from: Time) {
        if from == Time::NONE
            && self.from != Time::NONE
            && let Some(folded) = self.reader.timeline.folded()
        {
            self.totals.partials(&folded.partials);
        }
        self.from = from;
    }
}

impl Sink for Descent<'_, '_> {
    #[inline]
    fn partials(&mut self, partials: &[Partial]) {
        self.totals.partials(partials);
    }

    #[inline]
    fn rows(&mut self, rows: Rows<'_>, cut: Option<Cut>) {
        self.totals.rows(rows, cut);
    }
}

impl Nested for Descent<'_, '_> {
    fn next_start(&mut self) -> Option<Time> {
        let (done, rest) = self.links.split_first()?;
        done.lower(self.reader.view, self.reader.moment, &self.totals.partials, self.cells);
        self.links = rest;
        let next = self.reader.view.outputs[rest.first()?.output].frame.extent(self.reader.moment.as_of)?;
        self.begin(next.from);
        Some(next.from)
    }
}

/// The columns of a request's own event, as a row of a view; `None` if the request does not give them.
pub fn own_row(view: &View, event: &OwnEvent, buffer: &mut RowBuffer) -> bool {
    let Some(fields) = &event.fields else { return false };
    let values: Vec<Value> = view.columns.iter().map(|column| fields.get(*column).cloned().unwrap_or(Value::Null)).collect();
    buffer.words.clear();
    buffer.heap.clear();
    buffer.push(event.time, &event.id, event.time, 0, &values);
    true
}

/// The partials of all slots over an extent that is known already: a window that has closed.
pub(crate) fn partials_of_extent(view: &View, layout: &Layout, timeline: &Timeline, extent: Extent) -> Vec<Partial> {
    let chain = Chain { slots: (0..view.slots.len()).collect(), links: Vec::new() };
    let mut totals = Totals { chain: &chain, slots: &view.slots, partials: chain.identities(view) };
    let range = Range { from: extent.from, after: None, to: extent.to, before: None };
    let cut = Cut { visible: extent.visible, version: u64::MAX };
    timeline.visit(&range, cut, &view.slots, layout, &mut totals);
    totals.partials
}
