//! Which types of columns can play which role.

use super::{Table, resolve};
use crate::errors::{Code, Fault, Result};
use crate::key::type_label;
use crate::status::oids::StatusOids;
use pgrx::pg_sys::{self, Datum, Oid};

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
            Kind::Any => !has_foreign_cast(oid),
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
            Kind::Any => "any type whose cast to text is not a function of somebody's own",
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

/// Is the cast of a type to text a function that is no superuser's? It would run with the rights of whoever reads the column,
/// as a superuser who calls `msgstatus.unmatched()`.
fn has_foreign_cast(oid: Oid) -> bool {
    let mut function = pg_sys::InvalidOid;
    // SAFETY: catalog look-ups for an existing type; a syscache tuple is read, if it is there, before it is released.
    unsafe {
        let (base, explicit) = (pg_sys::getBaseType(oid), pg_sys::CoercionContext::COERCION_EXPLICIT);
        let path = pg_sys::find_coercion_pathway(pg_sys::TEXTOID, base, explicit, &mut function);
        if path != pg_sys::CoercionPathType::COERCION_PATH_FUNC {
            return false;
        }
        let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::PROCOID as i32, Datum::from(function));
        if tuple.is_null() {
            return false;
        }
        let owner = (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_proc>()).proowner;
        pg_sys::ReleaseSysCache(tuple);
        !pg_sys::superuser_arg(owner)
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
