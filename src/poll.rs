//! Asking the provider on demand: `poll`, `check_status`, `check_batch`, `request_check`.
//!
//! | module | what it is |
//! |---|---|
//! | [`claim`] | which messages a round asks about |
//! | [`round`] | one round: what is asked, what comes back |
//! | [`record`] | answers, into the log |
//! | [`schedule`] | when to ask about a message |
//! | [`runs`] | `msgstatus.poll_run`, and one round at a time |

pub mod claim;
pub mod record;
pub mod round;
pub mod runs;
pub mod schedule;
pub mod wait;
pub mod wake;

use crate::credentials;
use crate::datum::text_datum;
use crate::encoding::{to_server, warn};
use crate::errors::{Code, Fault, Result};
use crate::function::Args;
use crate::pair::{Pair, cache, resolve, sql};
use crate::session::Rights;
use crate::spi::Spi;
use crate::status::Status;
use crate::status::oids::StatusOids;
use crate::status::words::Provider;
use crate::twilio::account::Accounts;
use crate::twilio::client::Failure;
use crate::twilio::thread::{Heard, Thread};
use claim::{Due, Terms, Troubles};
use pgrx::pg_sys::{self, Datum};
use round::{Outcome, Pairs, Round};
use schedule::Schedule;
use std::collections::HashMap;
use std::time::Duration;

crate::sql_function!(msgstatus_poll, pg_finfo_msgstatus_poll, poll);
crate::sql_function!(msgstatus_check_status, pg_finfo_msgstatus_check_status, check_status);
crate::sql_function!(msgstatus_check_batch, pg_finfo_msgstatus_check_batch, check_batch);
crate::sql_function!(msgstatus_request_check, pg_finfo_msgstatus_request_check, request_check);

/// The most messages of one `poll()`, and of one `check_batch()`.
const MOST: i32 = 500;
const MOST_OF_BATCH: i32 = 100;

/// How often a backend looks whether answers have come.
const LOOK: Duration = Duration::from_millis(20);

fn poll(args: &Args) -> Result<Option<Datum>> {
    let mut set = args.set()?;
    let given = args.get(0).map(|d| d.value() as i32);
    let Some(most) = given.filter(|n| (1..=MOST).contains(n)) else {
        return Err(Fault::new(
            Code::InvalidArgument,
            format!("max_messages can't be {}", given.map_or("NULL".to_owned(), |n| n.to_string())),
            format!("poll() asks about up to 100 messages, poll(n) about n, at most {MOST}."),
        ));
    };
    let messages = args.oid(1);
    if let Some(messages) = messages {
        cache::of_messages(Some(messages))?;
    }
    let accounts = ready("msgstatus.poll()")?;
    let mut troubles = Troubles::default();
    let pairs = claim::scheduled(messages, &mut troubles)?;
    if let Some(messages) = messages.filter(|_| pairs.is_empty()) {
        troubles.warn();
        return Err(Fault::new(
            Code::NotReady,
            format!("table {} has no schedule for asking Twilio", resolve::relation_name(messages)),
            "Detach it and attach it again with poll => 'stuck' or 'eager', or ask about single messages with check_status.",
        ));
    }
    let Some(_alone) = runs::Alone::be_soon() else {
        pgrx::notice!("msgstatus.poll() is under way in another session");
        return Ok(None);
    };
    let began = crate::twilio::now();
    let terms = Terms { most, accounts: &accounts, resting: &[], wanted: false };
    let mut round = Round::new(claim::due(&pairs, &terms, &mut troubles), false, None);
    ask(&mut round, &pairs, &accounts, false)?;
    for (pair, _) in &pairs {
        if let Some(written) = troubles.apart(pair.messages.oid, || Round::mark_unknown(pair, MOST)) {
            for (key, why) in &written.failures {
                warn(&format!("{key}: {why}"));
            }
            round.apply(written);
        }
    }
    troubles.warn();
    round.troubled(&troubles);
    runs::keep(began, "poll", &round.tally)?;
    runs::prune();
    let oids = StatusOids::get()?;
    let status = |s: Option<Status>| s.map(|s| oids.datum(s));
    for (due, outcome) in round.results() {
        let sid = Some(text_datum(&to_server(&due.sid)));
        let (old, new) = match outcome {
            Outcome::Answered { old, new, .. } => (*old, *new),
            _ => (due.status, due.status),
        };
        let error = outcome.error().map(|e| text_datum(&to_server(&e)));
        set.put(&[sid, status(old), status(new), Some(Datum::from(old != new)), error])?;
    }
    Ok(None)
}

