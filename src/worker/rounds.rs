//! One round after the other: take what is due, ask with no transaction open, write down what comes.

use super::process::{idle, is_database_wanted, reload_settings, start_anew, survive_cancel, transaction};
use super::rests::Rests;
use crate::boundary::Failed;
use crate::credentials;
use crate::errors::Result;
use crate::gucs;
use crate::pair::{Pair, cache};
use crate::poll::claim::{self, Terms, Troubles};
use crate::poll::round::{self, Round, Tally, Written};
use crate::poll::runs::{self, Alone};
use crate::poll::schedule::Schedule;
use crate::poll::wait;
use crate::spi::Spi;
use crate::status::oids::extension_schema;
use crate::twilio::account::Accounts;
use crate::twilio::inquiry::Said;
use crate::twilio::thread::{Answers, Heard, Thread};
use crate::twilio::{Time, now};
use pgrx::pg_sys::{self, Oid};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A round has its messages for so much longer than it asks: until the last request is over, and written down.
const LEASE_MORE: Duration = Duration::from_secs(2 * 60);

/// How often to look for answers, and how long they may lie about.
const LOOK: Duration = Duration::from_millis(50);
const LIE: Duration = Duration::from_millis(500);

/// So many answers are written down together.
const PARCEL: usize = 1000;

/// How soon to look again for what may come any moment.
pub const SOON: Duration = Duration::from_secs(5);

#[derive(Default)]
pub struct Rounds {
    thread: Option<Thread>,
    /// By how much Twilio's clock is ahead, by account.
    clocks: HashMap<String, Time>,
    rests: Rests,
    /// Somebody called while it was busy.
    woken: bool,
    /// Has the work of a worker before this one been tidied up? And has it in a transaction that is not committed yet?
    tidy: bool,
    tidying: bool,
}

/// What became of a round.
pub enum Ran {
    /// It may begin any moment, see [`SOON`].
    Waits,
    /// There was none.
    Nothing,
    Round,
}

/// How a round begins.
enum Begun {
    /// There is nothing to do, and why; look again soon.
    Waiting(&'static str),
    /// Nobody wants to have anything asked.
    Nothing,
    Round(Box<Started>),
}

struct Started {
    /// Its number in `msgstatus.poll_run`.
    run: i64,
    round: Round,
    /// The tables, and their schedules.
    tables: Vec<(Oid, Schedule)>,
    /// None where nobody can be asked.
    accounts: Option<Accounts>,
}

impl Rounds {
    /// The settings have changed, and with them perhaps the credentials.
    pub fn settings_changed(&mut self) {
        self.rests.forget();
    }

    /// Asks about what was asked for by hand. True if it could not look.
    ///
    /// A wish wakes the worker, also while it is busy with the one before; and a wait for a lock in between may hear the
    /// call unseen. So it looks once more. Not for ever: a wish that could not be asked about is still there.
    pub fn requests(&mut self) -> bool {
        let mut looks = 2;
        while looks > 0 {
            self.woken = false;
            match self.run("request") {
                Ran::Waits => return true,
                Ran::Nothing => return false,
                Ran::Round if self.woken => {}
                Ran::Round => looks -= 1,
            }
        }
        false
    }

    /// Runs a round.
    pub fn run(&mut self, trigger: &str) -> Ran {
        // Nobody else chooses messages until this round's are taken, and that is committed.
        let mut alone = None;
        self.tidying = false;
        self.rests.round_begins();
        let begun = transaction("looking for messages that are due", || self.begin(trigger, &mut alone));
        drop(alone);
        self.tidy |= begun.is_ok() && self.tidying;
        let ran = match begun {
            Ok(Begun::Waiting(why)) => {
                idle(why);
                return Ran::Waits;
            }
            Ok(Begun::Nothing) => Ran::Nothing,
            Ok(Begun::Round(started)) => {
                let Started { run, mut round, tables, accounts } = *started;
                if let Some(accounts) = accounts.filter(|_| round.results().next().is_some()) {
                    self.ask(&mut round, &tables, &accounts);
                }
                self.end(run, &mut round, &tables);
                Ran::Round
            }
            Err(failed) => {
                self.failed("a round", &failed);
                Ran::Nothing
            }
        };
        idle("idle");
        ran
    }

    fn failed(&mut self, what: &str, failed: &Failed) {
        self.rests.say(what, &format!("{what} failed: {}", failed.message));
    }

