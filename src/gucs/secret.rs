//! `msgstatus.twilio_auth_token`, a setting that nobody can read back.
//!
//! PostgreSQL shows a setting in pg_settings, and on a reload the postmaster writes its new value into the server log. So
//! the setting's visible value is always empty: what was set is kept beside it, in the "extra" data that PostgreSQL lets
//! a check hook attach to a value, and that nothing prints.

use crate::key::c_string;
use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting, pg_sys};
use secrecy::SecretString;
use std::ffi::{CStr, CString, c_char, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

static VISIBLE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));

/// The extra data of the value in force: a C string, or null.
static TOKEN: AtomicPtr<c_char> = AtomicPtr::new(std::ptr::null_mut());

/// The token, if there is one.
pub fn auth_token() -> Option<SecretString> {
    let token = TOKEN.load(Ordering::Relaxed);
    // SAFETY: PostgreSQL keeps the extra data of the value in force, and calls the assign hook before it frees it. Both
    // happen on this thread.
    (!token.is_null()).then(|| SecretString::from(unsafe { c_string(token) }))
}

/// Takes the new value away and keeps it as extra data.
///
/// PostgreSQL calls this, possibly in the postmaster and with an open error state, so it neither throws nor allocates
/// where that may fail loudly.
unsafe extern "C-unwind" fn check(
    value: *mut *mut c_char,
    extra: *mut *mut c_void,
    _: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: value points to a C string that is ours to change, or to null; extra is ours to set to memory that
    // PostgreSQL frees as it frees its own.
    unsafe {
        let text = *value;
        if text.is_null() || *text == 0 {
            return true;
        }
        let bytes = CStr::from_ptr(text).to_bytes_with_nul().len();
        let kept = allocate(bytes);
        if kept.is_null() {
            return false;
        }
        std::ptr::copy_nonoverlapping(text.cast::<u8>(), kept.cast::<u8>(), bytes);
        std::ptr::write_bytes(text.cast::<u8>(), 0, bytes);
        *extra = kept;
        true
    }
}

/// Memory of the kind in which PostgreSQL keeps values of settings; null if there is none.
///
/// # Safety
/// None beyond that of a foreign call.
#[cfg(feature = "pg15")]
unsafe fn allocate(bytes: usize) -> *mut c_void {
    // SAFETY: PostgreSQL 15 keeps them in memory of the C library.
    unsafe { libc::malloc(bytes) }
}

#[cfg(not(feature = "pg15"))]
unsafe fn allocate(bytes: usize) -> *mut c_void {
    // SAFETY: with this level a shortage is logged and gives null.
    unsafe { pg_sys::guc_malloc(pg_sys::LOG as std::ffi::c_int, bytes) }
}

unsafe extern "C-unwind" fn assign(_: *const c_char, extra: *mut c_void) {
    TOKEN.store(extra.cast(), Ordering::Relaxed);
}

unsafe extern "C-unwind" fn show() -> *const c_char {
    if TOKEN.load(Ordering::Relaxed).is_null() { c"".as_ptr() } else { c"********".as_ptr() }
}

pub fn init() {
    // SAFETY: the hooks are as PostgreSQL's guc.h documents them, and live as long as the library.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"msgstatus.twilio_auth_token",
            c"Auth token of msgstatus.twilio_account_sid.",
            c"Set it in a configuration file, not with SQL, which may be logged. Also from the environment: TWILIO_AUTH_TOKEN.",
            &VISIBLE,
            GucContext::Sighup,
            GucFlags::SUPERUSER_ONLY | GucFlags::NO_SHOW_ALL,
            Some(check),
            Some(assign),
            Some(show),
        );
    }
}
