//! Locking a row from within the statement that looks at it.

use crate::boundary;
use crate::errors::{Fault, Result};
use pgrx::pg_sys::{self, Datum, Oid};

/// Which rows are locked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// Those that nobody else has.
    Free,
    /// All: whoever has one is waited for.
    Awaited,
}

/// The tables whose rows the engine's UPDATE that runs locks as it finds them.
pub struct Free {
    pub lock: Lock,
    /// Rows may be moved to another partition.
    partitioned: bool,
    tables: Vec<Table>,
}

struct Table {
    oid: Oid,
    relation: pg_sys::Relation,
    /// Where PostgreSQL puts the row that it locked.
    slot: *mut pg_sys::TupleTableSlot,
}

impl Free {
    pub fn new(lock: Lock, partitioned: bool) -> Free {
        Free { lock, partitioned, tables: Vec::new() }
    }

    /// Locks the row as an UPDATE that leaves its key alone does; false if somebody else has it. A row that somebody else has
    /// changed meanwhile is locked in the version that is the current one, as the UPDATE goes on with that. In partitions that
    /// is not looked for, as it may be in another one, which PostgreSQL takes for an error: then it is false, too. In
    /// REPEATABLE READ a change is left to the UPDATE, which fails with 40001.
    pub fn lock(&mut self, oid: Oid, tid: Datum) -> Result<bool> {
        let wait = match self.lock {
            Lock::Free => pg_sys::LockWaitPolicy::LockWaitSkip,
            Lock::Awaited => pg_sys::LockWaitPolicy::LockWaitBlock,
        };
        let partitioned = self.partitioned;
        let table = self.table(oid)?;
        let (relation, slot) = (table.relation, table.slot);
        // SAFETY: the relation is open, the slot made for it, and the tid that of one of its rows, copied as the call
        // may write to it. What waits for a lock runs no code of users.
        let (result, repeatable) = unsafe {
            let mut tid = *tid.cast_mut_ptr::<pg_sys::ItemPointerData>();
            let mut failure = pg_sys::TM_FailureData::default();
            let lock =
                (*(*relation).rd_tableam).tuple_lock.ok_or_else(|| Fault::internal("rows that cannot be locked"))?;
            let repeatable = pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32;
            let mut flags = pg_sys::TUPLE_LOCK_FLAG_LOCK_UPDATE_IN_PROGRESS;
            if !partitioned && !repeatable {
                flags |= pg_sys::TUPLE_LOCK_FLAG_FIND_LAST_VERSION;
            }
            let (snapshot, command) = (pg_sys::GetActiveSnapshot(), pg_sys::GetCurrentCommandId(true));
            let result = boundary::call(|| {
                lock(
                    relation,
                    &mut tid,
                    snapshot,
                    slot,
                    command,
                    pg_sys::LockTupleMode::LockTupleNoKeyExclusive,
                    wait,
                    flags as u8,
                    &mut failure,
                )
            });
            (result, repeatable)
        };
        Ok(match result {
            pg_sys::TM_Result::TM_WouldBlock => false,
            pg_sys::TM_Result::TM_Updated => repeatable || !partitioned,
            // What else there is (it is gone, say) the UPDATE finds out in turn.
            _ => true,
        })
    }

    fn table(&mut self, oid: Oid) -> Result<&Table> {
        let at = match self.tables.iter().position(|t| t.oid == oid) {
            Some(at) => at,
            None => {
                // SAFETY: a table that the statement which runs has locked and opened; closed on drop. The slot has
                // to outlive the row that is being looked at.
                let table = unsafe {
                    let relation = pg_sys::table_open(oid, pg_sys::NoLock as i32);
                    let context = pg_sys::MemoryContextSwitchTo(pg_sys::CurTransactionContext);
                    let slot = pg_sys::table_slot_create(relation, std::ptr::null_mut());
                    pg_sys::MemoryContextSwitchTo(context);
                    Table { oid, relation, slot }
                };
                self.tables.push(table);
                self.tables.len() - 1
            }
        };
        self.tables.get(at).ok_or_else(|| Fault::internal("a table that is not there"))
    }
}

impl Drop for Free {
    fn drop(&mut self) {
        // On an error PostgreSQL's abort gives all of it back.
        if std::thread::panicking() {
            return;
        }
        for table in self.tables.drain(..) {
            // SAFETY: opened and made above, by the resource owner that is current here too.
            unsafe {
                pg_sys::ExecDropSingleTupleTableSlot(table.slot);
                pg_sys::table_close(table.relation, pg_sys::NoLock as i32);
            }
        }
    }
}
