//! What logs were found to say of messages, remembered by a session.
//!
//! Where a row does not tell, the log of its message is read as a whole. A message of a broadcast may get a hundred
//! thousand callbacks (a batch of Sinch's shares one id), and each of them could ask; what the log said once answers
//! nearly all of the others.

use crate::fold::Told;
use crate::key::Key;
use pgrx::pg_sys;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::c_void;

/// Messages that are remembered for a pair: those that callbacks keep coming for.
const MOST: usize = 1024;

thread_local! {
    /// Goes up where log rows may be gone that were seen: a (sub)transaction's own, when it is rolled back, or prepared and so
    /// perhaps rolled back later.
    static EPOCH: Cell<u64> = const { Cell::new(0) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

/// How long it is remembered, in microseconds: somebody may delete old rows of the log, which tells nobody here. So a message
/// that many callbacks come for has its log read once in that time.
const TIME: i64 = 1_000_000;

/// What is remembered for the messages of a pair.
#[derive(Default)]
pub struct Memory {
    epoch: Cell<u64>,
    /// When the first of it was.
    since: Cell<i64>,
    told: RefCell<HashMap<Key, Told>>,
}

impl Memory {
    pub fn get(&self, key: &Key) -> Option<Told> {
        let mut all = self.told.borrow_mut();
        if !all.is_empty() && (self.epoch.get() != EPOCH.get() || now() > self.since.get().saturating_add(TIME)) {
            all.clear();
        }
        all.get(key).cloned()
    }

    /// What is remembered of these messages, by place.
    pub fn of(&self, keys: &[&Key]) -> HashMap<usize, Told> {
        if self.told.borrow().is_empty() {
            return HashMap::new();
        }
        keys.iter().enumerate().filter_map(|(place, key)| Some((place, self.get(key)?))).collect()
    }

    pub fn put(&self, key: &Key, told: Told) {
        if !REGISTERED.replace(true) {
            // SAFETY: registered once a backend; both functions stay loaded with this library.
            unsafe {
                pg_sys::RegisterXactCallback(Some(at_transaction_end), std::ptr::null_mut());
                pg_sys::RegisterSubXactCallback(Some(at_subtransaction_end), std::ptr::null_mut());
            }
        }
        let mut all = self.told.borrow_mut();
        if self.epoch.replace(EPOCH.get()) != EPOCH.get() || all.len() >= MOST {
            all.clear();
        }
        if all.is_empty() {
            self.since.set(now());
        }
        all.insert(key.clone(), told);
    }
}

/// Nothing is remembered any more: rows of logs are gone, or may be.
pub fn forget() {
    EPOCH.set(EPOCH.get() + 1);
}

fn now() -> i64 {
    // SAFETY: reads the clock.
    unsafe { pg_sys::GetCurrentTimestamp() }
}

// Both only count: nothing in them can fail or has to be dropped.

unsafe extern "C-unwind" fn at_transaction_end(event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    use pg_sys::XactEvent::*;
    if [XACT_EVENT_ABORT, XACT_EVENT_PARALLEL_ABORT, XACT_EVENT_PREPARE].contains(&event) {
        forget();
    }
}

unsafe extern "C-unwind" fn at_subtransaction_end(
    event: pg_sys::SubXactEvent::Type,
    _id: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    _arg: *mut c_void,
) {
    if event == pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB {
        forget();
    }
}
