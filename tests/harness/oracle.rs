//! What becomes of events and what features are worth, by the rules of time and truth alone: plain lists and loops, the number
//! of a rule at each line that follows it, nothing taken from the engine.

use floodmark_features::value::Value;

/// The shape of a window, in ticks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Shape {
    Rolling(i64),
    /// Size, distance, offset; a tumbling window's distance is its size.
    Grid(i64, i64, i64),
    Session(i64),
    Lifetime,
}

/// A window as a view has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) shape: Shape,
    pub(crate) with_start: bool,
    pub(crate) with_end: bool,
    pub(crate) delay: i64,
}

/// An event in a view.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) time: i64,
    pub(crate) id: i64,
    pub(crate) visible: i64,
    pub(crate) version: u64,
    /// By the source's schema.
    pub(crate) values: Vec<Value>,
}

/// What became of an event in a view (T10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Accepted,
    PartiallyLate,
    Late,
    Duplicate,
    Unassigned,
}

/// The view's accepted events of one key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timeline {
    pub(crate) events: Vec<Known>,
    /// For each session window: sets of events that Flink would hold as one session.
    pub(crate) sessions: Vec<(Frame, Vec<Known>)>,
}

/// The moment that a value is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment<'a> {
    pub(crate) t: i64,
    pub(crate) version: u64,
    pub(crate) corrected: bool,
    /// The scored event, and whether it is left out; it is as of its own time.
    pub(crate) own: Option<(&'a Known, bool)>,
}

impl Timeline {
    /// Takes in an event that came.
    pub(crate) fn take(&mut self, frames: &[Frame], emits: bool, event: &Known) -> Fate {
        // T13
        if self.events.iter().any(|e| (e.time, e.id) == (event.time, event.id)) {
            return Fate::Duplicate;
        }
        // T1
        if !frames.iter().any(|f| f.may_hold(event.time)) {
            return Fate::Unassigned;
        }
        // T10
        let behind = event.visible > event.time;
        if behind && !frames.iter().any(|f| self.can_count(f, emits, event)) {
            return Fate::Late;
        }
        self.events.push(event.clone());
        if emits {
            for frame in frames.iter().filter(|f| matches!(f.shape, Shape::Session(_))) {
                self.join_session(frame, event);
            }
        }
        if behind { Fate::PartiallyLate } else { Fate::Accepted }
    }

    /// Whether some value that is not final can hold the event.
    fn can_count(&self, frame: &Frame, emits: bool, event: &Known) -> bool {
        match frame.shape {
            Shape::Session(gap) if emits => end_of(&self.joined(frame, gap, event), gap) - 1 + frame.delay >= event.visible,
            Shape::Session(_) => {
                // Some as-of time from which the event counts has it in its open session.
                let mut all = self.events.clone();
                all.push(event.clone());
                let latest = all.iter().map(|e| e.visible.max(e.time)).max().unwrap_or(0) + frame.delay;
                (event.visible..=latest).any(|t| {
                    let moment = Moment { t, version: u64::MAX, corrected: false, own: None };
                    window(frame, &all, &moment).iter().any(|e| (e.time, e.id) == (event.time, event.id))
                })
            }
            Shape::Lifetime => true,
            Shape::Rolling(size) => (event.visible..=event.time + size + frame.delay).any(|t| frame.spans(t, event.time)),
            Shape::Grid(size, ..) => (event.time - size..=event.time)
                .filter(|start| frame.is_start(*start) && *start + size > event.time)
                .any(|start| event.visible <= start + size - 1 + frame.delay),
        }
    }

    /// The event with those of all live sessions that it meets: merged first, judged after; a session that is final is forgotten (T9).
    fn joined(&self, frame: &Frame, gap: i64, event: &Known) -> Vec<Known> {
        let mut joined = vec![event.clone()];
        for (of, session) in &self.sessions {
            let live = end_of(session, gap) - 1 + frame.delay >= event.visible;
            if same(of, frame) && live && session.iter().any(|e| (e.time - event.time).abs() < gap) {
                joined.extend(session.iter().cloned());
            }
        }
        joined
    }

    fn join_session(&mut self, frame: &Frame, event: &Known) {
        let Shape::Session(gap) = frame.shape else { return };
        let joined = self.joined(frame, gap, event);
        if end_of(&joined, gap) - 1 + frame.delay < event.visible {
            return;
        }
        let is_in = |session: &[Known]| session.iter().any(|e| joined.iter().any(|j| (j.time, j.id) == (e.time, e.id)));
        self.sessions.retain(|(of, session)| !(same(of, frame) && is_in(session)));
        self.sessions.push((*frame, joined));
    }

