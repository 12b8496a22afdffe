//! Where PostgreSQL's errors and Rust meet.
//!
//! pgrx turns an error that PostgreSQL raises under a Rust frame into a panic and back, and on the way keeps only some
//! of it: no CONTEXT, no constraint name, and no SQLSTATE but PostgreSQL's own. For calls that run the code of users
//! (their triggers, their constraints) that is not enough: [`call`] carries the error through Rust as it is, and
//! [`enter`] raises it again. So does `enter` with our own errors, among them MS001.

use crate::errors::{Code, Fault, Result};
use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::{self, panic::CaughtError};
use std::any::Any;
use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};

/// An error of PostgreSQL on its way through Rust frames: a copy, in memory of its own that goes with it.
struct Thrown {
    error: *mut pg_sys::ErrorData,
    memory: pg_sys::MemoryContext,
}

impl Drop for Thrown {
    fn drop(&mut self) {
        // SAFETY: `call` made the memory for this value alone, below that of the transaction, which nothing here outlives.
        unsafe { pg_sys::MemoryContextDelete(self.memory) };
    }
}

// SAFETY: a panic's payload has to be Send; this one never leaves PostgreSQL's only thread.
unsafe impl Send for Thrown {}

/// Calls into PostgreSQL where user code may run. An error unwinds the Rust frames up to [`enter`].
///
/// # Safety
/// Called on PostgreSQL's thread, below an [`enter`]. `work` calls PostgreSQL and holds nothing that has to be dropped:
/// an error jumps over its frame.
#[expect(clippy::panic, reason = "the unwinding is the point: it ends in `enter`")]
pub unsafe fn call<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: the protocol of PG_TRY and PG_CATCH. The jump buffer is in use only while its frame lives, and what was
    // current before is current again on both ways out.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let (handler, callbacks) = (pg_sys::PG_exception_stack, pg_sys::error_context_stack);
        let mut result = MaybeUninit::uninit();
        let jumped = cee_scape::call_with_sigsetjmp(false, |buffer| {
            pg_sys::PG_exception_stack = std::ptr::from_ref(buffer).cast_mut().cast();
            result.write(work());
            0
        });
        pg_sys::PG_exception_stack = handler;
        pg_sys::error_context_stack = callbacks;
        if jumped == 0 {
            return result.assume_init();
        }
        // PostgreSQL left us in its error context, which is no place to copy the error to; and the context of the call
        // may be SPI's, which goes when a subtransaction is undone on the error's way up.
        let transaction = pg_sys::TopTransactionContext;
        let parent = if transaction.is_null() { context } else { transaction };
        let memory = pg_sys::AllocSetContextCreateInternal(parent, c"msgstatus error".as_ptr(), 0, 1024, 8192);
        pg_sys::CurrentMemoryContext = memory;
        let error = pg_sys::CopyErrorData();
        pg_sys::CurrentMemoryContext = context;
        pg_sys::FlushErrorState();
        panic_any(Thrown { error, memory })
    }
}

/// Runs Rust for PostgreSQL: gives the value, or raises the error once no Rust frame is left to unwind.
///
/// # Safety
/// Called on PostgreSQL's thread by a function that PostgreSQL called and that holds nothing to drop.
pub unsafe fn enter<T>(work: impl FnOnce() -> Result<T>) -> T {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => value,
        // SAFETY: as the caller promises; both take their argument apart before they jump.
        Ok(Err(fault)) => unsafe { raise(fault) },
        Err(payload) => match payload.downcast::<Thrown>() {
            Ok(thrown) => {
                let error = thrown.error;
                // SAFETY: what lies below the error context goes when PostgreSQL is done with the error. The copy is one of
                // an error that PostgreSQL made; raising it jumps over frames with nothing to drop.
                unsafe {
                    pg_sys::MemoryContextSetParent(thrown.memory, pg_sys::ErrorContext);
                    std::mem::forget(*thrown);
                    ReThrowError(error)
                }
            }
            // SAFETY: an error that pgrx carries, or a panic: pgrx reports either.
            Err(other) => unsafe { pg_sys::panic::pgrx_extern_c_guard(move || resume_unwind(other)) },
        },
    }
}

/// An error of a piece of work, as text.
#[derive(Debug)]
pub struct Failed {
    pub code: c_int,
    pub message: String,
}

impl Failed {
    fn of(fault: &Fault) -> Failed {
        Failed { code: fault.code.packed(), message: format!("{} ({})", fault.message, fault.hint) }
    }

