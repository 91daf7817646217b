//! What the fraud example's features are worth, in plain loops over everything that arrived: written from the rules of time (T2 to T10,
//! T15), with nothing of the engine's.

use std::collections::HashMap;
use std::iter::once;

use super::arrivals::{DAY, MINUTE, Transaction};

/// `fraud_live`, in its order.
pub(crate) const FEATURES: [&str; 15] = [
    "customer_spend.nb_tx_1d",
    "customer_spend.nb_tx_7d",
    "customer_spend.nb_tx_30d",
    "customer_spend.avg_amount_1d",
    "customer_spend.avg_amount_7d",
    "customer_spend.avg_amount_30d",
    "customer_burst.nb_tx_session_30m",
    "customer_burst.nb_tx_sliding_1h_5m",
    "customer_burst.nb_tx_tumbling_1d",
    "terminal_risk.nb_tx_1d",
    "terminal_risk.nb_tx_7d",
    "terminal_risk.nb_tx_30d",
    "terminal_risk.risk_1d",
    "terminal_risk.risk_7d",
    "terminal_risk.risk_30d",
];

const MAX_OUT_OF_ORDERNESS: i64 = MINUTE;
const ALLOWED_LATENESS: i64 = 0;
const ROLLING: [i64; 3] = [DAY, 7 * DAY, 30 * DAY];
const LONGEST: i64 = 30 * DAY;
const DELAY: i64 = 7 * DAY;
const GAP: i64 = 30 * MINUTE;
const SLIDING: Grid = Grid { size: 60 * MINUTE, every: 5 * MINUTE };
const TUMBLING: Grid = Grid { size: DAY, every: DAY };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    CustomerSpend,
    CustomerBurst,
    TerminalRisk,
}

/// The best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    Accepted,
    PartiallyLate,
    Late,
}

/// What became of transactions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// The partially late ones included.
    pub(crate) accepted: u64,
    pub(crate) partially_late: u64,
    pub(crate) late: u64,
}

/// A transaction that came behind the watermark.
#[derive(Clone, Debug)]
pub(crate) struct Behind {
    /// Its place among the arrivals.
    pub(crate) offset: usize,
    pub(crate) transaction: Transaction,
    pub(crate) watermark: i64,
    pub(crate) visible_from: i64,
    /// View by view.
    pub(crate) outcomes: [Outcome; 3],
}

/// A moment at which features are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) customer: i64,
    pub(crate) terminal: i64,
    pub(crate) as_of: i64,
    /// The transaction that happens at that moment and counts itself (T5).
    pub(crate) own: Option<Transaction>,
}

/// T15.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    AsServed,
    AsCorrected,
}

#[derive(Clone, Copy, Debug)]
struct Event {
    at: i64,
    id: i64,
    /// The amount, in units in which each is a whole number: their sums are exact.
    units: i128,
    fraud: bool,
    visible_from: i64,
}

/// So many units are one.
const UNIT: f64 = (1_u128 << 70) as f64;

pub(crate) struct Recount {
    /// For each view what it has taken, by key, in the order of time and id.
    taken: [HashMap<i64, Vec<Event>>; 3],
    pub(crate) behind: Vec<Behind>,
    /// An event counts as accepted if any view took it (T10).
    pub(crate) tally: Counts,
    pub(crate) views: [Counts; 3],
}

impl View {
    pub(crate) const ALL: [View; 3] = [View::CustomerSpend, View::CustomerBurst, View::TerminalRisk];

    pub(crate) fn name(self) -> &'static str {
        match self {
            View::CustomerSpend => "customer_spend",
            View::CustomerBurst => "customer_burst",
            View::TerminalRisk => "terminal_risk",
        }
    }

    /// The entity's key column, and its value.
    pub(crate) fn key(self, customer: i64, terminal: i64) -> (&'static str, i64) {
        match self {
            View::CustomerSpend | View::CustomerBurst => ("customer_id", customer),
            View::TerminalRisk => ("terminal_id", terminal),
        }
    }

    /// Whether some value that is not final when the event comes can hold it (T9, T10). `events` is what came before it.
    fn can_count(self, event: &Event, events: &[Event]) -> bool {
        let Event { at, visible_from, .. } = *event;
        let on_grid = |grid: Grid| visible_from < grid.last_end(at);
        match self {
            View::CustomerSpend => visible_from < at + LONGEST,
            View::TerminalRisk => visible_from < at + LONGEST + DELAY,
            View::CustomerBurst => on_grid(SLIDING) || on_grid(TUMBLING) || session_can_hold(event, events),
        }
    }
}

