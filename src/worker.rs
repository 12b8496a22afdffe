//! The background worker: asks Twilio, round after round, about messages that got stuck.
//!
//! One process for each database of `msgstatus.databases`. It holds no transaction while it waits, for a round or for
//! Twilio, and looks up several times a second, so that it ends when it is told to and holds nobody up.
//!
//! | module | what it is |
//! |---|---|
//! | [`process`] | signals, the connection, transactions |
//! | [`rounds`] | one round, in short transactions |
//! | [`rests`] | accounts that are left alone, and what was said about them |

mod process;
mod rests;
mod rounds;

use crate::errors::Result;
use crate::gucs;
use crate::poll::wait;
use pgrx::bgworkers::{BackgroundWorker, BackgroundWorkerBuilder};
use pgrx::pg_sys::Datum;
use rounds::{Ran, Rounds, SOON};
use std::time::{Duration, Instant};

/// How soon PostgreSQL starts a worker again that ended.
const RESTART: Duration = Duration::from_secs(5);

/// How often an idle worker looks whether somebody wants to drop its database, and whether the extension is there.
const IDLE: Duration = Duration::from_secs(1);

/// How often messages are mended that a race or replication left behind.
const SETTLE_EVERY: Duration = Duration::from_secs(30 * 60);

/// Has a worker started for each of the databases. Called while the postmaster loads the library.
pub fn register() {
    for (number, database) in gucs::databases().into_iter().enumerate() {
        BackgroundWorkerBuilder::new(&format!("msgstatus worker of {database}"))
            .set_type("msgstatus worker")
            .set_library("msgstatus")
            .set_function("msgstatus_worker_main")
            .set_argument(Some(Datum::from(number)))
            .set_restart_time(Some(RESTART))
            .enable_spi_access()
            .load();
    }
}

/// Where a worker begins. Called by PostgreSQL only.
#[doc(hidden)]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn msgstatus_worker_main(number: Datum) {
    // SAFETY: PostgreSQL calls this on the only thread of a new process, and this frame holds nothing to drop.
    unsafe { crate::boundary::enter(|| work(number.value())) }
}

fn work(number: usize) -> Result<()> {
    process::handle_signals();
    let (databases, role) = (gucs::databases(), gucs::role());
    let Some(database) = databases.get(number) else { return Ok(()) };
    BackgroundWorker::connect_worker_to_spi(Some(database), role.as_deref());
    process::set_up();

    let mut rounds = Rounds::default();
    let mut last_round: Option<Instant> = None;
    let mut look_again = None;
    let mut next_settle = Instant::now() + SETTLE_EVERY;
    let mut trigger = "start";
    // Somebody asked for a check, and it could not look.
    let mut wishes = false;
    loop {
        if process::reload_settings() {
            rounds.settings_changed();
        }
        // Also after a reload in the middle of a round.
        if gucs::role() != role {
            process::start_anew("msgstatus.role has changed");
        }
        if until_round(last_round, look_again).is_zero() {
            last_round = Some(Instant::now());
            look_again = matches!(rounds.run(trigger), Ran::Waits).then_some(SOON);
            trigger = "interval";
            wishes = rounds.requests();
        } else if wishes {
            wishes = rounds.requests();
        }
        if Instant::now() >= next_settle {
            next_settle = Instant::now() + SETTLE_EVERY;
            rounds.settle();
        }
        if process::is_database_wanted() {
            process::start_anew("somebody wants to drop or copy the database");
        }
        let pause = until_round(last_round, look_again).min(IDLE);
        // Somebody who asks for a check wakes the worker; so do others, for whom there is nothing to do.
        if process::survive_cancel(|| wait::a_while(pause)).unwrap_or(false) {
            wishes = rounds.requests();
        }
    }
}

/// From start to start of rounds it is as long as the setting says now; a round that takes longer is followed by the next
/// at once, and so is the start of the worker.
fn until_round(last: Option<Instant>, look_again: Option<Duration>) -> Duration {
    let interval = gucs::poll_interval();
    let interval = look_again.map_or(interval, |soon| soon.min(interval));
    last.map_or(Duration::ZERO, |last: Instant| interval.saturating_sub(last.elapsed()))
}
