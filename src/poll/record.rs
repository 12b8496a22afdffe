//! What Twilio answered, into the log, and what is no event beside it.

use super::claim::text_array;
use super::schedule::Schedule;
use crate::datum::{Columns, interval_datum, text_datum};
use crate::encoding::to_server;
use crate::errors::Result;
use crate::gucs;
use crate::log_write::{self, LogRow};
use crate::pair::sql::Repeated;
use crate::pair::{Pair, sql};
use crate::session::Rights;
use crate::spi::Spi;
use crate::status::Status;
use crate::status::oids::StatusOids;
use crate::status::words::Provider;
use crate::subtransaction::{apart, together_or_alone};
use crate::twilio::inquiry::Report;
use crate::twilio::{Time, now, utc};
use pgrx::pg_sys::{self, Datum};
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};

/// How long a message is left alone about which Twilio gave no usable answer, in microseconds.
const AFTER_FAILURE: Time = 15 * 60 * 1_000_000;

/// Whose words they are.
const TWILIO: &str = "twilio";

/// After so many messages of a table that can't become delivery_unknown, and none that can, no more are tried in a round.
const ENOUGH_FAILURES: usize = 10;

/// What to write down about one message.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    /// Its key, as text.
    pub key: &'a str,
    pub what: What<'a>,
    /// Until when the round has it, as its row says.
    pub taken_until: Option<Time>,
}

#[derive(Clone, Copy)]
pub enum What<'a> {
    Answer(&'a Report),
    /// An answer that is in the log already, which another messages table shares.
    Told(&'a Report),
    /// Twilio has no such message: it is never asked again.
    Gone,
    /// It was asked in vain.
    Failed,
    /// It was not asked after all.
    Returned {
        /// Somebody asked for it by hand, and still waits.
        wanted: bool,
    },
}

impl<'a> What<'a> {
    fn report(self) -> Option<&'a Report> {
        match self {
            What::Answer(report) | What::Told(report) => Some(report),
            What::Gone | What::Failed | What::Returned { .. } => None,
        }
    }
}

/// The statuses of messages that were answered, before and after, by key.
type Statuses = HashMap<String, (Option<Status>, Option<Status>)>;

/// What became of entries.
#[derive(Default)]
pub struct Written {
    pub statuses: Statuses,
    /// The answers that a row could not take, and why, by key.
    pub failed: BTreeMap<String, String>,
    /// Messages that somebody else holds: nothing was written about them.
    pub held: HashSet<String>,
}

/// Writes all of it down, for messages of one table: of those that nobody else holds, or, if it waits, of all. An answer
/// that a constraint or a trigger refuses keeps no other from being written; its message is left alone for a while.
pub fn record(pair: &Pair, entries: &[Entry], wait: bool) -> Result<Written> {
    let (mut statuses, mut failed, mut held) = (HashMap::new(), BTreeMap::new(), HashSet::new());
    let mut entries = entries.to_vec();
    if !wait {
        let free = log_write::lock_free(pair, entries.iter().map(|e| e.key))?;
        held = entries.iter().filter(|e| !free.contains(e.key)).map(|e| e.key.to_owned()).collect();
        entries.retain(|e| free.contains(e.key));
    }
    together_or_alone(
        &entries,
        &mut |entries| {
            statuses.extend(write(pair, entries)?);
            Ok(())
        },
        &mut |entry, why| {
            let left_alone = Entry { what: What::Failed, ..*entry };
            // Its row takes nothing at all, perhaps: then it is asked about again when its lease is over.
            let _ = apart(|| keep_books(pair, &[left_alone]));
            failed.insert(entry.key.to_owned(), why.message);
        },
    )?;
    Ok(Written { statuses, failed, held })
}

