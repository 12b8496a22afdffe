//! How PostgreSQL plans the engine's own statements: by index, whatever the statistics and the session's settings say.
//!
//! A plan that was made while a table was small would scan it for ever after, in a session that loads it: nothing tells a
//! cached plan that its table grew until the next ANALYZE. So while one of our statements may be planned, what it would be
//! scanned with is priced out. It may be planned any moment until its executor starts, as PostgreSQL locks its tables
//! last, and learns of changes then: so [`ByIndex`] lasts until [`over`], which the executor's hook calls before any
//! trigger, constraint or function of users runs.

use crate::boundary;
use crate::key::{c_string, quote};
use pgrx::pg_sys::{self, List, NodeTag, Oid, Plan, PlannedStmt};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ffi::c_int;

/// The planner's settings that matter, as they are.
#[derive(Clone, Copy)]
struct Settings {
    /// In the order of [`switches`].
    on: [bool; SWITCHES],
    plan_cache_mode: c_int,
}

const SWITCHES: usize = 8;

/// Which of them a statement of ours wants on, in the order of [`switches`]: what goes by an index or a row's place.
const WANTED: [bool; SWITCHES] = [true, true, true, true, false, false, false, false];

/// The variables of the planner themselves: to set them as settings takes longer than all that the engine does with a row.
fn switches() -> [*mut bool; SWITCHES] {
    [
        &raw mut pg_sys::enable_indexscan,
        &raw mut pg_sys::enable_bitmapscan,
        &raw mut pg_sys::enable_tidscan,
        &raw mut pg_sys::enable_nestloop,
        &raw mut pg_sys::enable_seqscan,
        &raw mut pg_sys::enable_hashjoin,
        &raw mut pg_sys::enable_mergejoin,
        // A scan that has to be, as there is no index, has a price that would have it compiled each time.
        &raw mut pg_sys::jit_enabled,
    ]
}

thread_local! {
    /// The session's settings, while a statement of ours may be planned.
    static SAVED: Cell<Option<Settings>> = const { Cell::new(None) };
    /// Tables that the session was told about.
    static TOLD: RefCell<HashSet<Oid>> = RefCell::default();
}

/// Until it is dropped, or until [`over`], statements are planned by index.
pub struct ByIndex(());

impl ByIndex {
    #[inline]
    pub fn begin() -> ByIndex {
        if SAVED.get().is_none() {
            // SAFETY: variables of this process's only thread that uses them; `over` puts them back.
            unsafe {
                let on = switches().map(|switch| *switch);
                SAVED.set(Some(Settings { on, plan_cache_mode: pg_sys::plan_cache_mode }));
                for (switch, wanted) in switches().into_iter().zip(WANTED) {
                    *switch = wanted;
                }
                pg_sys::plan_cache_mode = pg_sys::PlanCacheMode::PLAN_CACHE_MODE_AUTO as c_int;
            }
        }
        ByIndex(())
    }
}

impl Drop for ByIndex {
    // Also while an error unwinds: it touches nothing but these variables.
    fn drop(&mut self) {
        over();
    }
}

/// Planning is over: the session's settings are back.
#[inline]
pub fn over() {
    if let Some(saved) = SAVED.take() {
        // SAFETY: as above.
        unsafe {
            for (switch, on) in switches().into_iter().zip(saved.on) {
                *switch = on;
            }
            pg_sys::plan_cache_mode = saved.plan_cache_mode;
        }
    }
}

/// Tells the session once of each table that a plan reads whole, as no index leads to the rows of a key.
///
/// # Safety
/// `statement` is the plan of a statement, and nobody frees it meanwhile.
pub unsafe fn tell_of_scans(statement: *mut PlannedStmt) {
    let mut scanned = Vec::new();
    // SAFETY: as the caller promises.
    unsafe {
        scans((*statement).planTree, &mut scanned);
        each::<Plan>((*statement).subplans, |plan| scans(plan, &mut scanned));
        for number in scanned {
            let entry = pg_sys::list_nth((*statement).rtable, number as c_int - 1).cast::<pg_sys::RangeTblEntry>();
            let table = (*entry).relid;
            if TOLD.with_borrow_mut(|told| told.insert(table)) {
                let schema = c_string(pg_sys::get_namespace_name(pg_sys::get_rel_namespace(table)));
                let name = format!("{}.{}", quote(&schema), quote(&c_string(pg_sys::get_rel_name(table))));
                boundary::warning(
                    &format!("no index of table {name} leads to the rows of a key, so all of it is read"),
                    "Create or rebuild the index that attach asked for: on the key, valid, without WHERE, and with the \
                     collation of its column.",
                );
            }
        }
    }
}

/// Calls `each` with the elements of a list of pointers.
unsafe fn each<T>(list: *mut List, mut each: impl FnMut(*mut T)) {
    // SAFETY: a list is null, or has as many elements as it says.
    unsafe {
        if !list.is_null() {
            for i in 0..(*list).length {
                each(pg_sys::list_nth(list, i).cast());
            }
        }
    }
}

/// Adds the tables, by their numbers, that a plan reads from one end to the other.
unsafe fn scans(plan: *mut Plan, found: &mut Vec<u32>) {
    if plan.is_null() {
        return;
    }
    // SAFETY: a node is of the type that its tag says; nodes without children have null for them.
    unsafe {
        match (*plan).type_ {
            NodeTag::T_SeqScan => found.push((*plan.cast::<pg_sys::Scan>()).scanrelid),
            // Without a condition an index is but another order of all rows.
            NodeTag::T_IndexScan if (*plan.cast::<pg_sys::IndexScan>()).indexqual.is_null() => {
                found.push((*plan.cast::<pg_sys::Scan>()).scanrelid);
            }
            NodeTag::T_BitmapIndexScan if (*plan.cast::<pg_sys::BitmapIndexScan>()).indexqual.is_null() => {
                found.push((*plan.cast::<pg_sys::Scan>()).scanrelid);
            }
            NodeTag::T_Append => each((*plan.cast::<pg_sys::Append>()).appendplans, |p| scans(p, found)),
            NodeTag::T_MergeAppend => each((*plan.cast::<pg_sys::MergeAppend>()).mergeplans, |p| scans(p, found)),
            NodeTag::T_SubqueryScan => scans((*plan.cast::<pg_sys::SubqueryScan>()).subplan, found),
            _ => {}
        }
        scans((*plan).lefttree, found);
        scans((*plan).righttree, found);
    }
}
