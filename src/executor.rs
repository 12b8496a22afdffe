//! What an UPDATE of messages need not pay for.
//!
//! PostgreSQL locks and reads a row again for a BEFORE ROW UPDATE trigger before it looks whether the trigger applies,
//! reads the old row again for an AFTER ROW one, and parses the WHEN clauses anew for every statement. So once a
//! statement is set up and before it runs, the triggers of ours that it cannot concern are switched off for it, in its
//! own copy of the table's triggers: all of them for the engine's own UPDATE, and for anybody's UPDATE those that watch
//! columns which it does not set.
//!
//! This changes what a statement costs and never what it does. It works in sessions that have the library loaded,
//! which the engine's own always are; for all others the library has to be preloaded.

use crate::attach::triggers::{GUARD_STATUS, GUARD_UPDATE, REPLAY_KEY};
use crate::boundary;
use crate::errors::Result;
use crate::guard;
use crate::planner;
use crate::replay;
use crate::session::starts_engine;
use pgrx::pg_sys::{self, Bitmapset, EState, ResultRelInfo, Trigger};
use std::ffi::{CStr, c_int};
use std::sync::OnceLock;

static PREVIOUS: OnceLock<pg_sys::ExecutorStart_hook_type> = OnceLock::new();

pub fn init() {
    // SAFETY: PostgreSQL loads libraries on its only thread; whoever was there before is called first.
    unsafe {
        if PREVIOUS.set(pg_sys::ExecutorStart_hook).is_ok() {
            pg_sys::ExecutorStart_hook = Some(start);
        }
    }
}

/// # Safety
/// Called by PostgreSQL with a query that is to start.
unsafe extern "C-unwind" fn start(query: *mut pg_sys::QueryDesc, flags: c_int) {
    // SAFETY: passed on as given. An error in there jumps over this frame, which holds nothing to drop. What comes
    // after looks at a query that has been started.
    unsafe {
        // Before code of users can run, they have their settings back.
        planner::over();
        match PREVIOUS.get().copied().flatten() {
            Some(previous) => previous(query, flags),
            None => boundary::standard_ExecutorStart(query, flags),
        }
        let state = (*query).planstate;
        if (*query).operation != pg_sys::CmdType::CMD_UPDATE
            || state.is_null()
            || (*state).type_ != pg_sys::NodeTag::T_ModifyTableState
        {
            return;
        }
        let state = state.cast::<pg_sys::ModifyTableState>();
        for i in 0..(*state).mt_nrels.max(0) as usize {
            let relation = (*state).resultRelInfo.add(i);
            if has_ours(relation) {
                boundary::enter(|| spare(relation, (*state).ps.state));
            }
        }
    }
}

/// The statement's own copy of a table's triggers.
///
/// # Safety
/// A table that an executor has set up, and no other reference to its triggers.
unsafe fn triggers<'a>(relation: *mut ResultRelInfo) -> &'a mut [Trigger] {
    // SAFETY: as the caller promises; `triggers` has as many entries as `numtriggers` says.
    unsafe {
        let all = (*relation).ri_TrigDesc;
        if all.is_null() || (*all).triggers.is_null() {
            return &mut [];
        }
        std::slice::from_raw_parts_mut((*all).triggers, (*all).numtriggers.max(0) as usize)
    }
}

/// # Safety
/// As for [`triggers`].
unsafe fn has_ours(relation: *mut ResultRelInfo) -> bool {
    // SAFETY: as the caller promises; a trigger's name is a NUL-terminated string.
    unsafe { triggers(relation).iter().any(|t| CStr::from_ptr(t.tgname).to_bytes() == GUARD_STATUS.as_bytes()) }
}

/// Switches off what can't concern the UPDATE of this table.
///
/// # Safety
/// As for [`triggers`].
unsafe fn spare(relation: *mut ResultRelInfo, state: *mut EState) -> Result<()> {
    // SAFETY: the table and the state are those of one query that has been started. The set of columns is made in the
    // query's own memory.
    let (all, set, updated) = unsafe {
        let before = pg_sys::MemoryContextSwitchTo((*state).es_query_cxt);
        let updated = pg_sys::ExecGetAllUpdatedCols(relation, state);
        let set = pg_sys::ExecGetUpdatedCols(relation, state);
        pg_sys::MemoryContextSwitchTo(before);
        (triggers(relation), Columns(set), Columns(updated))
    };
    let engine = starts_engine();

    // Somebody's BEFORE trigger that fires may change any column, and so concern all of ours.
    let mut before = false;
    for trigger in all.iter().filter(|t| on_update(t, true)) {
        if trigger.tgenabled == DISABLED || updated.spares(trigger) {
            continue;
        }
        let on_status = is(trigger, GUARD_STATUS, guard::msgstatus_guard_trigger);
        if !on_status && !is(trigger, GUARD_UPDATE, guard::msgstatus_guard_trigger) {
            return Ok(());
        }
        before |= !(engine || on_status && updated.leaves(trigger.tgqual));
    }
    let mut after = false;
    for trigger in all.iter_mut().filter(|t| on_update(t, false)) {
        let idle =
            is(trigger, REPLAY_KEY, replay::msgstatus_replay_trigger) && (engine || updated.leaves(trigger.tgqual));
        if idle {
            trigger.tgenabled = DISABLED;
        }
        after |= trigger.tgenabled != DISABLED && !updated.spares(trigger);
    }
    // SAFETY: the statement's own copy of what its table has.
    unsafe {
        (*(*relation).ri_TrigDesc).trig_update_before_row = before;
        (*(*relation).ri_TrigDesc).trig_update_after_row = after;
        if !before {
            keep_generated(relation, &set);
        }
    }
    Ok(())
}

