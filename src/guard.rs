//! The trigger on messages that holds the fold against every other writer.
//!
//! A direct INSERT or UPDATE is folded like an event at its own time: a status never moves back, milestones are
//! filled in, and what an ORM writes back from a stale copy erases nothing.

use crate::apply;
use crate::datum::{Layout, text_bytes, text_datum};
use crate::errors::{Code, Fault, Result};
use crate::fold::{Direct, Error, Row, Time};
use crate::function::Args;
use crate::gucs;
use crate::pair::mapping::OnRegression;
use crate::pair::sql::Role;
use crate::pair::{Pair, Side, Table};
use crate::session::{as_engine, is_engine};
use crate::status::oids::StatusOids;
use crate::status::{MILESTONES, Milestone, Status};
use crate::status_map;
use crate::trigger::{Attribute, Call, Made, Tuple};
use pgrx::pg_sys::{self, Datum, HeapTuple, Oid};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

crate::sql_function!(msgstatus_guard_trigger, pg_finfo_msgstatus_guard_trigger, guard_trigger);

/// Where the engine's columns of a messages relation are, in the order of `plans.writes`.
pub struct Columns {
    /// The number of the last of them.
    last: i16,
    key: Attribute,
    writes: Vec<(Role, Attribute)>,
    oids: StatusOids,
}

/// The columns of the messages relations (it, and its partitions), remembered with a pair.
pub type Remembered = RefCell<HashMap<Oid, Rc<Columns>>>;

impl Columns {
    fn remembered(pair: &Pair, relation: Oid) -> Result<Rc<Columns>> {
        if let Some(columns) = pair.message_columns.borrow().get(&relation) {
            return Ok(Rc::clone(columns));
        }
        let table = Table { oid: relation, ..pair.messages };
        let writes: Result<Vec<_>> = pair
            .plans
            .writes
            .iter()
            .map(|w| Ok((w.role, Attribute::required(&table, w.role.name(), &w.column)?)))
            .collect();
        let key = Attribute::required(&table, "message_key", &pair.mapping.m.key)?;
        let writes = writes?;
        let last = writes.iter().map(|(_, a)| a.number).chain([key.number]).max().unwrap_or(0);
        let columns = Rc::new(Columns { last, key, writes, oids: pair.oids });
        pair.message_columns.borrow_mut().insert(relation, Rc::clone(&columns));
        Ok(columns)
    }
}

/// One version of the row: what the fold knows of it, and the raw values of its columns.
struct Version {
    row: Row,
    values: Vec<Option<Datum>>,
}

impl Version {
    fn read(columns: &Columns, tuple: &Tuple) -> Version {
        let mut row = Row::default();
        let mut map = [None; MILESTONES];
        let (mut code, mut message) = (None, None);
        let mut values = Vec::with_capacity(columns.writes.len());
        for (role, attribute) in &columns.writes {
            let value = tuple.get(attribute.number);
            values.push(value);
            let Some(value) = value else { continue };
            match role {
                Role::Status => row.status = columns.oids.status(value),
                Role::StatusAt => row.status_at = Some(attribute.time(value)),
                Role::Milestone(m) => row.milestones[*m as usize] = Some(attribute.time(value)),
                Role::Seen => row.seen = value.value() as i32,
                Role::ErrorCode => code = Some(attribute.with_text(value, <[u8]>::to_vec)),
                Role::ErrorMessage => message = Some(attribute.with_text(value, <[u8]>::to_vec)),
                Role::StatusMap => map = in_map(value),
                Role::Final => row.is_final = Some(value.value() != 0),
            }
        }
        if columns.writes.iter().any(|(role, _)| *role == Role::StatusMap) {
            let in_column = |m| columns.writes.iter().any(|(role, _)| *role == Role::Milestone(m));
            for m in Milestone::ALL.into_iter().filter(|&m| !in_column(m)) {
                row.milestones[m as usize] = map[m as usize];
            }
            row.mapped = Some(Box::new(map));
        }
        row.error = Error::new(code.as_deref(), message.as_deref());
        Version { row, values }
    }
}

thread_local! {
    /// What the engine's UPDATE that runs makes of which row version, where somebody else's trigger could change it.
    static INTENDED: RefCell<HashMap<Place, Row>> = RefCell::default();
}

/// A row version: its table, block and line.
type Place = (Oid, u32, u16);

fn version(table: Oid, tid: &pg_sys::ItemPointerData) -> Place {
    let block = u32::from(tid.ip_blkid.bi_hi) << 16 | u32::from(tid.ip_blkid.bi_lo);
    (table, block, tid.ip_posid)
}

