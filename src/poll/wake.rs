//! Waking the worker of this database, once what it should see is committed.

use super::runs;
use crate::errors::Result;
use crate::spi::Spi;
use pgrx::pg_sys;
use std::cell::Cell;

thread_local! {
    /// The worker's process, while this transaction has something for it.
    static WORKER: Cell<i32> = const { Cell::new(0) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

/// Wakes the worker when this transaction commits. Without a worker, nothing happens: its next round sees it.
pub fn at_commit() -> Result<()> {
    if !REGISTERED.replace(true) {
        // SAFETY: registered once a backend, as a function that stays loaded with this library.
        unsafe { pg_sys::RegisterXactCallback(Some(at_transaction_end), std::ptr::null_mut()) };
    }
    // Who may ask for a check need not be allowed to see processes.
    let _owner = runs::as_owner()?;
    let spi = Spi::connect()?;
    let sql = "SELECT w.pid FROM msgstatus.workers() w \
               WHERE w.database OPERATOR(pg_catalog.=) pg_catalog.current_database() AND w.pid IS NOT NULL";
    let rows = spi.once(sql, &[], &[])?;
    WORKER.set(rows.get(0, 0).map_or(0, |d| d.value() as i32));
    Ok(())
}

unsafe extern "C-unwind" fn at_transaction_end(event: pg_sys::XactEvent::Type, _arg: *mut std::ffi::c_void) {
    match event {
        pg_sys::XactEvent::XACT_EVENT_COMMIT => {
            let pid = WORKER.replace(0);
            if pid != 0 {
                // SAFETY: gives the process' entry, or null if it is gone. Setting the latch of another process that
                // took its place does no harm.
                unsafe {
                    let process = pg_sys::BackendPidGetProc(pid);
                    if !process.is_null() {
                        pg_sys::SetLatch(&raw mut (*process).procLatch);
                    }
                }
            }
        }
        pg_sys::XactEvent::XACT_EVENT_ABORT | pg_sys::XactEvent::XACT_EVENT_PREPARE => WORKER.set(0),
        _ => {}
    }
}