/// Generated columns that follow from no column that is set need not be computed anew: PostgreSQL does so because a
/// BEFORE trigger could have changed others.
///
/// # Safety
/// As for [`triggers`].
unsafe fn keep_generated(relation: *mut ResultRelInfo, set: &Columns) {
    // SAFETY: an open table's descriptor, with as many defaults as it says, each for one of its columns; there is an
    // expression or null for each column.
    unsafe {
        #[cfg(feature = "pg15")]
        let (expressions, needed) = ((*relation).ri_GeneratedExprs, &mut (*relation).ri_NumGeneratedNeeded);
        #[cfg(not(feature = "pg15"))]
        let (expressions, needed) = ((*relation).ri_GeneratedExprsU, &mut (*relation).ri_NumGeneratedNeededU);
        let constraints = (*(*(*relation).ri_RelationDesc).rd_att).constr;
        if expressions.is_null() || constraints.is_null() || (*constraints).num_defval == 0 {
            return;
        }
        for default in std::slice::from_raw_parts((*constraints).defval, usize::from((*constraints).num_defval)) {
            let expression = expressions.add(default.adnum as usize - 1);
            if !(*expression).is_null() && set.leaves(default.adbin) {
                *expression = std::ptr::null_mut();
                *needed -= 1;
            }
        }
    }
}

const DISABLED: std::ffi::c_char = pg_sys::TRIGGER_DISABLED as std::ffi::c_char;

/// Is it a row trigger on UPDATE, BEFORE or AFTER?
fn on_update(trigger: &Trigger, before: bool) -> bool {
    let kind = trigger.tgtype as u32;
    let timing = if before { pg_sys::TRIGGER_TYPE_BEFORE } else { pg_sys::TRIGGER_TYPE_AFTER };
    kind & pg_sys::TRIGGER_TYPE_ROW != 0
        && kind & pg_sys::TRIGGER_TYPE_UPDATE != 0
        && kind & pg_sys::TRIGGER_TYPE_TIMING_MASK == timing
}

type Function = unsafe extern "C-unwind" fn(pg_sys::FunctionCallInfo) -> pg_sys::Datum;

/// Is it the trigger of that name that calls this function of ours?
fn is(trigger: &Trigger, name: &str, function: Function) -> bool {
    // SAFETY: a trigger's name is a NUL-terminated string; a trigger's function exists as long as the trigger.
    unsafe {
        if CStr::from_ptr(trigger.tgname).to_bytes() != name.as_bytes() {
            return false;
        }
        let mut info = pg_sys::FmgrInfo::default();
        pg_sys::fmgr_info(trigger.tgfoid, &mut info);
        info.fn_addr.is_some_and(|f| std::ptr::fn_addr_eq(f, function))
    }
}

/// Columns that a statement changes.
struct Columns(*mut Bitmapset);

impl Columns {
    fn has(&self, number: i16) -> bool {
        let member = c_int::from(number) - pg_sys::FirstLowInvalidHeapAttributeNumber;
        // SAFETY: a set that lives as long as its query.
        unsafe { pg_sys::bms_is_member(member, self.0) }
    }

    /// Is it a trigger on columns of which none is among them?
    fn spares(&self, trigger: &Trigger) -> bool {
        if trigger.tgnattr <= 0 {
            return false;
        }
        // SAFETY: the trigger has as many columns as `tgnattr` says.
        let columns = unsafe { std::slice::from_raw_parts(trigger.tgattr, trigger.tgnattr as usize) };
        !columns.iter().any(|&c| self.has(c))
    }

    /// Is none of the columns in an expression of the table among them? That makes a WHEN clause of ours false, as it
    /// is `OLD.column IS DISTINCT FROM NEW.column`.
    ///
    /// PostgreSQL keeps an expression as the text of a tree, which takes microseconds to read as such. Which columns
    /// are in it is in the text, with the numbers that they have in this partition.
    fn leaves(&self, expression: *const std::ffi::c_char) -> bool {
        if expression.is_null() {
            return false;
        }
        // SAFETY: the text is NUL-terminated.
        let text = unsafe { CStr::from_ptr(expression) }.to_string_lossy();
        let mut columns = text.split(":varattno ").skip(1).map(|rest| rest.split(' ').next()?.parse::<i16>().ok());
        let mut any = false;
        columns.all(|c| {
            any = true;
            c.is_some_and(|c| c > 0 && !self.has(c))
        }) && any
    }
}
