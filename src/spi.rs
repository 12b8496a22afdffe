//! A narrow layer over SPI for the hot paths.
//!
//! pgrx's own client copies every value into the transaction's memory, and can't choose the snapshot. The fold
//! needs both otherwise: many rows a call, and a snapshot that sees what committed a moment ago even under
//! REPEATABLE READ (as PostgreSQL's own foreign-key triggers do).

use crate::boundary;
use crate::errors::{Fault, Result};
use crate::planner::ByIndex;
use pgrx::pg_sys::{self, Datum, Oid};
use std::cell::Cell;
use std::ffi::{CString, c_char, c_int};
use std::marker::PhantomData;
use std::ptr;

/// A connection to SPI, closed on drop. What SPI allocates meanwhile is freed with it.
pub struct Spi {
    _not_send: PhantomData<*mut ()>,
}

impl Spi {
    pub fn connect() -> Result<Spi> {
        // SAFETY: plain call; the matching SPI_finish is in drop.
        match unsafe { pg_sys::SPI_connect() } as u32 {
            pg_sys::SPI_OK_CONNECT => Ok(Spi { _not_send: PhantomData }),
            code => Err(Fault::internal(format!("SPI_connect gave {code}"))),
        }
    }

    /// Runs a plan with a snapshot that sees everything committed by now.
    pub fn run<'a>(&'a self, plan: &Plan, args: &[Option<Datum>]) -> Result<Rows<'a>> {
        self.limited(plan, args, false)
    }

    /// Runs a plan that only reads, in the snapshot of the calling query.
    pub fn read<'a>(&'a self, plan: &Plan, args: &[Option<Datum>]) -> Result<Rows<'a>> {
        self.limited(plan, args, true)
    }

    fn limited<'a>(&'a self, plan: &Plan, args: &[Option<Datum>], read_only: bool) -> Result<Rows<'a>> {
        let (mut values, nulls) = plan.arguments(args)?;
        let _planned = plan.indexed.then(ByIndex::begin);
        // SAFETY: the plan is valid and kept, the arrays have one entry per parameter of the types it was
        // prepared with, and the snapshot is registered by SPI for the duration of the call.
        unsafe {
            let snapshot = if read_only { pg_sys::GetActiveSnapshot() } else { pg_sys::GetLatestSnapshot() };
            let (plan_ptr, values, nulls) = (plan.plan, values.as_mut_ptr(), nulls.as_ptr());
            let code = boundary::call(|| {
                boundary::SPI_execute_snapshot(plan_ptr, values, nulls, snapshot, ptr::null_mut(), read_only, true, 0)
            });
            if code < 0 {
                return Err(Fault::internal(format!("SPI gave {code} for: {}", plan.sql)));
            }
            let rows =
                Rows { table: pg_sys::SPI_tuptable, processed: pg_sys::SPI_processed as usize, _spi: PhantomData };
            plan.tell_of_scans();
            Ok(rows)
        }
    }

    /// Opens a cursor over a query, in a fresh snapshot.
    pub fn cursor<'a>(&'a self, plan: &Plan, args: &[Option<Datum>]) -> Result<Cursor<'a>> {
        let (mut values, nulls) = plan.arguments(args)?;
        // SAFETY: the plan is valid and kept; the arrays have one entry per parameter and are copied.
        let portal =
            unsafe { pg_sys::SPI_cursor_open(ptr::null(), plan.plan, values.as_mut_ptr(), nulls.as_ptr(), true) };
        if portal.is_null() {
            return Err(Fault::internal(format!("no cursor for: {}", plan.sql)));
        }
        Ok(Cursor { portal, _spi: PhantomData })
    }

    /// Prepares and runs a statement once, with PostgreSQL's own choice of plan.
    pub fn once<'a>(&'a self, sql: &str, types: &[Oid], args: &[Option<Datum>]) -> Result<Rows<'a>> {
        self.run(&Plan::passing(sql, types, false)?, args)
    }

    /// The same for a statement that finds its rows by keys in an array, however large its table seems to be.
    pub fn by_index<'a>(&'a self, sql: &str, types: &[Oid], args: &[Option<Datum>]) -> Result<Rows<'a>> {
        self.run(&Plan::passing(sql, types, true)?, args)
    }
}

