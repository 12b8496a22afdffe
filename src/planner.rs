//! How PostgreSQL plans the engine's own statements: by index, whatever the statistics and the session's settings say.
//!
//! A plan that was made while a table was small would read all of it for ever after, in a session that loads it: nothing
//! tells a cached plan that its table grew until the next ANALYZE. So while one of our statements may be planned, ways to
//! read a table that has an index to go by are left out ([`leave_out_scans`]). It may be planned any moment until its
//! executor starts, as PostgreSQL locks its tables last, and learns of changes then: so [`ByIndex`] lasts until [`over`],
//! which the executor's hook calls before any trigger, constraint or function of users runs.

use crate::boundary;
use crate::key::{c_string, quote};
use pgrx::pg_sys::{self, List, NodeTag, Oid, Path, Plan, PlannedStmt};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ffi::c_int;
use std::sync::OnceLock;

/// The planner's settings that matter, as they are.
#[derive(Clone, Copy)]
struct Settings {
    /// In the order of [`switches`].
    on: [bool; SWITCHES],
    plan_cache_mode: c_int,
}

const SWITCHES: usize = 6;

/// Which of them a statement of ours wants on, in the order of [`switches`]: what is left has its usual price.
const WANTED: [bool; SWITCHES] = [true, true, true, true, false, false];

/// The variables of the planner themselves: to set them as settings takes longer than all that the engine does with a row.
fn switches() -> [*mut bool; SWITCHES] {
    [
        &raw mut pg_sys::enable_indexscan,
        &raw mut pg_sys::enable_bitmapscan,
        &raw mut pg_sys::enable_tidscan,
        &raw mut pg_sys::enable_nestloop,
        // Cheaper in a small table, it would have the planner forget the index before we are asked.
        &raw mut pg_sys::enable_seqscan,
        // A price of the session's making would have the statement compiled each time.
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
            // SAFETY: variables of this process, which has one thread that uses them; `over` puts them back.
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

static PREVIOUS: OnceLock<pg_sys::set_rel_pathlist_hook_type> = OnceLock::new();
static PREVIOUS_INFO: OnceLock<pg_sys::get_relation_info_hook_type> = OnceLock::new();

/// What a table has at least, to the planner: in one with a row or two all ways cost the same.
const ROWS: f64 = 1000.0;
const PAGES: pg_sys::BlockNumber = 100;

pub fn init() {
    // SAFETY: PostgreSQL loads libraries on its only thread; whoever was there before is called first.
    unsafe {
        if PREVIOUS.set(pg_sys::set_rel_pathlist_hook).is_ok() {
            pg_sys::set_rel_pathlist_hook = Some(leave_out_scans);
        }
        if PREVIOUS_INFO.set(pg_sys::get_relation_info_hook).is_ok() {
            pg_sys::get_relation_info_hook = Some(grow);
        }
    }
}

/// Makes a small table seem larger than it is.
///
/// # Safety
/// Called by PostgreSQL's planner, with what it knows of a table and its indexes.
unsafe extern "C-unwind" fn grow(
    root: *mut pg_sys::PlannerInfo,
    oid: Oid,
    is_parent: bool,
    table: *mut pg_sys::RelOptInfo,
) {
    // SAFETY: passed on as given; then numbers of the planner's own are changed.
    unsafe {
        if let Some(previous) = PREVIOUS_INFO.get().copied().flatten() {
            previous(root, oid, is_parent, table);
        }
        if SAVED.get().is_none() || is_parent {
            return;
        }
        (*table).tuples = (*table).tuples.max(ROWS);
        (*table).pages = (*table).pages.max(PAGES);
        each::<pg_sys::IndexOptInfo>((*table).indexlist, |index| {
            (*index).tuples = (*index).tuples.max(ROWS);
            (*index).pages = (*index).pages.max(PAGES / 10);
        });
    }
}

/// Leaves of the ways to read a table those that look rows up, if there are any: no price can then make a plan of one that
/// reads all rows, with or without an index.
///
/// # Safety
/// Called by PostgreSQL's planner, with a table whose paths are known.
unsafe extern "C-unwind" fn leave_out_scans(
    root: *mut pg_sys::PlannerInfo,
    table: *mut pg_sys::RelOptInfo,
    number: pg_sys::Index,
    entry: *mut pg_sys::RangeTblEntry,
) {
    // SAFETY: passed on as given; then a list of paths is made anew, in the planner's memory. An error jumps over this
    // frame, which holds nothing to drop.
    unsafe {
        if let Some(previous) = PREVIOUS.get().copied().flatten() {
            previous(root, table, number, entry);
        }
        if SAVED.get().is_none() || (*entry).rtekind != pg_sys::RTEKind::RTE_RELATION {
            return;
        }
        let mut found: *mut List = std::ptr::null_mut();
        each::<Path>((*table).pathlist, |path| {
            if looks_up(path) {
                found = pg_sys::lappend(found, path.cast());
            }
        });
        // A partitioned table's are made of those of its partitions.
        if !found.is_null() && !(*entry).inh {
            (*table).pathlist = found;
            (*table).partial_pathlist = std::ptr::null_mut();
        }
    }
}

/// Does it look rows up, by a condition of an index or by their places?
unsafe fn looks_up(path: *mut Path) -> bool {
    // SAFETY: a node is of the type that its tag says.
    unsafe {
        match (*path).type_ {
            NodeTag::T_IndexPath => !(*path.cast::<pg_sys::IndexPath>()).indexclauses.is_null(),
            NodeTag::T_BitmapHeapPath => {
                let by = (*path.cast::<pg_sys::BitmapHeapPath>()).bitmapqual;
                (*by).type_ != NodeTag::T_IndexPath || looks_up(by)
            }
            NodeTag::T_TidPath => true,
            _ => false,
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
        // What a policy or a trigger's condition asks in between is not ours, and is planned as a plan of its own.
        scans((*statement).planTree, &mut scanned);
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
