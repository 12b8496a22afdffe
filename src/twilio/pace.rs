//! How fast requests may follow each other: so many at once, so much time between their starts.

use std::cell::Cell;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until};

/// Lets requests start. All of one thread share it, whichever account they ask.
pub struct Pace {
    at_once: usize,
    permits: Semaphore,
    delay: Duration,
    next_start: Cell<Instant>,
}

impl Pace {
    pub fn new(at_once: usize, delay: Duration) -> Pace {
        let at_once = at_once.max(1);
        Pace { at_once, permits: Semaphore::new(at_once), delay, next_start: Cell::new(Instant::now()) }
    }

    /// How many requests there are at once.
    pub fn at_once(&self) -> usize {
        self.at_once
    }

    /// Waits for a turn, which ends when the permit is dropped.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        let permit = self.permits.acquire().await.ok()?;
        let start = self.next_start.get().max(Instant::now());
        self.next_start.set(start + self.delay);
        sleep_until(start).await;
        Some(permit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    #[test]
    fn turns_are_so_many_at_once_and_so_far_apart() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let local = tokio::task::LocalSet::new();
        let Ok(runtime) = runtime else { return };
        let starts = runtime.block_on(local.run_until(async {
            let pace = Rc::new(Pace::new(2, Duration::from_millis(50)));
            let begun = Instant::now();
            let tasks: Vec<_> = (0..6)
                .map(|_| {
                    let pace = Rc::clone(&pace);
                    tokio::task::spawn_local(async move {
                        let permit = pace.turn().await;
                        let at = begun.elapsed().as_millis();
                        tokio::time::sleep(Duration::from_millis(200)).await;
                        drop(permit);
                        at
                    })
                })
                .collect();
            let mut starts = Vec::new();
            for task in tasks {
                starts.extend(task.await.ok());
            }
            starts.sort_unstable();
            starts
        }));
        // Two at once, each of which takes 200 ms, and no two starts within 50 ms.
        assert_eq!(starts, [0, 50, 200, 250, 400, 450]);
    }
}
