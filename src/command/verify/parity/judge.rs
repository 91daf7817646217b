//! Comparing row by row, and what is kept of it.

use floodmark_features::lookup::{Answer, Ask, Cell, Lookup, Mode, Status};
use floodmark_features::value::{Value, ValueRef};
use floodmark_recount::{Event, Expected, Moment};

use super::chosen::Row;
use super::past::Past;
use crate::failure::Failure;

/// So many differences are told in full.
const WORST: usize = 10;
/// Of a difference, so many events of its window are told, the newest.
const EVENTS: usize = 10;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Commits up to this one were compared.
    pub(super) version: u64,
    pub(super) entities: usize,
    pub(super) rows: usize,
    pub(super) features: usize,
    /// Values that were compared, in both modes.
    pub(super) compared: u64,
    /// Of those, the ones that a sketch or a root makes near and not equal.
    pub(super) near: u64,
    /// Served is not what the recount says.
    pub(super) online_differs: u64,
    /// A training set is not what the recount says.
    pub(super) training_differs: u64,
    /// Served is not what a training set has.
    pub(super) online_and_training_differ: u64,
    /// Rows that lie before what is retained online, once for each mode.
    pub(super) not_retained: u64,
    /// By how far they are off, the farthest first.
    pub(super) worst: Vec<Difference>,
}

/// A value on which not all agree.
#[derive(Debug)]
pub(super) struct Difference {
    pub(super) feature: String,
    pub(super) entity: Vec<(String, Value)>,
    pub(super) as_of: floodmark_features::time::Time,
    pub(super) mode: Mode,
    pub(super) online: Cell,
    pub(super) training: Value,
    pub(super) recount: Value,
    pub(super) status: Status,
    /// What the recount counted, the newest first, and how many there are in all.
    pub(super) events: Vec<Event>,
    pub(super) events_in_window: usize,
}

impl Report {
    /// What is wrong, if something is.
    pub(super) fn verdict(&self) -> Option<String> {
        if self.compared == 0 {
            return Some("nothing could be compared: every row lies before what is retained".to_owned());
        }
        let Report { compared, online_differs, training_differs, online_and_training_differ: both, .. } = self;
        let wrong = online_differs + training_differs + both > 0;
        wrong.then(|| format!("of {compared} values, online {online_differs} and in a training set {training_differs} differ from the recount, and {both} from each other"))
    }
}

/// Compares, and keeps what it finds.
pub(super) struct Judge<'a> {
    lookup: &'a Lookup,
    version: u64,
    pub(super) report: Report,
}

/// A value as it is recounted.
struct Counted {
    value: Expected,
    status: Status,
}

