//! Admission: how far a server thread is behind, and which calls it refuses so that the others need not wait.
//!
//! What waits does so in the sockets, unread, so its wait is reckoned: it came after the connection was last read to its end, and after
//! the thread last found nothing to do. A burst or a stall is worked off. Where more work comes than there is time, or where waits stay
//! above the target and the thread has no rest, calls that would wait longer are refused, early and cheaply (after CoDel, Nichols and
//! Jacobson 2012: a standing queue is what hurts). Where few calls wait for long, it is the thread that waits, for a core: to refuse
//! them would help nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Waits may be above the target for so long, without a rest, before calls are refused.
const PATIENCE: Duration = Duration::from_millis(50);
/// How much work comes is measured over so long,
const WINDOW: Duration = Duration::from_millis(20);
/// and so much of what is known of it is from the newest window.
const NEWEST: f64 = 0.3;
/// A wait of the thread that was shorter was none: what it waited for was there.
const IDLE: Duration = Duration::from_micros(20);
/// Calls that are answered have so many times the time, at least, that those have which are refused.
const ANSWERS: f64 = 1.0;
/// What it costs to read a call and refuse it, in nanoseconds, about; or a quarter of what it costs to answer one.
const REFUSAL: f64 = 4_000.0;
/// How much of what a call costs is learnt from a turn, if it took less than was known,
const LEARN_LESS: f64 = 0.1;
/// and from each of its calls, if it took more, which may be the fault of others,
const LEARN_MORE: f64 = 0.0005;
/// but so much from all of them at most.
const LEARN_MOST: f64 = 0.3;

/// The load of one server thread.
#[derive(Debug)]
pub(super) struct Load {
    state: Mutex<State>,
    /// Calls that were refused, by all threads of the server.
    refused: Arc<AtomicU64>,
}

#[derive(Debug)]
struct State {
    admission: Admission,
    parked: Instant,
    /// When the thread began to look for work, the time before last and last, and the calls that it has found since.
    woken: [Instant; 2],
    calls: [usize; 2],
    /// Whether the last park was a rest.
    rested: bool,
}

impl Load {
    /// A thread with nothing to do. Waits below `target` are none; zero means that nothing is ever refused.
    pub(super) fn new(target: Duration, refused: Arc<AtomicU64>, now: Instant) -> Load {
        let state = State { admission: Admission::new(target), parked: now, woken: [now; 2], calls: [0; 2], rested: true };
        Load { state: Mutex::new(state), refused }
    }

    /// The thread has no call that could go on.
    pub(super) fn parked(&self, now: Instant) {
        self.state.lock().parked = now;
    }

    /// And now there is something to do.
    pub(super) fn woken(&self, now: Instant) {
        let mut state = self.state.lock();
        state.rested = now.duration_since(state.parked) > IDLE;
        if state.rested {
            state.admission.rested();
        }
        state.woken = [state.woken[1], now];
        state.calls = [if state.rested { 0 } else { state.calls[1] }, 0];
    }

    /// A turn begins, of a connection that was read to its end at `drained` and now again.
    pub(super) fn turn(&self, now: Instant, drained: Instant, calls: usize) -> Turn {
        let mut state = self.state.lock();
        // What came before the thread last looked for work but one was found then.
        let looked = state.woken[usize::from(state.rested)];
        state.calls[1] += calls;
        let found = state.calls[0] + state.calls[1];
        state.admission.turn(now, now.duration_since(drained.max(looked)), calls, found)
    }

    /// A turn has ended.
    pub(super) fn ended(&self, now: Instant, turn: &Turn) {
        if turn.refused > 0 {
            self.refused.fetch_add(turn.refused as u64, Ordering::Relaxed);
        }
        self.state.lock().admission.ended(now, turn);
    }
}

/// The rule, which is told the time.
#[derive(Debug)]
struct Admission {
    target: f64,
    /// What a call takes, in nanoseconds, as learnt.
    cost: f64,
    /// Since when waits have been above the target.
    behind_since: Option<Instant>,
    /// The work that comes, as a part of the time that there is.
    demand: f64,
    window: Option<Window>,
}