impl Counts {
    fn count(&mut self, outcome: Outcome) {
        self.accepted += u64::from(outcome != Outcome::Late);
        self.partially_late += u64::from(outcome == Outcome::PartiallyLate);
        self.late += u64::from(outcome == Outcome::Late);
    }
}

impl Recount {
    /// Takes transactions as they arrive, from one partition.
    pub(crate) fn of(arrivals: impl Iterator<Item = Transaction>) -> Recount {
        let (taken, views) = ([HashMap::new(), HashMap::new(), HashMap::new()], [Counts::default(); 3]);
        let mut recount = Recount { taken, behind: Vec::new(), tally: Counts::default(), views };
        let mut newest: Option<i64> = None;
        for (offset, transaction) in arrivals.enumerate() {
            // T6: by what came before it.
            let watermark = newest.map_or(i64::MIN / 2, |newest| newest - MAX_OUT_OF_ORDERNESS - 1);
            recount.arrive(offset, transaction, watermark);
            newest = newest.max(Some(transaction.at));
        }
        recount
    }

    fn arrive(&mut self, offset: usize, transaction: Transaction, watermark: i64) {
        // T9.
        let visible_from = transaction.at.max(watermark - ALLOWED_LATENESS + 1);
        let event = Event::of(&transaction, visible_from);
        let outcomes = View::ALL.map(|view| {
            let (_, key) = view.key(transaction.customer, transaction.terminal);
            self.take(view, key, event)
        });
        self.tally.count(outcomes.into_iter().min().expect("views"));
        if visible_from > transaction.at {
            self.behind.push(Behind { offset, transaction, watermark, visible_from, outcomes });
        }
    }

    fn take(&mut self, view: View, key: i64, event: Event) -> Outcome {
        let events = self.taken[view as usize].entry(key).or_default();
        let outcome = match event.visible_from > event.at {
            false => Outcome::Accepted,
            true if view.can_count(&event, events) => Outcome::PartiallyLate,
            true => Outcome::Late,
        };
        if outcome != Outcome::Late {
            let place = events.partition_point(|e| e.order() < event.order());
            events.insert(place, event);
        }
        self.views[view as usize].count(outcome);
        outcome
    }

    /// The features, in their order; `None` is null.
    pub(crate) fn answer(&self, ask: &Ask, mode: Mode) -> [Option<f64>; 15] {
        let own = ask.own.map(|own| Event::of(&own, own.at));
        assert!(own.is_none_or(|own| own.at == ask.as_of), "a transaction is asked about as of itself");
        let [spend, burst, risk] = View::ALL.map(|view| {
            let (_, key) = view.key(ask.customer, ask.terminal);
            Timeline { events: self.taken[view as usize].get(&key).map_or(&[], Vec::as_slice), own, corrected: mode == Mode::AsCorrected }
        });
        let spend = ROLLING.map(|size| spend.total(Window::rolling(ask.as_of, size, 0)));
        let risk = ROLLING.map(|size| risk.total(Window::rolling(ask.as_of, size, DELAY)));
        let [sliding, tumbling] = [SLIDING, TUMBLING].map(|grid| burst.total(grid.newest_complete(ask.as_of)).n);
        let burst = [burst.session(ask.as_of), sliding, tumbling];
        let counted = |totals: [Total; 3]| totals.map(|total| Some(total.n as f64));
        let groups = [
            counted(spend),
            spend.map(|total| total.mean_amount()),
            burst.map(|n| Some(n as f64)),
            counted(risk),
            risk.map(|total| Some(total.risk())),
        ];
        std::array::from_fn(|at| groups[at / 3][at % 3])
    }
}

