//! A tracked pair: a messages table and its delivery log, as the triggers see it.
//!
//! All that a trigger needs travels in its argument, a [`Mapping`] as JSON, so that it also works where the
//! table `msgstatus.tracked` has no row: on a shard, on a logical replica. Where there is a row it has the last
//! word on which two relations are meant, as it follows renames and the argument can't.

pub mod cache;
pub mod kind;
pub mod log_rules;
pub mod mapping;
pub mod plans;
pub mod resolve;
pub mod sql;

use crate::errors::Result;
use crate::fold::{Ranks, Stored};
use crate::key::KeyType;
use crate::status::oids::StatusOids;
use crate::status::words::Provider;
use log_rules::LogRules;
use mapping::Mapping;
use pgrx::pg_sys::Oid;
use std::cell::OnceCell;

/// Which of the two tables of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Messages,
    Log,
}

/// One of the two relations of a pair.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    pub oid: Oid,
    pub owner: Oid,
    /// FORCE ROW LEVEL SECURITY: even the owner is subject to policies.
    pub forced_rls: bool,
    pub partitioned: bool,
}

/// A pair with everything looked up.
pub struct Pair {
    pub mapping: Mapping,
    /// Is it in `msgstatus.tracked`, or known from a trigger's argument alone?
    pub tracked: bool,
    pub messages: Table,
    pub log: Table,
    pub key: KeyType,
    pub ranks: Ranks,
    pub stored: Stored,
    /// The labels' OIDs, looked up once and not for every row.
    pub oids: StatusOids,
    /// Whose words the log holds where its row does not say.
    pub provider: Provider,
    /// The log's status column is `delivery_status`: it holds labels, whoever the provider is.
    pub log_holds_labels: bool,
    pub plans: plans::Plans,
    log_rules: OnceCell<LogRules>,
    /// Somebody else's BEFORE UPDATE triggers may change what the engine writes: the guard puts it right.
    pub meddlers: bool,
    /// What the log of some messages was found to say.
    pub told: crate::apply::Memory,
    /// Columns of the log's relations that triggers have fired on.
    pub log_columns: crate::log_trigger::Remembered,
    /// Columns of the messages relations that the guard has fired on.
    pub message_columns: crate::guard::Remembered,
}

impl Pair {
    /// Builds a pair from its mapping, checking that the columns it names are there.
    /// `fired` is the relation that a trigger fired on, which may be a partition.
    pub fn build(mapping: Mapping, fired: Option<(Side, Oid)>) -> Result<Pair> {
        let (mapping, tracked, messages, log) = resolve::tables(mapping, fired)?;
        let columns = resolve::columns(&mapping, &messages, &log)?;
        let ranks = resolve::ranks(&mapping.policy)?;
        let plans = plans::Plans::new(&mapping, &columns.shape, &columns.key)?;
        Ok(Pair {
            oids: StatusOids::get()?,
            meddlers: resolve::has_meddlers(&messages)?,
            stored: columns.stored,
            // Twilio's words include every label.
            provider: if columns.shape.labels {
                Provider::TWILIO
            } else {
                Provider::named(mapping.provider.as_bytes())
            },
            log_holds_labels: columns.shape.labels,
            key: columns.key,
            tracked,
            messages,
            log,
            ranks,
            plans,
            log_rules: OnceCell::new(),
            told: Default::default(),
            log_columns: Default::default(),
            message_columns: Default::default(),
            mapping,
        })
    }

    /// Are both tables still there?
    pub fn exists(&self) -> bool {
        // SAFETY: syscache look-ups; a relation that does not exist has no kind.
        [self.messages.oid, self.log.oid].iter().all(|&oid| unsafe { pgrx::pg_sys::get_rel_relkind(oid) } != 0)
    }

    /// What the log asks of rows that msgstatus itself writes, looked up when it first does.
    pub fn log_rules(&self) -> Result<&LogRules> {
        if let Some(rules) = self.log_rules.get() {
            return Ok(rules);
        }
        let rules = LogRules::of(&self.mapping, &self.log)?;
        Ok(self.log_rules.get_or_init(|| rules))
    }

    /// The messages table as users write it.
    pub fn messages_name(&self) -> String {
        resolve::relation_name(self.messages.oid)
    }
}