    fn begin(&mut self, trigger: &str, alone: &mut Option<Alone>) -> Result<Begun> {
        if !is_extension_there() {
            return Ok(Begun::Waiting("waiting for CREATE EXTENSION msgstatus"));
        }
        // SAFETY: reads a variable of the transaction.
        if unsafe { pg_sys::XactReadOnly } {
            return Ok(Begun::Waiting("waiting, the database is read-only"));
        }
        let mut troubles = Troubles::default();
        let pairs = claim::scheduled(None, &mut troubles)?;
        if pairs.is_empty() && troubles.0.is_empty() {
            return Ok(Begun::Nothing);
        }
        // Somebody asks by hand, and has not said yet what.
        *alone = Alone::try_be();
        if alone.is_none() {
            return Ok(Begun::Waiting("waiting for msgstatus.poll() in another session"));
        }
        if !self.tidy {
            claim::end_leases(&pairs, &runs::end_interrupted()?, &mut troubles);
            self.tidying = true;
        }
        let mut tally = Tally::default();
        let (mut due, mut able) = (Vec::new(), None);
        match self.accounts() {
            Ok(accounts) => {
                let terms = Terms {
                    most: gucs::poll_batch(),
                    accounts: &accounts,
                    resting: &self.rests.resting(),
                    wanted: trigger == "request",
                };
                due = claim::due(&pairs, &terms, &mut troubles);
                able = Some(accounts);
            }
            Err(why) => {
                self.rests.say("credentials", &why);
                tally.errors = 1;
                tally.message = Some(why);
            }
        }
        if due.is_empty() && trigger == "request" {
            return Ok(Begun::Nothing);
        }
        let lease = round::LONGEST + gucs::http_timeout() + LEASE_MORE;
        let until = claim::taken_until(lease.as_micros() as Time);
        let due = claim::lease(&pairs, &due, until, &mut troubles);
        let run = runs::begin(now(), trigger, Some(until))?;
        let tables = pairs.into_iter().map(|(pair, schedule)| (pair.messages.oid, schedule)).collect();
        let mut round = Round::new(due, false, Some(until));
        round.tally = tally;
        round.troubled(&troubles);
        self.rests.say_all("tables", &troubles.0);
        Ok(Begun::Round(Box::new(Started { run, round, tables, accounts: able })))
    }

    fn accounts(&mut self) -> std::result::Result<Accounts, String> {
        let accounts = credentials::ready().map_err(|fault| format!("{}. {}", fault.message, fault.hint))?;
        self.rests.silence("credentials");
        Ok(accounts)
    }

    /// Asks, and writes down what comes while it comes.
    fn ask(&mut self, round: &mut Round, tables: &[(Oid, Schedule)], accounts: &Accounts) {
        let asked = round.results().count();
        idle(&format!("asking Twilio about {asked} messages"));
        let Some(mut answers) = self.start(round, accounts) else { return };
        let (mut parcel, mut size, mut since) = (Vec::new(), 0, Instant::now());
        loop {
            let heard = answers.hear();
            let over = match heard {
                Heard::Said(said) => {
                    round.note(&said);
                    if parcel.is_empty() {
                        since = Instant::now();
                    }
                    size += self.take_note(&said);
                    parcel.push(said);
                    false
                }
                Heard::Nothing => !self.look_up(),
                Heard::Done(counts) => {
                    round.tally.counts = counts;
                    true
                }
                Heard::Gone => {
                    self.thread = None;
                    self.rests.say("thread", "the thread that asks Twilio ended unexpectedly");
                    true
                }
            };
            if size >= PARCEL || over || !parcel.is_empty() && since.elapsed() >= LIE {
                self.write_down(round, tables, &parcel);
                parcel.clear();
                size = 0;
                idle(&format!("asking Twilio about {asked} messages"));
            }
            if over {
                return;
            }
        }
    }

    fn start(&mut self, round: &Round, accounts: &Accounts) -> Option<Answers> {
        if self.thread.is_none() {
            match Thread::start() {
                Ok(thread) => self.thread = Some(thread),
                Err(why) => self.rests.say("thread", &format!("can't ask Twilio: {why}")),
            }
        }
        let inquiry = round.inquiry(accounts, &self.clocks, round::LONGEST);
        self.thread.as_ref().map(|thread| thread.ask(inquiry))
    }

    /// What the worker itself has to know of what was said; gives the number of answers.
    fn take_note(&mut self, said: &Said) -> usize {
        match said {
            Said::Reports { account, reports } => {
                self.rests.answered(account);
                return reports.len();
            }
            Said::Clock { account, ahead } => {
                self.clocks.insert(account.clone(), *ahead);
            }
            Said::Stopped { account, why, .. } => self.rests.rest(account, why),
            Said::Silent { .. } | Said::Done(_) => {}
        }
        1
    }

