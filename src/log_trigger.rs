//! The trigger on the delivery log: new rows in, messages right.
//!
//! A statement with one row takes the path made for it. A statement with many is folded in one pass over its
//! transition table, one fold a message, before any message is read. Triggers on rows gather events for that
//! ([`crate::gather`]).

use crate::apply;
use crate::boundary;
use crate::commit;
use crate::errors::{Code, Fault, Result};
use crate::fold::{Event, Fold, Ranks, Time, Verdict};
use crate::function::Args;
use crate::gather;
use crate::key::Key;
use crate::pair::{Pair, Side, Table};
use crate::session::trigger_depth;
use crate::status::Status;
use crate::status::words::Provider;
use crate::trigger::{Attribute, Call, Made, Tuple};
use indexmap::IndexMap;
use pgrx::pg_sys::{Datum, Oid};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

crate::sql_function!(msgstatus_log_trigger, pg_finfo_msgstatus_log_trigger, log_trigger);

/// Where the columns of a log row are.
pub struct Columns {
    last: i16,
    key: Attribute,
    status: Attribute,
    provider: Option<Attribute>,
    event_at: Option<Attribute>,
    created_at: Option<Attribute>,
    error_code: Option<Attribute>,
    error_message: Option<Attribute>,
    /// Where the messages table keeps how often the provider was asked.
    source: Option<Attribute>,
}

/// What a log row says: an event, and if it is the provider's answer to a question, when that came.
struct Said {
    event: Event,
    asked: Option<Time>,
}

impl Said {
    fn add_to(self, fold: &mut Fold, ranks: &Ranks) {
        fold.add(self.event, ranks);
        if let Some(at) = self.asked {
            fold.asked(at);
        }
    }
}

impl Columns {
    fn of(pair: &Pair, relation: Oid) -> Result<Columns> {
        // A partition's columns may be in other places than its parent's.
        let table = Table { oid: relation, ..pair.log };
        let l = &pair.mapping.l;
        let optional = |role, column: &Option<String>| Attribute::optional(&table, role, column.as_deref());
        let mut columns = Columns {
            last: 0,
            key: Attribute::required(&table, "log_key", &l.key)?,
            status: Attribute::required(&table, "log.status", &l.status)?,
            provider: optional("log.provider", &l.provider)?,
            event_at: optional("log.event_at", &l.event_at)?,
            created_at: optional("log.created_at", &l.created_at)?,
            error_code: optional("log.error_code", &l.error_code)?,
            error_message: optional("log.error_message", &l.error_message)?,
            source: optional("log.source", &l.source.clone().filter(|_| pair.mapping.p.keeps_checks()))?,
        };
        let all = [
            Some(columns.key),
            Some(columns.status),
            columns.provider,
            columns.event_at,
            columns.created_at,
            columns.error_code,
            columns.error_message,
            columns.source,
        ];
        columns.last = all.into_iter().flatten().map(|a| a.number).max().unwrap_or(0);
        Ok(columns)
    }

    /// The columns of a relation, remembered with its pair.
    fn remembered(pair: &Pair, relation: Oid) -> Result<Rc<Columns>> {
        if let Some(columns) = pair.log_columns.borrow().get(&relation) {
            return Ok(Rc::clone(columns));
        }
        let columns = Rc::new(Columns::of(pair, relation)?);
        pair.log_columns.borrow_mut().insert(relation, Rc::clone(&columns));
        Ok(columns)
    }

    /// Lends the row's key, if it has one.
    fn with_key<T>(&self, pair: &Pair, row: &Tuple, use_key: impl FnOnce(&[u8]) -> T) -> Option<T> {
        // SAFETY: the value is of the key column, which has the pair's key type.
        row.get(self.key.number).map(|d| unsafe { pair.key.with_key(d, use_key) })
    }

    fn status(&self, pair: &Pair, row: &Tuple) -> Option<Status> {
        let word = row.get(self.status.number)?;
        if pair.log_holds_labels {
            return pair.oids.status(word);
        }
        let provider = self
            .provider
            .and_then(|a| row.get(a.number).map(|d| a.with_text(d, Provider::named)))
            .unwrap_or(pair.provider);
        self.status.with_text(word, |w| provider.parse(w))
    }

    fn read(&self, pair: &Pair, row: &Tuple) -> Option<Said> {
        let status = self.status(pair, row)?;
        let time = |a: Option<Attribute>| a.and_then(|a| row.get(a.number).map(|d| a.time(d)));
        let text = |a: Option<Attribute>| a.and_then(|a| row.get(a.number).map(|d| a.with_text(d, <[u8]>::to_vec)));
        let keeps = pair.mapping.keeps_errors();
        let code = if keeps { text(self.error_code) } else { None };
        let message = if keeps { text(self.error_message) } else { None };
        let created_at = time(self.created_at);
        let event = apply::read_event(
            pair,
            Some(status),
            time(self.event_at),
            created_at,
            code.as_deref(),
            message.as_deref(),
        )?;
        let polled = self.source.is_some_and(|a| row.get(a.number).is_some_and(|d| a.with_text(d, |s| s == b"poll")));
        // SAFETY: reads when the transaction began.
        let now = || unsafe { pgrx::pg_sys::GetCurrentTransactionStartTimestamp() };
        // Not the event's own time, which may be long ago.
        let asked = polled.then(|| created_at.unwrap_or_else(now));
        Some(Said { event, asked })
    }
}

