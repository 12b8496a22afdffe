//! Locking a row if nobody else has it, from within the statement that looks at it.

use crate::boundary;
use crate::errors::{Fault, Result};
use pgrx::pg_sys::{self, Datum, Oid};

/// The tables whose rows the engine's UPDATE that runs locks as it finds them.
#[derive(Default)]
pub struct Free {
    tables: Vec<Table>,
}

struct Table {
    oid: Oid,
    relation: pg_sys::Relation,
    /// Where PostgreSQL puts the row that it locked.
    slot: *mut pg_sys::TupleTableSlot,
}

impl Free {
    /// Locks the row as an UPDATE that leaves its key alone does; false if somebody else has it. A row that somebody
    /// else has changed meanwhile is locked in the version that is the current one, as the UPDATE goes on with that.
    pub fn lock(&mut self, oid: Oid, tid: Datum) -> Result<bool> {
        let table = self.table(oid)?;
        let (relation, slot) = (table.relation, table.slot);
        // SAFETY: the relation is open, the slot made for it, and the tid that of one of its rows, copied as the call
        // may write to it. What waits for no lock runs no code of users.
        let result = unsafe {
            let mut tid = *tid.cast_mut_ptr::<pg_sys::ItemPointerData>();
            let mut failure = pg_sys::TM_FailureData::default();
            let lock =
                (*(*relation).rd_tableam).tuple_lock.ok_or_else(|| Fault::internal("rows that can't be locked"))?;
            let mut flags = pg_sys::TUPLE_LOCK_FLAG_LOCK_UPDATE_IN_PROGRESS;
            if pg_sys::XactIsoLevel < pg_sys::XACT_REPEATABLE_READ as i32 {
                flags |= pg_sys::TUPLE_LOCK_FLAG_FIND_LAST_VERSION;
            }
            let (snapshot, command) = (pg_sys::GetActiveSnapshot(), pg_sys::GetCurrentCommandId(true));
            boundary::call(|| {
                lock(
                    relation,
                    &mut tid,
                    snapshot,
                    slot,
                    command,
                    pg_sys::LockTupleMode::LockTupleNoKeyExclusive,
                    pg_sys::LockWaitPolicy::LockWaitSkip,
                    flags as u8,
                    &mut failure,
                )
            })
        };
        // What else there is (it is gone, say) the UPDATE finds out in turn.
        Ok(result != pg_sys::TM_Result::TM_WouldBlock)
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
