//! Pairs that this backend has built, and when to build them again.

use super::mapping::Mapping;
use super::plans::Statement;
use super::{Pair, Side};
use crate::errors::{Code, Fault, Result};
use crate::spi::{Plan, Spi};
use crate::status::oids::extension_schema;
use pgrx::pg_sys::{self, Datum, Oid};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

#[derive(Default)]
struct Cache {
    /// By the trigger that carries the mapping, or by the messages table.
    pairs: HashMap<(Source, Oid), Rc<Pair>>,
    /// The relations that these pairs depend on.
    relations: HashSet<Oid>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    Trigger,
    Messages,
}

thread_local! {
    static CACHE: RefCell<Cache> = RefCell::default();
    /// Set by PostgreSQL when something that a pair was built from may have changed.
    static STALE: Cell<bool> = const { Cell::new(false) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

/// The pair of a trigger.
///
/// # Safety
/// `data` is the trigger data of a trigger call that is under way.
pub unsafe fn of_trigger(data: *mut pg_sys::TriggerData, side: Side) -> Result<Rc<Pair>> {
    // SAFETY: trigger data holds a trigger and a relation.
    let (trigger, relation) = unsafe { (&*(*data).tg_trigger, (*(*data).tg_relation).rd_id) };
    lookup((Source::Trigger, trigger.tgoid), || {
        if trigger.tgnargs != 1 {
            return Err(Fault::new(
                Code::InvalidArgument,
                format!("a trigger of msgstatus has {} arguments, not one", trigger.tgnargs),
                "Triggers of msgstatus are made by msgstatus.attach: run msgstatus.detach and attach again.",
            ));
        }
        // SAFETY: tgnargs says that there is one argument, a NUL-terminated string.
        let text = unsafe { std::ffi::CStr::from_ptr(*trigger.tgargs) }.to_bytes();
        Pair::build(Mapping::read(text)?, Some((side, relation))).map(Some)
    })?
    .ok_or_else(|| Fault::internal("a trigger without a pair"))
}

/// The pair of a messages table; without one, the only pair that there is.
pub fn of_messages(messages: Option<Oid>) -> Result<Rc<Pair>> {
    let messages = match messages {
        Some(oid) => oid,
        None => only()?,
    };
    if let Some(pair) = still(messages)? {
        return Ok(pair);
    }
    Err(Fault::new(
        Code::NotReady,
        format!("table {} is not tracked", super::resolve::relation_name(messages)),
        "Attach it first: SELECT msgstatus.attach('messages', 'delivery_log'). SELECT * FROM msgstatus.tracked lists what is.",
    ))
}

/// The pair of a messages table as it is now, if it is tracked.
pub fn still(messages: Oid) -> Result<Option<Rc<Pair>>> {
    lookup((Source::Messages, messages), || {
        let spi = Spi::connect()?;
        let plan = Plan::prepare(
            "SELECT t.mapping::pg_catalog.text FROM msgstatus.tracked t \
             WHERE t.messages OPERATOR(pg_catalog.=) $1",
            &[pg_sys::OIDOID],
            false,
        )?;
        let rows = spi.run(&plan, &[Some(Datum::from(messages))])?;
        let Some(text) = rows.text(0, 0) else { return Ok(None) };
        Pair::build(Mapping::read(&text)?, None).map(Some)
    })
}

/// Every tracked messages table.
pub fn all() -> Result<Vec<Oid>> {
    let spi = Spi::connect()?;
    let sql = "SELECT t.messages::pg_catalog.oid FROM msgstatus.tracked t ORDER BY t.pair";
    let rows = spi.once(sql, &[], &[])?;
    Ok((0..rows.len()).filter_map(|i| rows.get(i, 0)).map(|d| Oid::from(d.value() as u32)).collect())
}

/// The tracked messages tables that have a schedule for asking the provider, and which.
pub fn scheduled() -> Result<Vec<(Oid, String)>> {
    let spi = Spi::connect()?;
    let sql = "SELECT t.messages::pg_catalog.oid, t.poll FROM msgstatus.tracked t \
               WHERE t.poll OPERATOR(pg_catalog.<>) 'off' ORDER BY t.pair";
    let rows = spi.once(sql, &[], &[])?;
    let oid = |i| rows.get(i, 0).map(|d| Oid::from(d.value() as u32));
    Ok((0..rows.len()).filter_map(|i| Some((oid(i)?, rows.string(i, 1)?))).collect())
}

fn only() -> Result<Oid> {
    thread_local! {
        /// Kept: every callback asks.
        static SOME: Statement = Statement::new(
            "SELECT t.messages::pg_catalog.oid FROM msgstatus.tracked t LIMIT 2".to_owned(),
            vec![],
            false,
        );
    }
    let spi = Spi::connect()?;
    let some: Vec<Oid> = SOME.with(|some| -> Result<Vec<Oid>> {
        let rows = spi.run(some.plan()?, &[])?;
        Ok((0..rows.len()).filter_map(|i| rows.get(i, 0)).map(|d| Oid::from(d.value() as u32)).collect())
    })?;
    match some[..] {
        [one] => Ok(one),
        [] => Err(Fault::new(
            Code::NotReady,
            "no messages table is tracked",
            "Make a pair of tables with msgstatus.create_tables, or attach your own with msgstatus.attach.",
        )),
        _ => Err(Fault::new(
            Code::InvalidArgument,
            "several messages tables are tracked",
            "Say which one: messages => 'schema.table'. SELECT messages FROM msgstatus.tracked lists them.",
        )),
    }
}

fn lookup(key: (Source, Oid), build: impl FnOnce() -> Result<Option<Pair>>) -> Result<Option<Rc<Pair>>> {
    if !REGISTERED.replace(true) {
        // A renamed schema and a changed membership are not announced as changes of relations.
        let others = [
            pg_sys::SysCacheIdentifier::NAMESPACEOID,
            pg_sys::SysCacheIdentifier::AUTHOID,
            pg_sys::SysCacheIdentifier::AUTHMEMROLEMEM,
        ];
        // SAFETY: registered once a backend; the callbacks do not allocate, throw or look anything up.
        unsafe {
            pg_sys::CacheRegisterRelcacheCallback(Some(relation_changed), Datum::from(0usize));
            for cache in others {
                pg_sys::CacheRegisterSyscacheCallback(cache as i32, Some(name_changed), Datum::from(0usize));
            }
        }
    }
    if STALE.replace(false) {
        // The pairs in use live on in their Rc; dropping the others frees their plans.
        let old = CACHE.take();
        drop(old);
    }
    if let Some(pair) = CACHE.with_borrow(|c| c.pairs.get(&key).cloned()) {
        return Ok(Some(pair));
    }
    let Some(pair) = build()?.map(Rc::new) else { return Ok(None) };
    let policy = policy_table();
    CACHE.with_borrow_mut(|cache| {
        cache.relations.extend([pair.messages.oid, pair.log.oid, key.1, policy]);
        cache.pairs.insert(key, Rc::clone(&pair));
    });
    Ok(Some(pair))
}

/// The OID of `msgstatus.policy`, whose changes are announced by its trigger.
pub fn policy_table() -> Oid {
    // SAFETY: syscache look-up by name and namespace.
    unsafe { pg_sys::get_relname_relid(c"policy".as_ptr(), extension_schema()) }
}

/// PostgreSQL says that a relation changed (`relid`), or that any may have (invalid).
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn relation_changed(_arg: Datum, relid: Oid) {
    let concerned =
        relid == pg_sys::InvalidOid || CACHE.with(|c| c.try_borrow().map_or(true, |c| c.relations.contains(&relid)));
    if concerned {
        STALE.set(true);
    }
}

/// PostgreSQL says that a schema or a role changed.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn name_changed(_arg: Datum, _cache: i32, _hash: u32) {
    STALE.set(true);
}
