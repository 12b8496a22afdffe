//! Reading and making PostgreSQL values, without pgrx's per-value bookkeeping.

use crate::errors::{Fault, Result};
use pgrx::pg_sys::{self, Datum, Oid};

/// The bytes of a text-like value.
///
/// # Safety
/// `datum` is a non-null value of a varlena type.
pub unsafe fn text_bytes(datum: Datum) -> Vec<u8> {
    // SAFETY: as the caller promises.
    unsafe { with_bytes(datum, <[u8]>::to_vec) }
}

/// Lends the bytes of a varlena value, detoasted for the time of the call if need be.
///
/// # Safety
/// `datum` is a non-null value of a varlena type.
pub unsafe fn with_bytes<T>(datum: Datum, use_bytes: impl FnOnce(&[u8]) -> T) -> T {
    let stored: *mut pg_sys::varlena = datum.cast_mut_ptr();
    // SAFETY: the value is a varlena as promised; a detoasted copy is ours to free, the stored one is not. Only a
    // compressed or external value needs the call: short and plain headers are read in place.
    unsafe {
        let plain = pgrx::varlena::varatt_is_4b_u(stored)
            || (pgrx::varlena::varatt_is_1b(stored) && !pgrx::varlena::varatt_is_1b_e(stored));
        let flat = if plain { stored } else { pg_sys::pg_detoast_datum_packed(stored) };
        let bytes = std::slice::from_raw_parts(
            pgrx::varlena::vardata_any(flat).cast::<u8>(),
            pgrx::varlena::varsize_any_exhdr(flat),
        );
        let result = use_bytes(bytes);
        if flat != stored {
            pg_sys::pfree(flat.cast());
        }
        result
    }
}

/// A text value with these bytes, in the current memory context.
pub fn text_datum(bytes: &[u8]) -> Datum {
    // SAFETY: the length is that of the slice; PostgreSQL copies it.
    unsafe { Datum::from(pg_sys::cstring_to_text_with_len(bytes.as_ptr().cast(), bytes.len() as i32)) }
}

/// An interval of so much time, in the current memory context.
pub fn interval_datum(time: std::time::Duration) -> Datum {
    let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    // SAFETY: allocates as much as is written.
    unsafe {
        let interval = pg_sys::palloc(size_of::<pg_sys::Interval>()).cast::<pg_sys::Interval>();
        interval.write(pg_sys::Interval { time: micros, day: 0, month: 0 });
        Datum::from(interval)
    }
}

/// How values of a type are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    pub oid: Oid,
    pub len: i16,
    pub by_value: bool,
    pub align: std::ffi::c_char,
}

impl Layout {
    pub fn of(oid: Oid) -> Layout {
        let (mut len, mut by_value, mut align) = (0, false, 0);
        // SAFETY: reads the catalog into places that live here; an unknown type is an ordinary error.
        unsafe { pg_sys::get_typlenbyvalalign(oid, &mut len, &mut by_value, &mut align) };
        Layout { oid, len, by_value, align }
    }

    /// A one-dimensional array of values of this type.
    pub fn array(&self, values: &[Option<Datum>]) -> Datum {
        let mut datums: Vec<Datum> = values.iter().map(|v| v.unwrap_or(Datum::from(0usize))).collect();
        let mut nulls: Vec<bool> = values.iter().map(Option::is_none).collect();
        let (mut dims, mut lower) = ([values.len() as i32], [1i32]);
        // SAFETY: both arrays have as many entries as the one dimension says; PostgreSQL copies the values.
        unsafe {
            Datum::from(pg_sys::construct_md_array(
                datums.as_mut_ptr(),
                nulls.as_mut_ptr(),
                1,
                dims.as_mut_ptr(),
                lower.as_mut_ptr(),
                self.oid,
                i32::from(self.len),
                self.by_value,
                self.align,
            ))
        }
    }
}

/// A jsonb value as text, in the database's encoding.
///
/// # Safety
/// `value` is a non-null jsonb value.
pub unsafe fn jsonb_text(value: Datum) -> Result<Vec<u8>> {
    // SAFETY: jsonb's output function takes what the caller promises, and gives a C string.
    unsafe {
        let text = pgrx::direct_function_call_as_datum(pg_sys::jsonb_out, &[Some(value)])
            .ok_or_else(|| Fault::internal("jsonb printed as null"))?;
        Ok(std::ffi::CStr::from_ptr(text.cast_mut_ptr()).to_bytes().to_vec())
    }
}

/// The array type of a type.
pub fn array_of(oid: Oid) -> Oid {
    // SAFETY: catalog look-up of an existing type.
    unsafe { pg_sys::get_array_type(oid) }
}

/// Rows on their way into a statement that takes an array for each column.
pub struct Columns<const N: usize> {
    types: [Oid; N],
    columns: [Vec<Option<Datum>>; N],
}

impl<const N: usize> Columns<N> {
    pub fn new(types: [Oid; N]) -> Columns<N> {
        Columns { types, columns: std::array::from_fn(|_| Vec::new()) }
    }

    pub fn push(&mut self, row: [Option<Datum>; N]) {
        for (column, value) in self.columns.iter_mut().zip(row) {
            column.push(value);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.columns.iter().all(Vec::is_empty)
    }

    /// The types and values of the only row, if it is the only one.
    pub fn single(&self) -> Option<([Oid; N], [Option<Datum>; N])> {
        let row = self.columns.each_ref().map(|column| match column[..] {
            [value] => Some(value),
            _ => None,
        });
        row.iter().all(Option::is_some).then(|| (self.types, row.map(Option::flatten)))
    }

    /// The types of the arrays.
    pub fn types(&self) -> [Oid; N] {
        self.types.map(array_of)
    }

    pub fn arrays(&self) -> [Option<Datum>; N] {
        std::array::from_fn(|i| Some(Layout::of(self.types[i]).array(&self.columns[i])))
    }
}

/// Runs `work` with a memory context of its own, freed afterwards: for loops over many rows.
pub fn in_scratch<T>(work: impl FnOnce() -> T) -> T {
    let mut scratch = pgrx::PgMemoryContexts::new("msgstatus scratch");
    // SAFETY: the previous context is made current again before the scratch context is freed; on an error
    // PostgreSQL resets the current context itself.
    unsafe { scratch.switch_to(|_| work()) }
}