/// The columns of the log's relations (it, and its partitions), remembered with a pair.
pub type Remembered = RefCell<HashMap<Oid, Rc<Columns>>>;

thread_local! {
    /// Where `apply_status` waits for the verdict on the row that it inserts.
    static AWAITED: Cell<Option<Awaited>> = const { Cell::new(None) };
}

#[derive(Clone, Copy)]
struct Awaited {
    messages: Oid,
    /// How deep in triggers the INSERT's own trigger is: a trigger of the user may write log rows of its own.
    depth: i32,
    verdict: Option<Verdict>,
}

/// Runs an INSERT of one log row and gives the verdict on it, if the trigger judged it.
pub fn verdict_on(messages: Oid, insert: impl FnOnce() -> Result<()>) -> Result<Option<Verdict>> {
    struct Forget;
    impl Drop for Forget {
        fn drop(&mut self) {
            AWAITED.set(None);
        }
    }
    let _forget = Forget;
    AWAITED.set(Some(Awaited { messages, depth: trigger_depth() + 1, verdict: None }));
    insert()?;
    Ok(AWAITED.get().and_then(|a| a.verdict))
}

fn log_trigger(args: &Args) -> Result<Option<Datum>> {
    let call = Call::of(args, Made::AfterInsert)?;
    let pair = match call.pair(Side::Log) {
        // Messages that a restore has left out, say. The callback is kept, and those of other tables on this log are folded.
        Err(fault) if fault.code == Code::UndefinedTable => {
            tell_once(fault);
            return Ok(Some(Datum::from(0usize)));
        }
        pair => pair?,
    };
    let columns = Columns::remembered(&pair, call.relation())?;

    if call.is_row() && gathers(&pair) {
        let row = call.new_row(columns.last);
        if let (Some(key), Some(said)) =
            (columns.with_key(&pair, &row, |key| Key::from(key)), columns.read(&pair, &row))
        {
            gather::add(&pair, key, said.event.status, |fold| said.add_to(fold, &pair.ranks));
        }
        return Ok(Some(Datum::from(0usize)));
    }

    let mut rows = 0u64;
    let mut first: Option<(Key, Option<Said>)> = None;
    let mut groups: IndexMap<Key, Fold> = IndexMap::new();
    call.each_new(columns.last, |row| {
        rows += 1;
        if rows > 1
            && let Some((key, Some(said))) = first.take()
        {
            said.add_to(groups.entry(key).or_default(), &pair.ranks);
        }
        let said = columns.read(&pair, row);
        columns.with_key(&pair, row, |key| {
            if rows == 1 {
                first = Some((Key::from(key), said));
            } else if let Some(said) = said {
                match groups.get_mut(key) {
                    Some(fold) => said.add_to(fold, &pair.ranks),
                    None => said.add_to(groups.entry(Key::from(key)).or_default(), &pair.ranks),
                }
            }
        });
        Ok(())
    })?;

    if let Some((key, said)) = first {
        let verdict = one(&pair, key, said)?;
        if let Some(awaited) = AWAITED.get()
            && awaited.messages == pair.messages.oid
            && awaited.depth == trigger_depth()
            && awaited.verdict.is_none()
        {
            AWAITED.set(Some(Awaited { verdict: Some(verdict), ..awaited }));
        }
    } else if !groups.is_empty() {
        let outcome = apply::batch(&pair, groups)?;
        commit::callbacks_wait(&pair, outcome.unmatched);
    }
    // The result of an AFTER trigger is ignored; a null pointer, not SQL NULL, is what PostgreSQL expects.
    Ok(Some(Datum::from(0usize)))
}

/// Tells the session once that there are no messages for callbacks.
fn tell_once(fault: Fault) {
    thread_local! {
        static TOLD: RefCell<HashSet<String>> = RefCell::default();
    }
    let message = format!("{}, so its callbacks are kept and not folded", fault.message);
    if TOLD.with_borrow_mut(|told| told.insert(message.clone())) {
        // SAFETY: below `enter`, as every function that SQL calls.
        unsafe { boundary::warning(&message, &fault.hint) };
    }
}

/// Are the events of a statement's rows folded together, when it is over? Not where somebody waits for the verdict on one.
fn gathers(pair: &Pair) -> bool {
    let awaited = AWAITED.get().is_some_and(|a| a.messages == pair.messages.oid && a.depth == trigger_depth());
    !awaited && gather::will_end()
}

fn one(pair: &Rc<Pair>, key: Key, said: Option<Said>) -> Result<Verdict> {
    let Some(said) = said else { return Ok(Verdict::Unrecognized) };
    let status = said.event.status;
    let mut fold = Fold::default();
    said.add_to(&mut fold, &pair.ranks);
    match apply::single(pair, &key, status, &fold)? {
        Some(verdict) => Ok(verdict),
        None => {
            commit::callbacks_wait(pair, [key]);
            Ok(Verdict::Unmatched)
        }
    }
}
