//! Message keys: values of any type with a btree, held as bytes and ordered as SQL orders them.

use crate::datum::{self, Layout};
use crate::errors::{Code, Fault, Result};
use pgrx::pg_sys::{self, Datum, Oid};
use std::cmp::Ordering;

/// A key, as its bytes: the payload of a varlena, the image of a fixed-length value.
pub type Key = Box<[u8]>;

/// How keys of a pair are compared. Rust sorts the keys of a statement in this order and SQL locks the rows of a
/// chunk in the same, so that all writers take locks in one order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// text and varchar under `COLLATE "C"`, and uuid: by bytes.
    Bytes,
    /// int2, int4, int8.
    Integer,
    /// Anything else: its btree comparison function.
    Function { cmp: Oid, collation: Oid },
}

/// The type of a message key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyType {
    layout: Layout,
    order: Order,
    /// The type's equality operator in SQL.
    equality: Oid,
    greater: Oid,
}

impl KeyType {
    /// The key type for a column of type `oid` (domains are looked through, varchar counts as text).
    pub fn of(oid: Oid, collation: Oid) -> Result<KeyType> {
        // SAFETY: catalog look-ups of an existing type. The cache entry lives as long as the backend.
        let (base, equality, greater, cmp) = unsafe {
            let base = match pg_sys::getBaseType(oid) {
                pg_sys::VARCHAROID => pg_sys::TEXTOID,
                base => base,
            };
            let flags = (pg_sys::TYPECACHE_EQ_OPR | pg_sys::TYPECACHE_GT_OPR | pg_sys::TYPECACHE_CMP_PROC) as i32;
            let entry = pg_sys::lookup_type_cache(base, flags);
            (base, (*entry).eq_opr, (*entry).gt_opr, (*entry).cmp_proc)
        };
        // Arrays and rows have operators, but those work only where their elements' types have them.
        // SAFETY: catalog look-ups of an existing type.
        let simple = unsafe { pg_sys::get_element_type(base) == pg_sys::InvalidOid && !pg_sys::type_is_rowtype(base) };
        if !simple || [equality, greater, cmp].contains(&pg_sys::InvalidOid) {
            return Err(Fault::new(
                Code::WrongType,
                format!("type {} can't be a message key", type_label(oid)),
                "A key needs a type with a default btree operator class, such as text, bigint or uuid.",
            ));
        }
        // SAFETY: catalog look-up of the column's collation.
        let by_bytes = collation == pg_sys::InvalidOid || unsafe { pg_sys::get_collation_isdeterministic(collation) };
        let order = match base {
            pg_sys::TEXTOID | pg_sys::UUIDOID if by_bytes => Order::Bytes,
            pg_sys::INT2OID | pg_sys::INT4OID | pg_sys::INT8OID => Order::Integer,
            _ => Order::Function { cmp, collation },
        };
        Ok(KeyType { layout: Layout::of(base), order, equality, greater })
    }

    /// Is it a type of texts, as a provider's ids are?
    pub fn is_text(&self) -> bool {
        // SAFETY: catalog look-up of an existing type.
        unsafe { pg_sys::TypeCategory(self.oid()) as u8 == pg_sys::TYPCATEGORY_STRING }
    }

    pub fn oid(&self) -> Oid {
        self.layout.oid
    }

    /// The type's name in SQL.
    pub fn sql_type(&self) -> String {
        type_name(self.layout.oid)
    }

    /// The equality operator in SQL, qualified.
    pub fn sql_equals(&self) -> String {
        operator_name(self.equality)
    }

    /// The operator "greater than" in SQL, qualified.
    pub fn sql_greater(&self) -> String {
        operator_name(self.greater)
    }

