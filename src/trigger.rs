//! What the trigger functions share: the call, its tuples, and where the columns of a pair are in them.

use crate::datum::with_bytes;
use crate::errors::{Code, Fault, Result};
use crate::fold::{Time, stored_time};
use crate::function::Args;
use crate::pair::{Pair, Side, Table, cache, resolve};
use pgrx::pg_sys::{self, Datum, Oid};
use std::rc::Rc;

/// A trigger call that is under way.
pub struct Call {
    data: *mut pg_sys::TriggerData,
}

/// The events that a trigger function is made for. Anybody may put it on a table of their own, so it checks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// AFTER INSERT, of rows or statements.
    AfterInsert,
    /// AFTER INSERT, of rows or statements, and AFTER UPDATE of rows.
    AfterInsertOrKey,
    /// BEFORE INSERT OR UPDATE of rows.
    BeforeWrite,
    /// BEFORE any change of rows.
    BeforeRow,
    /// AFTER any change of rows, and BEFORE TRUNCATE.
    PolicyChange,
}

impl Call {
    /// The call that `args` are, if it is one that the function is made for.
    pub fn of(args: &Args, made: Made) -> Result<Call> {
        // SAFETY: the context of a call is a node or null, and says itself whether it is trigger data.
        let data = unsafe {
            let context = (*args.fcinfo()).context;
            let fired = !context.is_null() && (*context).type_ == pg_sys::NodeTag::T_TriggerData;
            fired.then_some(context.cast::<pg_sys::TriggerData>())
        };
        let Some(data) = data else {
            return Err(Fault::new(
                Code::NotReady,
                "this function can only be called as a trigger",
                "Triggers of msgstatus are made by msgstatus.attach.",
            ));
        };
        let call = Call { data };
        let event = call.data().tg_event;
        let (row, op) = (call.is_row(), event & pg_sys::TRIGGER_EVENT_OPMASK);
        let timing = event & pg_sys::TRIGGER_EVENT_TIMINGMASK;
        let (after, before) = (timing == pg_sys::TRIGGER_EVENT_AFTER, timing == pg_sys::TRIGGER_EVENT_BEFORE);
        let (insert, update) = (op == pg_sys::TRIGGER_EVENT_INSERT, op == pg_sys::TRIGGER_EVENT_UPDATE);
        let fits = match made {
            Made::AfterInsert => after && insert,
            Made::AfterInsertOrKey => after && (insert || update && row),
            Made::BeforeWrite => before && row && (insert || update),
            Made::BeforeRow => before && row,
            Made::PolicyChange => after && row || before && call.is_truncate(),
        };
        if fits {
            return Ok(call);
        }
        Err(Fault::new(
            Code::NotReady,
            "a trigger of msgstatus is on an event that its function is not made for",
            "Triggers of msgstatus are made by msgstatus.attach: drop this one, detach and attach again.",
        ))
    }

    fn data(&self) -> &pg_sys::TriggerData {
        // SAFETY: the trigger manager's data lives as long as the call.
        unsafe { &*self.data }
    }

    /// The pair that the trigger belongs to; `side` is the table that it is on.
    pub fn pair(&self, side: Side) -> Result<Rc<Pair>> {
        // SAFETY: the data is that of this call.
        unsafe { cache::of_trigger(self.data, side) }
    }

    pub fn is_row(&self) -> bool {
        self.data().tg_event & pg_sys::TRIGGER_EVENT_ROW != 0
    }

    pub fn is_truncate(&self) -> bool {
        self.data().tg_event & pg_sys::TRIGGER_EVENT_OPMASK == pg_sys::TRIGGER_EVENT_TRUNCATE
    }

    pub fn is_insert(&self) -> bool {
        self.data().tg_event & pg_sys::TRIGGER_EVENT_OPMASK == pg_sys::TRIGGER_EVENT_INSERT
    }

    pub fn relation(&self) -> Oid {
        // SAFETY: trigger data holds an open relation.
        unsafe { (*self.data().tg_relation).rd_id }
    }

    pub fn descriptor(&self) -> pg_sys::TupleDesc {
        // SAFETY: an open relation has a descriptor that lives as long as it is open.
        unsafe { (*self.data().tg_relation).rd_att }
    }

    /// The row before a BEFORE or AFTER ROW trigger's change (the only one, for an INSERT).
    pub fn old_tuple(&self) -> pg_sys::HeapTuple {
        self.data().tg_trigtuple
    }

    /// The row as the statement leaves it; null for a DELETE.
    pub fn new_tuple(&self) -> pg_sys::HeapTuple {
        if self.is_insert() { self.data().tg_trigtuple } else { self.data().tg_newtuple }
    }

    /// The row that a BEFORE ROW trigger lets through as it is.
    pub fn unchanged(&self) -> pg_sys::HeapTuple {
        if self.data().tg_newtuple.is_null() { self.data().tg_trigtuple } else { self.data().tg_newtuple }
    }

    /// The first columns of the row as the statement leaves it. For triggers on rows, of relations that have them.
    pub fn new_row(&self, columns: i16) -> Tuple {
        let slot = if self.is_insert() { self.data().tg_trigslot } else { self.data().tg_newslot };
        // SAFETY: a row trigger's slot holds the row, which has at least the columns that were looked up in it.
        unsafe { Tuple::deform(slot, columns) }
    }

    /// The first columns of the row as it was. For triggers on updated rows.
    pub fn old_row(&self, columns: i16) -> Tuple {
        // SAFETY: as above.
        unsafe { Tuple::deform(self.data().tg_trigslot, columns) }
    }

