//! A message and its callback, written by two transactions at once: neither sees the other, and nothing may be lost.
//!
//! Both sides look again right before they commit, and a lock orders these last looks, so that whoever commits
//! second sees the first:
//!
//! * A transaction whose callbacks found no message takes the lock in *callback* mode, looks for the messages once
//!   more, and, still without them, advances the sequence `msgstatus.unmatched_commits` and commits.
//! * A transaction that inserted messages (or filled in keys) takes the lock in *message* mode. If the sequence
//!   stands where it stood when the messages were written, no such callback has committed meanwhile and there is
//!   nothing to do; otherwise the log of its messages is folded once more.
//!
//! Each mode is compatible with itself and conflicts with the other. The lock is taken when all work is done and is
//! held until the commit is visible: the time of a commit, whatever the transaction did before. (A transaction with very
//! many messages, in the way of which such callbacks keep coming, folds its own messages under it in the end.) It is
//! never held while waiting for a row, so it takes part in no deadlock, and it is one lock for a table, not one a message, so a
//! million messages in a transaction need no more room for locks than one. A transaction whose callbacks all
//! found their messages takes no lock at all.
//!
//! Where the log can't take a callback without its message, that waits beside the log ([`crate::waiting`]), and all of this is
//! the same with SIDs in place of keys.

use crate::advisory::{self, Class};
use crate::apply::{self, Whose};
use crate::boundary;
use crate::errors::{Fault, Result};
use crate::fold::Checks;
use crate::gather;
use crate::inspect::key_from_text;
use crate::key::Key;
use crate::pair::{Pair, cache};
use crate::replicated;
use crate::status::oids::extension_schema;
use crate::waiting::{self, Held};
use pgrx::pg_sys::{self, Datum, Oid};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// What this transaction has to look at again before it commits, for one messages table.
struct Pending {
    pair: Rc<Pair>,
    /// Keys of callbacks that found no message.
    callbacks: BTreeSet<Key>,
    /// SIDs of such callbacks, where they wait beside the log.
    waiting: BTreeSet<String>,
    /// Keys of messages that were inserted or got their key.
    messages: Vec<Key>,
    /// SIDs of messages that were inserted or got their SID, where callbacks wait beside the log.
    sids: Vec<String>,
    /// Where the sequence stood at the first of them.
    commits_seen: i64,
}

thread_local! {
    static PENDING: RefCell<BTreeMap<u32, Pending>> = const { RefCell::new(BTreeMap::new()) };
}

/// Has [`at_transaction_end`] called. In a process that loads the library for all others they have it, too.
pub fn init() {
    // SAFETY: called once a process, with a function that stays loaded with this library.
    unsafe { pg_sys::RegisterXactCallback(Some(at_transaction_end), std::ptr::null_mut()) };
}

/// What a transaction has to look at again before it commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A callback, by its key.
    Callback,
    /// A callback that waits beside the log, by its SID.
    WaitingCallback,
    /// A message that was inserted or got its key.
    Message,
    /// A message that was inserted or got its SID, where callbacks wait beside the log.
    MessageBySid,
}

/// Forgets everything that was to be looked at, and gives it: keys and SIDs as text.
pub fn take_all() -> Vec<(Rc<Pair>, What, Vec<u8>)> {
    let mut all = Vec::new();
    for p in PENDING.take().into_values() {
        let by_key = |key: &Key| p.pair.key.text(key);
        let by_sid = |sid: &String| crate::encoding::to_server(sid).to_vec();
        let mut put = |what, text| all.push((Rc::clone(&p.pair), what, text));
        p.callbacks.iter().for_each(|key| put(What::Callback, by_key(key)));
        p.waiting.iter().for_each(|sid| put(What::WaitingCallback, by_sid(sid)));
        p.messages.iter().for_each(|key| put(What::Message, by_key(key)));
        p.sids.iter().for_each(|sid| put(What::MessageBySid, by_sid(sid)));
    }
    all
}

/// Looks at something before the commit that another transaction wrote.
pub fn look_at(pair: &Rc<Pair>, what: What, text: &[u8]) -> Result<()> {
    let sid = || crate::encoding::from_server(text);
    let key = match what {
        What::Callback | What::Message => Some(key_from_text(pair, text)?),
        What::WaitingCallback | What::MessageBySid => None,
    };
    pending(pair, None, |p| match (what, key) {
        (What::Callback, Some(key)) => drop(p.callbacks.insert(key)),
        (What::Message, Some(key)) => p.messages.push(key),
        (What::WaitingCallback, _) => drop(p.waiting.insert(sid())),
        _ => p.sids.push(sid()),
    });
    Ok(())
}

