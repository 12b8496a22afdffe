//! Waiting without holding anybody up.

use pgrx::pg_sys;
use std::time::Duration;

/// Waits so long, or until somebody sets this process' latch. A query that is cancelled meanwhile is cancelled, and a
/// process that is told to end ends. Says whether the latch was set.
pub fn a_while(time: Duration) -> bool {
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    let milliseconds = time.as_millis().clamp(1, i32::MAX as u128) as std::ffi::c_long;
    // SAFETY: every process that runs this has a latch of its own.
    let woken = unsafe {
        let woken = pg_sys::WaitLatch(pg_sys::MyLatch, events as i32, milliseconds, pg_sys::PG_WAIT_EXTENSION);
        pg_sys::ResetLatch(pg_sys::MyLatch);
        woken
    };
    pgrx::check_for_interrupts!();
    woken & pg_sys::WL_LATCH_SET as i32 != 0
}
