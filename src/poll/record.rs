//! What Twilio answered, into the log, and what is no event beside it.

use super::claim::text_array;
use super::schedule::Schedule;
use crate::datum::{Layout, interval_datum, text_datum};
use crate::encoding::to_server;
use crate::errors::Result;
use crate::gucs;
use crate::pair::{Pair, sql};
use crate::session::Rights;
use crate::spi::Spi;
use crate::status::Status;
use crate::status::oids::StatusOids;
use crate::status::words::Provider;
use crate::twilio::inquiry::Report;
use crate::twilio::{Time, now, utc};
use pgrx::pg_sys::{self, Datum};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// How long a message is left alone about which Twilio gave no usable answer, in microseconds.
const AFTER_FAILURE: Time = 15 * 60 * 1_000_000;

/// What to write down about one message.
pub struct Entry<'a> {
    /// Its key, as text.
    pub key: &'a str,
    pub what: What<'a>,
}

pub enum What<'a> {
    Answer(&'a Report),
    /// Twilio has no such message: it is never asked again.
    Gone,
    /// It was asked in vain.
    Failed,
    /// It was not asked after all.
    Returned,
}

/// The status of a message before and after.
pub type Statuses = HashMap<String, (Option<Status>, Option<Status>)>;

/// Writes all of it down, for messages of one table; gives what became of those that were answered.
pub fn record(pair: &Pair, entries: &[Entry]) -> Result<Statuses> {
    let answers: Vec<(&str, &Report)> = entries
        .iter()
        .filter_map(|e| match e.what {
            What::Answer(report) => Some((e.key, report)),
            _ => None,
        })
        .collect();
    let before = statuses(pair, &answers)?;
    // First the rows of all, in key order; then the fold finds its own locked already.
    keep_books(pair, entries)?;
    insert(
        pair,
        answers.iter().map(|&(key, report)| Event {
            key,
            word: report.message.status.as_deref().unwrap_or_default(),
            event_at: report.changed_at,
            error_code: report.message.error_code.as_deref(),
            error_message: report.message.error_message.as_deref(),
            payload: Some(payload(report)),
            source: "poll",
        }),
    )?;
    let after = statuses(pair, &answers)?;
    Ok(before
        .into_iter()
        .map(|(key, was)| {
            let is = after.get(&key).copied().flatten();
            (key, (was, is))
        })
        .collect())
}

/// A log row.
struct Event<'a> {
    key: &'a str,
    word: &'a str,
    event_at: Option<Time>,
    error_code: Option<&'a str>,
    error_message: Option<&'a str>,
    payload: Option<String>,
    source: &'static str,
}

