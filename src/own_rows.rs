//! Rows of the extension's own tables, and what publications and dumps would make of them.
//!
//! A publication FOR ALL TABLES publishes these, too. What they hold is about the database that they are in: its tables by
//! their OIDs, its policies, its rounds of asking. So what a subscription brings for them is left out.
//!
//! A dump that leaves out a table has the rows about it all the same. They are left out with a warning, and take no others
//! along.

use crate::boundary;
use crate::datum::text_datum;
use crate::encoding::to_server;
use crate::errors::Result;
use crate::function::Args;
use crate::gather;
use crate::session::{is_extension, trigger_depth};
use crate::status::oids::extension_schema;
use crate::trigger::{Call, Made};
use pgrx::pg_sys::{self, Datum, Oid};
use std::cell::RefCell;
use std::ffi::CStr;

crate::sql_function!(msgstatus_tracked_table_in, pg_finfo_msgstatus_tracked_table_in, tracked_table_in);
crate::sql_function!(msgstatus_own_row_trigger, pg_finfo_msgstatus_own_row_trigger, own_row_trigger);

thread_local! {
    /// The last name that was none of a table's.
    static MISSING: RefCell<String> = const { RefCell::new(String::new()) };
}

/// As `regclassin`, but for a table that is not there: that is none.
fn tracked_table_in(args: &Args) -> Result<Option<Datum>> {
    let Some(text) = args.get(0) else { return Ok(None) };
    // SAFETY: the argument is declared as cstring, and not null as the function is strict.
    let name = crate::encoding::from_server(unsafe { CStr::from_ptr(text.cast_mut_ptr()) }.to_bytes());
    let none = Some(Datum::from(pg_sys::InvalidOid));
    if name == "-" {
        return Ok(none);
    }
    if let Ok(oid) = name.parse::<u32>() {
        return Ok(Some(Datum::from(Oid::from(oid))));
    }
    let argument = [Some(text_datum(&to_server(&name)))];
    // SAFETY: a function of one text argument, which gives null for what is not there.
    let found = unsafe { pgrx::direct_function_call_as_datum(pg_sys::to_regclass, &argument) };
    if found.is_none() {
        MISSING.set(name);
    }
    Ok(found.or(none))
}

fn own_row_trigger(args: &Args) -> Result<Option<Datum>> {
    let call = Call::of(args, Made::BeforeRow)?;
    let left_out = Some(Datum::from(0usize));
    // A worker of a subscription fires triggers itself; what somebody's trigger does in turn is done deeper.
    if gather::is_replicating() && trigger_depth() == 1 && !is_extension() {
        return Ok(left_out);
    }
    if call.is_insert() && names_no_table(&call) {
        let missing = MISSING.with_borrow(Clone::clone);
        // SAFETY: below `enter`, as every function that SQL calls.
        unsafe {
            boundary::warning(
                &format!("table {missing} does not exist, and what msgstatus keeps about it is left out"),
                "Restore the table too, or drop the triggers of msgstatus that its counterpart still has.",
            );
        }
        return Ok(left_out);
    }
    Ok(Some(Datum::from(call.unchanged())))
}

/// Is one of the row's tables none?
fn names_no_table(call: &Call) -> bool {
    // SAFETY: an open relation's descriptor has as many attributes as it says, and the row, too.
    unsafe {
        let kind = pg_sys::GetSysCacheOid(
            pg_sys::SysCacheIdentifier::TYPENAMENSP as i32,
            pg_sys::Anum_pg_type_oid as pg_sys::AttrNumber,
            Datum::from(c"tracked_table".as_ptr()),
            Datum::from(extension_schema()),
            Datum::from(0usize),
            Datum::from(0usize),
        );
        let descriptor = call.descriptor();
        let row = call.new_row((*descriptor).natts as i16);
        (1..=(*descriptor).natts as i16).any(|number| {
            let attribute = pg_sys::SPI_gettypeid(descriptor, i32::from(number));
            attribute == kind && row.get(number).is_none_or(|d| d.value() as u32 == 0)
        })
    }
}
