//! Pieces of work that have nothing to do with each other, shared out among cores.

use std::panic::resume_unwind;
use std::thread;

/// As many as this process may use.
pub(crate) fn all() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Does the work on so many cores at most, this thread's among them; the results are in the order of the work.
pub(crate) fn share_out<T: Send, R: Send>(cores: usize, work: Vec<T>, one: impl Fn(T) -> R + Sync) -> Vec<R> {
    let cores = cores.min(work.len());
    if cores < 2 {
        return work.into_iter().map(one).collect();
    }
    let mut shares: Vec<Vec<(usize, T)>> = (0..cores).map(|_| Vec::new()).collect();
    work.into_iter().enumerate().for_each(|(at, piece)| shares[at % cores].push((at, piece)));
    let all_of = |share: Vec<(usize, T)>| -> Vec<(usize, R)> { share.into_iter().map(|(at, piece)| (at, one(piece))).collect() };
    let all_of = &all_of;
    let mut done = thread::scope(|scope| {
        let mine = shares.pop().unwrap_or_default();
        let others: Vec<_> = shares.into_iter().map(|share| scope.spawn(move || all_of(share))).collect();
        let mut done = all_of(mine);
        others.into_iter().for_each(|other| done.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic))));
        done
    });
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_work_on_any_number_of_cores() {
        for cores in 0..5 {
            for pieces in 0..9 {
                let done = share_out(cores, (0..pieces).collect(), |piece| piece * piece);
                assert_eq!(done, (0..pieces).map(|piece| piece * piece).collect::<Vec<usize>>(), "{cores} cores");
            }
        }
    }
}
