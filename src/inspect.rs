//! Reading a tracked pair: `history`, `verify`, `unmatched`, `unrecognized`, `due`.

use crate::apply;
use crate::datum::{Columns, interval_datum, text_datum};
use crate::encoding::{from_server, to_server};
use crate::errors::{Code, Fault, Result};
use crate::fold::{Event, Fold, Join, Row, Time, Told, Verdict};
use crate::function::Args;
use crate::gucs;
use crate::key::Key;
use crate::mend;
use crate::pair::sql;
use crate::pair::{Pair, cache, resolve};
use crate::poll::claim::{self, Troubles};
use crate::poll::schedule::Schedule;
use crate::session::Rights;
use crate::spi::Spi;
use crate::status::oids::{StatusOids, verdict_datum};
use crate::status::{Milestone, Status};
use crate::status_map;
use crate::waiting;
use pgrx::pg_sys::{self, Datum};

crate::sql_function!(msgstatus_history, pg_finfo_msgstatus_history, history);
crate::sql_function!(msgstatus_verify, pg_finfo_msgstatus_verify, verify);
crate::sql_function!(msgstatus_unmatched, pg_finfo_msgstatus_unmatched, unmatched);
crate::sql_function!(msgstatus_unrecognized, pg_finfo_msgstatus_unrecognized, unrecognized);
crate::sql_function!(msgstatus_due, pg_finfo_msgstatus_due, due);

/// The key that a text is, in the type of the pair's key; a text that is none is an input error.
pub fn key_from_text(pair: &Pair, text: &[u8]) -> Result<Key> {
    let spi = Spi::connect()?;
    let sql = format!("SELECT $1::{}", pair.key.sql_type());
    let rows = spi.once(&sql, &[pg_sys::TEXTOID], &[Some(text_datum(text))])?;
    let value = rows.get(0, 0).ok_or_else(|| Fault::internal("a key became null"))?;
    // SAFETY: the value was cast to the pair's key type.
    Ok(unsafe { pair.key.key(value) })
}

fn null_key() -> Fault {
    Fault::new(
        Code::InvalidArgument,
        "the message's key is NULL",
        "Pass the key of a message, as text: for tables made by create_tables, its sid.",
    )
}

/// The key argument, as bytes.
pub fn key_argument(args: &Args) -> Result<Vec<u8>> {
    args.text(0).ok_or_else(null_key)
}

fn history(args: &Args) -> Result<Option<Datum>> {
    let mut set = args.set()?;
    let pair = cache::of_messages(args.oid(1))?;
    let key = key_from_text(&pair, &key_argument(args)?)?;
    let oids = StatusOids::get()?;

    let spi = Spi::connect()?;
    let found = apply::stored(&pair, &spi, &key)?;
    let rows = spi.read(pair.plans.select_history.plan()?, &[Some(pair.key.datum(&key))])?;
    let events: Vec<Option<Event>> = (0..rows.len()).map(|i| apply::event_in(&pair, &rows, i, 0)).collect();

    let lives = found.as_ref().map_or_else(
        || vec![live(&pair, Row::default(), &events)],
        |row| initial(&pair, row, &events).into_iter().map(|begin| live(&pair, begin, &events)).collect(),
    );
    // Of several beginnings, the first that comes nearest to the row as it is. A status that was there from the beginning has
    // a time that no event has.
    let nearness = |life: &Vec<State>| {
        let (Some(end), Some(row)) = (life.last().map(|state| &state.row), &found) else { return (false, false) };
        let of_an_event = events.iter().flatten().any(|e| Some(e.at) == row.status_at);
        let since = if end.status_at == Some(Time::MIN) { !of_an_event } else { end.status_at == row.status_at };
        (end.status == row.status, since)
    };
    let life = lives.into_iter().rev().max_by_key(nearness).unwrap_or_default();
    for (i, (event, state)) in events.iter().zip(life).enumerate() {
        let verdict = if found.is_some() || event.is_none() { state.verdict } else { Verdict::Unmatched };
        set.put(&[
            rows.get(i, 6),
            rows.get(i, 3),
            event.as_ref().map(|e| Datum::from(e.at)),
            rows.get(i, 0),
            event.as_ref().map(|e| oids.datum(e.status)),
            Some(verdict_datum(verdict)?),
            state.row.status.filter(|_| found.is_some()).map(|s| oids.datum(s)),
            rows.get(i, 4),
            rows.get(i, 5),
            rows.get(i, 7),
        ])?;
    }
    Ok(None)
}