impl Drop for Spi {
    fn drop(&mut self) {
        // While an error unwinds, the abort of the (sub)transaction closes the connection.
        if !std::thread::panicking() {
            // SAFETY: closes the connection this value stands for.
            unsafe { pg_sys::SPI_finish() };
        }
    }
}

/// A query that is read in parts.
pub struct Cursor<'a> {
    portal: pg_sys::Portal,
    _spi: PhantomData<&'a Spi>,
}

impl<'a> Cursor<'a> {
    /// The next rows, `count` of them at most; none at the end.
    pub fn fetch(&mut self, count: usize) -> Result<Rows<'a>> {
        // SAFETY: the portal is open as long as this value lives, in the connection that it borrows.
        unsafe {
            let portal = self.portal;
            boundary::call(|| boundary::SPI_cursor_fetch(portal, true, count as std::ffi::c_long));
            Ok(Rows { table: pg_sys::SPI_tuptable, processed: pg_sys::SPI_processed as usize, _spi: PhantomData })
        }
    }
}

impl Drop for Cursor<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: closes the portal that this value stands for.
            unsafe { pg_sys::SPI_cursor_close(self.portal) };
        }
    }
}

/// The result of a statement. Values live as long as the connection.
pub struct Rows<'a> {
    table: *mut pg_sys::SPITupleTable,
    processed: usize,
    _spi: PhantomData<&'a Spi>,
}

impl Rows<'_> {
    /// Rows returned, or changed if the statement returns none.
    pub fn len(&self) -> usize {
        self.processed
    }

    pub fn is_empty(&self) -> bool {
        self.processed == 0
    }

    /// Column `col`, from 0, of row `row`.
    pub fn get(&self, row: usize, col: usize) -> Option<Datum> {
        if self.table.is_null() || row >= self.processed {
            return None;
        }
        let mut null = false;
        // SAFETY: the table is not null and holds `processed` tuples of its descriptor; SPI_getbinval checks
        // the column number itself.
        let value = unsafe {
            let tuple = *(*self.table).vals.add(row);
            pg_sys::SPI_getbinval(tuple, (*self.table).tupdesc, col as c_int + 1, &mut null)
        };
        (!null).then_some(value)
    }

    /// All columns of row `row` at once.
    pub fn row<const N: usize>(&self, row: usize) -> Result<[Option<Datum>; N]> {
        let (mut values, mut nulls) = ([Datum::from(0usize); N], [true; N]);
        // SAFETY: the row and its width are checked before PostgreSQL unpacks it into arrays of that width.
        unsafe {
            if self.table.is_null() || row >= self.processed || (*(*self.table).tupdesc).natts as usize != N {
                return Err(Fault::internal("a row of another shape than its statement's"));
            }
            let tuple = *(*self.table).vals.add(row);
            pg_sys::heap_deform_tuple(tuple, (*self.table).tupdesc, values.as_mut_ptr(), nulls.as_mut_ptr());
        }
        Ok(std::array::from_fn(|i| (!nulls[i]).then_some(values[i])))
    }

    pub fn text(&self, row: usize, col: usize) -> Option<Vec<u8>> {
        // SAFETY: callers ask for text only of columns whose SQL casts them to text.
        self.get(row, col).map(|d| unsafe { crate::datum::text_bytes(d) })
    }

    pub fn string(&self, row: usize, col: usize) -> Option<String> {
        self.text(row, col).map(|b| crate::encoding::from_server(&b))
    }
}

impl Drop for Rows<'_> {
    fn drop(&mut self) {
        if !self.table.is_null() && !std::thread::panicking() {
            // SAFETY: the table came from SPI in this connection and nothing refers to it any more.
            unsafe { pg_sys::SPI_freetuptable(self.table) };
        }
    }
}