impl<'a> Judge<'a> {
    pub(super) fn new(lookup: &'a Lookup, version: u64, rows: usize, times: usize) -> Judge<'a> {
        let report = Report { version, entities: rows / times, rows, features: lookup.columns.len(), ..Report::default() };
        Judge { lookup, version, report }
    }

    /// One row in one mode.
    pub(super) fn row(
        &mut self,
        past: &Past<'_>,
        row: &Row,
        mode: Mode,
        online: Option<Vec<Cell>>,
        training: &[Value],
    ) -> Result<(), Failure> {
        let Some(online) = online else {
            self.report.not_retained += 1;
            return Ok(());
        };
        if online.len() != training.len() {
            return Err(Failure::failed("the server has other features under the name of the service"));
        }
        let moment = Moment { as_of: row.as_of, version: self.version, mode };
        let counted = self.recount(past, row, &moment, &online);
        for (at, (counted, online)) in counted.iter().zip(&online).enumerate() {
            self.report.compared += 1;
            self.report.near += u64::from(!matches!(counted.value, Expected::Exactly(_)));
            let served = counted.value.admits(&online.value) && counted.status == online.status;
            let trained = counted.value.admits(&training[at]);
            let same = Expected::Exactly(online.value.clone()).admits(&training[at]);
            self.report.online_differs += u64::from(!served);
            self.report.training_differs += u64::from(!trained);
            self.report.online_and_training_differ += u64::from(!same);
            if !(served && trained && same) {
                let inside = self.inside(past, row, at, &moment);
                self.keep(Difference {
                    feature: self.lookup.columns[at].to_string(),
                    entity: self.lookup.keys.columns.iter().map(|key| key.name.clone()).zip(row.keys.iter().cloned()).collect(),
                    as_of: row.as_of,
                    mode,
                    online: online.clone(),
                    training: training[at].clone(),
                    recount: counted.value.value(),
                    status: counted.status,
                    events_in_window: inside.len(),
                    events: inside.into_iter().rev().take(EVENTS).cloned().collect(),
                });
            }
        }
        Ok(())
    }

    /// Features, then what is derived from them.
    fn recount(&self, past: &Past<'_>, row: &Row, moment: &Moment, online: &[Cell]) -> Vec<Counted> {
        let mut counted: Vec<Counted> = Vec::with_capacity(online.len());
        for feature in &self.lookup.features {
            let entity = past.entity(feature.view, row);
            counted.push(match entity.map(|entity| entity.value(feature.output, moment)) {
                Some(found) => Counted { value: found.value, status: found.status },
                None => Counted { value: Expected::Exactly(Value::Null), status: Status::NotFound },
            });
        }
        counted.extend(self.derived(row, moment, online, &counted));
        counted
    }

    /// From the recounted features; from those that are only near to it, as they were served.
    fn derived(&self, row: &Row, moment: &Moment, online: &[Cell], counted: &[Counted]) -> Vec<Counted> {
        let (keys, request): (Vec<ValueRef<'_>>, Vec<ValueRef<'_>>) =
            (row.keys.iter().map(Value::as_ref).collect(), row.request.iter().map(Value::as_ref).collect());
        let ask = Ask { keys: &keys, request: &request, as_of: moment.as_of, version: None, own_event: None, mode: moment.mode };
        let of_feature = |(counted, online): (&Counted, &Cell)| match &counted.value {
            Expected::Exactly(value) => Cell { value: value.clone(), status: counted.status, ..Cell::default() },
            _ => online.clone(),
        };
        let mut answer = Answer { cells: counted.iter().zip(online).map(of_feature).collect(), ..Answer::default() };
        answer.cells.resize_with(self.lookup.columns.len(), Cell::default);
        self.lookup.derive(&ask, &mut answer.cells);
        let derived = answer.cells.split_off(counted.len()).into_iter();
        derived.map(|cell| Counted { value: Expected::Exactly(cell.value), status: cell.status }).collect()
    }

    fn inside<'p>(&self, past: &'p Past<'_>, row: &Row, at: usize, moment: &Moment) -> Vec<&'p Event> {
        let Some(feature) = self.lookup.features.get(at) else { return Vec::new() };
        past.entity(feature.view, row).map(|entity| entity.inside(feature.output, moment)).unwrap_or_default()
    }

    fn keep(&mut self, difference: Difference) {
        let worst = &mut self.report.worst;
        let place = worst.partition_point(|other| distance(other) >= distance(&difference));
        worst.insert(place, difference);
        worst.truncate(WORST);
    }
}

/// How far the values are off; what are no numbers are off without measure.
fn distance(difference: &Difference) -> f64 {
    let number = |value: &Value| match value {
        Value::Int(i) => Some(*i as f64),
        Value::Float(x) => Some(*x),
        _ => None,
    };
    let off = |a: &Value, b: &Value| match (number(a), number(b)) {
        (Some(a), Some(b)) => (a - b).abs() / a.abs().max(b.abs()).max(f64::MIN_POSITIVE),
        _ if a == b => 0.0,
        _ => f64::INFINITY,
    };
    let Difference { online, training, recount, .. } = difference;
    off(&online.value, recount).max(off(training, recount)).max(off(&online.value, training))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_compared_does_not_pass_for_what_agrees() {
        let report = |compared, online_differs| Report { compared, online_differs, not_retained: 7, ..Report::default() };
        assert!(report(0, 0).verdict().is_some_and(|why| why.contains("nothing could be compared")));
        assert!(report(5, 1).verdict().is_some_and(|why| why.contains("online 1")));
        assert_eq!(report(5, 0).verdict(), None);
    }
}