    /// The events in the window as of the moment, in the total order of events.
    pub(crate) fn window(&self, frame: &Frame, moment: &Moment<'_>) -> Vec<Known> {
        window(frame, &self.events, moment)
    }

    /// The newest event known at that version is of this view: else the entity is unknown (T17).
    pub(crate) fn is_known(&self, version: u64) -> bool {
        self.events.iter().any(|e| e.version <= version)
    }
}

fn same(a: &Frame, b: &Frame) -> bool {
    a.shape == b.shape && a.delay == b.delay
}

fn end_of(session: &[Known], gap: i64) -> i64 {
    session.iter().map(|e| e.time).max().unwrap_or(0) + gap
}

fn window(frame: &Frame, events: &[Known], moment: &Moment<'_>) -> Vec<Known> {
    let visible = frame.visible(moment.t);
    // T14, T9, T15
    let mut known: Vec<Known> =
        events.iter().filter(|e| e.version <= moment.version && (moment.corrected || e.visible <= visible)).cloned().collect();
    // T5
    if let Some((own, excluded)) = moment.own {
        known.retain(|e| e.time != own.time || e.id < own.id);
        if !excluded {
            known.push(own.clone());
        }
    }
    known.sort_by_key(|e| (e.time, e.id));
    if let Shape::Session(gap) = frame.shape {
        // T3
        let last = moment.t - frame.delay - i64::from(!frame.with_end);
        known.retain(|e| e.time <= last);
        let mut reached = last;
        let mut start = known.len();
        while start > 0 && reached - known[start - 1].time < gap {
            start -= 1;
            reached = known[start].time;
        }
        return known.split_off(start);
    }
    known.retain(|e| frame.spans(moment.t, e.time));
    known
}

impl Frame {
    /// T1: a start of a window of the grid.
    fn is_start(&self, start: i64) -> bool {
        let Shape::Grid(_, every, offset) = self.shape else { return false };
        (start - offset).rem_euclid(every) == 0
    }

    /// T4: the start of the newest window of the grid that is complete.
    fn newest(&self, t: i64) -> i64 {
        let Shape::Grid(size, every, _) = self.shape else { return 0 };
        let to = t - self.delay;
        let complete = |end: i64| if self.with_end { end - 1 <= to } else { end <= to };
        (to - size - every..=to - size + 1).rev().find(|s| self.is_start(*s) && complete(s + size)).expect("one in each distance")
    }

    /// Whether the window as of `t` spans an event time; not for sessions.
    fn spans(&self, t: i64, at: i64) -> bool {
        let to = t - self.delay;
        let not_after = if self.with_end { at <= to } else { at < to };
        match self.shape {
            // T2
            Shape::Rolling(size) => not_after && if self.with_start { at >= to - size } else { at > to - size },
            Shape::Lifetime => not_after,
            Shape::Grid(size, ..) => (self.newest(t)..self.newest(t) + size).contains(&at),
            Shape::Session(_) => unreachable!("a session is made of its neighbours"),
        }
    }

    /// T9: the latest `visible_from` that counts as of `t`.
    fn visible(&self, t: i64) -> i64 {
        match self.shape {
            Shape::Grid(size, ..) => self.newest(t) + size - 1 + self.delay,
            _ => t,
        }
    }

    /// T1: whether any window at all holds an instant.
    fn may_hold(&self, at: i64) -> bool {
        let Shape::Grid(size, ..) = self.shape else { return true };
        (at - size + 1..=at).any(|start| self.is_start(start))
    }

    /// All windows of the grid that hold an instant, by their starts.
    pub(crate) fn starts_holding(&self, at: i64) -> Vec<i64> {
        let Shape::Grid(size, ..) = self.shape else { return Vec::new() };
        (at - size + 1..=at).filter(|start| self.is_start(*start)).collect()
    }
}

/// A function over a column of the source's schema.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Feature {
    /// As a definition writes it.
    pub(crate) function: &'static str,
    /// `None` for `"*"`.
    pub(crate) column: Option<usize>,
    /// `k`, or `exact_up_to`.
    pub(crate) k: usize,
    pub(crate) q: f64,
    /// Only events whose column 3 is above this.
    pub(crate) above: Option<i64>,
}

/// What a value may be.
#[derive(Debug)]
pub(crate) enum Expected {
    Exactly(Value),
    /// One of these, within that relative distance.
    Near(Vec<f64>, f64),
    /// A count within that distance.
    About(i64, i64),
}

impl Expected {
    pub(crate) fn admits(&self, found: &Value) -> bool {
        match (self, found) {
            (Expected::Exactly(Value::Float(a)), Value::Float(b)) => a.to_bits() == b.to_bits(),
            (Expected::Exactly(a), b) => a == b,
            (Expected::Near(all, within), Value::Float(x)) => all.iter().any(|y| (x - y).abs() <= within * y.abs() + 1e-300),
            (Expected::About(n, within), Value::Int(m)) => (n - m).abs() <= *within,
            _ => false,
        }
    }
}