fn insert<'a>(pair: &Pair, events: impl Iterator<Item = Event<'a>>) -> Result<()> {
    let text = |t: Option<&str>| t.map(|t| text_datum(&to_server(t)));
    let mut columns: [Vec<Option<Datum>>; 7] = Default::default();
    for event in events {
        let row = [
            text(Some(event.key)),
            text(Some(event.word)),
            event.event_at.map(Datum::from),
            text(event.error_code),
            text(event.error_message),
            text(event.payload.as_deref()),
            text(Some(event.source)),
        ];
        for (column, value) in columns.iter_mut().zip(row) {
            column.push(value);
        }
    }
    if columns[0].is_empty() {
        return Ok(());
    }
    let (texts, times) = (Layout::of(pg_sys::TEXTOID), Layout::of(pg_sys::TIMESTAMPTZOID));
    let layouts = [&texts, &texts, &times, &texts, &texts, &texts, &texts];
    let values: Vec<_> = columns.iter().zip(layouts).map(|(column, layout)| Some(layout.array(column))).collect();
    let mut types = [pg_sys::TEXTARRAYOID; 7];
    types[2] = pg_sys::TIMESTAMPTZARRAYOID;
    let _owner = Rights::Owner.on(&pair.log);
    Spi::connect()?.once(&sql::insert_events(&pair.mapping, &pair.plans.shape), &types, &values)?;
    Ok(())
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

fn statuses(pair: &Pair, answers: &[(&str, &Report)]) -> Result<HashMap<String, Option<Status>>> {
    if answers.is_empty() {
        return Ok(HashMap::new());
    }
    let oids = StatusOids::get()?;
    let _owner = Rights::Owner.on(&pair.messages);
    let spi = Spi::connect()?;
    let rows = spi.by_index(
        &sql::select_statuses(&pair.mapping, &pair.plans.shape),
        &[pg_sys::TEXTARRAYOID],
        &[Some(text_array(answers.iter().map(|a| a.0)))],
    )?;
    let status = |i| rows.get(i, 1).and_then(|d| oids.status(d));
    Ok((0..rows.len()).filter_map(|i| Some((rows.string(i, 0)?, status(i)))).collect())
}

fn keep_books(pair: &Pair, entries: &[Entry]) -> Result<()> {
    let Some(text) = sql::keep_books(&pair.mapping, &pair.plans.shape) else { return Ok(()) };
    let mut columns: [Vec<Option<Datum>>; 7] = Default::default();
    for entry in entries {
        let (mut next, mut price, mut unit, mut segments, mut checks) = (None, None, None, None, 0);
        match entry.what {
            What::Answer(report) => {
                let m = &report.message;
                price = m.decimal_price().map(|p| text_datum(p.as_bytes()));
                // A currency without a price says nothing yet.
                unit = m.price_unit.as_deref().filter(|_| price.is_some()).map(|u| text_datum(&to_server(u)));
                segments = m.segments().map(Datum::from);
                // The log trigger counts an answer that it understands, and that says where it comes from.
                let word = to_server(m.status.as_deref().unwrap_or_default());
                let told = pair.mapping.l.source.is_some() && Provider::TWILIO.parse(&word).is_some();
                checks = i32::from(!told);
            }
            What::Gone => (next, checks) = (Some(Datum::from(Time::MAX)), 1),
            What::Failed => (next, checks) = (Some(Datum::from(now() + AFTER_FAILURE)), 1),
            What::Returned => {}
        }
        let row = [
            Some(text_datum(&to_server(entry.key))),
            next,
            price,
            unit,
            segments,
            Some(Datum::from(checks)),
            (checks > 0).then(|| Datum::from(now())),
        ];
        for (column, value) in columns.iter_mut().zip(row) {
            column.push(value);
        }
    }
    let (text_l, time_l, int_l) =
        (Layout::of(pg_sys::TEXTOID), Layout::of(pg_sys::TIMESTAMPTZOID), Layout::of(pg_sys::INT4OID));
    let layouts = [&text_l, &time_l, &text_l, &text_l, &int_l, &int_l, &time_l];
    let arrays = [
        pg_sys::TEXTARRAYOID,
        pg_sys::TIMESTAMPTZARRAYOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::INT4ARRAYOID,
        pg_sys::INT4ARRAYOID,
        pg_sys::TIMESTAMPTZARRAYOID,
    ];
    let values: Vec<_> = columns.iter().zip(layouts).map(|(column, layout)| Some(layout.array(column))).collect();
    let _owner = Rights::Owner.on(&pair.messages);
    Spi::connect()?.by_index(&text, &arrays, &values)?;
    Ok(())
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

/// Messages that are sent for too long become delivery_unknown, through the log. Gives their keys.
pub fn mark_unknown(pair: &Pair, most: i32) -> Result<Vec<String>> {
    let Some(text) = sql::select_unknown(&pair.mapping, &pair.plans.shape) else { return Ok(Vec::new()) };
    let keys: Vec<String> = {
        let _owner = Rights::Owner.on(&pair.messages);
        let spi = Spi::connect()?;
        let rows = spi.once(
            &text,
            &[pg_sys::INTERVALOID, pg_sys::INT4OID, pg_sys::INT4OID],
            &[
                Some(interval_datum(gucs::unknown_after())),
                Some(Datum::from(gucs::max_checks())),
                Some(Datum::from(most)),
            ],
        )?;
        (0..rows.len()).filter_map(|i| rows.string(i, 0)).collect()
    };
    // The log says whose conclusion it is: not Twilio's, which has no such status.
    insert(
        pair,
        keys.iter().map(|key| Event {
            key,
            word: Status::DeliveryUnknown.label(),
            event_at: None,
            error_code: None,
            error_message: None,
            payload: None,
            source: "api",
        }),
    )?;
    Ok(keys)
}