/// A prepared statement.
pub struct Plan {
    plan: pg_sys::SPIPlanPtr,
    /// What PostgreSQL plans the statement from; it lives as long as the plan.
    source: *mut pg_sys::CachedPlanSource,
    /// It outlives the connection; others go with it, also when an error closes it.
    kept: bool,
    sql: String,
    args: usize,
    /// Look rows up through indexes, whatever the statistics say: see [`crate::planner`].
    indexed: bool,
    /// PostgreSQL's count of the plans that it made for the statement, when the plan was looked at.
    looked_at: Cell<c_int>,
}

impl Plan {
    /// Prepares `sql`, to be run time and again; call with an open connection.
    pub fn prepare(sql: &str, types: &[Oid], indexed: bool) -> Result<Plan> {
        let mut plan = Plan::passing(sql, types, indexed)?;
        // SAFETY: a fresh, valid plan of this connection.
        if unsafe { pg_sys::SPI_keepplan(plan.plan) } != 0 {
            return Err(Fault::internal(format!("can't keep: {sql}")));
        }
        plan.kept = true;
        Ok(plan)
    }

    /// Prepares `sql` for as long as the connection is open.
    fn passing(sql: &str, types: &[Oid], indexed: bool) -> Result<Plan> {
        let text = CString::new(crate::encoding::to_server(sql)).map_err(|_| Fault::internal("NUL in a statement"))?;
        let mut types = types.to_vec();
        let options = if indexed { pg_sys::CURSOR_OPT_GENERIC_PLAN as c_int } else { 0 };
        // SAFETY: NUL-terminated text, as many types as we say. SPI copies both.
        let plan =
            unsafe { pg_sys::SPI_prepare_cursor(text.as_ptr(), types.len() as c_int, types.as_mut_ptr(), options) };
        if plan.is_null() {
            return Err(Fault::internal(format!("can't prepare: {sql}")));
        }
        // SAFETY: the plan of a text that is one statement has one source.
        let source = unsafe { pg_sys::list_nth(pg_sys::SPI_plan_get_plan_sources(plan), 0).cast() };
        Ok(Plan { plan, source, kept: false, sql: sql.to_owned(), args: types.len(), indexed, looked_at: Cell::new(0) })
    }

    /// Values and null flags as SPI wants them.
    fn arguments(&self, args: &[Option<Datum>]) -> Result<(Vec<Datum>, Vec<c_char>)> {
        if args.len() != self.args {
            return Err(Fault::internal(format!("{} arguments for: {}", args.len(), self.sql)));
        }
        let flag = |a: &Option<Datum>| if a.is_some() { b' ' as c_char } else { b'n' as c_char };
        let values = args.iter().map(|a| a.unwrap_or(Datum::from(0usize))).collect();
        Ok((values, args.iter().map(flag).collect()))
    }

    /// Looks whether a plan that was made anew reads a table whole, and tells the session if so.
    fn tell_of_scans(&self) {
        if !self.indexed {
            return;
        }
        // SAFETY: the plan is valid and of one statement. The plan that was run is held while it is looked at, as it may
        // be given up meanwhile; SPI has a resource owner look after plans that are kept, and after no others.
        unsafe {
            let generation = (*self.source).generation;
            if self.looked_at.replace(generation) == generation {
                return;
            }
            let plan = (*self.source).gplan;
            if plan.is_null() || !(*plan).is_valid {
                return;
            }
            (*plan).refcount += 1;
            let statement = pg_sys::list_nth((*plan).stmt_list, 0).cast::<pg_sys::PlannedStmt>();
            if (*statement).commandType != pg_sys::CmdType::CMD_UTILITY {
                crate::planner::tell_of_scans(statement);
            }
            pg_sys::ReleaseCachedPlan(plan, std::ptr::null_mut());
        }
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        // It is not freed while an error unwinds: it may be the one that runs.
        if self.kept && !std::thread::panicking() {
            // SAFETY: the plan is ours and does not run.
            unsafe { pg_sys::SPI_freeplan(self.plan) };
        }
    }
}
