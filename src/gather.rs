//! Events of log rows that come one by one, kept until they are folded together.
//!
//! With `level => 'row'` a trigger sees each row for itself. Folded at once, one statement would lock messages in the order
//! of its rows and another in its own, and they would deadlock. So events are gathered, and folded as those of a
//! statement trigger are: all rows or none, in key order.
//!
//! * A statement's are folded when it is over: at the end of its executor, or of the utility command (COPY).
//! * A logical replication worker's, which runs no statements, are folded when its transaction commits. Until then it holds no
//!   message for them, and then it waits for none: the one who holds it may be another worker of its subscription, or a
//!   transaction that it has prepared itself ([`crate::replicated`]).
//! * Whoever else inserts rows without a statement, an extension of somebody's: the same, at the commit.

use crate::apply;
use crate::boundary;
use crate::commit;
use crate::errors::Result;
use crate::fold::{Checks, Fold};
use crate::key::Key;
use crate::pair::{Pair, resolve};
use crate::replicated;
use crate::session::{starts_engine, trigger_depth};
use crate::status::Status;
use indexmap::IndexMap;
use pgrx::pg_sys;
use std::cell::{Cell, RefCell};
use std::ffi::{c_char, c_void};
use std::rc::Rc;
use std::sync::OnceLock;

/// Events for the messages of one pair, of one statement and one (sub)transaction.
struct Gathered {
    pair: Rc<Pair>,
    /// How deep in triggers their trigger was.
    depth: i32,
    subtransaction: pg_sys::SubTransactionId,
    folds: IndexMap<Key, Fold>,
    /// The status of the only event, which has a path of its own.
    only: Option<Status>,
}

