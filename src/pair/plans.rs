//! The prepared statements of a pair, made when first needed.

use super::mapping::Mapping;
use super::sql::{self, Shape, Write};
use crate::errors::Result;
use crate::key::KeyType;
use crate::spi::Plan;
use crate::status::oids::StatusOids;
use pgrx::pg_sys::{self, Oid};
use std::cell::OnceCell;

/// A statement's text and the types of its parameters, and its plan once prepared.
pub struct Statement {
    text: String,
    types: Vec<Oid>,
    indexed: bool,
    plan: OnceCell<Plan>,
}

impl Statement {
    fn new(text: String, types: Vec<Oid>, indexed: bool) -> Statement {
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
    pub update_one: Statement,
    pub update_many: Statement,
    pub select_log: Statement,
    pub select_history: Statement,
    pub select_keys: Statement,
    pub select_keys_since: Statement,
}

impl Plans {
    pub fn new(m: &Mapping, shape: &Shape, key: &KeyType) -> Result<Plans> {
        let status = StatusOids::get()?.enum_type;
        // SAFETY: catalog look-up of an existing type.
        let array = |oid| unsafe { pg_sys::get_array_type(oid) };
        let keys = array(key.oid());
        let writes = sql::writes(m, &shape.types);
        let params: Vec<Oid> = writes.iter().map(|w| w.role.param(status)).collect();
        let mut one = vec![pg_sys::OIDOID, pg_sys::TIDOID, pg_sys::XIDOID, key.oid()];
        one.extend(&params);
        let mut many = vec![array(pg_sys::OIDOID), array(pg_sys::TIDOID), keys];
        many.extend(params.iter().map(|&p| array(p)));
        Ok(Plans {
            select_one: Statement::new(sql::select_one(m, shape, false), vec![key.oid()], true),
            lock_one: Statement::new(sql::select_one(m, shape, true), vec![key.oid()], true),
            select_many: Statement::new(sql::select_many(m, shape, false), vec![keys], true),
            lock_many: Statement::new(sql::select_many(m, shape, true), vec![keys], true),
            update_one: Statement::new(sql::update_one(m, shape), one, true),
            update_many: Statement::new(sql::update_many(m, shape), many, true),
            select_log: Statement::new(sql::select_log(m, shape), vec![keys], true),
            select_history: Statement::new(sql::select_history(m, shape), vec![key.oid()], true),
            select_keys: Statement::new(sql::select_keys(m, shape, false), vec![], false),
            select_keys_since: Statement::new(sql::select_keys(m, shape, true), vec![pg_sys::TIMESTAMPTZOID], false),
            writes,
            shape: shape.clone(),
        })
    }
}