/// A pair as it is now. Since its rows were written, the transaction may have renamed, detached or dropped what they are in.
pub fn still(pair: Rc<Pair>) -> Result<Option<Rc<Pair>>> {
    if cache::policy_table() == pg_sys::InvalidOid {
        // The extension itself was dropped.
        return Ok(None);
    }
    Ok(match cache::still(pair.messages.oid)? {
        Some(now) => Some(now),
        None if pair.tracked || !pair.exists() => None,
        None => Some(pair),
    })
}

/// Looks before messages are folded under the lock: others may keep the sequence moving.
const TRIES: u32 = 3;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Message,
    Callback,
    /// A transaction that did both excludes both at once: taking one mode after the other could deadlock.
    Both,
}

impl Mode {
    fn lockmode(self) -> i32 {
        (match self {
            Mode::Message => pg_sys::RowExclusiveLock,
            Mode::Callback => pg_sys::ShareLock,
            Mode::Both => pg_sys::ShareRowExclusiveLock,
        }) as i32
    }
}

fn lock(messages: u32, mode: Mode) {
    // SAFETY: a lock of the current transaction; an error while waiting ends the transaction as usual.
    unsafe { pg_sys::LockAcquire(&advisory::tag(Class::Commit, messages), mode.lockmode(), false, false) };
}

fn unlock(messages: u32, mode: Mode) {
    // SAFETY: releases what `lock` took in this transaction.
    unsafe { pg_sys::LockRelease(&advisory::tag(Class::Commit, messages), mode.lockmode(), false) };
}

/// Callbacks whose messages are not there (yet): looks for them again before the commit.
pub fn callbacks_wait(pair: &Rc<Pair>, keys: impl IntoIterator<Item = Key>) {
    let mut keys = keys.into_iter().peekable();
    if keys.peek().is_some() {
        pending(pair, None, |p| p.callbacks.extend(keys));
    }
}

/// The same for callbacks that wait beside the log.
pub fn sids_wait(pair: &Rc<Pair>, sids: impl IntoIterator<Item = String>) {
    pending(pair, None, |p| p.waiting.extend(sids));
}

/// Messages that were inserted or got their key: folds in what their log holds, and looks again before the commit.
pub fn messages_appear(pair: &Rc<Pair>, mut keys: Vec<Key>) -> Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    // A subscription's worker does nothing before it commits: see `gather`.
    if gather::is_replicating() {
        pending(pair, None, |p| p.messages.append(&mut keys));
        return Ok(());
    }
    see_commits(pair)?;
    apply::refold(pair, &mut keys, Whose::Own)?;
    pending(pair, None, |p| p.messages.append(&mut keys));
    Ok(())
}

/// Messages that were inserted or got their SID: the same for what waits beside the log.
pub fn sids_appear(pair: &Rc<Pair>, mut sids: Vec<String>) -> Result<()> {
    if sids.is_empty() {
        return Ok(());
    }
    if gather::is_replicating() {
        pending(pair, None, |p| p.sids.append(&mut sids));
        return Ok(());
    }
    see_commits(pair)?;
    waiting::place(pair, &sids, Held::Awaited)?;
    pending(pair, None, |p| p.sids.append(&mut sids));
    Ok(())
}

/// Notes where the sequence stands, if this is the first look in this transaction.
fn see_commits(pair: &Rc<Pair>) -> Result<()> {
    let messages = pair.messages.oid.to_u32();
    let known = PENDING.with_borrow(|p| p.get(&messages).is_some_and(|p| p.commits_seen >= 0));
    if !known {
        // The sequence is read where no callback is between its last look and its commit: all that have
        // advanced it are committed, and whoever looks from now on sees them.
        lock(messages, Mode::Message);
        let commits = commits_so_far()?;
        unlock(messages, Mode::Message);
        pending(pair, Some(commits), |_| ());
    }
    Ok(())
}

