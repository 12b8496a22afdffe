//! Settings. All are named `msgstatus.…`; the prefix is reserved, so a misspelt one is an error.

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting, pg_sys};

/// `msgstatus.guard`: off lets a direct write of messages through as it is, for correcting data by hand.
pub static GUARD: GucSetting<bool> = GucSetting::<bool>::new(true);

pub fn init() {
    GucRegistry::define_bool_guc(
        c"msgstatus.guard",
        c"Folds direct writes of tracked messages tables.",
        c"When off, an INSERT or UPDATE writes what it says, even if it moves a status back. For superusers and roles granted SET on it.",
        &GUARD,
        GucContext::Suset,
        GucFlags::default(),
    );
    // SAFETY: called from _PG_init with a static string.
    unsafe { pg_sys::MarkGUCPrefixReserved(c"msgstatus".as_ptr()) };
}
