//! The recount that users verify with, against the kernel, on the kernel's own cases: what became of each event, every value and every
//! status. Both are held to the rules, so where they differ one of them is wrong.

use floodmark_recount::{Event as Past, Fate as Became, Moment as At, Recount};

use super::*;

type Recounts<'a> = BTreeMap<(usize, i64), Recount<'a>>;

/// Each view's events by key, and for each view: accepted, partially late, late, duplicates, unassigned.
fn recounted<'a>(definitions: &'a Definitions, batches: &[&[Step]]) -> (Recounts<'a>, Vec<[u64; 5]>) {
    let (mut recounts, mut counts) = (Recounts::new(), vec![[0; 5]; definitions.views.len()]);
    for (version, batch) in batches.iter().enumerate() {
        for routed in batch.iter().filter_map(|step| step.event.as_ref()) {
            let Value::Int(key) = routed.event.values[2] else { panic!("a key") };
            for (at, view) in definitions.views.iter().enumerate() {
                let event = Past {
                    time: routed.event.time,
                    id: EventId::Int(routed.event.id),
                    visible_from: routed.visible,
                    version: version as u64 + 1,
                    values: view.columns.iter().map(|column| routed.event.values[*column].clone()).collect(),
                };
                let fate = recounts.entry((at, key)).or_insert_with(|| Recount::new(view)).take(event);
                let counts: &mut [u64; 5] = &mut counts[at];
                counts[0] += u64::from(matches!(fate, Became::Accepted | Became::PartiallyLate));
                match fate {
                    Became::Accepted => {}
                    Became::PartiallyLate => counts[1] += 1,
                    Became::Late => counts[2] += 1,
                    Became::Duplicate => counts[3] += 1,
                    Became::Unassigned => counts[4] += 1,
                }
            }
        }
    }
    (recounts, counts)
}

fn check(case: &Case) -> Result<(), TestCaseError> {
    let definitions = definitions(&case.yaml());
    let steps = case.steps(&definitions);
    let batches = case.batches(&steps);
    let mut engine = Engine::new(definitions.clone());
    for (version, batch) in batches.iter().enumerate() {
        engine.apply(batch, version as u64 + 1);
    }
    let (recounts, counts) = recounted(&definitions, &batches);
    let of_engine: Vec<[u64; 5]> =
        engine.shard.counts.iter().map(|c| [c.accepted, c.partially_late, c.late, c.duplicates, c.unassigned]).collect();
    prop_assert_eq!(of_engine, counts);
    for (at, view) in definitions.views.iter().enumerate() {
        let features = (0..view.outputs.len()).map(|output| FeatureRef { view: at, output }).collect();
        let lookup = Lookup::of_features(definitions.clone(), features);
        let unknown = Recount::new(view);
        for read in &case.reads {
            let mode = if read.corrected { Mode::AsCorrected } else { Mode::AsServed };
            let as_of = Time::from_micros(read.t);
            let ask = Ask { keys: &[ValueRef::Int(read.key)], request: &[], as_of, version: read.version, own_event: None, mode };
            let recount = recounts.get(&(at, read.key)).unwrap_or(&unknown);
            let moment = At { as_of, version: read.version.unwrap_or(u64::MAX), mode };
            for (output, cell) in engine.read(&lookup, &ask).cells.iter().enumerate() {
                let expected = recount.value(output, &moment);
                let inside = recount.inside(output, &moment);
                prop_assert!(
                    expected.value.admits(&cell.value) && expected.status == cell.status,
                    "{} as of {moment:?}: {cell:?}, expected {expected:?} of {inside:?}",
                    view.outputs[output].full_name
                );
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn agrees_with_the_kernel(case in case(1..60, 3)) {
        check(&case)?;
    }
}

proptest! {
    #![proptest_config(cases(12))]

    #[test]
    fn agrees_with_the_kernel_on_long_timelines(case in case(300..1000, 1)) {
        check(&case)?;
    }
}