impl Event {
    fn of(transaction: &Transaction, visible_from: i64) -> Event {
        let Transaction { id, at, amount, fraud, .. } = *transaction;
        let units = amount * UNIT;
        assert!(units.fract() == 0.0 && amount.abs() < 1e9, "the sum of {amount} is not exact");
        Event { at, id, units: units as i128, fraud, visible_from }
    }

    /// Events are in one order.
    fn order(&self) -> (i64, i64) {
        (self.at, self.id)
    }
}

/// T3, T10: whether the session that is open as of some time from now on holds the event, as far as events have come. Something
/// that has come, but is not visible yet, may still join it to a later one.
fn session_can_hold(event: &Event, events: &[Event]) -> bool {
    let later = events.iter().map(|e| e.visible_from).filter(|from| *from > event.visible_from);
    once(event.visible_from).chain(later).any(|t| {
        let mut last = event.at;
        for next in events.iter().filter(|e| e.visible_from <= t).map(|e| e.at) {
            if next >= last && next - last < GAP {
                last = next;
            }
        }
        t - last < GAP
    })
}

/// Where sliding and tumbling windows stand, from the epoch (T1).
#[derive(Clone, Copy)]
struct Grid {
    size: i64,
    every: i64,
}

impl Grid {
    /// The end of the newest window that holds an instant.
    fn last_end(self, at: i64) -> i64 {
        at - at.rem_euclid(self.every) + self.size
    }

    /// The newest window whose last instant has come (T4); what was not visible at that instant is not in it (T9).
    fn newest_complete(self, as_of: i64) -> Window {
        let end = as_of + 1 - (as_of + 1 - self.size).rem_euclid(self.every);
        Window { from: end - self.size, to: end - 1, visible_by: end - 1 }
    }
}

/// First and last instant, and when visibility is judged.
#[derive(Clone, Copy)]
struct Window {
    from: i64,
    to: i64,
    visible_by: i64,
}

impl Window {
    /// `(t - delay - size, t - delay]`, visible at `t` (T2).
    fn rolling(t: i64, size: i64, delay: i64) -> Window {
        Window { from: t - delay - size + 1, to: t - delay, visible_by: t }
    }
}

/// What is in a window.
#[derive(Clone, Copy, Default)]
struct Total {
    n: i64,
    units: i128,
    frauds: i64,
}

impl Total {
    fn add(&mut self, event: &Event) {
        self.n += 1;
        self.units += event.units;
        self.frauds += i64::from(event.fraud);
    }

    fn mean_amount(self) -> Option<f64> {
        (self.n > 0).then(|| self.units as f64 / UNIT / self.n as f64)
    }

    /// Of nothing it is 0, says the definition.
    fn risk(self) -> f64 {
        if self.n == 0 { 0.0 } else { self.frauds as f64 / self.n as f64 }
    }
}

/// What one view has of one entity, and for whom.
struct Timeline<'a> {
    events: &'a [Event],
    own: Option<Event>,
    corrected: bool,
}

impl<'a> Timeline<'a> {
    /// The events from one instant to another, oldest first, without the own one and those of its instant with a greater id (T5).
    fn between(&self, from: i64, to: i64, visible_by: i64) -> impl DoubleEndedIterator<Item = &'a Event> {
        let (own, corrected) = (self.own.map(|own| own.order()), self.corrected);
        let [start, end] = [from, to + 1].map(|bound| self.events.partition_point(|e| e.at < bound));
        let counts = move |e: &&Event| own.is_none_or(|own| e.order() < own) && (corrected || e.visible_from <= visible_by);
        self.events[start..end].iter().filter(counts)
    }

    fn total(&self, window: Window) -> Total {
        let own = self.own.iter().filter(|own| window.from <= own.at && own.at <= window.to);
        let mut total = Total::default();
        self.between(window.from, window.to, window.visible_by).chain(own).for_each(|event| total.add(event));
        total
    }

    /// The number of events in the session open at `t` (T3).
    fn session(&self, t: i64) -> i64 {
        let (mut n, mut first) = (i64::from(self.own.is_some()), t);
        for event in self.between(i64::MIN, t, t).rev() {
            if first - event.at >= GAP {
                break;
            }
            first = event.at;
            n += 1;
        }
        n
    }
}