fn write(pair: &Pair, entries: &[Entry]) -> Result<Statuses> {
    let answered: Vec<&str> = entries.iter().filter(|e| e.what.report().is_some()).map(|e| e.key).collect();
    let before = statuses(pair, &answered)?;
    // First the rows of all, in key order; then the fold finds its own locked already.
    keep_books(pair, entries)?;
    let said = |e: &Entry<'_>| match e.what {
        What::Answer(report) => Some(payload(report)),
        _ => None,
    };
    let payloads: Vec<Option<String>> = entries.iter().map(said).collect();
    let rows: Vec<LogRow> = entries.iter().zip(&payloads).filter_map(|(e, payload)| log_row(e, payload)).collect();
    log_write::write(pair, &rows, Repeated::Refused)?;
    let after = statuses(pair, &answered)?;
    let both = |(key, was)| {
        let is = after.get(&key).copied().flatten();
        (key, (was, is))
    };
    Ok(before.into_iter().map(both).collect())
}

/// The log row of an answer.
fn log_row<'a>(entry: &'a Entry, payload: &'a Option<String>) -> Option<LogRow<'a>> {
    let What::Answer(report) = entry.what else { return None };
    Some(LogRow {
        key: entry.key,
        status: report.message.status.as_deref().unwrap_or_default(),
        event_at: report.changed_at,
        error_code: report.message.error_code.as_deref(),
        error_message: report.message.error_message.as_deref(),
        payload: payload.as_deref(),
        provider: TWILIO,
        source: "poll",
        created_at: None,
    })
}

/// What the row of an answer keeps of it, beside what has a column.
fn payload(report: &Report) -> String {
    let m = &report.message;
    let date = |at: Option<Time>| at.map(|t| utc(t).format("%Y-%m-%dT%H:%M:%SZ").to_string());
    let fields = [
        ("date_created", date(m.date_created)),
        ("date_sent", date(m.date_sent)),
        ("date_updated", date(m.date_updated)),
        ("direction", m.direction.clone()),
        ("num_segments", m.num_segments.clone()),
        ("price", m.price.clone()),
        ("price_unit", m.price_unit.clone()),
    ];
    let all = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Value::String(value?))));
    Value::Object(all.collect::<Map<_, _>>()).to_string()
}

fn statuses(pair: &Pair, keys: &[&str]) -> Result<HashMap<String, Option<Status>>> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let oids = StatusOids::get()?;
    let _owner = Rights::Owner.on(&pair.messages);
    let spi = Spi::connect()?;
    let rows = spi.by_index(
        &sql::select_statuses(&pair.mapping, &pair.plans.shape),
        &[pg_sys::TEXTARRAYOID],
        &[Some(text_array(keys.iter().copied()))],
    )?;
    let status = |i| rows.get(i, 1).and_then(|d| oids.status(d));
    Ok((0..rows.len()).filter_map(|i| Some((rows.string(i, 0)?, status(i)))).collect())
}

fn keep_books(pair: &Pair, entries: &[Entry]) -> Result<()> {
    let Some(sql) = sql::keep_books(&pair.mapping, &pair.plans.shape) else { return Ok(()) };
    // The log trigger counts an answer that it understands, and that says where it comes from.
    let reader = if pair.mapping.l.provider.is_some() { Provider::TWILIO } else { pair.provider };
    let counted = |word: &str| pair.mapping.l.source.is_some() && reader.parse(&to_server(word)).is_some();
    let (texts, times, integers) = (pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID, pg_sys::INT4OID);
    let mut rows = Columns::new([texts, times, texts, texts, integers, integers, times, times]);
    for entry in entries {
        let message = entry.what.report().map(|report| &report.message);
        let (next, checks) = match entry.what {
            What::Answer(report) | What::Told(report) => {
                (None, i32::from(!counted(report.message.status.as_deref().unwrap_or_default())))
            }
            // Where there is no place for "never", that there were enough checks says it.
            What::Gone if pair.mapping.p.next_check_at.is_none() => (None, gucs::max_checks()),
            What::Gone => (Some(Time::MAX), 1),
            What::Failed => (Some(now() + AFTER_FAILURE), 1),
            What::Returned { wanted } => (wanted.then_some(Time::MIN), 0),
        };
        let price = message.and_then(|m| m.decimal_price());
        // A currency without a price says nothing yet.
        let unit = message.and_then(|m| m.price_unit.as_deref()).filter(|_| price.is_some());
        rows.push([
            Some(text_datum(&to_server(entry.key))),
            next.map(Datum::from),
            price.map(|p| text_datum(p.as_bytes())),
            unit.map(|u| text_datum(&to_server(u))),
            message.and_then(|m| m.segments()).map(Datum::from),
            Some(Datum::from(checks)),
            (checks > 0).then(|| Datum::from(now())),
            entry.taken_until.map(Datum::from),
        ]);
    }
    let _owner = Rights::Owner.on(&pair.messages);
    Spi::connect()?.by_index(&sql, &rows.types(), &rows.arrays()).map(drop)
}