    /// Waits a moment for answers. False if the round was cancelled.
    fn look_up(&mut self) -> bool {
        if is_database_wanted() {
            start_anew("somebody wants to drop or copy the database");
        }
        if reload_settings() {
            self.settings_changed();
        }
        let waited = survive_cancel(|| wait::a_while(LOOK));
        self.woken |= waited == Some(true);
        waited.is_some()
    }

    /// Writes answers down: first of messages that nobody holds, then, if some are held, of the others, for which it waits as
    /// long as the lock timeout says.
    fn write_down(&mut self, round: &mut Round, tables: &[(Oid, Schedule)], parcel: &[Said]) {
        for (oid, schedule) in tables {
            for wait in [false, true] {
                let written =
                    on_table("writing down what Twilio said", *oid, |pair| round.record(pair, schedule, parcel, wait));
                match written {
                    Ok(written) => {
                        let held = written.as_ref().is_some_and(|written| !written.held.is_empty());
                        self.applied(round, *oid, written);
                        if !held {
                            break;
                        }
                    }
                    Err(failed) if wait => {
                        round.tally.errors += 1;
                        round.tally.message = Some(failed.message.clone());
                        self.failed("writing down what Twilio said", &failed);
                    }
                    Err(_) => {}
                }
            }
        }
    }

    /// Takes note of what was written in a table, now that it is committed, and tells of what could not be.
    fn applied(&mut self, round: &mut Round, table: Oid, written: Option<Written>) {
        let Some(written) = written else { return };
        for (key, why) in &written.failures {
            let about = format!("answers of {}: {why}", table.to_u32());
            self.rests.say_once(&about, &format!("an answer can't be written down, {key}: {why}"));
        }
        round.apply(written);
    }

    fn end(&mut self, run: i64, round: &mut Round, tables: &[(Oid, Schedule)]) {
        for (oid, _) in tables {
            // Two transactions: what is given back is given back, whatever becomes of the rest.
            let given_back = on_table("ending a round", *oid, |pair| round.give_back(pair));
            let marked = on_table("ending a round", *oid, |pair| Round::mark_unknown(pair, gucs::poll_batch()));
            if let Err(failed) = given_back {
                self.failed("ending a round", &failed);
            }
            match marked {
                Ok(written) => self.applied(round, *oid, written),
                Err(failed) => self.failed("ending a round", &failed),
            }
        }
        let ended = transaction("ending a round", || {
            if is_extension_there() {
                runs::end(run, &round.tally)?;
                runs::prune();
            }
            Ok(())
        });
        match ended {
            Ok(()) => self.rests.silence("a round"),
            Err(failed) => self.failed("a round", &failed),
        }
        let tally = &round.tally;
        if tally.checked > 0 || tally.errors > 0 {
            pgrx::log!(
                "msgstatus worker: {} messages checked with {} requests, {} changed, {} errors",
                tally.checked,
                tally.counts.requests,
                tally.changed,
                tally.errors
            );
        }
    }

    /// Mends what a race, a disabled trigger or replication left behind.
    pub fn settle(&mut self) {
        let settled = transaction("settling", || {
            // SAFETY: reads a variable of the transaction.
            if !is_extension_there() || unsafe { pg_sys::XactReadOnly } {
                return Ok(0);
            }
            let spi = Spi::connect()?;
            let rows = spi.once("SELECT msgstatus.settle()", &[], &[])?;
            Ok(rows.get(0, 0).map_or(0, |d| d.value() as i64))
        });
        match settled {
            Ok(0) => {}
            Ok(mended) => pgrx::log!("msgstatus worker: {mended} messages settled"),
            Err(failed) => self.failed("settling", &failed),
        }
        idle("idle");
    }
}

/// Does some work about a table in a transaction of its own, if it is still tracked.
fn on_table<T>(
    what: &str,
    messages: Oid,
    work: impl FnOnce(&Pair) -> Result<T>,
) -> std::result::Result<Option<T>, Failed> {
    transaction(what, || {
        // The table may be detached or gone since, and the extension too.
        let Some(pair) = is_extension_there().then(|| cache::still(messages)).transpose()?.flatten() else {
            return Ok(None);
        };
        // PostgreSQL fires no deferred trigger in an operation that is restricted to the rights of a table's owner.
        Spi::connect()?.once("SET CONSTRAINTS ALL IMMEDIATE", &[], &[])?;
        work(&pair).map(Some)
    })
}

/// Is the extension created in this database, in a version that has a place for rounds?
fn is_extension_there() -> bool {
    // SAFETY: catalog look-ups by name; what does not exist has no OID.
    unsafe {
        pg_sys::get_extension_oid(c"msgstatus".as_ptr(), true) != pg_sys::InvalidOid
            && pg_sys::get_relname_relid(c"poll_run".as_ptr(), extension_schema()) != pg_sys::InvalidOid
    }
}