impl Feature {
    /// The value over the events of a window; `end` is where time is measured from, `size` the length of a window that has one.
    pub(crate) fn value(&self, window: &[Known], end: i64, size: Option<i64>) -> Expected {
        let kept = window.iter().filter(|e| self.above.is_none_or(|above| matches!(e.values[3], Value::Int(i) if i > above)));
        let kept: Vec<&Known> = kept.filter(|e| self.column.is_none_or(|c| e.values[c] != Value::Null)).collect();
        let values: Vec<Value> = kept.iter().filter_map(|e| Some(e.values[self.column?].clone())).collect();
        let n = kept.len();
        let float = |x: f64| Expected::Exactly(Value::Float(x));
        let int = |i: i128| Expected::Exactly(Value::Int(i.clamp(i64::MIN.into(), i64::MAX.into()) as i64));
        let list = |some: Vec<Value>| Expected::Exactly(Value::List(some.into()));
        let sum: i128 = values.iter().map(exact).sum();
        let is_float = values.iter().any(|v| matches!(v, Value::Float(_)));
        let unit = if is_float { UNIT } else { 1.0 };
        // T17: a count or sum of nothing is 0, anything else of nothing is null.
        match self.function {
            "count" => return int(n as i128),
            "distinct" => {
                let mut different = values;
                different.sort_by(Value::total_cmp);
                different.dedup();
                let all = different.len() as i64;
                return if different.len() <= self.k { int(all.into()) } else { Expected::About(all, 2 + all / 10) };
            }
            "rate" => return float(n as f64 / (size.expect("a length") as f64 / 1e6)),
            "sum" if self.column == Some(4) => return float(sum as f64 * UNIT),
            "sum" => return int(sum),
            _ => {}
        }
        if n == 0 {
            return Expected::Exactly(Value::Null);
        }
        let of_variance = |samp: bool| {
            let squares: i128 = values.iter().map(|v| exact(v) * exact(v)).sum();
            let freedom = n - usize::from(samp);
            (freedom > 0).then(|| (n as i128 * squares - sum * sum) as f64 * unit * unit / (n as f64 * freedom as f64))
        };
        let spread = |x: Option<f64>| x.map_or(Expected::Exactly(Value::Null), |x| Expected::Near(vec![x], 1e-12));
        match self.function {
            "mean" => float(sum as f64 * unit / n as f64),
            "min" => Expected::Exactly(values.into_iter().min_by(Value::total_cmp).expect("some")),
            "max" => Expected::Exactly(values.into_iter().max_by(Value::total_cmp).expect("some")),
            "first" => Expected::Exactly(values[0].clone()),
            "last" => Expected::Exactly(values[n - 1].clone()),
            "first_k" => list(values.into_iter().take(self.k).collect()),
            "last_k" => list(values.into_iter().rev().take(self.k).collect()),
            "var_pop" => spread(of_variance(false)),
            "var_samp" => spread(of_variance(true)),
            "stddev_pop" => spread(of_variance(false).map(f64::sqrt)),
            "stddev_samp" => spread(of_variance(true).map(f64::sqrt)),
            "quantile" => {
                let mut sorted: Vec<f64> = values.iter().map(|v| exact(v) as f64 * unit).collect();
                sorted.sort_by(f64::total_cmp);
                let rank = self.q * (n - 1) as f64;
                Expected::Near(vec![sorted[rank.floor() as usize], sorted[rank.ceil() as usize]], 0.01 + 1e-9)
            }
            "top_k" => {
                let mut counted: Vec<(usize, Value)> = Vec::new();
                for value in &values {
                    if !counted.iter().any(|(_, v)| v == value) {
                        counted.push((values.iter().filter(|v| *v == value).count(), value.clone()));
                    }
                }
                counted.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.total_cmp(&b.1)));
                list(counted.into_iter().take(self.k).map(|(_, v)| v).collect())
            }
            "time_since_last" => float((end - kept[n - 1].time) as f64 / 1e6),
            other => panic!("no oracle for {other}"),
        }
    }
}

/// Floats in the tests are whole multiples of this, so that sums can be had exactly.
pub(crate) const UNIT: f64 = 1.0 / 1024.0;

/// A number in units.
fn exact(value: &Value) -> i128 {
    match value {
        Value::Int(i) => (*i).into(),
        Value::Bool(b) => (*b).into(),
        Value::Float(x) => (x / UNIT) as i128,
        _ => 0,
    }
}