/// What has come lately.
#[derive(Debug)]
struct Window {
    began: Instant,
    calls: usize,
    /// What those that were answered took, and those that were refused, in nanoseconds.
    answering: f64,
    refusing: f64,
}

/// The calls of one turn, in the order in which they came.
#[derive(Debug)]
pub(super) struct Turn {
    began: Instant,
    /// In nanoseconds, as is all below.
    waited: f64,
    cost: f64,
    /// Calls that would wait longer are refused.
    bound: f64,
    /// What calls took lately before this turn, those that were answered and those that were refused.
    answering: f64,
    refusing: f64,
    calls: usize,
    seen: usize,
    admitted: usize,
    refused: usize,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// How long it has waited since it was read, about. How long before that, nobody knows.
    pub(super) waited: Duration,
    pub(super) refused: bool,
}

impl Standing {
    /// That of a call which nobody has reckoned.
    pub(super) const FIRST: Standing = Standing { waited: Duration::ZERO, refused: false };
}

impl Admission {
    fn new(target: Duration) -> Admission {
        Admission { target: nanos(target), cost: 0.0, behind_since: None, demand: 0.0, window: None }
    }

    /// There was nothing to do: whatever waited has been worked off.
    fn rested(&mut self) {
        self.behind_since = None;
    }

    /// Takes the calls of a turn into account.
    fn demand(&mut self, now: Instant, calls: usize) -> f64 {
        let window = self.window.get_or_insert(Window { began: now, calls: 0, answering: 0.0, refusing: 0.0 });
        let elapsed = now.duration_since(window.began);
        if elapsed >= WINDOW {
            let newest = window.calls as f64 * self.cost / nanos(elapsed);
            // What was long ago counts for less.
            let weight = 1.0 - (1.0 - NEWEST).powf(nanos(elapsed) / nanos(WINDOW));
            self.demand += weight * (newest - self.demand);
            *window = Window { began: now, calls: 0, answering: 0.0, refusing: 0.0 };
        }
        window.calls += calls;
        self.demand
    }

    /// `found` calls, these included, have come since the thread looked for work before.
    fn turn(&mut self, now: Instant, waited: Duration, calls: usize, found: usize) -> Turn {
        let (waited, cost) = (nanos(waited), self.cost);
        let crowded = found as f64 * cost > self.target;
        let behind = crowded && waited.max(calls as f64 * cost) > self.target;
        self.behind_since = behind.then(|| self.behind_since.unwrap_or(now));
        let standing = self.behind_since.is_some_and(|since| now.duration_since(since) >= PATIENCE);
        let too_much = self.demand(now, calls) > 1.0;
        let refuses = self.target > 0.0 && crowded && (standing || too_much);
        let bound = if refuses { self.target } else { f64::INFINITY };
        let (answering, refusing) = self.window.as_ref().map_or((0.0, 0.0), |window| (window.answering, window.refusing));
        Turn { began: now, waited, cost, bound, answering, refusing, calls, seen: 0, admitted: 0, refused: 0 }
    }

    fn ended(&mut self, now: Instant, turn: &Turn) {
        if let Some(window) = &mut self.window {
            (window.answering, window.refusing) = (turn.answering(), turn.refusing());
        }
        if turn.admitted == 0 {
            return;
        }
        // Where some were refused, the others took less than this.
        let cost = nanos(now.duration_since(turn.began)) / turn.admitted as f64;
        if cost < self.cost {
            self.cost += LEARN_LESS * (cost - self.cost);
        } else if turn.refused == 0 {
            self.cost += (turn.admitted as f64 * LEARN_MORE).min(LEARN_MOST) * (cost - self.cost);
        }
    }
}