thread_local! {
    /// Those of outer (sub)transactions and statements first.
    static GATHERED: RefCell<Vec<Gathered>> = const { RefCell::new(Vec::new()) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
    /// Has a command begun since the hooks are there? The one that loads the library is over their heads.
    static HOOKED: Cell<bool> = const { Cell::new(false) };
}

static PREVIOUS_END: OnceLock<pg_sys::ExecutorEnd_hook_type> = OnceLock::new();
static PREVIOUS_UTILITY: OnceLock<pg_sys::ProcessUtility_hook_type> = OnceLock::new();

pub fn init() {
    // SAFETY: PostgreSQL loads libraries on its only thread; whoever was there before is called.
    unsafe {
        if PREVIOUS_END.set(pg_sys::ExecutorEnd_hook).is_ok() {
            pg_sys::ExecutorEnd_hook = Some(executor_ends);
        }
        if PREVIOUS_UTILITY.set(pg_sys::ProcessUtility_hook).is_ok() {
            pg_sys::ProcessUtility_hook = Some(utility);
        }
    }
}

/// Is this a worker of a subscription, which applies what was replicated?
pub fn is_replicating() -> bool {
    // SAFETY: reads a variable of this process.
    unsafe { IsLogicalWorker() }
}

/// Will somebody tell when the statement is over whose row trigger runs?
pub fn will_end() -> bool {
    // SAFETY: the portal that runs, if there is one, lives as long as it does.
    HOOKED.get()
        || is_replicating()
        || unsafe {
            let portal = pg_sys::ActivePortal;
            portal.is_null() || (*portal).commandTag != pg_sys::CommandTag::CMDTAG_COPY
        }
}

/// Keeps an event of a row. `add_to` adds it to the fold of its message.
pub fn add(pair: &Rc<Pair>, key: Key, status: Status, add_to: impl FnOnce(&mut Fold)) {
    if !REGISTERED.replace(true) {
        // SAFETY: registered once a backend, as a function that stays loaded with this library.
        unsafe { pg_sys::RegisterSubXactCallback(Some(at_subtransaction_end), std::ptr::null_mut()) };
    }
    // SAFETY: reads the number of the current subtransaction.
    let (depth, subtransaction) = (trigger_depth(), unsafe { pg_sys::GetCurrentSubTransactionId() });
    GATHERED.with_borrow_mut(|all| {
        let same = |g: &Gathered| g.depth == depth && g.subtransaction == subtransaction && g.is_of(pair);
        let at = all.iter().rposition(same).unwrap_or_else(|| {
            let pair = Rc::clone(pair);
            all.push(Gathered { pair, depth, subtransaction, folds: IndexMap::new(), only: Some(status) });
            all.len() - 1
        });
        let gathered = &mut all[at];
        if !gathered.folds.is_empty() {
            gathered.only = None;
        }
        add_to(gathered.folds.entry(key).or_default());
    });
}

/// The keys of a pair's events, and the checks among them.
pub type OfPair = (Rc<Pair>, Vec<(Key, Checks)>);

/// Forgets all events, and gives their keys and checks by pair.
pub fn take() -> Result<Vec<OfPair>> {
    let mut all = Vec::new();
    for mut gathered in GATHERED.take() {
        gathered.leave_checks_to_publisher()?;
        let keys = gathered.folds.into_iter().map(|(key, fold)| (key, fold.checks())).collect();
        all.push((gathered.pair, keys));
    }
    Ok(all)
}

/// Is there nothing to fold?
pub fn is_empty() -> bool {
    GATHERED.with_borrow(Vec::is_empty)
}

/// The transaction is over: what is left of it is gone with it.
pub fn forget() {
    if let Ok(gathered) = GATHERED.try_with(|g| g.try_borrow_mut().map(|mut g| std::mem::take(&mut *g))) {
        drop(gathered);
    }
}

/// Folds the events that came deeper in triggers than this.
pub fn fold(deeper_than: i32) -> Result<()> {
    let mut due = Vec::new();
    GATHERED.with_borrow_mut(|all| {
        let (of_ended, others) = std::mem::take(all).into_iter().partition(|g: &Gathered| g.depth > deeper_than);
        (due, *all) = (of_ended, others);
    });
    // Statement triggers fire by name, those of two tables of one log, too.
    due.sort_by_key(|g| g.pair.mapping.pair.to_string());
    for mut gathered in due {
        gathered.leave_checks_to_publisher()?;
        let Some(pair) = commit::still(gathered.pair)? else { continue };
        if is_replicating() {
            let keys = gathered.folds.keys().cloned().collect();
            for key in apply::taken(&pair, keys)? {
                let checks = gathered.folds.get(&key).map(Fold::checks).unwrap_or_default();
                gathered.folds.swap_remove(&key);
                replicated::leave(&pair, &key, checks)?;
            }
            gathered.only = gathered.only.filter(|_| !gathered.folds.is_empty());
        }
        if let (Some(status), Some((key, fold))) = (gathered.only, gathered.folds.first()) {
            if apply::single(&pair, key, status, fold)?.is_none() {
                commit::callbacks_wait(&pair, gathered.folds.pop().map(|(key, _)| key));
            }
            continue;
        }
        let outcome = apply::batch(&pair, gathered.folds)?;
        commit::callbacks_wait(&pair, outcome.unmatched);
    }
    Ok(())
}

/// A statement or a command is over.
///
/// # Safety
/// Called by a hook, whose frame holds nothing to drop.
unsafe fn ended() {
    if !is_empty() && !is_replicating() {
        // SAFETY: as the caller promises.
        unsafe { boundary::enter(|| fold(trigger_depth())) };
    }
}

/// # Safety
/// Called by PostgreSQL with a query that is to end.
unsafe extern "C-unwind" fn executor_ends(query: *mut pg_sys::QueryDesc) {
    // SAFETY: passed on as given. An error jumps over this frame, which holds nothing to drop.
    unsafe {
        // It may have changed a log.
        let changes = match (*query).operation {
            pg_sys::CmdType::CMD_DELETE | pg_sys::CmdType::CMD_MERGE => true,
            pg_sys::CmdType::CMD_UPDATE => !starts_engine(),
            _ => !(*query).plannedstmt.is_null() && (*(*query).plannedstmt).hasModifyingCTE,
        };
        if changes {
            apply::forget();
        }
        ended();
        match PREVIOUS_END.get().copied().flatten() {
            Some(previous) => previous(query),
            None => boundary::standard_ExecutorEnd(query),
        }
    }
    hooked();
}

/// Notes that the hooks are there, at the end of a command or at the beginning of another one.
fn hooked() {
    if !HOOKED.get() && trigger_depth() == 0 {
        HOOKED.set(true);
    }
}

/// # Safety
/// Called by PostgreSQL with a command that is to be run.
#[allow(clippy::too_many_arguments, reason = "PostgreSQL's")]
unsafe extern "C-unwind" fn utility(
    statement: *mut pg_sys::PlannedStmt,
    text: *const c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    parameters: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    destination: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    hooked();
    // SAFETY: passed on as given. An error jumps over this frame, which holds nothing to drop. COPY is over when its command
    // is, still within its snapshot; others are not looked at, as there may be no transaction behind them.
    unsafe {
        let copies = (*(*statement).utilityStmt).type_ == pg_sys::NodeTag::T_CopyStmt;
        let run = PREVIOUS_UTILITY.get().copied().flatten().unwrap_or(boundary::standard_ProcessUtility);
        run(statement, text, read_only_tree, context, parameters, environment, destination, completion);
        if copies {
            ended();
        }
    }
}

/// What a subtransaction gathered goes with it, or becomes its parent's.
unsafe extern "C-unwind" fn at_subtransaction_end(
    event: pg_sys::SubXactEvent::Type,
    id: pg_sys::SubTransactionId,
    parent: pg_sys::SubTransactionId,
    _arg: *mut c_void,
) {
    if is_empty() {
        return;
    }
    GATHERED.with(|all| {
        let Ok(mut all) = all.try_borrow_mut() else { return };
        match event {
            pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB => all.retain(|g| g.subtransaction != id),
            pg_sys::SubXactEvent::SUBXACT_EVENT_COMMIT_SUB => {
                // Subtransactions end in the order in which they began, the last first: theirs are the last.
                let first = all.iter().rposition(|g| g.subtransaction != id).map_or(0, |at| at + 1);
                for mut gathered in all.split_off(first) {
                    gathered.subtransaction = parent;
                    let same = |g: &Gathered| {
                        g.depth == gathered.depth && g.subtransaction == parent && g.is_of(&gathered.pair)
                    };
                    match all.iter().rposition(same) {
                        Some(at) => all[at].merge(gathered),
                        None => all.push(gathered),
                    }
                }
            }
            _ => {}
        }
    });
}

impl Gathered {
    /// Are the events of this pair for the same messages? The triggers of a log's partitions have a pair each, and what
    /// one statement brings has to be folded together, wherever its rows went.
    fn is_of(&self, pair: &Pair) -> bool {
        self.pair.messages.oid == pair.messages.oid && self.pair.key == pair.key
    }

    /// Where a subscription brings the messages, too, they come with the checks that the publisher counted.
    fn leave_checks_to_publisher(&mut self) -> Result<()> {
        let any = |g: &Gathered| g.folds.values().any(|fold| fold.checks().count > 0);
        if is_replicating() && any(self) && resolve::is_subscribed(&self.pair.messages)? {
            self.folds.values_mut().for_each(Fold::forget_checks);
        }
        Ok(())
    }

    fn merge(&mut self, mut other: Gathered) {
        self.only = None;
        // The smaller into the larger one: many subtransactions end one after the other.
        if other.folds.len() > self.folds.len() {
            std::mem::swap(&mut self.folds, &mut other.folds);
        }
        for (key, fold) in other.folds {
            self.folds.entry(key).or_default().merge(fold, &self.pair.ranks);
        }
    }
}

// Exported by PostgreSQL (replication/logicalworker.h), not among pgrx's bindings.
unsafe extern "C-unwind" {
    fn IsLogicalWorker() -> bool;
}
