//! What a delivery log asks of its rows: constraints and defaults of its owner's.
//!
//! Whether it needs its messages every session that uses a pair wants to know; the rest only who writes into the log.

use super::Table;
use super::mapping::Mapping;
use super::resolve::{attribute, is_required};
use crate::errors::Result;
use crate::session::pin_path;
use crate::spi::Spi;
use pgrx::pg_sys::{self, Datum};

/// Does it take no row without its message? Where the key is a foreign key to the messages, or a column that is copied from
/// them is NOT NULL.
pub fn needs_message(mapping: &Mapping, messages: &Table, log: &Table) -> Result<bool> {
    if mapping.copy.keys().any(|column| is_required(log, column)) {
        return Ok(true);
    }
    let spi = Spi::connect()?;
    let rows = spi.once(
        "SELECT FROM pg_catalog.pg_constraint c
          WHERE c.conrelid OPERATOR(pg_catalog.=) $1 AND c.confrelid OPERATOR(pg_catalog.=) $2
            AND c.contype OPERATOR(pg_catalog.=) 'f' AND $3 OPERATOR(pg_catalog.=) ANY (c.conkey)",
        &[pg_sys::OIDOID, pg_sys::OIDOID, pg_sys::INT2OID],
        &[Some(Datum::from(log.oid)), Some(Datum::from(messages.oid)), Some(Datum::from(number(log, &mapping.l.key)))],
    )?;
    Ok(!rows.is_empty())
}

/// A column's number, 0 if there is none.
fn number(table: &Table, column: &str) -> i16 {
    attribute(table.oid, column).map_or(0, |(number, ..)| number)
}

#[derive(Clone, Debug, Default)]
pub struct LogRules {
    /// The columns of a unique index that has a status of a message once, as ON CONFLICT names them: key and status are among
    /// them.
    pub once: Option<String>,
    /// Constraints that are looked at when the transaction commits, as SET CONSTRAINTS names them.
    pub deferred: Vec<String>,
    /// What stands for NULL in the columns of [`insert_events`](super::sql::insert_events), where they are NOT NULL.
    pub defaults: [Option<String>; 9],
}

impl LogRules {
    pub fn of(mapping: &Mapping, log: &Table) -> Result<LogRules> {
        let l = &mapping.l;
        let mut rules = LogRules::default();
        let optional =
            [&l.event_at, &l.error_code, &l.error_message, &l.payload, &l.provider, &l.source, &l.created_at];
        let required = optional.map(|column| {
            column.as_deref().filter(|column| is_required(log, column)).map(|column| number(log, column))
        });
        // Defaults are shown with qualified names, as whatever runs them sees but the pinned path.
        let _path = pin_path();
        let spi = Spi::connect()?;
        let rows = spi.once(
            "SELECT 'deferred', pg_catalog.format('%I.%I', n.nspname, c.conname), NULL::pg_catalog.int2
               FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.connamespace
              WHERE c.conrelid OPERATOR(pg_catalog.=) $1 AND c.condeferred
             UNION ALL
             SELECT 'once', (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ')
                               FROM pg_catalog.pg_attribute a WHERE a.attrelid OPERATOR(pg_catalog.=) i.indrelid
                                AND a.attnum OPERATOR(pg_catalog.=) ANY (i.indkey[0:i.indnkeyatts OPERATOR(pg_catalog.-) 1])), NULL
               FROM pg_catalog.pg_index i
              WHERE i.indrelid OPERATOR(pg_catalog.=) $1 AND i.indisunique AND i.indimmediate AND i.indisvalid
                AND i.indpred IS NULL AND i.indexprs IS NULL
                AND $2 OPERATOR(pg_catalog.=) ANY (i.indkey[0:i.indnkeyatts OPERATOR(pg_catalog.-) 1])
                AND $3 OPERATOR(pg_catalog.=) ANY (i.indkey[0:i.indnkeyatts OPERATOR(pg_catalog.-) 1])
             UNION ALL
             SELECT 'default', coalesce(pg_catalog.pg_get_expr(d.adbin, d.adrelid),
                                        pg_catalog.pg_get_expr(t.typdefaultbin, 0::pg_catalog.oid)), a.attnum
               FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) a.atttypid
               LEFT JOIN pg_catalog.pg_attrdef d
                 ON d.adrelid OPERATOR(pg_catalog.=) a.attrelid AND d.adnum OPERATOR(pg_catalog.=) a.attnum
              WHERE a.attrelid OPERATOR(pg_catalog.=) $1 AND a.attnum OPERATOR(pg_catalog.>) 0
                AND a.attgenerated OPERATOR(pg_catalog.=) ''",
            &[pg_sys::OIDOID, pg_sys::INT2OID, pg_sys::INT2OID],
            &[
                Some(Datum::from(log.oid)),
                Some(Datum::from(number(log, &l.key))),
                Some(Datum::from(number(log, &l.status))),
            ],
        )?;
        for i in 0..rows.len() {
            let text = rows.string(i, 1);
            match (rows.string(i, 0).as_deref(), text) {
                (Some("deferred"), Some(name)) => rules.deferred.push(name),
                (Some("once"), Some(columns)) => rules.once = Some(columns),
                (Some("default"), Some(value)) => {
                    let number = rows.get(i, 2).map(|d| d.value() as i16);
                    if let Some(at) = required.iter().position(|required| required.is_some() && *required == number) {
                        rules.defaults[at + 2] = Some(value);
                    }
                }
                _ => {}
            }
        }
        rules.deferred.sort();
        Ok(rules)
    }
}