    /// The new tuple with other values in these columns.
    pub fn new_tuple_with(&self, changes: &[(Attribute, Option<Datum>)]) -> pg_sys::HeapTuple {
        let (descriptor, tuple) = (self.descriptor(), self.new_tuple());
        // SAFETY: the row has as many columns as its descriptor says, and the changes are of some of them.
        unsafe {
            let width = (*descriptor).natts as usize;
            let row = self.new_row(width as i16);
            let mut values = std::slice::from_raw_parts(row.values, width).to_vec();
            let mut nulls = std::slice::from_raw_parts(row.nulls, width).to_vec();
            for (attribute, value) in changes {
                let i = attribute.number as usize - 1;
                values[i] = value.unwrap_or(Datum::from(0usize));
                nulls[i] = value.is_none();
            }
            let changed = pg_sys::heap_form_tuple(descriptor, values.as_mut_ptr(), nulls.as_mut_ptr());
            (*changed).t_self = (*tuple).t_self;
            (*changed).t_tableOid = (*tuple).t_tableOid;
            (*(*changed).t_data).t_ctid = (*(*tuple).t_data).t_ctid;
            changed
        }
    }

    /// Calls `each` with every new row: the transition table of a statement, or the one row. `each` runs no SQL.
    pub fn each_new(&self, columns: i16, mut each: impl FnMut(&Tuple) -> Result<()>) -> Result<()> {
        if self.is_row() {
            return each(&self.new_row(columns));
        }
        let store = self.data().tg_newtable;
        if store.is_null() {
            return Err(Fault::new(
                Code::NotReady,
                "the statement trigger has no transition table",
                "Triggers of msgstatus are made by msgstatus.attach: run msgstatus.detach and attach again.",
            ));
        }
        // SAFETY: the store outlives the call. It is read through a pointer of our own, as other triggers of the same
        // statement read it too; the slot is made for the relation's rows and dropped at the end.
        unsafe {
            let pointer = pg_sys::tuplestore_alloc_read_pointer(store, pg_sys::EXEC_FLAG_REWIND as i32);
            pg_sys::tuplestore_select_read_pointer(store, pointer);
            pg_sys::tuplestore_rescan(store);
            let slot = pg_sys::MakeSingleTupleTableSlot(self.descriptor(), &raw const pg_sys::TTSOpsMinimalTuple);
            while pg_sys::tuplestore_gettupleslot(store, true, false, slot) {
                each(&Tuple::deform(slot, columns))?;
            }
            pg_sys::ExecDropSingleTupleTableSlot(slot);
        }
        Ok(())
    }
}

/// A row whose first columns are unpacked.
pub struct Tuple {
    values: *const Datum,
    nulls: *const bool,
    columns: i16,
}

impl Tuple {
    /// # Safety
    /// The slot holds a row of at least `columns` columns and is not touched while the tuple is in use.
    unsafe fn deform(slot: *mut pg_sys::TupleTableSlot, columns: i16) -> Tuple {
        // SAFETY: as the caller promises.
        unsafe {
            if (*slot).tts_nvalid < columns {
                pg_sys::slot_getsomeattrs_int(slot, i32::from(columns));
            }
            Tuple { values: (*slot).tts_values, nulls: (*slot).tts_isnull, columns }
        }
    }

    /// Column number `attribute`, from 1.
    pub fn get(&self, attribute: i16) -> Option<Datum> {
        let i = usize::try_from(attribute - 1).ok().filter(|_| attribute <= self.columns)?;
        // SAFETY: the slot has `columns` values, and `i` is below that.
        unsafe { (!*self.nulls.add(i)).then(|| *self.values.add(i)) }
    }
}

/// A column of a relation: its number and type.
#[derive(Clone, Copy, Debug)]
pub struct Attribute {
    pub number: i16,
    pub oid: Oid,
}

impl Attribute {
    /// The column that plays a role, or the error that names it.
    pub fn required(table: &Table, role: &str, column: &str) -> Result<Attribute> {
        let (number, oid, _, _) = resolve::required(table, role, column)?;
        Ok(Attribute { number, oid })
    }

    /// A column, if the relation has it.
    pub fn of(table: &Table, column: &str) -> Option<Attribute> {
        resolve::attribute(table.oid, column).map(|(number, oid, ..)| Attribute { number, oid })
    }

    /// The column that plays a role that need not be played.
    pub fn optional(table: &Table, role: &str, column: Option<&str>) -> Result<Option<Attribute>> {
        column.map(|c| Attribute::required(table, role, c)).transpose()
    }

    /// Lends the column's text. Types that are not text are read as they print.
    pub fn with_text<T>(&self, value: Datum, use_text: impl FnOnce(&[u8]) -> T) -> T {
        // SAFETY: the value is of this column's type: a varlena, or something with an output function.
        unsafe {
            match self.oid {
                pg_sys::TEXTOID | pg_sys::VARCHAROID => with_bytes(value, use_text),
                other => {
                    let (mut function, mut varlena) = (pg_sys::InvalidOid, false);
                    pg_sys::getTypeOutputInfo(other, &mut function, &mut varlena);
                    let text = pg_sys::OidOutputFunctionCall(function, value);
                    let result = use_text(std::ffi::CStr::from_ptr(text).to_bytes());
                    pg_sys::pfree(text.cast());
                    result
                }
            }
        }
    }

    /// The column's time. A timestamp without time zone is read as UTC, which has the same number.
    pub fn time(&self, value: Datum) -> Time {
        stored_time(value.value() as i64)
    }
}
