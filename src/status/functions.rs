//! `rank`, `parse_status` and the aggregate `fold`, for scans of many millions of rows.

use super::words::Provider;
use super::{COUNT, DEFAULT_RANKS, Status};
use crate::datum::with_bytes;
use crate::errors::{Code, Fault, Result};
use crate::fold::{Ranks, Time};
use crate::function::Args;
use crate::status::oids::StatusOids;
use pgrx::pg_sys::{self, Datum};

crate::sql_function!(msgstatus_rank, pg_finfo_msgstatus_rank, rank);
crate::sql_function!(msgstatus_parse_status, pg_finfo_msgstatus_parse_status, parse_status);
crate::sql_function!(msgstatus_fold_step, pg_finfo_msgstatus_fold_step, fold_step);
crate::sql_function!(msgstatus_fold_combine, pg_finfo_msgstatus_fold_combine, fold_combine);
crate::sql_function!(msgstatus_fold_send, pg_finfo_msgstatus_fold_send, fold_send);
crate::sql_function!(msgstatus_fold_receive, pg_finfo_msgstatus_fold_receive, fold_receive);
crate::sql_function!(msgstatus_fold_final, pg_finfo_msgstatus_fold_final, fold_final);

/// The label OIDs, looked up once a query and kept with the call site.
fn oids(args: &Args) -> Result<&StatusOids> {
    // SAFETY: fn_extra belongs to the function, starts null, and lives in fn_mcxt as long as the call site.
    unsafe {
        let info = (*args.fcinfo()).flinfo;
        if info.is_null() {
            return Err(Fault::internal("called without a call site"));
        }
        if (*info).fn_extra.is_null() {
            let found = StatusOids::get()?;
            let size = std::mem::size_of::<StatusOids>();
            let kept = pg_sys::MemoryContextAlloc((*info).fn_mcxt, size).cast::<StatusOids>();
            kept.write(found);
            (*info).fn_extra = kept.cast();
        }
        Ok(&*(*info).fn_extra.cast::<StatusOids>())
    }
}

fn status(args: &Args, value: Datum) -> Result<Status> {
    oids(args)?.status(value).ok_or_else(|| {
        Fault::new(
            Code::NotReady,
            format!("delivery_status holds a label that this library does not know (OID {})", value.value()),
            "The extension is newer than the library: reconnect, or install the library that belongs to it.",
        )
    })
}

/// `rank(delivery_status) → smallint`: the number of the default policy.
fn rank(args: &Args) -> Result<Option<Datum>> {
    let Some(value) = args.get(0) else { return Ok(None) };
    Ok(Some(Datum::from(DEFAULT_RANKS[status(args, value)?.index()])))
}

/// `parse_status(word, provider) → delivery_status`.
fn parse_status(args: &Args) -> Result<Option<Datum>> {
    let (Some(word), Some(provider)) = (args.get(0), args.get(1)) else { return Ok(None) };
    // SAFETY: both arguments are declared as text.
    let parsed = unsafe {
        let provider = with_bytes(provider, Provider::named);
        with_bytes(word, |w| provider.parse(w))
    };
    match parsed {
        Some(s) => Ok(Some(oids(args)?.datum(s))),
        None => Ok(None),
    }
}

/// The state of `fold(status, at)`: the event that stands so far.
#[derive(Clone, Copy)]
struct Standing {
    status: Status,
    at: Time,
}

/// An event without a time counts as later than any with one.
const NO_TIME: Time = i64::MAX;

fn stands(new: Standing, old: Standing) -> bool {
    Ranks(DEFAULT_RANKS).stands((new.status, new.at), (old.status, old.at))
}

fn state<'a>(args: &Args, i: usize) -> Option<&'a mut Standing> {
    // SAFETY: the argument is declared as internal and only the functions of this aggregate make one.
    args.get(i).map(|d| unsafe { &mut *d.cast_mut_ptr::<Standing>() })
}

/// A state in the memory of the aggregate.
fn keep(args: &Args, standing: Standing) -> Result<Datum> {
    let mut context = std::ptr::null_mut();
    // SAFETY: asks in which context this aggregate's states live, and allocates there.
    unsafe {
        if pg_sys::AggCheckCallContext(args.fcinfo(), &mut context) == 0 {
            return Err(Fault::new(
                Code::NotReady,
                "this function is part of the aggregate msgstatus.fold",
                "Call msgstatus.fold(status, at) instead.",
            ));
        }
        let kept = pg_sys::MemoryContextAlloc(context, std::mem::size_of::<Standing>()).cast::<Standing>();
        kept.write(standing);
        Ok(Datum::from(kept))
    }
}

fn fold_step(args: &Args) -> Result<Option<Datum>> {
    let so_far = state(args, 0);
    let Some(value) = args.get(1) else { return Ok(args.get(0)) };
    let at = args.get(2).map_or(NO_TIME, |d| d.value() as i64);
    let new = Standing { status: status(args, value)?, at };
    match so_far {
        None => keep(args, new).map(Some),
        Some(old) => {
            if stands(new, *old) {
                *old = new;
            }
            Ok(args.get(0))
        }
    }
}

fn fold_combine(args: &Args) -> Result<Option<Datum>> {
    match (state(args, 0), state(args, 1)) {
        (_, None) => Ok(args.get(0)),
        (None, Some(b)) => keep(args, *b).map(Some),
        (Some(a), Some(b)) => {
            if stands(*b, *a) {
                *a = *b;
            }
            Ok(args.get(0))
        }
    }
}

/// A state as bytea, for parallel workers: one byte of status, eight of time.
fn fold_send(args: &Args) -> Result<Option<Datum>> {
    let Some(s) = state(args, 0) else { return Ok(None) };
    let mut bytes = [0; 9];
    bytes[0] = s.status as u8;
    bytes[1..].copy_from_slice(&s.at.to_le_bytes());
    Ok(Some(crate::datum::text_datum(&bytes)))
}

fn fold_receive(args: &Args) -> Result<Option<Datum>> {
    let Some(value) = args.get(0) else { return Ok(None) };
    // SAFETY: the argument is declared as bytea.
    let read = unsafe {
        with_bytes(value, |b| {
            let (status, at) = b.split_first()?;
            Some((Status::from_index(*status)?, i64::from_le_bytes(at.try_into().ok()?)))
        })
    };
    let (status, at) = read.ok_or_else(|| Fault::internal("a state of fold can't be read"))?;
    keep(args, Standing { status, at }).map(Some)
}

fn fold_final(args: &Args) -> Result<Option<Datum>> {
    let Some(s) = state(args, 0) else { return Ok(None) };
    Ok(Some(oids(args)?.datum(s.status)))
}

const _: () = assert!(COUNT <= 32, "a status has a bit in a 32-bit mask");
