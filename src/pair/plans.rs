//! The prepared statements of a pair, made when first needed.

use super::log_rules::LogRules;
use super::mapping::Mapping;
use super::sql::{self, Insert, Lock, Shape, Write};
use crate::datum::array_of;
use crate::errors::Result;
use crate::key::KeyType;
use crate::spi::Plan;
use crate::status::oids::StatusOids;
use pgrx::pg_sys::{self, Oid};
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

/// A statement's text and the types of its parameters, and its plan once prepared.
pub struct Statement {
    text: String,
    types: Vec<Oid>,
    indexed: bool,
    plan: OnceCell<Plan>,
}

impl Statement {
    pub fn new(text: String, types: Vec<Oid>, indexed: bool) -> Statement {
        Statement { text, types, indexed, plan: OnceCell::new() }
    }

    /// The plan; call with an open connection.
    pub fn plan(&self) -> Result<&Plan> {
        if let Some(plan) = self.plan.get() {
            return Ok(plan);
        }
        let plan = Plan::prepare(&self.text, &self.types, self.indexed)?;
        Ok(self.plan.get_or_init(|| plan))
    }
}

/// Every statement of a pair. The texts come from [`sql`].
pub struct Plans {
    pub shape: Shape,
    pub writes: Vec<Write>,
    pub select_one: Statement,
    pub lock_one: Statement,
    pub select_many: Statement,
    pub lock_many: Statement,
    pub lock_free: Statement,
    update_decided: [Statement; 2],
    update_many_decided: [Statement; 2],
    pub count_checks: Statement,
    pub update_one: Statement,
    pub select_log: Statement,
    pub select_history: Statement,
    pub select_keys: Statement,
    pub select_keys_since: Statement,
    /// Where the log can't take a callback without its message.
    pub select_keys_by_sid: Option<Statement>,
    pub select_waiting: Statement,
    /// By the columns that they write.
    update_many: RefCell<HashMap<u32, Rc<Statement>>>,
    insert_events: RefCell<HashMap<Insert, Rc<Statement>>>,
    key: Oid,
    status: Oid,
}

impl Plans {
    pub fn new(m: &Mapping, shape: &Shape, key: &KeyType) -> Result<Plans> {
        let status = StatusOids::get()?.enum_type;
        let keys = array_of(key.oid());
        let writes = sql::writes(m, &shape.types);
        let params: Vec<Oid> = writes.iter().map(|w| w.role.param(status)).collect();
        let mut one = vec![pg_sys::OIDOID, pg_sys::TIDOID, pg_sys::XIDOID, key.oid()];
        one.extend(&params);
        Ok(Plans {
            select_one: Statement::new(sql::select_one(m, shape, false), vec![key.oid()], true),
            lock_one: Statement::new(sql::select_one(m, shape, true), vec![key.oid()], true),
            select_many: Statement::new(sql::select_many(m, shape, Lock::None), vec![keys], true),
            lock_many: Statement::new(sql::select_many(m, shape, Lock::Wait), vec![keys], true),
            lock_free: Statement::new(sql::select_many(m, shape, Lock::Free), vec![keys], true),
            update_decided: [false, true]
                .map(|checks| Statement::new(sql::update_decided(m, shape, checks), vec![key.oid()], true)),
            update_many_decided: [false, true]
                .map(|checks| Statement::new(sql::update_many_decided(m, shape, checks), vec![keys], true)),
            count_checks: Statement::new(
                sql::count_checks(m, shape),
                vec![keys, array_of(pg_sys::INT4OID), array_of(pg_sys::TIMESTAMPTZOID)],
                true,
            ),
            update_one: Statement::new(sql::update_one(m, shape), one, true),
            select_log: Statement::new(sql::select_log(m, shape), vec![keys], true),
            select_history: Statement::new(sql::select_history(m, shape), vec![key.oid()], true),
            select_keys: Statement::new(sql::select_keys(m, shape, false), vec![], false),
            select_keys_since: Statement::new(sql::select_keys(m, shape, true), vec![pg_sys::TIMESTAMPTZOID], false),
            select_keys_by_sid: sql::select_keys_by_sid(m, shape)
                .map(|text| Statement::new(text, vec![pg_sys::TEXTARRAYOID], true)),
            select_waiting: Statement::new(
                sql::select_waiting(shape),
                vec![pg_sys::OIDOID, pg_sys::TEXTARRAYOID],
                true,
            ),
            writes,
            shape: shape.clone(),
            update_many: RefCell::default(),
            insert_events: RefCell::default(),
            key: key.oid(),
            status,
        })
    }

    /// The UPDATE that asks the fold, of one message or of many; with or without what is kept of checks.
    pub fn decided(&self, many: bool, checks: bool) -> &Statement {
        let both = if many { &self.update_many_decided } else { &self.update_decided };
        &both[usize::from(checks)]
    }

    /// The statement that updates many rows in the columns of `mask`.
    pub fn update_many(&self, m: &Mapping, mask: u32) -> Result<Rc<Statement>> {
        if let Some(statement) = self.update_many.borrow().get(&mask) {
            return Ok(Rc::clone(statement));
        }
        let mut types = vec![array_of(pg_sys::TIDOID)];
        if self.shape.partitioned {
            types.extend([array_of(pg_sys::OIDOID), array_of(self.key)]);
        }
        let written = self.writes.iter().enumerate().filter(|(i, _)| mask & 1 << i != 0);
        types.extend(written.map(|(_, w)| array_of(w.role.param(self.status))));
        let statement = Rc::new(Statement::new(sql::update_many(m, &self.shape, mask), types, true));
        self.update_many.borrow_mut().insert(mask, Rc::clone(&statement));
        Ok(statement)
    }

    /// The statement that writes events, from parameters of these types.
    pub fn insert_events(&self, m: &Mapping, rules: &LogRules, what: Insert, types: &[Oid]) -> Rc<Statement> {
        let mut statements = self.insert_events.borrow_mut();
        let text = || sql::insert_events(m, &self.shape, rules, what);
        let new = || Rc::new(Statement::new(text(), types.to_vec(), true));
        Rc::clone(statements.entry(what).or_insert_with(new))
    }
}
