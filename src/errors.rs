//! Errors: a SQLSTATE, what is wrong with which value, and a hint that says what to do.

use std::ffi::c_int;

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
    /// 55P03: somebody else has a row. The engine's own, and not seen by users.
    Taken,
    /// 40001: a row was moved to another partition. PostgreSQL's, and not seen by users.
    Moved,
    /// 0A000: not in this version.
    NotSupported,
    /// 28000: credentials that are missing, unusable or refused.
    BadCredentials,
    /// 08006: the provider did not answer, or not so that it could be understood.
    NoAnswer,
    /// MS001: a direct UPDATE that would move a status back, with `on_regression => 'error'`.
    Regression,
    /// XX000: PostgreSQL gave an answer that can't be.
    Internal,
    /// What PostgreSQL raised, and was stopped on its way: its code, packed.
    Raised(c_int),
}

impl Code {
    /// PostgreSQL's `MAKE_SQLSTATE`: six bits a character.
    pub fn packed(self) -> c_int {
        let sqlstate: &[u8; 5] = match self {
            Code::InvalidArgument => b"22023",
            Code::UndefinedTable => b"42P01",
            Code::UndefinedColumn => b"42703",
            Code::WrongKind => b"42809",
            Code::WrongType => b"42804",
            Code::Duplicate => b"42710",
            Code::NotReady => b"55000",
            Code::NotAllowed => b"42501",
            Code::Taken => b"55P03",
            Code::Moved => b"40001",
            Code::NotSupported => b"0A000",
            Code::BadCredentials => b"28000",
            Code::NoAnswer => b"08006",
            Code::Regression => b"MS001",
            Code::Internal => b"XX000",
            Code::Raised(code) => return code,
        };
        sqlstate.iter().rev().fold(0, |code, c| (code << 6) | c_int::from(c.wrapping_sub(b'0') & 0x3F))
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

    pub fn hint(mut self, hint: impl Into<String>) -> Fault {
        self.hint = hint.into();
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