/// Of what a page showed beside the messages that were asked about: those of this table on which it is news, or that were
/// due anyway. Gives their keys, and which report is about them.
pub fn others<'a>(pair: &Pair, schedule: &Schedule, reports: &[&'a Report]) -> Result<Vec<(String, &'a Report)>> {
    let sid = |r: &Report| r.message.sid.clone().unwrap_or_default();
    let by_sid: HashMap<String, &Report> = reports.iter().map(|&r| (sid(r), r)).collect();
    let _owner = Rights::Owner.on(&pair.messages);
    let spi = Spi::connect()?;
    let words = reports.iter().map(|r| r.message.status.as_deref().unwrap_or_default());
    let rows = spi.by_index(
        &sql::select_by_sid(&pair.mapping, &pair.plans.shape, schedule),
        &[pg_sys::INT4OID, pg_sys::TEXTARRAYOID, pg_sys::INTERVALOID, pg_sys::TEXTARRAYOID],
        &[
            Some(Datum::from(gucs::max_checks())),
            Some(text_array(reports.iter().map(|r| r.message.sid.as_deref().unwrap_or_default()))),
            Some(interval_datum(gucs::give_up_after())),
            Some(text_array(words)),
        ],
    )?;
    let found = |i| Some((rows.string(i, 0)?, *by_sid.get(&rows.string(i, 1)?)?));
    Ok((0..rows.len()).filter_map(found).collect())
}

/// Keys, and why nothing could be written about them.
pub type Failures = Vec<(String, String)>;

/// Messages that are sent for too long become delivery_unknown, through the log: at most so many of them. Gives their keys,
/// and why others could not.
pub fn mark_unknown(pair: &Pair, most: i32) -> Result<(Vec<String>, Failures)> {
    let Some(text) = sql::select_unknown(&pair.mapping, &pair.plans.shape) else { return Ok(Default::default()) };
    // By this policy it would change nothing, round after round.
    if pair.ranks.of(Status::DeliveryUnknown) <= pair.ranks.of(Status::Sent) {
        return Ok(Default::default());
    }
    let keys: Vec<String> = {
        let _owner = Rights::Owner.on(&pair.messages);
        let spi = Spi::connect()?;
        let rows = spi.once(
            &text,
            &[pg_sys::INTERVALOID, pg_sys::INT4OID, pg_sys::INT4OID, pg_sys::INTERVALOID],
            &[
                Some(interval_datum(gucs::unknown_after())),
                Some(Datum::from(gucs::max_checks())),
                Some(Datum::from(most)),
                Some(interval_datum(gucs::give_up_after())),
            ],
        )?;
        (0..rows.len()).filter_map(|i| rows.string(i, 0)).collect()
    };
    let (mut marked, failures) = (Vec::new(), RefCell::new(Vec::new()));
    together_or_alone(
        &keys,
        &mut |keys| {
            if marked.is_empty() && failures.borrow().len() >= ENOUGH_FAILURES {
                return Ok(());
            }
            // The log says whose conclusion it is: not Twilio's, which has no such status.
            let status = Status::DeliveryUnknown.label();
            let row = |key| LogRow { key, status, provider: TWILIO, source: "api", ..LogRow::default() };
            log_write::write(pair, &keys.iter().map(|key| row(key)).collect::<Vec<_>>(), Repeated::Refused)?;
            marked.extend(keys.iter().cloned());
            Ok(())
        },
        &mut |key, why| {
            let why = format!("it can't become delivery_unknown: {}", why.message);
            failures.borrow_mut().push((key.clone(), why));
        },
    )?;
    Ok((marked, failures.into_inner()))
}