    /// What an error on its way says, if it is one.
    fn read(payload: &(dyn Any + Send)) -> Option<Failed> {
        if let Some(thrown) = payload.downcast_ref::<Thrown>() {
            // SAFETY: a copy of an error that PostgreSQL made, which lives as long as this value.
            return Some(unsafe {
                Failed { code: (*thrown.error).sqlerrcode, message: crate::key::c_string((*thrown.error).message) }
            });
        }
        let (CaughtError::PostgresError(e) | CaughtError::ErrorReport(e) | CaughtError::RustPanic { ereport: e, .. }) =
            payload.downcast_ref()?;
        Some(Failed { code: e.sql_error_code() as c_int, message: e.message().to_owned() })
    }

    /// Is it the moment's fault, and not that of the data: a lock, another transaction, a full disk, an operator?
    pub fn is_passing(&self) -> bool {
        // Classes of SQLSTATEs, the first two characters: the lowest twelve bits.
        let class =
            |code: &[u8; 2]| code.iter().rev().fold(0, |c, b| (c << 6) | c_int::from(b.wrapping_sub(b'0') & 0x3F));
        [b"40", b"53", b"57", b"58"].into_iter().any(|code| self.code & 0xFFF == class(code))
            || self.code == PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE as c_int
    }

    /// The same error, to be raised after all.
    pub fn fault(self) -> Fault {
        Fault::new(Code::Raised(self.code), self.message, "Try again.")
    }

    /// Is it none of a piece of work's own: the query was cancelled, or nobody may write?
    fn concerns_all(&self) -> bool {
        [PgSqlErrorCode::ERRCODE_QUERY_CANCELED, PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION]
            .iter()
            .any(|&code| code as c_int == self.code)
    }
}

/// Does work that may fail without its caller failing; gives its error then. For work in a subtransaction of its own,
/// which ends on the way: see [`crate::subtransaction::apart`]. A cancelled query and a read-only transaction concern the
/// caller, and are not survived.
pub fn survive<T>(work: impl FnOnce() -> Result<T>) -> std::result::Result<T, Failed> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(value) => value.map_err(|fault| Failed::of(&fault)),
        Err(payload) => match Failed::read(&*payload) {
            Some(failed) if !failed.concerns_all() => Err(failed),
            _ => resume_unwind(payload),
        },
    }
}

/// Does work and gives its error, whichever it is. For a process of our own, which ends the transaction on the way.
pub fn outcome<T>(work: impl FnOnce() -> Result<T>) -> std::result::Result<T, Failed> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(value) => value.map_err(|fault| Failed::of(&fault)),
        Err(payload) => match Failed::read(&*payload) {
            Some(failed) => Err(failed),
            None => resume_unwind(payload),
        },
    }
}

/// Does work for somebody who may not see what PostgreSQL's errors quote in their DETAIL: rows. The server's log has it.
pub fn without_detail<T>(work: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        if let Some(thrown) = payload.downcast_ref::<Thrown>() {
            // SAFETY: a copy of an error that PostgreSQL made, ours alone, which lives as long as this value.
            unsafe {
                let error = &mut *thrown.error;
                // Some have a longer one for the log.
                if error.detail_log.is_null() {
                    error.detail_log = error.detail;
                }
                error.detail = std::ptr::null_mut();
            }
        }
        resume_unwind(payload)
    })
}

/// An error that was stopped on its way, to be sent on or dropped.
pub struct Stopped(Box<dyn Any + Send>);

impl Stopped {
    pub fn resume(self) -> ! {
        resume_unwind(self.0)
    }
}

/// Does work unless an error of PostgreSQL with this code ends it. For work in a subtransaction of its own, which the
/// caller then undoes.
pub fn unless<T>(code: Code, work: impl FnOnce() -> T) -> std::result::Result<T, Stopped> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        // SAFETY: a copy of an error that PostgreSQL made, which lives as long as this value.
        let ours = payload.downcast_ref::<Thrown>().is_some_and(|t| unsafe { (*t.error).sqlerrcode } == code.packed());
        if ours { Stopped(payload) } else { resume_unwind(payload) }
    })
}