/// A message behind an event, and what became of the event.
struct State {
    row: Row,
    verdict: Verdict,
}

/// The life of a message that began so: as the engine folds one event after the other.
fn live(pair: &Pair, begin: Row, events: &[Option<Event>]) -> Vec<State> {
    let (mut so_far, mut told, mut row) = (Fold::default(), None::<Told>, begin);
    let mut next = |event: &Option<Event>| {
        let Some(event) = event else { return State { row: row.clone(), verdict: Verdict::Unrecognized } };
        let mut fold = Fold::default();
        fold.add(event.clone(), &pair.ranks);
        so_far.add(event.clone(), &pair.ranks);
        let after = match row.join(&fold, &pair.ranks, &pair.stored, told.as_ref()) {
            Join::Row(after) | Join::Locked(after) => {
                let after = pair.stored.mask(after);
                told = told.take().map(|told| told.and_then(&row, &after, &fold));
                after
            }
            Join::Undecided => {
                let after = pair.stored.mask(row.join_log(&so_far, &pair.ranks));
                told = Some(Told::of(&after, &so_far));
                after
            }
        };
        // What the log tells here, a table need not have a column for.
        let seen = row.seen | fold.seen();
        let before = std::mem::replace(&mut row, Row { seen, ..after });
        State { verdict: Verdict::of(event.status, &before, &row, &pair.ranks), row: row.clone() }
    };
    events.iter().map(&mut next).collect()
}

/// What the row may have been before its first event, likely ones first. Statuses that the message has seen and its log does
/// not tell of were written directly, usually when it was inserted. Where the log tells of all of them, `queued` may have been
/// both; or it had none, which is likelier where `queued` would have kept the first event from standing.
fn initial(pair: &Pair, row: &Row, events: &[Option<Event>]) -> Vec<Row> {
    let logged = events.iter().flatten().fold(0, |bits, e| bits | e.status.bit());
    let began =
        |seen: i32, status: Status| Row { seen, status: Some(status), status_at: Some(Time::MIN), ..Row::default() };
    let direct = row.seen & !logged;
    let first = events.iter().flatten().next();
    let mut all = Vec::new();
    let keeps = first.is_some_and(|first| pair.ranks.of(Status::Queued) > pair.ranks.of(first.status));
    if keeps && logged & Status::Queued.bit() != 0 && direct == 0 {
        all.push(Row::default());
    }
    if let Some(status) = Status::ALL.into_iter().rfind(|s| direct & s.bit() != 0) {
        // Later stages that were written directly came after the events: they are not where the life began.
        if first.is_none_or(|first| status <= first.status || status <= Status::Queued) {
            all.push(began(direct, status));
        }
    } else if row.seen & Status::Queued.bit() != 0 {
        all.push(began(Status::Queued.bit(), Status::Queued));
    }
    all.push(Row::default());
    all
}

fn verify(args: &Args) -> Result<Option<Datum>> {
    let mut set = args.set()?;
    let pair = cache::of_messages(args.oid(1))?;
    mend::each_chunk(&pair, Rights::Caller, mend::since(args.get(0)), |keys| {
        for (key, stored, folded) in apply::differences(&pair, Rights::Caller, keys)? {
            let name = text_datum(&pair.key.text(&key));
            for (column, a, b) in columns(&pair, &stored, &folded) {
                if a != b {
                    let text = |t: Option<String>| t.map(|t| text_datum(&to_server(&t)));
                    set.put(&[Some(name), Some(text_datum(&to_server(&column))), text(a), text(b)])?;
                }
            }
        }
        Ok(())
    })?;
    Ok(None)
}

type Compared = (String, Option<String>, Option<String>);

