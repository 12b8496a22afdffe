//! Work that can be undone, with every lock that it took.

use crate::boundary::{self, Failed};
use crate::errors::{Fault, Result};
use pgrx::pg_sys;

/// An internal subtransaction, as PL/pgSQL's EXCEPTION blocks have. Undone on drop, also when an error unwinds:
/// whoever catches the error above expects to find his own subtransaction current.
struct Subtransaction {
    context: pg_sys::MemoryContext,
    owner: pg_sys::ResourceOwner,
}

impl Subtransaction {
    fn begin() -> Subtransaction {
        // SAFETY: both are current when it ends, on either way; what PostgreSQL makes current meanwhile is put back, so
        // that results live as long as their caller's memory.
        unsafe {
            let (context, owner) = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
            pg_sys::BeginInternalSubTransaction(std::ptr::null());
            pg_sys::MemoryContextSwitchTo(context);
            Subtransaction { context, owner }
        }
    }

    fn keep(self) {
        // SAFETY: it is the current one: begun last, and neither kept nor undone.
        unsafe {
            pg_sys::ReleaseCurrentSubTransaction();
            pg_sys::CurrentMemoryContext = self.context;
            pg_sys::CurrentResourceOwner = self.owner;
        }
        std::mem::forget(self);
    }
}

impl Drop for Subtransaction {
    fn drop(&mut self) {
        // SAFETY: as above. An error on its way through has been copied and its state flushed before Rust unwinds.
        unsafe {
            pg_sys::RollbackAndReleaseCurrentSubTransaction();
            pg_sys::CurrentMemoryContext = self.context;
            pg_sys::CurrentResourceOwner = self.owner;
        }
    }
}

/// Does some work and keeps it only if it gives a value.
pub fn attempt<T>(work: impl FnOnce() -> Result<Option<T>>) -> Result<Option<T>> {
    let subtransaction = Subtransaction::begin();
    let value = work()?;
    if value.is_some() {
        subtransaction.keep();
    }
    Ok(value)
}

/// Does some work that may fail without its caller failing: then all of it is undone, and its error given. What concerns
/// the caller, as a cancelled query does, is not survived.
pub fn apart<T>(work: impl FnOnce() -> Result<T>) -> std::result::Result<T, Failed> {
    boundary::survive(|| attempt(|| work().map(Some))?.ok_or_else(|| Fault::internal("work without a value")))
}

/// Does work for all items together; where that fails, for each half of them, down to the single one whose fault it is.
pub fn together_or_alone<T>(
    items: &[T],
    work: &mut dyn FnMut(&[T]) -> Result<()>,
    failed: &mut dyn FnMut(&T, Failed),
) -> Result<()> {
    match (apart(|| work(items)), items) {
        (Ok(()), _) => Ok(()),
        // It is no item's fault, and would be the same for each of them.
        (Err(why), _) if why.is_passing() => Err(why.fault()),
        (Err(why), [item]) => {
            failed(item, why);
            Ok(())
        }
        (Err(_), _) => {
            let (first, second) = items.split_at(items.len() / 2);
            together_or_alone(first, work, failed)?;
            together_or_alone(second, work, failed)
        }
    }
}