/// Raises one of our errors.
///
/// # Safety
/// As for [`enter`].
unsafe fn raise(fault: Fault) -> ! {
    let (code, texts) = (fault.code.packed(), [Some(fault.message), fault.detail, Some(fault.hint)]);
    let [message, detail, hint] = texts.map(|t| t.map_or(std::ptr::null(), |t| palloc_text(&t)));
    // SAFETY: the protocol of ereport: errstart, the fields, errfinish. The formats are "%s" with one NUL-terminated
    // string. errfinish jumps; nothing is left to drop.
    unsafe {
        if errstart(pg_sys::PGERROR as c_int, std::ptr::null()) {
            errcode(code);
            errmsg(c"%s".as_ptr(), message);
            if !detail.is_null() {
                errdetail(c"%s".as_ptr(), detail);
            }
            errhint(c"%s".as_ptr(), hint);
            errfinish(c"msgstatus".as_ptr(), 0, c"raise".as_ptr());
        }
    }
    unreachable!("errfinish returned from an ERROR")
}

/// Sends a WARNING with its hint.
///
/// # Safety
/// As for [`call`].
pub unsafe fn warning(message: &str, hint: &str) {
    let (message, hint) = (palloc_text(message), palloc_text(hint));
    // SAFETY: the protocol of ereport, as in `raise`; that of a warning returns. Should sending it fail, nothing is left to
    // drop below `call`.
    unsafe {
        call(|| {
            if errstart(pg_sys::WARNING as c_int, std::ptr::null()) {
                errmsg(c"%s".as_ptr(), message);
                errhint(c"%s".as_ptr(), hint);
                errfinish(c"msgstatus".as_ptr(), 0, c"warning".as_ptr());
            }
        });
    }
}

/// A copy of a text as a C string in PostgreSQL's memory, which an error cleans up.
fn palloc_text(text: &str) -> *const c_char {
    let bytes: Vec<u8> = crate::encoding::to_server(text).into_iter().filter(|&b| b != 0).collect();
    // SAFETY: allocates a byte more than it copies, for the NUL.
    unsafe {
        let copy = pg_sys::palloc0(bytes.len() + 1).cast::<u8>();
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), copy, bytes.len());
        copy.cast()
    }
}

// These jump, so they are called as they are and not through pgrx's guard.
unsafe extern "C-unwind" {
    fn ReThrowError(edata: *mut pg_sys::ErrorData) -> !;
    fn errstart(elevel: c_int, domain: *const c_char) -> bool;
    fn errcode(sqlerrcode: c_int) -> c_int;
    fn errmsg(fmt: *const c_char, ...) -> c_int;
    fn errdetail(fmt: *const c_char, ...) -> c_int;
    fn errhint(fmt: *const c_char, ...) -> c_int;
    fn errfinish(filename: *const c_char, lineno: c_int, funcname: *const c_char);
}

// PostgreSQL's own functions, for calls below `call`: pgrx's bindings would catch the error first.
unsafe extern "C-unwind" {
    pub fn SPI_execute_snapshot(
        plan: pg_sys::SPIPlanPtr,
        values: *mut pg_sys::Datum,
        nulls: *const c_char,
        snapshot: pg_sys::Snapshot,
        crosscheck: pg_sys::Snapshot,
        read_only: bool,
        fire_triggers: bool,
        tcount: std::ffi::c_long,
    ) -> c_int;
    pub fn SPI_cursor_fetch(portal: pg_sys::Portal, forward: bool, count: std::ffi::c_long);
    pub fn AfterTriggerFireDeferred();
    pub fn CommitTransactionCommand();
    pub fn standard_ExecutorStart(query: *mut pg_sys::QueryDesc, flags: c_int);
    pub fn standard_ExecutorEnd(query: *mut pg_sys::QueryDesc);
    pub fn standard_ProcessUtility(
        statement: *mut pg_sys::PlannedStmt,
        text: *const c_char,
        read_only_tree: bool,
        context: pg_sys::ProcessUtilityContext::Type,
        parameters: pg_sys::ParamListInfo,
        environment: *mut pg_sys::QueryEnvironment,
        destination: *mut pg_sys::DestReceiver,
        completion: *mut pg_sys::QueryCompletion,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_moment_are_told_by_their_class() {
        let passing = |code| Failed { code: code as c_int, message: String::new() }.is_passing();
        for code in [
            PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
            PgSqlErrorCode::ERRCODE_T_R_DEADLOCK_DETECTED,
            PgSqlErrorCode::ERRCODE_DISK_FULL,
            PgSqlErrorCode::ERRCODE_QUERY_CANCELED,
        ] {
            assert!(passing(code), "{code:?}");
        }
        for code in [
            PgSqlErrorCode::ERRCODE_CHECK_VIOLATION,
            PgSqlErrorCode::ERRCODE_STRING_DATA_RIGHT_TRUNCATION,
            PgSqlErrorCode::ERRCODE_RAISE_EXCEPTION,
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        ] {
            assert!(!passing(code), "{code:?}");
        }
    }
}