/// The columns of two rows as text, for people.
fn columns(pair: &Pair, stored: &Row, folded: &Row) -> Vec<Compared> {
    let status = |r: &Row| r.status.map(|s| s.label().to_owned());
    let time = |t: Option<Time>| t.map(|t| status_map::format(t).unwrap_or_else(|| as_it_prints(t)));
    let bytes = |t: &Option<Box<[u8]>>| t.as_deref().map(from_server);
    let code = |r: &Row| r.error.as_ref().and_then(|e| bytes(&e.code));
    let message = |r: &Row| r.error.as_ref().and_then(|e| bytes(&e.message));
    let m = &pair.mapping.m;
    let mut all = vec![(m.status.clone(), status(stored), status(folded))];
    let mut put = |column: Option<&str>, a, b| {
        if let Some(column) = column {
            all.push((column.to_owned(), a, b));
        }
    };
    put(m.status_at.as_deref(), time(stored.status_at), time(folded.status_at));
    for at in Milestone::ALL {
        put(m.milestone(at), time(stored.milestones[at as usize]), time(folded.milestones[at as usize]));
    }
    if let (Some(map), Some(a), Some(b)) = (m.status_map.as_deref(), &stored.mapped, &folded.mapped) {
        for at in Milestone::ALL {
            put(Some(&format!("{map}->>'{}'", at.label())), time(a[at as usize]), time(b[at as usize]));
        }
    }
    put(m.statuses_seen.as_deref(), Some(stored.seen.to_string()), Some(folded.seen.to_string()));
    put(m.error_code.as_deref(), code(stored), code(folded));
    put(m.error_message.as_deref(), message(stored), message(folded));
    let is_final = |r: &Row| r.is_final.map(|f| f.to_string());
    put(m.final_.as_deref(), is_final(stored), is_final(folded));
    all
}

/// A time that ISO 8601 cannot say.
fn as_it_prints(t: Time) -> String {
    // SAFETY: the type's own output function on a value of it gives a NUL-terminated string.
    unsafe {
        let text = pgrx::direct_function_call_as_datum(pg_sys::timestamptz_out, &[Some(Datum::from(t))]);
        text.map_or_else(String::new, |text| crate::key::c_string(text.cast_mut_ptr()))
    }
}

fn unmatched(args: &Args) -> Result<Option<Datum>> {
    let pair = cache::of_messages(args.oid(0))?;
    let mut set = args.set()?;
    let spi = Spi::connect()?;
    // First with the caller's rights: who may not read the log reads nothing here.
    let rows = spi.once(&sql::select_unmatched(&pair.mapping, &pair.plans.shape), &[], &[])?;
    for i in 0..rows.len() {
        set.put(&rows.row::<9>(i)?)?;
    }
    if resolve::sees_all(pair.log.oid) {
        waiting::each(&pair, |row| set.put(row))?;
    }
    Ok(None)
}

fn unrecognized(args: &Args) -> Result<Option<Datum>> {
    let pair = cache::of_messages(args.oid(0))?;
    let waiting = if resolve::sees_all(pair.log.oid) { waiting::unrecognized(&pair)? } else { Vec::new() };
    let (texts, times) = (pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID);
    let mut words = Columns::new([texts, texts, pg_sys::INT8OID, times, times]);
    for (provider, word, occurrences, first, last) in &waiting {
        let text = |t: &str| Some(text_datum(&to_server(t)));
        words.push([
            text(provider),
            text(word),
            Some(Datum::from(*occurrences)),
            first.map(Datum::from),
            last.map(Datum::from),
        ]);
    }
    // With the caller's rights: who may not read the log reads nothing here.
    report::<5>(args, &sql::select_unrecognized(&pair.mapping, &pair.plans.shape), &words.types(), &words.arrays())
}

