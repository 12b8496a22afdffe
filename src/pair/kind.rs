//! Which types of columns can play which role.

use super::{Table, resolve};
use crate::errors::{Code, Fault, Result};
use crate::key::type_label;
use crate::status::oids::StatusOids;
use pgrx::pg_sys::{self, Oid};

/// What a role's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Time,
    Text,
    /// A provider's word, or a label.
    Word,
    Integer,
    /// A decimal number, or a text of one.
    Amount,
    Jsonb,
    Boolean,
    Any,
}

impl Kind {
    pub fn fits(self, oid: Oid) -> bool {
        match self {
            Kind::Time => [pg_sys::TIMESTAMPTZOID, pg_sys::TIMESTAMPOID].contains(&oid),
            Kind::Text => [pg_sys::TEXTOID, pg_sys::VARCHAROID].contains(&oid),
            Kind::Word => Kind::Text.fits(oid) || StatusOids::get().is_ok_and(|o| o.enum_type == oid),
            Kind::Integer => [pg_sys::INT4OID, pg_sys::INT8OID].contains(&oid),
            Kind::Amount => oid == pg_sys::NUMERICOID || Kind::Text.fits(oid),
            Kind::Jsonb => oid == pg_sys::JSONBOID,
            Kind::Boolean => oid == pg_sys::BOOLOID,
            Kind::Any => true,
        }
    }

    const fn wanted(self) -> &'static str {
        match self {
            Kind::Time => "timestamptz, or timestamp in UTC",
            Kind::Text => "text or varchar",
            Kind::Word => "text, varchar or msgstatus.delivery_status",
            Kind::Integer => "integer or bigint",
            Kind::Amount => "numeric, text or varchar",
            Kind::Jsonb => "jsonb",
            Kind::Boolean => "boolean",
            Kind::Any => "any type",
        }
    }

    /// The error for a column that can't play a role.
    pub fn refusal(self, table: &Table, role: &str, column: &str, oid: Oid) -> Fault {
        Fault::new(
            Code::WrongType,
            format!(
                "column \"{column}\" of table {} is {}, which can't play the role \"{role}\"",
                resolve::relation_name(table.oid),
                type_label(oid)
            ),
            format!("The role takes {}, in a column that is not generated.", self.wanted()),
        )
    }
}

/// Checks the status column of a messages table.
pub fn status_column(table: &Table, column: &str) -> Result<()> {
    let (_, oid, _, _) = resolve::required(table, "status", column)?;
    if oid == StatusOids::get()?.enum_type {
        return Ok(());
    }
    let name = resolve::relation_name(table.oid);
    Err(Fault::new(
        Code::WrongType,
        format!("column \"{column}\" of table {name} is {}, not msgstatus.delivery_status", type_label(oid)),
        format!(
            "Convert it: SELECT msgstatus.convert_status('{name}', '{column}'); or add a column of type \
             msgstatus.delivery_status and name it: status => '...'."
        ),
    ))
}
