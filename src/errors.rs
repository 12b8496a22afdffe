//! Errors: a SQLSTATE, what is wrong with which value, and a hint that says what to do.

use pgrx::pg_sys;
use std::ffi::{CString, c_char, c_int};

/// A SQLSTATE of this extension's contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// 22023: an argument that can't be meant.
    InvalidArgument,
    /// 42P01: no such table.
    UndefinedTable,
    /// 42703: no such column.
    UndefinedColumn,
    /// 42809: the wrong kind of relation.
    WrongKind,
    /// 42804: a column of the wrong type.
    WrongType,
    /// 42710: it exists already.
    Duplicate,
    /// 55000: not attached, not ready.
    NotReady,
    /// 42501: not allowed.
    NotAllowed,
    /// 0A000: not in this version.
    NotSupported,
    /// MS001: a direct UPDATE that would move a status back, with `on_regression => 'error'`.
    Regression,
    /// XX000: PostgreSQL gave an answer that can't be.
    Internal,
}

impl Code {
    const fn sqlstate(self) -> &'static [u8; 5] {
        match self {
            Code::InvalidArgument => b"22023",
            Code::UndefinedTable => b"42P01",
            Code::UndefinedColumn => b"42703",
            Code::WrongKind => b"42809",
            Code::WrongType => b"42804",
            Code::Duplicate => b"42710",
            Code::NotReady => b"55000",
            Code::NotAllowed => b"42501",
            Code::NotSupported => b"0A000",
            Code::Regression => b"MS001",
            Code::Internal => b"XX000",
        }
    }

    /// PostgreSQL's `MAKE_SQLSTATE`: six bits a character.
    fn packed(self) -> c_int {
        self.sqlstate().iter().rev().fold(0, |code, c| (code << 6) | c_int::from(c.wrapping_sub(b'0') & 0x3F))
    }
}

/// An error on its way to the client.
#[derive(Debug)]
pub struct Fault {
    pub code: Code,
    pub message: String,
    pub detail: Option<String>,
    pub hint: String,
}

pub type Result<T> = std::result::Result<T, Fault>;

impl Fault {
    pub fn new(code: Code, message: impl Into<String>, hint: impl Into<String>) -> Fault {
        Fault { code, message: message.into(), detail: None, hint: hint.into() }
    }

    pub fn detail(mut self, detail: impl Into<String>) -> Fault {
        self.detail = Some(detail.into());
        self
    }

    /// Something that PostgreSQL guarantees did not hold.
    pub fn internal(what: impl Into<String>) -> Fault {
        Fault::new(
            Code::Internal,
            format!("msgstatus: {}", what.into()),
            "This should not happen. Please report it with the statement that led here.",
        )
    }

    /// Raises the error in PostgreSQL. Does not return.
    pub fn raise(self) -> ! {
        let text = |s: String| CString::new(s.replace('\0', "")).unwrap_or_default();
        let (message, hint) = (text(self.message), text(self.hint));
        let detail = self.detail.map(text);
        // SAFETY: the protocol of ereport: errstart, the fields, errfinish, on PostgreSQL's own thread. The
        // formats are "%s" with one NUL-terminated string that outlives the call. errfinish leaves by
        // longjmp, which the boundary turns into an unwind that drops the strings.
        unsafe {
            pg_sys::ffi::pg_guard_ffi_boundary(|| {
                if errstart(pg_sys::PGERROR as c_int, std::ptr::null()) {
                    errcode(self.code.packed());
                    errmsg(c"%s".as_ptr(), message.as_ptr());
                    if let Some(detail) = &detail {
                        errdetail(c"%s".as_ptr(), detail.as_ptr());
                    }
                    errhint(c"%s".as_ptr(), hint.as_ptr());
                    errfinish(c"msgstatus".as_ptr(), 0, c"raise".as_ptr());
                }
            });
        }
        unreachable!("errfinish returned from an ERROR")
    }
}

/// Ends a call from SQL: the value, or the error raised.
pub trait OrRaise<T> {
    fn or_raise(self) -> T;
}

impl<T> OrRaise<T> for Result<T> {
    fn or_raise(self) -> T {
        match self {
            Ok(value) => value,
            Err(fault) => fault.raise(),
        }
    }
}

// pgrx keeps these to itself and its ErrorReport takes only PostgreSQL's own codes, which MS001 is not.
unsafe extern "C-unwind" {
    fn errstart(elevel: c_int, domain: *const c_char) -> bool;
    fn errcode(sqlerrcode: c_int) -> c_int;
    fn errmsg(fmt: *const c_char, ...) -> c_int;
    fn errdetail(fmt: *const c_char, ...) -> c_int;
    fn errhint(fmt: *const c_char, ...) -> c_int;
    fn errfinish(filename: *const c_char, lineno: c_int, funcname: *const c_char);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_packed_as_postgres_packs_them() {
        assert_eq!(Code::InvalidArgument.packed(), pgrx::PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE as c_int);
        assert_eq!(Code::Internal.packed(), pgrx::PgSqlErrorCode::ERRCODE_INTERNAL_ERROR as c_int);
    }
}
