//! A Twilio to test against: fetch and list of the Messages API, with messages that live by a clock, and a server that
//! misbehaves on command.

pub mod accounts;
pub mod clock;
pub mod control;
pub mod delivery;
pub mod endpoints;
pub mod filter;
pub mod list;
pub mod listener;
pub mod message;
pub mod misbehave;
pub mod orders;
pub mod spoil;
pub mod store;
pub mod traffic;
pub mod trouble;

use accounts::Accounts;
use clock::Clock;
use listener::{Listener, Wire};
use misbehave::Rules;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use store::Store;
use traffic::Traffic;

/// All that one simulated Twilio knows.
#[derive(Default)]
pub struct Simulator {
    pub accounts: RwLock<Accounts>,
    pub messages: RwLock<Store>,
    pub rules: Mutex<Rules>,
    pub traffic: Mutex<Traffic>,
    pub clock: Clock,
}

/// Answers whatever comes in at the listener, for ever.
pub async fn serve(listener: Listener, simulator: Arc<Simulator>) -> io::Result<()> {
    let routes = control::routes().fallback(endpoints::twilio).with_state(simulator);
    axum::serve(listener, routes.into_make_service_with_connect_info::<Wire>()).await
}

// A lock that a panic left behind guards what is as good as before: each change is one assignment or insertion.

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