impl Turn {
    /// The next call of the turn. They came evenly, for all that is known, since the last turn, and are answered one after the other.
    pub(super) fn next(&mut self) -> Standing {
        let came = 1.0 - self.seen as f64 / self.calls.max(1) as f64;
        let work = self.admitted as f64 * self.cost + self.refused as f64 * REFUSAL.min(self.cost / 4.0);
        // Where refusing takes too much of the time, it is what makes calls wait: callers who come again at once would keep each other out.
        let answers = self.answering() >= ANSWERS * self.refusing();
        let refused = self.waited * came + work > self.bound && answers;
        self.seen += 1;
        *if refused { &mut self.refused } else { &mut self.admitted } += 1;
        Standing { waited: Duration::from_nanos(work as u64), refused }
    }

    /// What calls that were answered took lately. What it takes to refuse one, to read it above all, it takes to answer one as well.
    fn answering(&self) -> f64 {
        self.answering + self.admitted as f64 * (self.cost + REFUSAL)
    }

    /// And those that were refused.
    fn refusing(&self) -> f64 {
        self.refusing + self.refused as f64 * REFUSAL
    }
}

fn nanos(duration: Duration) -> f64 {
    duration.as_nanos() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that is sent a call each `every` nanoseconds for two seconds, answers one in `cost` and refuses one in less:
    /// the waits of those that it answered in the last second, ascending, and how many it refused then.
    fn simulate(every: f64, cost: f64, target: Duration) -> (Vec<f64>, usize) {
        let (begin, mut admission) = (Instant::now(), Admission::new(target));
        let at = |nanos: f64| begin + Duration::from_nanos(nanos as u64);
        let (mut clock, mut drained, mut came) = (0.0, 0.0, 0_u64);
        let (mut waits, mut refused, mut found) = (Vec::new(), 0, 0);
        while clock < 2e9 {
            let until = (clock / every) as u64;
            if until <= came {
                admission.rested();
                found = 0;
                clock = (came + 1) as f64 * every + 1.0;
                drained = clock - every.min(1_000.0); // it slept
                continue;
            }
            let began = clock;
            let calls = (until - came) as usize;
            let mut turn = admission.turn(at(clock), Duration::from_nanos((clock - drained) as u64), calls, calls + found);
            found = calls;
            for call in came..until {
                let standing = turn.next();
                clock += if standing.refused { refusal(cost) } else { cost };
                match (standing.refused, clock > 1e9) {
                    (false, true) => waits.push(clock - call as f64 * every),
                    (true, true) => refused += 1,
                    _ => {}
                }
            }
            (drained, came) = (began, until);
            admission.ended(at(clock), &turn);
        }
        waits.sort_by(f64::total_cmp);
        (waits, refused)
    }

    const TARGET: Duration = Duration::from_millis(3);

    fn refusal(cost: f64) -> f64 {
        REFUSAL.min(cost / 5.0)
    }

    #[test]
    fn nothing_is_refused_below_capacity() {
        for share in [0.1, 0.5, 0.9, 0.99] {
            let (waits, refused) = simulate(10_000.0 / share, 10_000.0, TARGET);
            assert_eq!(refused, 0, "share {share}");
            assert!(!waits.is_empty());
        }
    }

    #[test]
    fn under_twice_the_load_those_that_are_answered_wait_little() {
        for cost in [10_000.0, 20_000.0, 100_000.0] {
            let (waits, refused) = simulate(cost / 2.0, cost, TARGET);
            let p99 = waits[waits.len() * 99 / 100];
            assert!(p99 < 2.0 * nanos(TARGET), "cost {cost} p99 {p99}");
            // Of each 2 s of work in a second, x is done and the rest costs r of it: x + (2 - x) r = 1.
            let (done, r) = (waits.len() as f64 * cost / 1e9, refusal(cost) / cost);
            assert!((done - (1.0 - 2.0 * r) / (1.0 - r)).abs() < 0.1, "cost {cost}: answered {done} of what is possible");
            assert!(refused > waits.len());
        }
    }

    #[test]
    fn a_burst_is_worked_off() {
        let (begin, mut admission) = (Instant::now(), Admission::new(TARGET));
        admission.cost = 10_000.0;
        for turn in 0..4 {
            let began = begin + 12 * TARGET / 3 * turn;
            let mut turn = admission.turn(began, Duration::from_millis(12), 1_000, 1_000);
            (0..1_000).for_each(|_| assert!(!turn.next().refused));
            admission.ended(began + Duration::from_millis(10), &turn);
        }
    }

    #[test]
    fn few_calls_are_not_refused_however_long_the_thread_waits_for_a_core() {
        let (begin, mut admission) = (Instant::now(), Admission::new(TARGET));
        admission.cost = 10_000.0;
        for turn in 0..100 {
            let began = begin + 20 * TARGET * turn;
            let mut turn = admission.turn(began, 20 * TARGET, 64, 128);
            (0..64).for_each(|_| assert!(!turn.next().refused));
            admission.ended(began + Duration::from_micros(900), &turn);
        }
    }

    /// Callers who come again at once when they are refused must not keep each other out.
    #[test]
    fn whoever_waits_for_an_answer_before_the_next_call_is_not_refused_for_long() {
        let (begin, mut admission) = (Instant::now(), Admission::new(TARGET));
        let (mut clock, mut refused) = (begin, 0);
        admission.cost = 3_000_000.0; // learnt from a call that had to wait for the disk
        for turn in 0..1_000 {
            let mut turn_of_64 = admission.turn(clock, Duration::from_micros(640), 64, 128);
            let now_refused = (0..64).filter(|_| turn_of_64.next().refused).count();
            clock += Duration::from_micros(10) * (64 - now_refused as u32) + Duration::from_micros(4) * now_refused as u32;
            admission.ended(clock, &turn_of_64);
            refused += usize::from(turn > 200) * now_refused;
        }
        assert_eq!(refused, 0);
    }

    /// `connections` with `calls` each, which come again as soon as they are answered or refused: how many were answered in the last of three
    /// seconds.
    fn closed_loop(connections: usize, calls: usize) -> usize {
        let (begin, mut admission) = (Instant::now(), Admission::new(TARGET));
        let (mut clock, mut answered, mut drained) = (begin, 0, vec![begin; connections]);
        admission.cost = 10_000.0;
        while clock < begin + Duration::from_secs(3) {
            for drained in &mut drained {
                clock += Duration::from_micros(8);
                let mut turn = admission.turn(clock, clock.duration_since(*drained), calls, connections * calls);
                *drained = clock;
                for _ in 0..calls {
                    let refused = turn.next().refused;
                    clock += if refused { Duration::from_micros(4) } else { Duration::from_micros(10) };
                    answered += usize::from(!refused && clock > begin + Duration::from_secs(2));
                }
                admission.ended(clock, &turn);
            }
        }
        answered
    }

    #[test]
    fn callers_who_come_again_at_once_do_not_keep_each_other_out() {
        for (connections, calls) in [(2, 64), (200, 1), (1_000, 1), (2, 500), (2, 1_000)] {
            let answered = closed_loop(connections, calls);
            assert!(answered > 12_000, "{connections} connections of {calls}: {answered}");
        }
    }

    #[test]
    fn a_target_of_zero_refuses_nothing() {
        let (waits, refused) = simulate(5_000.0, 10_000.0, Duration::ZERO);
        assert!(refused == 0 && !waits.is_empty());
    }

    #[test]
    fn what_came_while_the_thread_rested_has_not_waited() {
        let begin = Instant::now();
        let load = Load::new(TARGET, Arc::default(), begin);
        let at = |micros: u64| begin + Duration::from_micros(micros);
        load.parked(at(1_000));
        load.woken(at(90_000));
        assert_eq!(load.turn(at(90_005), begin, 1).waited, 5_000.0, "since it woke");
        load.parked(at(91_000));
        load.woken(at(91_001));
        assert_eq!(load.turn(at(91_500), begin, 1).waited, 1_500_000.0, "since it looked for work before");
        assert_eq!(load.turn(at(91_500), at(91_200), 1).waited, 300_000.0, "since the connection was read");
    }
}