    /// What to put after a key column in ORDER BY so that SQL sorts as [`KeyType::compare`] does.
    pub fn sql_collate(&self) -> &'static str {
        match self.order {
            Order::Bytes if self.layout.oid == pg_sys::TEXTOID => " COLLATE \"C\"",
            _ => "",
        }
    }

    /// The key that a value is.
    ///
    /// # Safety
    /// `value` is a non-null value of the column this type was made for.
    pub unsafe fn key(&self, value: Datum) -> Key {
        // SAFETY: as the caller promises.
        unsafe { self.with_key(value, |bytes| Box::from(bytes)) }
    }

    /// Lends the bytes of the key that a value is.
    ///
    /// # Safety
    /// `value` is a non-null value of the column this type was made for.
    pub unsafe fn with_key<T>(&self, value: Datum, use_key: impl FnOnce(&[u8]) -> T) -> T {
        // SAFETY: the value's layout is that of the type: a varlena, a datum, or a pointer to `len` bytes.
        unsafe {
            match (self.layout.by_value, self.layout.len) {
                (true, _) => use_key(&(value.value() as u64).to_le_bytes()),
                (false, -1) => datum::with_bytes(value, use_key),
                (false, len) => {
                    let bytes = value.cast_mut_ptr::<u8>().cast_const();
                    let len = usize::try_from(len)
                        .unwrap_or_else(|_| std::ffi::CStr::from_ptr(bytes.cast()).to_bytes_with_nul().len());
                    use_key(std::slice::from_raw_parts(bytes, len))
                }
            }
        }
    }

    /// The value that a key is, in the current memory context.
    pub fn datum(&self, key: &[u8]) -> Datum {
        match (self.layout.by_value, self.layout.len) {
            (true, _) => Datum::from(integer(key) as usize),
            (false, -1) => datum::text_datum(key),
            // SAFETY: allocates as many bytes as it copies.
            (false, _) => unsafe {
                let copy = pg_sys::palloc(key.len()).cast::<u8>();
                std::ptr::copy_nonoverlapping(key.as_ptr(), copy, key.len());
                Datum::from(copy)
            },
        }
    }

    /// The key as it prints.
    pub fn text(&self, key: &[u8]) -> Vec<u8> {
        let (mut function, mut varlena) = (pg_sys::InvalidOid, false);
        // SAFETY: the type's own output function on a value of it gives a NUL-terminated string.
        unsafe {
            pg_sys::getTypeOutputInfo(self.layout.oid, &mut function, &mut varlena);
            let text = pg_sys::OidOutputFunctionCall(function, self.datum(key));
            std::ffi::CStr::from_ptr(text).to_bytes().to_vec()
        }
    }

    /// An array of keys, for `unnest`.
    pub fn array<'a>(&self, keys: impl Iterator<Item = &'a Key>) -> Datum {
        let values: Vec<Option<Datum>> = keys.map(|k| Some(self.datum(k))).collect();
        self.layout.array(&values)
    }

    /// The order in which rows are locked.
    pub fn compare(&self, a: &[u8], b: &[u8]) -> Ordering {
        match self.order {
            Order::Bytes => a.cmp(b),
            Order::Integer => integer(a).cmp(&integer(b)),
            Order::Function { cmp, collation } => {
                // SAFETY: the type's own comparison function on two values of it.
                let sign = unsafe { pg_sys::OidFunctionCall2Coll(cmp, collation, self.datum(a), self.datum(b)) };
                (sign.value() as i32).cmp(&0)
            }
        }
    }
}

/// The value of a by-value key, sign-extended as PostgreSQL keeps it in a datum.
fn integer(key: &[u8]) -> i64 {
    let mut bytes = [0; 8];
    let n = key.len().min(8);
    bytes[..n].copy_from_slice(&key[..n]);
    i64::from_le_bytes(bytes)
}

/// A type's name in SQL, qualified. The catalog's own name: `character` would be read as character(1).
fn type_name(oid: Oid) -> String {
    // SAFETY: a syscache tuple is read before it is released.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::TYPEOID as i32, Datum::from(oid));
        if tuple.is_null() {
            return "unknown".to_owned();
        }
        let form = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_type>();
        let name = c_string((*form).typname.data.as_ptr().cast_mut());
        let schema = c_string(pg_sys::get_namespace_name((*form).typnamespace));
        pg_sys::ReleaseSysCache(tuple);
        pgrx::spi::quote_qualified_identifier(&schema, &name)
    }
}

/// A type's name for people.
pub fn type_label(oid: Oid) -> String {
    // SAFETY: gives a palloc'd C string for any OID.
    unsafe { c_string(pg_sys::format_type_be(oid)) }
}

fn operator_name(oid: Oid) -> String {
    // SAFETY: look-ups of an operator that the type cache named; both return palloc'd C strings or null.
    unsafe {
        let name = c_string(pg_sys::get_opname(oid));
        let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::OPEROID as i32, Datum::from(oid));
        if tuple.is_null() {
            return format!("OPERATOR(pg_catalog.{name})");
        }
        let form = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_operator>();
        let schema = c_string(pg_sys::get_namespace_name((*form).oprnamespace));
        pg_sys::ReleaseSysCache(tuple);
        format!("OPERATOR({}.{name})", quote(&schema))
    }
}

/// A COLLATE clause for a collation; empty for none.
pub fn collate_clause(collation: Oid) -> String {
    // SAFETY: syscache tuple read before it is released.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::COLLOID as i32, Datum::from(collation));
        if tuple.is_null() {
            return String::new();
        }
        let form = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_collation>();
        let name = c_string((*form).collname.data.as_ptr().cast_mut());
        let schema = c_string(pg_sys::get_namespace_name((*form).collnamespace));
        pg_sys::ReleaseSysCache(tuple);
        format!(" COLLATE {}.{}", quote(&schema), quote(&name))
    }
}

/// Quotes an identifier where need be.
pub fn quote(name: &str) -> String {
    pgrx::spi::quote_identifier(name)
}

/// A palloc'd C string as a Rust string; empty for null.
///
/// # Safety
/// `text` is null or a NUL-terminated string.
pub unsafe fn c_string(text: *mut std::ffi::c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: as the caller promises.
    unsafe { crate::encoding::from_server(std::ffi::CStr::from_ptr(text).to_bytes()) }
}
