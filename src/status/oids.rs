//! The OIDs of the labels of `msgstatus.delivery_status` and `msgstatus.verdict` in this database.

use super::{COUNT, Status};
use crate::errors::{Code, Fault, Result};
use crate::fold::Verdict;
use pgrx::pg_sys::{self, Datum, Oid};
use std::cell::Cell;
use std::ffi::{CStr, CString};

/// The enum's type and the OID of each label, by position.
#[derive(Clone, Copy)]
pub struct StatusOids {
    pub enum_type: Oid,
    labels: [Oid; COUNT],
}

impl StatusOids {
    /// Looks the type up, or remembers it. OIDs change only with DROP and CREATE EXTENSION, which is noticed.
    pub fn get() -> Result<StatusOids> {
        thread_local! {
            static CACHE: Cell<Option<StatusOids>> = const { Cell::new(None) };
        }
        let enum_type = extension_type(c"delivery_status")?;
        if let Some(oids) = CACHE.get()
            && oids.enum_type == enum_type
        {
            return Ok(oids);
        }
        let mut labels = [pg_sys::InvalidOid; COUNT];
        for status in Status::ALL {
            labels[status.index()] = label_oid(enum_type, status.label())?;
        }
        let oids = StatusOids { enum_type, labels };
        CACHE.set(Some(oids));
        Ok(oids)
    }

    pub fn datum(&self, status: Status) -> Datum {
        Datum::from(self.labels[status.index()])
    }

    /// The status whose label has this OID.
    pub fn status(&self, value: Datum) -> Option<Status> {
        let oid = Oid::from(value.value() as u32);
        let at = self.labels.iter().position(|&l| l == oid)?;
        Status::from_index(at as u8)
    }
}

/// The verdict as a value of the SQL enum.
pub fn verdict_datum(verdict: Verdict) -> Result<Datum> {
    Ok(Datum::from(label_oid(extension_type(c"verdict")?, verdict.label())?))
}

/// A type of the extension's schema.
fn extension_type(name: &CStr) -> Result<Oid> {
    // SAFETY: syscache look-ups with a NUL-terminated name and the OID of a namespace.
    let oid = unsafe {
        let schema = extension_schema();
        pg_sys::GetSysCacheOid(
            pg_sys::SysCacheIdentifier::TYPENAMENSP as i32,
            pg_sys::Anum_pg_type_oid as i16,
            Datum::from(name.as_ptr()),
            Datum::from(schema),
            Datum::from(0usize),
            Datum::from(0usize),
        )
    };
    if oid == pg_sys::InvalidOid {
        return Err(Fault::new(
            Code::NotReady,
            format!("type msgstatus.{} does not exist", name.to_string_lossy()),
            "Run CREATE EXTENSION msgstatus in this database.",
        ));
    }
    Ok(oid)
}

/// The OID of schema `msgstatus`, or the invalid one.
pub fn extension_schema() -> Oid {
    // SAFETY: syscache look-up with a NUL-terminated name.
    unsafe { pg_sys::get_namespace_oid(c"msgstatus".as_ptr(), true) }
}

fn label_oid(enum_type: Oid, label: &str) -> Result<Oid> {
    let name = CString::new(label).map_err(|_| Fault::internal("NUL in a label"))?;
    // SAFETY: syscache look-up by type and label.
    let oid = unsafe {
        pg_sys::GetSysCacheOid(
            pg_sys::SysCacheIdentifier::ENUMTYPOIDNAME as i32,
            pg_sys::Anum_pg_enum_oid as i16,
            Datum::from(enum_type),
            Datum::from(name.as_ptr()),
            Datum::from(0usize),
            Datum::from(0usize),
        )
    };
    if oid == pg_sys::InvalidOid {
        return Err(Fault::new(
            Code::NotReady,
            format!("the enum has no label \"{label}\""),
            "The library is newer than the extension: run ALTER EXTENSION msgstatus UPDATE.",
        ));
    }
    Ok(oid)
}