fn pending(pair: &Rc<Pair>, commits: Option<i64>, add: impl FnOnce(&mut Pending)) {
    PENDING.with_borrow_mut(|all| {
        let entry = all.entry(pair.messages.oid.to_u32()).or_insert_with(|| Pending {
            pair: Rc::clone(pair),
            callbacks: BTreeSet::new(),
            waiting: BTreeSet::new(),
            messages: Vec::new(),
            sids: Vec::new(),
            commits_seen: -1,
        });
        if let Some(commits) = commits {
            entry.commits_seen = commits;
        }
        add(entry);
    });
}

unsafe extern "C-unwind" fn at_transaction_end(event: pg_sys::XactEvent::Type, _arg: *mut std::ffi::c_void) {
    let nothing = || gather::is_empty() && PENDING.with_borrow(BTreeMap::is_empty);
    match event {
        pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT => {
            // SAFETY: PostgreSQL calls this, on its thread, and this frame holds nothing to drop.
            unsafe {
                // Around COMMIT PREPARED is a transaction that has written nothing itself. And whoever is at work anyway looks
                // what others had to leave.
                if gather::is_replicating()
                    && (!nothing() || pg_sys::GetTopTransactionIdIfAny() == pg_sys::InvalidTransactionId)
                {
                    boundary::enter(replicated::resume);
                }
                if !nothing() {
                    boundary::enter(before_commit);
                }
            }
        }
        pg_sys::XactEvent::XACT_EVENT_PRE_PREPARE if !nothing() => {
            // SAFETY: as above.
            unsafe { boundary::enter(if gather::is_replicating() { replicated::prepare } else { before_commit }) };
        }
        pg_sys::XactEvent::XACT_EVENT_COMMIT
        | pg_sys::XactEvent::XACT_EVENT_ABORT
        | pg_sys::XactEvent::XACT_EVENT_PREPARE => {
            PENDING.with(|p| {
                if let Ok(mut p) = p.try_borrow_mut() {
                    p.clear();
                }
            });
            gather::forget();
        }
        _ => {}
    }
}

/// The last look. A prepared transaction takes its locks with it, until COMMIT PREPARED.
///
/// Work found by the last look may wait for rows that others hold who wait for these locks in turn: all locks are let
/// go of before a row is touched, and then everything is looked at again. Only the messages of this transaction, which
/// nobody else can hold, are folded under the lock after a few tries.
fn before_commit() -> Result<()> {
    let mut all = BTreeMap::new();
    for attempt in 1.. {
        while !gather::is_empty() {
            gather::fold(-1)?;
            // What it fired and was deferred is due now, and may write log rows in turn.
            // SAFETY: as below.
            unsafe { boundary::call(|| boundary::AfterTriggerFireDeferred()) };
        }
        take_pending(&mut all)?;
        if all.is_empty() {
            return Ok(());
        }
        for p in all.values() {
            // A table lock that somebody holds is waited for before ours is taken, not while it is held.
            // SAFETY: locks an existing relation until the end of the transaction, as reading it does.
            unsafe {
                pg_sys::LockRelationOid(p.pair.messages.oid, pg_sys::RowExclusiveLock as i32);
                pg_sys::LockRelationOid(p.pair.log.oid, pg_sys::AccessShareLock as i32);
            }
        }
        for (&messages, p) in &all {
            lock(messages, p.mode());
        }
        let mut work = Vec::new();
        for (&messages, p) in &all {
            let found = p.look()?;
            let commits = if p.has_messages() { commits_so_far()? } else { p.commits_seen };
            if !found.is_empty() || commits != p.commits_seen {
                work.push((messages, found, commits));
            }
        }
        let hold = attempt >= TRIES && work.iter().all(|(_, found, _)| found.is_empty());
        if !hold && !work.is_empty() {
            for (&messages, p) in &all {
                unlock(messages, p.mode());
            }
        }
        let done = work.is_empty();
        for (messages, found, commits) in work {
            if let Some(p) = all.get_mut(&messages) {
                p.fold(found, commits)?;
            }
        }
        if done {
            break;
        }
        // What the fold fired and was deferred is due now; PostgreSQL's own turn at it is over.
        // SAFETY: the transaction is still in progress, as this callback is documented to run.
        unsafe { boundary::call(|| boundary::AfterTriggerFireDeferred()) };
    }
    if all.values().any(Pending::has_callbacks) {
        advance_commits()?;
    }
    Ok(())
}

