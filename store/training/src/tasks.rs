//! Work that falls into independent pieces, divided over threads: whoever is free takes the next piece.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Runs `task` for `0..count` and gives the results in that order, or the first error; no new piece is begun after one.
pub(crate) fn in_parallel<T: Send, E: Send>(
    threads: usize,
    count: usize,
    task: impl Fn(usize) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        let mut done: Vec<(usize, T)> = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count || failed.load(Ordering::Relaxed) {
                return Ok(done);
            }
            done.push((at, task(at).inspect_err(|_| failed.store(true, Ordering::Relaxed))?));
        }
    };
    let shares: Vec<Result<Vec<(usize, T)>, E>> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(count).max(1)).map(|_| scope.spawn(work)).collect();
        let mine = work();
        let joined = others.into_iter().map(|other| other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        std::iter::once(mine).chain(joined).collect()
    });
    let mut all = Vec::with_capacity(count);
    for share in shares {
        all.extend(share?);
    }
    all.sort_unstable_by_key(|(at, _)| *at);
    Ok(all.into_iter().map(|(_, result)| result).collect())
}