/// What a round of asking would take now, over all tables that have a schedule: those first that were never asked about
/// or not for the longest time.
fn due(args: &Args) -> Result<Option<Datum>> {
    let limit = |i: usize, name: &str| {
        let given = args.get(i).map(|d| d.value() as i32);
        given.filter(|&n| n >= 0).ok_or_else(|| {
            Fault::new(
                Code::InvalidArgument,
                format!("{name} can't be {}", given.map_or("NULL".to_owned(), |n| n.to_string())),
                "Leave the argument out for its default: due() lists up to 100 messages with fewer than 20 checks.",
            )
        })
    };
    let (messages, checks) = (limit(0, "max_messages")?, limit(1, "max_checks")?);
    let mut set = args.set()?;
    let mut troubles = Troubles::default();
    let mut all = Vec::new();
    for (pair, schedule) in claim::scheduled(None, &mut troubles)? {
        // A table that the caller may not read would fail the list of all others.
        let rights = Rights::unnamed(&pair.messages).filter(|_| resolve::may(pair.messages.oid, pg_sys::ACL_SELECT));
        let Some(rights) = rights else { continue };
        let of_table = troubles.apart(pair.messages.oid, || due_of(&pair, rights, &schedule, checks, messages));
        all.extend(of_table.into_iter().flatten());
    }
    troubles.warn();
    all.sort_by(|a, b| (a.turn, a.urgency()).cmp(&(b.turn, b.urgency())));
    all.truncate(messages as usize);
    all.sort_by(|a, b| a.urgency().cmp(&b.urgency()));
    let oids = StatusOids::get()?;
    let text = |t: &str| Some(text_datum(&to_server(t)));
    for due in &all {
        set.put(&[
            Some(Datum::from(due.messages)),
            text(&due.key),
            text(&due.sid),
            due.status.map(|status| oids.datum(status)),
            due.began.and_then(age),
            Some(Datum::from(due.checks)),
            due.checked.map(Datum::from),
            text(&due.schedule),
            text(&due.reason),
        ])?;
    }
    Ok(None)
}

/// A message that is due, as [`sql::list_due`] tells it.
struct Due {
    messages: pg_sys::Oid,
    key: String,
    sid: String,
    status: Option<Status>,
    checks: i32,
    checked: Option<Time>,
    schedule: String,
    reason: String,
    turn: i64,
    wanted: bool,
    began: Option<Time>,
}

impl Due {
    fn urgency(&self) -> impl Ord {
        claim::urgency(self.wanted, self.checked, self.began, &self.key)
    }
}

/// What is due of one table.
fn due_of(pair: &Pair, rights: Rights, schedule: &Schedule, checks: i32, messages: i32) -> Result<Vec<Due>> {
    let _acting = rights.on(&pair.messages);
    let spi = Spi::connect()?;
    let rows = spi.once(
        &sql::list_due(sql::select_due(&pair.mapping, &pair.plans.shape, schedule)),
        &[pg_sys::INT4OID, pg_sys::INT4OID, pg_sys::INTERVALOID],
        &[Some(Datum::from(checks)), Some(Datum::from(messages)), Some(interval_datum(gucs::give_up_after()))],
    )?;
    let text = |i, column| rows.string(i, column).unwrap_or_default();
    let time = |i, column| rows.get(i, column).map(|d| d.value() as Time);
    let oids = StatusOids::get()?;
    let due = |i| Due {
        messages: pair.messages.oid,
        key: text(i, 0),
        sid: text(i, 1),
        status: rows.get(i, 2).and_then(|d| oids.status(d)),
        checks: rows.get(i, 3).map_or(0, |d| d.value() as i32),
        checked: time(i, 4),
        schedule: text(i, 5),
        reason: text(i, 6),
        turn: rows.get(i, 7).map_or(0, |d| d.value() as i64),
        wanted: rows.get(i, 8).is_some_and(|d| d.value() != 0),
        began: time(i, 9).filter(|&at| at != Time::MIN && at != Time::MAX),
    };
    Ok((0..rows.len()).map(due).collect())
}

/// How long ago a time was when this transaction began: an interval.
fn age(at: Time) -> Option<Datum> {
    // SAFETY: the function subtracts one time from another, and gives an interval in the current memory context.
    unsafe {
        let now = pg_sys::GetCurrentTransactionStartTimestamp();
        pgrx::direct_function_call_as_datum(pg_sys::timestamp_mi, &[Some(Datum::from(now)), Some(Datum::from(at))])
    }
}

/// Gives the rows of a query that runs with the caller's rights.
fn report<const WIDTH: usize>(
    args: &Args,
    sql: &str,
    types: &[pg_sys::Oid],
    values: &[Option<Datum>],
) -> Result<Option<Datum>> {
    let mut set = args.set()?;
    let spi = Spi::connect()?;
    let rows = spi.once(sql, types, values)?;
    for i in 0..rows.len() {
        set.put(&rows.row::<WIDTH>(i)?)?;
    }
    Ok(None)
}
