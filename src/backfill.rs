//! `--backfill`: views that were added to a store are computed from its offline store, at once or behind what else goes on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use floodmark_history::{Backfill, Backfiller};
use floodmark_offline::{FlushNow, Flusher};
use floodmark_serving::metrics::{Kept, catalog};
use floodmark_store::Store;

use crate::failure::Failure;
use crate::progress::Bar;

/// How long to wait after a failure.
const RETRY: Duration = Duration::from_secs(5);
/// How often it is looked whether the wait is to be cut short, or how far it has come.
const LOOK: Duration = Duration::from_millis(100);

/// A backfill behind what else goes on.
#[derive(Debug)]
pub(crate) struct Behind {
    standing: Arc<Backfill>,
    thread: JoinHandle<()>,
}

/// The views of a store that wait, with the place of their events and who brings the last of them there; `None` if no view waits.
fn wanted(store: &Store, flusher: Option<&Flusher>) -> Option<(String, FlushNow, Vec<String>)> {
    let names: Vec<String> = store.backfilling().into_iter().map(|view| store.definitions().views[view].name.clone()).collect();
    Some((store.offline()?, flusher?.now(), names)).filter(|(.., names)| !names.is_empty())
}

/// Computes them, with a progress bar.
pub(crate) fn finish(store: &Arc<Store>, flusher: Option<&Flusher>) -> Result<(), Failure> {
    let Some((place, now, names)) = wanted(store, flusher) else { return Ok(()) };
    let (began, standing) = (Instant::now(), Arc::new(Backfill::default()));
    let (theirs, of) = (standing.clone(), store.clone());
    let thread = thread::spawn(move || Backfiller::new(&of, &place, &|| now.flush(), &theirs).run());
    let bar = Bar::new("history");
    while !thread.is_finished() {
        thread::sleep(LOOK);
        bar.at(standing.events.load(Ordering::Relaxed), standing.total.load(Ordering::Relaxed));
    }
    drop(bar);
    match thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))? {
        true => tell_done(&names, &standing, began),
        false => {
            return Err(Failure::failed(format!("what writes the offline store has ended before {} could be computed", names.join(", "))));
        }
    }
    Ok(())
}

impl Behind {
    /// Begins to compute them. Where history cannot be read it is tried again and again; the other views go on.
    pub(crate) fn start(store: &Arc<Store>, flusher: Option<&Flusher>) -> Result<Option<Behind>, Failure> {
        let Some((place, now, names)) = wanted(store, flusher) else { return Ok(None) };
        eprintln!("computed from history, and not answered until then: {}. place={place}", names.join(", "));
        let standing = Arc::new(Backfill::default());
        let (theirs, store) = (standing.clone(), store.clone());
        let thread = thread::Builder::new().name("backfill".to_owned());
        let thread = thread.spawn(move || go_on(&theirs, &names, Backfiller::new(&store, &place, &|| now.flush(), &theirs)))?;
        Ok(Some(Behind { standing, thread }))
    }

    /// For the page of metrics.
    pub(crate) fn kept(standing: &Arc<Backfill>) -> [Kept; 3] {
        let (taken, all, failures) = (standing.clone(), standing.clone(), standing.clone());
        [
            Kept::new(&catalog::BACKFILL_EVENTS, &["taken"], move || taken.events.load(Ordering::Relaxed)),
            Kept::new(&catalog::BACKFILL_EVENTS, &["all"], move || all.total.load(Ordering::Relaxed)),
            Kept::new(&catalog::BACKFILL_FAILURES, &[], move || failures.failures.load(Ordering::Relaxed)),
        ]
    }

    /// How far it has come.
    pub(crate) fn standing(&self) -> Arc<Backfill> {
        self.standing.clone()
    }

    /// Ends it. What is not done begins anew when the store is opened the next time.
    pub(crate) fn end(self) -> Result<(), Failure> {
        self.standing.stop.store(true, Ordering::Release);
        self.thread.join().map_err(|_| Failure::failed("what computes views from history has panicked; it begins anew at the next start"))
    }
}

fn go_on(standing: &Backfill, names: &[String], mut backfiller: Backfiller<'_>) {
    let (began, views, mut told) = (Instant::now(), names.join(", "), String::new());
    while !standing.stop.load(Ordering::Acquire) {
        let ended = catch_unwind(AssertUnwindSafe(|| backfiller.run()));
        let (why, may_pass) = match ended {
            Ok(Ok(true)) => return tell_done(names, standing, began),
            Ok(Ok(false)) if standing.stop.load(Ordering::Acquire) => return,
            Ok(Ok(false)) => ("what writes the offline store has ended".to_owned(), false),
            Ok(Err(trouble)) => (trouble.to_string(), trouble.may_pass()),
            Err(_) => ("what computes them has panicked".to_owned(), false),
        };
        standing.failures.fetch_add(1, Ordering::Relaxed);
        if !may_pass {
            return eprintln!("floodmark: {views}: cannot be computed from history until the next start: {why}");
        }
        if told != why {
            eprintln!("floodmark: {views}: cannot be computed from history, and it is tried again: {why}");
            told = why;
        }
        let failed = Instant::now();
        while failed.elapsed() < RETRY && !standing.stop.load(Ordering::Acquire) {
            thread::sleep(LOOK);
        }
    }
}

fn tell_done(names: &[String], standing: &Backfill, began: Instant) {
    let (events, seconds) = (standing.events.load(Ordering::Relaxed), began.elapsed().as_secs_f64());
    eprintln!("computed from history: {}. events={events} seconds={seconds:.1}", names.join(", "));
}
