//! The functions that SQL calls: declared in `sql/*.sql`, defined in Rust with [`crate::sql_function!`].
//!
//! pgrx's own attribute would also write the SQL declarations, resolve our enums by unqualified name on every call,
//! and cost hundreds of nanoseconds a call. This is the version-1 calling convention and nothing else.

use crate::datum::text_bytes;
use crate::errors::{Fault, Result};
use pgrx::pg_sys::{self, Datum, Oid};

/// The call of a SQL function.
pub struct Args {
    fcinfo: pg_sys::FunctionCallInfo,
}

impl Args {
    /// # Safety
    /// `fcinfo` is what PostgreSQL called the function with.
    pub unsafe fn new(fcinfo: pg_sys::FunctionCallInfo) -> Args {
        Args { fcinfo }
    }

    pub fn fcinfo(&self) -> pg_sys::FunctionCallInfo {
        self.fcinfo
    }

    /// Argument `i`, from 0.
    #[inline]
    pub fn get(&self, i: usize) -> Option<Datum> {
        // SAFETY: the call has `nargs` arguments behind its header.
        unsafe {
            if i >= (*self.fcinfo).nargs as usize {
                return None;
            }
            let arg = &*(*self.fcinfo).args.as_ptr().add(i);
            (!arg.isnull).then_some(arg.value)
        }
    }

    /// A text argument.
    pub fn text(&self, i: usize) -> Option<Vec<u8>> {
        // SAFETY: callers ask for text where the declaration in sql/ says text.
        self.get(i).map(|d| unsafe { text_bytes(d) })
    }

    pub fn string(&self, i: usize) -> Option<String> {
        self.text(i).map(|b| crate::encoding::from_server(&b))
    }

    /// An oid or regclass argument.
    pub fn oid(&self, i: usize) -> Option<Oid> {
        self.get(i).map(|d| Oid::from(d.value() as u32))
    }

    /// What the function gives: a value or NULL.
    pub fn answer(&self, value: Option<Datum>) -> Datum {
        // SAFETY: the call's result flag is ours to set.
        unsafe { (*self.fcinfo).isnull = value.is_none() };
        value.unwrap_or(Datum::from(0usize))
    }

    /// The rows of a set-returning function, as declared by its RETURNS TABLE.
    pub fn set(&self) -> Result<Set> {
        // SAFETY: the call is that of a set-returning function; PostgreSQL checks that and says so otherwise.
        unsafe {
            pg_sys::InitMaterializedSRF(self.fcinfo, 0);
            let info: *mut pg_sys::ReturnSetInfo = (*self.fcinfo).resultinfo.cast();
            if info.is_null() || (*info).setResult.is_null() {
                return Err(Fault::internal("no place for a result set"));
            }
            Ok(Set { store: (*info).setResult, descriptor: (*info).setDesc })
        }
    }
}

/// Rows on their way to the caller.
pub struct Set {
    store: *mut pg_sys::Tuplestorestate,
    descriptor: pg_sys::TupleDesc,
}

impl Set {
    pub fn put(&mut self, values: &[Option<Datum>]) -> Result<()> {
        let mut datums: Vec<Datum> = values.iter().map(|v| v.unwrap_or(Datum::from(0usize))).collect();
        let mut nulls: Vec<bool> = values.iter().map(Option::is_none).collect();
        // SAFETY: the descriptor's width is checked before PostgreSQL reads that many values.
        unsafe {
            if (*self.descriptor).natts as usize != values.len() {
                return Err(Fault::internal("a result row of the wrong width"));
            }
            pg_sys::tuplestore_putvalues(self.store, self.descriptor, datums.as_mut_ptr(), nulls.as_mut_ptr());
        }
        Ok(())
    }
}

/// Defines a C-callable function `$symbol` from a Rust function `fn(&Args) -> Result<Option<Datum>>`.
#[macro_export]
macro_rules! sql_function {
    ($symbol:ident, $finfo:ident, $body:path) => {
        #[doc(hidden)]
        #[unsafe(no_mangle)]
        pub extern "C" fn $finfo() -> &'static ::pgrx::pg_sys::Pg_finfo_record {
            const V1: ::pgrx::pg_sys::Pg_finfo_record = ::pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
            &V1
        }

        /// Called by PostgreSQL only.
        #[doc(hidden)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $symbol(fcinfo: ::pgrx::pg_sys::FunctionCallInfo) -> ::pgrx::pg_sys::Datum {
            // SAFETY: PostgreSQL calls with a valid fcinfo, on its thread, and this frame holds nothing to drop.
            unsafe {
                $crate::boundary::enter(|| {
                    let args = $crate::function::Args::new(fcinfo);
                    let value = $body(&args)?;
                    Ok(args.answer(value))
                })
            }
        }
    };
}