/// Runs an UPDATE of the engine that is to make these rows of these versions.
pub fn intending<'a, T>(
    pair: &Pair,
    rows: impl Iterator<Item = (Oid, &'a pg_sys::ItemPointerData, &'a Row)>,
    update: impl FnOnce() -> Result<T>,
) -> Result<T> {
    struct Restore(HashMap<Place, Row>);
    impl Drop for Restore {
        fn drop(&mut self) {
            let outer = std::mem::take(&mut self.0);
            INTENDED.with(|i| i.try_borrow_mut().map(|mut i| *i = outer).ok());
        }
    }
    if !pair.meddlers {
        return as_engine(update);
    }
    let intended = rows.map(|(table, tid, row)| (version(table, tid), row.clone())).collect();
    let _restore = Restore(INTENDED.replace(intended));
    as_engine(update)
}

fn guard_trigger(args: &Args) -> Result<Option<Datum>> {
    let call = Call::of(args, Made::BeforeWrite)?;
    let tuple = call.new_tuple();
    if !is_engine() && !gucs::GUARD.get() {
        return Ok(Some(Datum::from(tuple)));
    }
    let pair = call.pair(Side::Messages)?;
    if is_engine() && !pair.meddlers {
        return Ok(Some(Datum::from(tuple)));
    }
    let columns = Columns::remembered(&pair, call.relation())?;
    let new = Version::read(&columns, &call.new_row(columns.last));
    if is_engine() && !call.is_insert() {
        // SAFETY: an UPDATE's trigger has the tuple it replaces.
        let replaced = unsafe { version(call.relation(), &(*call.old_tuple()).t_self) };
        if let Some(intended) = INTENDED.with_borrow(|i| i.get(&replaced).cloned()) {
            let intended = pair.stored.mask(intended);
            return Ok(Some(Datum::from(rewritten(&pair, &call, &columns, &new, None, &intended)?)));
        }
    }
    let (folded, old) = if call.is_insert() {
        (direct(&pair).inserted(&new.row), None)
    } else {
        let (before, after) = (call.old_row(columns.last), call.new_row(columns.last));
        let old = Version::read(&columns, &before);
        let other = is_other_message(&pair, &columns, &before, &after);
        let (folded, refused) = match other {
            true => (direct(&pair).rekeyed(&old.row, &new.row), false),
            false => direct(&pair).updated(&old.row, &new.row),
        };
        if refused && pair.mapping.on_regression == OnRegression::Error {
            return Err(regression(&call, &columns, &old.row, &new.row));
        }
        // An error that a callback carried is the log's, also if it is written directly. (What another message has in its log
        // is folded in behind the UPDATE.)
        let own = !other && folded.error.is_some() && folded.error != old.row.error;
        // SAFETY: the value is of the key column, which has the pair's key type.
        let key = before.get(columns.key.number).filter(|_| own).map(|key| unsafe { pair.key.key(key) });
        let folded = match key {
            Some(key) => apply::by_log(&pair, &key, &folded)?,
            None => folded,
        };
        (folded, Some(old))
    };
    let folded = pair.stored.mask(folded);
    Ok(Some(Datum::from(rewritten(&pair, &call, &columns, &new, old.as_ref(), &folded)?)))
}

/// What direct writes of a pair's messages are folded by, now.
fn direct(pair: &Pair) -> Direct<'_> {
    // SAFETY: reads when the transaction began.
    Direct { ranks: &pair.ranks, stored: &pair.stored, now: unsafe { pg_sys::GetCurrentTransactionStartTimestamp() } }
}

/// Does the row lose its key, or get another? Then it stands for another message from now on: a second attempt, say.
fn is_other_message(pair: &Pair, columns: &Columns, before: &Tuple, after: &Tuple) -> bool {
    let Some(old) = before.get(columns.key.number) else { return false };
    let Some(new) = after.get(columns.key.number) else { return true };
    // SAFETY: the values are of the key column, which has the pair's key type.
    unsafe { pair.key.with_key(old, |a| pair.key.with_key(new, |b| pair.key.compare(a, b).is_ne())) }
}

fn regression(call: &Call, columns: &Columns, old: &Row, new: &Row) -> Fault {
    let label = |s: Option<Status>| s.map_or("NULL", Status::label);
    let key = call
        .new_row(columns.last)
        .get(columns.key.number)
        .map_or_else(|| "NULL".to_owned(), |d| columns.key.with_text(d, crate::encoding::from_server));
    Fault::new(
        Code::Regression,
        format!("status of message \"{key}\" can't go from {} to {}", label(old.status), label(new.status)),
        "Write what the provider says into the delivery log, or correct data by hand with SET msgstatus.guard = off.",
    )
    .detail("The table is attached with on_regression => 'error'.")
}

