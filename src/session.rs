//! Whose rights a piece of work has, and which settings it sees.

use crate::errors::Result;
use crate::pair::{Table, cache, resolve};
use crate::spi::Spi;
use pgrx::pg_sys::{self, Oid};
use std::cell::Cell;
use std::ffi::{CStr, c_int};

/// Names that nobody else can take.
const PATH: &CStr = c"pg_catalog, pg_temp";

/// Works as another role until dropped: a security-restricted operation with a pinned search_path, in which
/// row-level security does not apply to the owner's own table.
///
/// On an error PostgreSQL's abort restores role and settings, so drop does nothing while unwinding.
pub struct ActAs {
    saved: Option<(Oid, c_int, c_int)>,
}

impl ActAs {
    /// `forced` says that the role's own table has FORCE ROW LEVEL SECURITY, so that even its owner has to switch.
    pub fn owner(role: Oid, forced: bool) -> ActAs {
        let (user, context) = current();
        if user == role && !forced {
            // The same rights as before: nothing to protect anyone from.
            return ActAs { saved: None };
        }
        let restricted = (pg_sys::SECURITY_LOCAL_USERID_CHANGE
            | pg_sys::SECURITY_RESTRICTED_OPERATION
            | pg_sys::SECURITY_NOFORCE_RLS) as c_int;
        // SAFETY: the role is the owner of an existing relation; drop restores what is saved here, in reverse.
        let level = unsafe {
            pg_sys::SetUserIdAndSecContext(role, context | restricted);
            let level = pg_sys::NewGUCNestLevel();
            set_local(c"search_path", PATH);
            level
        };
        ActAs { saved: Some((user, context, level)) }
    }
}

/// The search_path that [`ActAs`] pins, with the rights as they are, until dropped.
pub struct PinnedPath(c_int);

pub fn pin_path() -> PinnedPath {
    // SAFETY: drop closes the level; an error's abort does so too.
    unsafe {
        let level = pg_sys::NewGUCNestLevel();
        set_local(c"search_path", PATH);
        PinnedPath(level)
    }
}

impl Drop for PinnedPath {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: closes the level that `new` opened.
            unsafe { pg_sys::AtEOXact_GUC(false, self.0) };
        }
    }
}

/// Whose rights a function that reads a pair has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// The table's owner: the engine at its work.
    Owner,
    /// Whoever calls: what row-level security hides stays hidden.
    Caller,
}

impl Rights {
    /// The rights on a table that the caller may use but did not name: the owner's, so that nothing of the owner's runs with
    /// the caller's. Policies that hide rows from the caller have to be asked with his own, and are if their owner is to be
    /// trusted; otherwise there are none.
    pub fn unnamed(table: &Table) -> Option<Rights> {
        if resolve::sees_all(table.oid) {
            return Some(Rights::Owner);
        }
        let owner = table.owner;
        // SAFETY: catalog look-ups for the owner of an existing relation, the current role and the current database.
        let is_trusted = unsafe {
            #[cfg(feature = "pg15")]
            let owns_database = pg_sys::pg_database_ownercheck(pg_sys::MyDatabaseId, owner);
            #[cfg(not(feature = "pg15"))]
            let owns_database = pg_sys::object_ownercheck(pg_sys::DatabaseRelationId, pg_sys::MyDatabaseId, owner);
            owns_database || pg_sys::superuser_arg(owner) || pg_sys::has_privs_of_role(pg_sys::GetUserId(), owner)
        };
        is_trusted.then_some(Rights::Caller)
    }

    /// Acts with these rights on a table, until the result is dropped.
    pub fn on(self, table: &Table) -> Option<ActAs> {
        (self == Rights::Owner).then(|| ActAs::owner(table.owner, table.forced_rls))
    }
}

thread_local! {
    /// Is it the extension itself that writes its own tables?
    static EXTENSION: Cell<bool> = const { Cell::new(false) };
}

/// Is the extension at work on its own tables?
pub fn is_extension() -> bool {
    EXTENSION.get()
}

/// Does some work as the owner of the extension's own tables.
pub fn as_extension<T>(work: impl FnOnce(&Spi) -> Result<T>) -> Result<T> {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            EXTENSION.set(self.0);
        }
    }
    let _restore = Restore(EXTENSION.replace(true));
    let table = resolve::existing(cache::policy_table(), "msgstatus.policy")?;
    let _owner = ActAs::owner(table.owner, false);
    let spi = Spi::connect()?;
    work(&spi)
}

/// Who works now, and in which security context.
fn current() -> (Oid, c_int) {
    let (mut user, mut context) = (pg_sys::InvalidOid, 0);
    // SAFETY: reads two backend variables into places that live here.
    unsafe { pg_sys::GetUserIdAndSecContext(&mut user, &mut context) };
    (user, context)
}

/// Does the engine work on a table in a restricted operation? PostgreSQL fires no deferred trigger in one.
pub fn is_restricted_on(table: &Table) -> bool {
    let (user, context) = current();
    user != table.owner || table.forced_rls || context & pg_sys::SECURITY_RESTRICTED_OPERATION as c_int != 0
}

impl Drop for ActAs {
    fn drop(&mut self) {
        if let Some((user, context, level)) = self.saved
            && !std::thread::panicking()
        {
            // SAFETY: restores what `owner` saved, settings first as they were set last.
            unsafe {
                pg_sys::AtEOXact_GUC(false, level);
                pg_sys::SetUserIdAndSecContext(user, context);
            }
        }
    }
}

/// Sets a parameter until the GUC nest level that the caller opened is closed.
///
/// # Safety
/// The caller has opened a level with `NewGUCNestLevel` and closes it with `AtEOXact_GUC`.
pub unsafe fn set_local(name: &CStr, value: &CStr) {
    // SAFETY: NUL-terminated strings; the effect ends with the caller's nest level.
    unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_SAVE,
            true,
            0,
            false,
        );
    }
}

/// How deep in triggers this backend is.
pub fn trigger_depth() -> i32 {
    // SAFETY: the function reads a counter and does not look at its argument.
    unsafe { pg_sys::pg_trigger_depth(std::ptr::null_mut()).value() as i32 }
}

thread_local! {
    /// The trigger depth at which the engine's own UPDATE fires the guard; -1 when it does not run.
    static ENGINE_DEPTH: Cell<i32> = const { Cell::new(-1) };
}

/// Runs the engine's own UPDATE of messages, which the guard lets through.
///
/// Only triggers fired directly by that UPDATE are let through: what a user's trigger on messages does in turn
/// happens one level deeper, and is guarded like any other write.
pub fn as_engine<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    struct Restore(i32);
    impl Drop for Restore {
        fn drop(&mut self) {
            ENGINE_DEPTH.set(self.0);
        }
    }
    let _restore = Restore(ENGINE_DEPTH.replace(trigger_depth() + 1));
    work()
}

/// Is the statement that starts now the engine's own UPDATE?
pub fn starts_engine() -> bool {
    let depth = ENGINE_DEPTH.get();
    depth >= 0 && depth == trigger_depth() + 1
}

/// Is the trigger that runs now fired by the engine's own UPDATE?
pub fn is_engine() -> bool {
    let depth = ENGINE_DEPTH.get();
    depth >= 0 && depth == trigger_depth()
}
