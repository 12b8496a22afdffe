//! Settings that nobody can read back.
//!
//! PostgreSQL shows a setting in pg_settings, and on a reload the postmaster writes its new value into the server log. So
//! the visible value of these is always empty: what was set is kept beside it, in the "extra" data that PostgreSQL lets
//! a check hook attach to a value, and that nothing prints.

use crate::key::c_string;
use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting, pg_sys};
use secrecy::SecretString;
use std::ffi::{CStr, CString, c_char, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

/// Which of them.
#[derive(Clone, Copy)]
pub enum Secret {
    /// `msgstatus.twilio_auth_token`
    TwilioAuthToken = 0,
    /// `msgstatus.whatsapp_app_secret`
    WhatsappAppSecret = 1,
}

static VISIBLE: [GucSetting<Option<CString>>; 2] = [const { GucSetting::<Option<CString>>::new(Some(c"")) }; 2];

/// The extra data of the values in force: C strings, or null.
static KEPT: [AtomicPtr<c_char>; 2] = [const { AtomicPtr::new(std::ptr::null_mut()) }; 2];

/// The secret, if it is set.
pub fn secret(which: Secret) -> Option<SecretString> {
    let kept = KEPT[which as usize].load(Ordering::Relaxed);
    // SAFETY: PostgreSQL keeps the extra data of the value in force, and calls the assign hook before it frees it. Both
    // happen on this thread.
    (!kept.is_null()).then(|| SecretString::from(unsafe { c_string(kept) }))
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
        // Blanks are no secret: anybody could sign with them.
        if text.is_null() || CStr::from_ptr(text).to_bytes().iter().all(u8::is_ascii_whitespace) {
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

unsafe extern "C-unwind" fn assign<const WHICH: usize>(_: *const c_char, extra: *mut c_void) {
    KEPT[WHICH].store(extra.cast(), Ordering::Relaxed);
}

unsafe extern "C-unwind" fn show<const WHICH: usize>() -> *const c_char {
    if KEPT[WHICH].load(Ordering::Relaxed).is_null() { c"".as_ptr() } else { c"********".as_ptr() }
}

pub fn init() {
    define::<{ Secret::TwilioAuthToken as usize }>(
        c"msgstatus.twilio_auth_token",
        c"Auth token of msgstatus.twilio_account_sid.",
        c"Set it in a configuration file, not with SQL, which may be logged. Also from the environment: TWILIO_AUTH_TOKEN.",
    );
    define::<{ Secret::WhatsappAppSecret as usize }>(
        c"msgstatus.whatsapp_app_secret",
        c"App secret of the Meta app that sends WhatsApp webhooks.",
        c"Set it in a configuration file, not with SQL, which may be logged. Also from the environment: WHATSAPP_APP_SECRET.",
    );
}

fn define<const WHICH: usize>(name: &'static CStr, short: &'static CStr, long: &'static CStr) {
    // SAFETY: the hooks are as PostgreSQL's guc.h documents them, and live as long as the library.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            name,
            short,
            long,
            &VISIBLE[WHICH],
            GucContext::Sighup,
            GucFlags::SUPERUSER_ONLY | GucFlags::NO_SHOW_ALL,
            Some(check),
            Some(assign::<WHICH>),
            Some(show::<WHICH>),
        );
    }
}