/// What everything that asks needs: a transaction that may write, a URL, credentials.
fn ready(what: &str) -> Result<Accounts> {
    let name = std::ffi::CString::new(what).unwrap_or_default();
    // SAFETY: raises PostgreSQL's own errors, with a NUL-terminated name in them.
    unsafe {
        pg_sys::PreventCommandIfReadOnly(name.as_ptr());
        pg_sys::PreventCommandDuringRecovery(name.as_ptr());
    }
    credentials::ready()
}

/// Asks, and records the answers, in the transaction of the caller, who can cancel. It waits for messages that somebody else
/// holds, or gives up what was said about them.
fn ask(round: &mut Round, pairs: &Pairs, accounts: &Accounts, wait: bool) -> Result<()> {
    if round.results().next().is_none() {
        return Ok(());
    }
    let thread = Thread::start().map_err(|why| Fault::internal(format!("can't ask Twilio: {why}")))?;
    let mut answers = thread.ask(round.inquiry(accounts, &HashMap::new(), round::LONGEST));
    let mut said = Vec::new();
    loop {
        match answers.hear() {
            Heard::Said(mut one) => {
                round.note(&one);
                round.only_asked(&mut one);
                said.push(one);
            }
            Heard::Nothing => {
                wait::a_while(LOOK);
            }
            Heard::Done(counts) => {
                round.tally.counts = counts;
                break;
            }
            Heard::Gone => return Err(Fault::internal("the thread that asks Twilio is gone")),
        }
    }
    // Rows of messages are locked from here on and not while Twilio is waited for.
    for (pair, schedule) in pairs {
        let mut written = round.record(pair, schedule, &said, wait)?;
        let held = std::mem::take(&mut written.held);
        round.apply(written);
        round.give_up(&held);
    }
    Ok(())
}

fn check_status(args: &Args) -> Result<Option<Datum>> {
    let sid = args.string(0).unwrap_or_default();
    let (accounts, asked) = (ready("msgstatus.check_status()")?, args.text(0));
    let (pairs, due) = match asked {
        Some(sid) => find(&sid, sql::By::Sid, &accounts)?,
        None => (Pairs::new(), Vec::new()),
    };
    if due.is_empty() {
        return Err(Fault::new(
            Code::InvalidArgument,
            format!("no tracked message has the SID \"{sid}\""),
            "Give a SID as Twilio does, SM... or MM..., of a message in one of SELECT messages FROM msgstatus.tracked.",
        ));
    }
    show(args, pairs, due, &accounts, |why| Err(failed(&sid, why)))
}

fn check_batch(args: &Args) -> Result<Option<Datum>> {
    let accounts = ready("msgstatus.check_batch()")?;
    let (pairs, due) = match args.text(0) {
        Some(batch) => find(&batch, sql::By::Batch, &accounts)?,
        None => (Pairs::new(), Vec::new()),
    };
    show(args, pairs, due, &accounts, |_| Ok(()))
}

/// The error of a message that Twilio says nothing about.
fn failed(sid: &str, why: &Failure) -> Fault {
    let (code, hint) = match why {
        Failure::NotFound => (
            Code::InvalidArgument,
            "It was deleted, is older than Twilio keeps messages, or belongs to another account or region.",
        ),
        Failure::Refused(..) => (Code::BadCredentials, "Check the credentials of the message's account."),
        _ => (Code::NoAnswer, "Try again; SELECT * FROM msgstatus.poll_run shows how the worker fares."),
    };
    Fault::new(code, format!("can't ask about {sid}: {why}"), hint)
}

/// The messages of a SID or a batch.
fn find(text: &[u8], by: sql::By, accounts: &Accounts) -> Result<(Pairs, Vec<Due>)> {
    let (mut pairs, mut due) = (Pairs::new(), Vec::new());
    let mut troubles = Troubles::default();
    for oid in cache::all()? {
        let found = troubles.apart(oid, || {
            let Some(pair) = cache::still(oid)? else { return Ok(None) };
            resolve::due_columns(&pair.mapping, &pair.messages)?;
            let Some(sql) = sql::select_asked(&pair.mapping, &pair.plans.shape, by) else { return Ok(None) };
            let found = {
                let _owner = Rights::Owner.on(&pair.messages);
                let spi = Spi::connect()?;
                let rows = spi.once(
                    &sql,
                    &[pg_sys::TEXTOID, pg_sys::INT4OID, pg_sys::TEXTOID],
                    &[
                        Some(text_datum(text)),
                        Some(Datum::from(MOST_OF_BATCH - due.len() as i32)),
                        accounts.only().map(|sid| text_datum(&to_server(sid))),
                    ],
                )?;
                claim::read(&rows)?
            };
            Ok(Some((pair, found)))
        });
        if let Some((pair, found)) = found.flatten() {
            due.extend(found);
            pairs.push((pair, Schedule::default()));
        }
    }
    troubles.warn();
    Ok((pairs, due))
}