/// The new tuple with the folded values in place of those that differ.
fn rewritten(
    pair: &Pair,
    call: &Call,
    columns: &Columns,
    new: &Version,
    old: Option<&Version>,
    folded: &Row,
) -> Result<HeapTuple> {
    let mut changes = Vec::new();
    let mut replace = |attribute: &Attribute, value: Option<Datum>| changes.push((*attribute, value));
    let row = &new.row;
    let error_kept = old.is_some() && row.error.is_none() && folded.error.is_some();
    for (i, (role, attribute)) in columns.writes.iter().enumerate() {
        match role {
            Role::Status if folded.status != row.status => {
                replace(attribute, folded.status.map(|s| columns.oids.datum(s)));
            }
            Role::StatusAt if folded.status_at != row.status_at => {
                replace(attribute, folded.status_at.map(Datum::from));
            }
            Role::Milestone(m) => {
                let t = folded.milestones[*m as usize];
                if t != new.values[i].map(|d| attribute.time(d)) {
                    replace(attribute, t.map(Datum::from));
                }
            }
            Role::Seen if folded.seen != row.seen => replace(attribute, Some(Datum::from(folded.seen))),
            Role::ErrorCode | Role::ErrorMessage if error_kept => {
                replace(attribute, old.and_then(|o| o.values[i]));
            }
            Role::ErrorCode | Role::ErrorMessage if folded.error != row.error => {
                let code = *role == Role::ErrorCode;
                let said =
                    folded.error.as_ref().and_then(|e| if code { e.code.as_deref() } else { e.message.as_deref() });
                // A column that is NOT NULL says "no error" with an empty text.
                let types = &pair.plans.shape.types;
                let required = if code { types.error_code_required } else { types.error_message_required };
                replace(attribute, said.or(required.then_some(&b""[..])).map(text_datum));
            }
            Role::Final if folded.is_final != row.is_final => replace(attribute, folded.is_final.map(Datum::from)),
            Role::StatusMap => {
                let milestones = folded.mapped.as_deref().copied().unwrap_or_default();
                if new.values[i].map(in_map).unwrap_or_default() != milestones {
                    replace(attribute, Some(put_into(new.values[i], &milestones)?));
                }
            }
            _ => {}
        }
    }
    Ok(if changes.is_empty() { call.new_tuple() } else { call.new_tuple_with(&changes) })
}

/// The milestones in a jsonb value.
fn in_map(map: Datum) -> [Option<Time>; MILESTONES] {
    Milestone::ALL.map(|m| {
        let key = text_datum(m.label().as_bytes());
        // SAFETY: gives the field's text, or null where there is none, also of what is no object.
        let text = unsafe {
            pgrx::direct_function_call_as_datum(pg_sys::jsonb_object_field_text, &[Some(map), Some(key)])
                .map(|d| text_bytes(d))
        };
        text.and_then(|t| status_map::parse(&String::from_utf8_lossy(&t)))
    })
}

/// A jsonb value with these milestones in it, and no others, if it is an object; else a new one.
fn put_into(map: Option<Datum>, milestones: &[Option<Time>; MILESTONES]) -> Result<Datum> {
    let patch =
        std::ffi::CString::new(status_map::write(milestones)).map_err(|_| Fault::internal("NUL in a status map"))?;
    // SAFETY: jsonb's own functions: input takes a C string, typeof and concatenation take jsonb values.
    unsafe {
        let patch = pgrx::direct_function_call_as_datum(pg_sys::jsonb_in, &[Some(Datum::from(patch.as_ptr()))]);
        let object = map.filter(|&m| {
            pgrx::direct_function_call_as_datum(pg_sys::jsonb_typeof, &[Some(m)])
                .is_some_and(|kind| text_bytes(kind) == b"object")
        });
        let joined = match object {
            Some(map) => {
                let keys = Milestone::ALL.map(|m| Some(text_datum(m.label().as_bytes())));
                let keys = Some(Layout::of(pg_sys::TEXTOID).array(&keys));
                let rest = pgrx::direct_function_call_as_datum(pg_sys::jsonb_delete_array, &[Some(map), keys]);
                pgrx::direct_function_call_as_datum(pg_sys::jsonb_concat, &[rest, patch])
            }
            None => patch,
        };
        joined.ok_or_else(|| Fault::internal("a status map became null"))
    }
}
