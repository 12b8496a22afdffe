//! The worker as a process of PostgreSQL: signals, the connection, transactions.

use crate::boundary::{self, Failed};
use crate::errors::Result;
use pgrx::pg_sys;
use std::ffi::{CString, c_int};

/// How long a transaction of the worker waits for a lock: with somebody's lock on messages it goes on without.
const LOCK_TIMEOUT: &std::ffi::CStr = c"5s";

// The handlers that PostgreSQL's own processes use. They are handed over as they are: what pgrx has for them is a Rust
// function around them, which must not run in a signal handler.
unsafe extern "C-unwind" {
    fn die(signal: c_int);
    #[cfg(not(feature = "pg18"))]
    fn pqsignal(signal: c_int, handler: unsafe extern "C-unwind" fn(c_int));
    #[cfg(feature = "pg18")]
    #[link_name = "pqsignal_be"]
    fn pqsignal(signal: c_int, handler: unsafe extern "C-unwind" fn(c_int));
    fn SignalHandlerForConfigReload(signal: c_int);
    fn proc_exit(code: c_int) -> !;
}

/// SIGTERM ends the process wherever it is, SIGHUP makes it read its settings again.
pub fn handle_signals() {
    // SAFETY: handlers of PostgreSQL for processes like this one. Signals are blocked up to here: one that waits already
    // finds them in place.
    unsafe {
        pqsignal(libc::SIGTERM, die);
        pqsignal(libc::SIGHUP, SignalHandlerForConfigReload);
        pg_sys::BackgroundWorkerUnblockSignals();
    }
}

/// What a fresh connection needs.
pub fn set_up() {
    for (name, value) in [
        (c"search_path", c"pg_catalog, pg_temp"),
        (c"application_name", c"msgstatus worker"),
        (c"lock_timeout", LOCK_TIMEOUT),
        // A standby that is gone must not hold the worker up.
        (c"synchronous_commit", c"local"),
        // It would end the process; the lock timeout bounds what the worker waits for.
        #[cfg(any(feature = "pg17", feature = "pg18"))]
        (c"transaction_timeout", c"0"),
    ] {
        // SAFETY: NUL-terminated strings; the settings are for the life of the process.
        unsafe {
            pg_sys::SetConfigOption(
                name.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_SUSET,
                pg_sys::GucSource::PGC_S_SESSION,
            );
        }
    }
    idle("starting");
}

/// Reads the settings again if somebody asked for it.
pub fn reload_settings() -> bool {
    // SAFETY: a flag that the signal handler sets; the file is read between transactions, as PostgreSQL's own do it.
    unsafe {
        if pg_sys::ConfigReloadPending == 0 {
            return false;
        }
        pg_sys::ConfigReloadPending = 0;
        pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
        true
    }
}

/// Ends so that PostgreSQL starts this worker again in some seconds.
pub fn start_anew(why: &str) -> ! {
    pgrx::log!("msgstatus worker: starts anew, {why}");
    // SAFETY: ends the process in PostgreSQL's way, with its callbacks. After status 0 it would not be started again.
    unsafe { proc_exit(1) }
}

/// Does somebody wait to drop this database, rename it or take it for a template? They need it without connections, and
/// for DROP DATABASE PostgreSQL waits five seconds for them to go.
pub fn is_database_wanted() -> bool {
    // SAFETY: asks for the lock that a new connection takes for a moment, does not wait, and lets go of it. It is a lock
    // of the session, which needs no transaction.
    unsafe {
        let tag = pg_sys::LOCKTAG {
            locktag_field1: 0,
            locktag_field2: pg_sys::DatabaseRelationId.to_u32(),
            locktag_field3: pg_sys::MyDatabaseId.to_u32(),
            locktag_field4: 0,
            locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
            locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
        };
        let mode = pg_sys::RowExclusiveLock as i32;
        if pg_sys::LockAcquire(&tag, mode, true, true) == pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL {
            return true;
        }
        pg_sys::LockRelease(&tag, mode, true);
        false
    }
}

/// Runs something that may be interrupted by `pg_cancel_backend`; `None` if it was.
pub fn survive_cancel<T>(work: impl FnOnce() -> T) -> Option<T> {
    boundary::outcome(|| Ok(work())).ok()
}

/// What the worker does just now, for pg_stat_activity.
pub fn idle(what: &str) {
    report(pg_sys::BackendState::STATE_IDLE, what);
}

fn report(state: pg_sys::BackendState::Type, what: &str) {
    let what = CString::new(what).unwrap_or_default();
    // SAFETY: copies a NUL-terminated text into shared memory.
    unsafe { pg_sys::pgstat_report_activity(state, what.as_ptr()) };
}

/// Does work in a transaction of its own. If it fails, nothing of it is left but its error.
pub fn transaction<T>(what: &str, work: impl FnOnce() -> Result<T>) -> std::result::Result<T, Failed> {
    report(pg_sys::BackendState::STATE_RUNNING, what);
    // SAFETY: between transactions, as the worker always is here; what is begun is either committed or aborted.
    let done = boundary::outcome(|| unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        let value = work()?;
        pg_sys::PopActiveSnapshot();
        boundary::call(|| boundary::CommitTransactionCommand());
        Ok(value)
    });
    if done.is_err() {
        // SAFETY: whatever state the error left the transaction in, this ends it.
        unsafe { pg_sys::AbortOutOfAnyTransaction() };
    }
    // SAFETY: reports what the transaction did, which PostgreSQL does not do for processes like this one.
    unsafe { pg_sys::pgstat_report_stat(true) };
    done
}