/// Asks about these messages and gives what Twilio says of them.
fn show(
    args: &Args,
    pairs: Pairs,
    due: Vec<Due>,
    accounts: &Accounts,
    silent: impl Fn(&Failure) -> Result<()>,
) -> Result<Option<Datum>> {
    let mut set = args.set()?;
    if let Some(due) = due.iter().find(|d| accounts.login(&d.account).is_none()) {
        return Err(credentials::missing(&due.account));
    }
    let began = crate::twilio::now();
    let mut round = Round::new(due, true, None);
    ask(&mut round, &pairs, accounts, true)?;
    runs::keep(began, "check", &round.tally)?;
    let oids = StatusOids::get()?;
    let text = |t: Option<&str>| t.map(|t| text_datum(&to_server(t)));
    for (due, outcome) in round.results() {
        let (message, error) = match outcome {
            Outcome::Answered { report, .. } => (report.message.clone(), None),
            Outcome::Refused { why, report } => {
                warn(&format!("the answer about {} can't be written down: {why}", due.sid));
                (report.message.clone(), None)
            }
            Outcome::Silent(why) => {
                silent(why)?;
                (Default::default(), outcome.error())
            }
            Outcome::Returned(_) | Outcome::Open => (Default::default(), outcome.error()),
        };
        let status = message.status.as_deref().and_then(|w| Provider::TWILIO.parse(&to_server(w)));
        let price = match message.decimal_price() {
            // SAFETY: a number in a form that numeric_in takes, with no type modifier.
            Some(price) => unsafe {
                let price = std::ffi::CString::new(price).unwrap_or_default();
                let input = [Some(Datum::from(price.as_ptr())), Some(Datum::from(0)), Some(Datum::from(-1i32))];
                Some(pgrx::direct_function_call_as_datum(pg_sys::numeric_in, &input))
            }
            .flatten(),
            None => None,
        };
        set.put(&[
            text(Some(&due.sid)),
            status.map(|s| oids.datum(s)),
            text(message.to.as_deref()),
            text(message.from.as_deref()),
            text(message.error_code.as_deref()),
            text(message.error_message.as_deref().or(error.as_deref())),
            message.date_sent.map(Datum::from),
            message.date_updated.map(Datum::from),
            price,
            text(message.price_unit.as_deref()),
        ])?;
    }
    Ok(None)
}

/// May the caller mark a message himself, in the column of a table that says when it is asked about?
fn may_want(pair: &Pair) -> bool {
    let p = &pair.mapping.p;
    let may = |column: &str, mode| resolve::may_column(pair.messages.oid, column, mode);
    p.next_check_at.as_deref().is_some_and(|next| may(next, pg_sys::ACL_UPDATE))
        && may(p.sid.as_deref().unwrap_or(&pair.mapping.m.key), pg_sys::ACL_SELECT)
}

/// Marks a message as due now, if the caller could do so too, and wakes the worker when that is committed.
fn request_check(args: &Args) -> Result<Option<Datum>> {
    let sid = args.string(0).unwrap_or_default();
    let (mut marked, mut able, mut denied) = (false, false, None);
    let mut troubles = Troubles::default();
    for (pair, _) in claim::scheduled(None, &mut troubles)? {
        let Some(text) = sql::want(&pair.mapping, &pair.plans.shape) else { continue };
        able = true;
        // A table that the caller may not use is none of his.
        let rights = Rights::unnamed(&pair.messages).filter(|_| may_want(&pair));
        let Some(rights) = rights else {
            denied.get_or_insert(pair.messages_name());
            continue;
        };
        let rows = troubles.apart(pair.messages.oid, || {
            let _acting = rights.on(&pair.messages);
            Ok(Spi::connect()?.once(&text, &[pg_sys::TEXTOID], &[args.get(0)])?.len())
        });
        marked |= rows.is_some_and(|rows| rows > 0);
    }
    troubles.warn();
    if !able {
        return Err(Fault::new(
            Code::NotReady,
            "no tracked table has a schedule and a column for next_check_at",
            "Attach a table with poll => 'stuck' or 'eager', and a timestamptz column in the role next_check_at.",
        ));
    }
    if let Some(table) = denied.filter(|_| !marked) {
        return Err(Fault::new(
            Code::NotAllowed,
            format!("permission denied for table {table}"),
            "Who asks for a check needs SELECT on the SID and UPDATE on next_check_at.",
        ));
    }
    if !marked {
        return Err(Fault::new(
            Code::InvalidArgument,
            format!("there is nothing to ask about a message \"{sid}\""),
            "Give the SID of an outbound message of Twilio's that is not final yet, in a table that is attached with a poll schedule.",
        ));
    }
    wake::at_commit()?;
    Ok(None)
}