/// Adds what is pending by now to what is looked at, less tables that this very transaction dropped or detached.
fn take_pending(all: &mut BTreeMap<u32, Pending>) -> Result<()> {
    for (messages, new) in PENDING.take() {
        match all.get_mut(&messages) {
            Some(old) => {
                old.callbacks.extend(new.callbacks);
                old.waiting.extend(new.waiting);
                old.messages.extend(new.messages);
                old.sids.extend(new.sids);
                if old.commits_seen < 0 {
                    old.commits_seen = new.commits_seen;
                }
            }
            None => {
                all.insert(messages, new);
            }
        }
    }
    for (messages, mut p) in std::mem::take(all) {
        if !p.has_callbacks() && !p.has_messages() {
            continue;
        }
        if let Some(pair) = still(Rc::clone(&p.pair))? {
            p.pair = pair;
            all.insert(messages, p);
        }
    }
    Ok(())
}

/// What a last look found of callbacks that had no message: their keys, and the SIDs of those beside the log.
struct Found {
    keys: Vec<Key>,
    sids: Vec<String>,
}

impl Found {
    fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.sids.is_empty()
    }
}

impl Pending {
    fn has_callbacks(&self) -> bool {
        !self.callbacks.is_empty() || !self.waiting.is_empty()
    }

    fn has_messages(&self) -> bool {
        !self.messages.is_empty() || !self.sids.is_empty()
    }

    fn mode(&self) -> Mode {
        match (self.has_callbacks(), self.has_messages()) {
            (true, true) => Mode::Both,
            (true, false) => Mode::Callback,
            _ => Mode::Message,
        }
    }

    /// Looks which callbacks have a message by now. Locks no row.
    fn look(&self) -> Result<Found> {
        let keys: Vec<Key> = self.callbacks.iter().cloned().collect();
        let sids: Vec<String> = self.waiting.iter().cloned().collect();
        Ok(Found {
            keys: if keys.is_empty() { keys } else { apply::matched(&self.pair, &keys)? },
            sids: if sids.is_empty() { sids } else { waiting::matched(&self.pair, &sids)? },
        })
    }

    /// Folds what was found and, if callbacks were committed meanwhile, the messages of this transaction.
    fn fold(&mut self, mut found: Found, commits: i64) -> Result<()> {
        for key in &found.keys {
            self.callbacks.remove(key);
        }
        for sid in &found.sids {
            self.waiting.remove(sid);
        }
        // A subscription's worker waits for nobody's messages.
        if gather::is_replicating() {
            for keys in [&mut found.keys, &mut self.messages] {
                let taken: BTreeSet<Key> = apply::taken(&self.pair, keys.clone())?.into_iter().collect();
                taken.iter().try_for_each(|key| replicated::leave(&self.pair, key, Checks::default()))?;
                keys.retain(|key| !taken.contains(key));
            }
        }
        // A message may be gone again, or have another key, by the time its row is locked.
        self.callbacks.extend(apply::refold(&self.pair, &mut found.keys, Whose::OfCallbacks)?.unmatched);
        waiting::place(&self.pair, &found.sids, Held::Awaited)?;
        if commits != self.commits_seen {
            apply::refold(&self.pair, &mut self.messages, Whose::Anybodys)?;
            waiting::place(&self.pair, &self.sids, Held::Awaited)?;
            self.commits_seen = commits;
        }
        Ok(())
    }
}

fn sequence() -> Result<Oid> {
    // SAFETY: syscache look-up by name and namespace.
    let oid = unsafe { pg_sys::get_relname_relid(c"unmatched_commits".as_ptr(), extension_schema()) };
    if oid == pg_sys::InvalidOid {
        return Err(Fault::internal("sequence msgstatus.unmatched_commits is gone"));
    }
    Ok(oid)
}

/// How often a transaction has committed callbacks without a message.
fn commits_so_far() -> Result<i64> {
    let oid = sequence()?;
    // SAFETY: a function of one OID argument; it gives null before the first nextval.
    let value = unsafe { pgrx::direct_function_call::<i64>(pg_sys::pg_sequence_last_value, &[Some(Datum::from(oid))]) };
    Ok(value.unwrap_or(0))
}

fn advance_commits() -> Result<()> {
    let oid = sequence()?;
    // SAFETY: advances a sequence that exists; permissions are not asked for, as any role that may write the log may
    // leave a callback without a message.
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| nextval_internal(oid, false)) };
    Ok(())
}

// Exported by PostgreSQL (commands/sequence.h), not among pgrx's bindings.
unsafe extern "C-unwind" {
    fn nextval_internal(relid: Oid, check_permissions: bool) -> i64;
}
