//! Settings. All are named `msgstatus.…`; the prefix is reserved, so a misspelt one is an error.

mod secret;

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting, pg_sys};
use std::ffi::CString;
use std::time::Duration;

pub use secret::{Secret, secret};

type Text = GucSetting<Option<CString>>;

/// `msgstatus.guard`: off lets a direct write of messages through as it is, for correcting data by hand.
pub static GUARD: GucSetting<bool> = GucSetting::<bool>::new(true);

/// `msgstatus.databases`: where a worker runs, names separated by commas.
static DATABASES: Text = Text::new(Some(c""));
/// `msgstatus.role`: whom the workers connect as.
static ROLE: Text = Text::new(Some(c""));
/// `msgstatus.poll_interval`, in seconds: from the start of one round to that of the next.
static POLL_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(300);
/// `msgstatus.poll_batch`: messages a round.
static POLL_BATCH: GucSetting<i32> = GucSetting::<i32>::new(500);
/// `msgstatus.max_checks`: how often one message is asked about.
static MAX_CHECKS: GucSetting<i32> = GucSetting::<i32>::new(20);
/// `msgstatus.poll_concurrency`: requests at once.
static POLL_CONCURRENCY: GucSetting<i32> = GucSetting::<i32>::new(4);
/// `msgstatus.poll_delay`, in milliseconds: between the starts of two requests.
static POLL_DELAY: GucSetting<i32> = GucSetting::<i32>::new(50);
/// `msgstatus.http_timeout`, in milliseconds: for one request as a whole.
static HTTP_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(10_000);
/// `msgstatus.unknown_after`, in seconds: how long a message may be `sent` without a receipt.
static UNKNOWN_AFTER: GucSetting<i32> = GucSetting::<i32>::new(6 * 3600);
/// `msgstatus.give_up_after`, in seconds: the age from which on a message is not asked about any more.
static GIVE_UP_AFTER: GucSetting<i32> = GucSetting::<i32>::new(72 * 3600);
/// `msgstatus.auth_retry`, in seconds: how long an account rests that was refused.
static AUTH_RETRY: GucSetting<i32> = GucSetting::<i32>::new(15 * 60);
/// `msgstatus.twilio_base_url`.
static TWILIO_BASE_URL: Text = Text::new(Some(c"https://api.twilio.com"));
/// `msgstatus.twilio_account_sid`.
static TWILIO_ACCOUNT_SID: Text = Text::new(Some(c""));
/// `msgstatus.credentials_file`.
static CREDENTIALS_FILE: Text = Text::new(Some(c""));

fn text(setting: &Text) -> Option<String> {
    setting.get().map(|t| t.to_string_lossy().trim().to_owned()).filter(|t| !t.is_empty())
}

fn seconds(setting: &GucSetting<i32>) -> Duration {
    Duration::from_secs(setting.get().unsigned_abs().into())
}

/// The databases that have a worker, each once.
pub fn databases() -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in text(&DATABASES).unwrap_or_default().split(',').map(str::trim) {
        if !name.is_empty() && !names.iter().any(|n| n == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// Whom the workers connect as; the superuser that the cluster was made with, if there is none.
pub fn role() -> Option<String> {
    text(&ROLE)
}

pub fn poll_interval() -> Duration {
    seconds(&POLL_INTERVAL)
}

pub fn poll_batch() -> i32 {
    POLL_BATCH.get()
}

pub fn max_checks() -> i32 {
    MAX_CHECKS.get()
}

pub fn poll_concurrency() -> usize {
    POLL_CONCURRENCY.get().unsigned_abs() as usize
}

pub fn poll_delay() -> Duration {
    Duration::from_millis(POLL_DELAY.get().unsigned_abs().into())
}

pub fn http_timeout() -> Duration {
    Duration::from_millis(HTTP_TIMEOUT.get().unsigned_abs().into())
}

pub fn unknown_after() -> Duration {
    seconds(&UNKNOWN_AFTER)
}

pub fn give_up_after() -> Duration {
    seconds(&GIVE_UP_AFTER)
}

pub fn auth_retry() -> Duration {
    seconds(&AUTH_RETRY)
}

pub fn twilio_base_url() -> String {
    text(&TWILIO_BASE_URL).unwrap_or_default()
}

pub fn twilio_account_sid() -> Option<String> {
    text(&TWILIO_ACCOUNT_SID)
}

pub fn credentials_file() -> Option<String> {
    text(&CREDENTIALS_FILE)
}

/// Defines all of them. `preloading` says that the postmaster loads the library, the only time at which a setting that
/// needs a restart can be defined.
pub fn init(preloading: bool) {
    GucRegistry::define_bool_guc(
        c"msgstatus.guard",
        c"Folds direct writes of tracked messages tables.",
        c"When off, an INSERT or UPDATE writes what it says, even if it moves a status back. For superusers and roles granted SET on it.",
        &GUARD,
        GucContext::Suset,
        GucFlags::default(),
    );
    for (name, short, long, setting, context, flags) in [
        (
            c"msgstatus.databases",
            c"Databases in which a worker asks Twilio about messages that got stuck.",
            c"Names separated by commas. Takes effect at a restart, with msgstatus in shared_preload_libraries.",
            &DATABASES,
            if preloading { GucContext::Postmaster } else { GucContext::Sighup },
            GucFlags::default(),
        ),
        (
            c"msgstatus.role",
            c"Role that the workers connect as.",
            c"Empty: the superuser that the cluster was made with. What they do with tables they do with the rights of the tables' owners.",
            &ROLE,
            GucContext::Sighup,
            GucFlags::default(),
        ),
        (
            c"msgstatus.twilio_base_url",
            c"Where Twilio's API is.",
            c"For regions: https://api.{edge}.{region}.twilio.com. Plain http only to the machine itself.",
            &TWILIO_BASE_URL,
            GucContext::Suset,
            GucFlags::default(),
        ),
        (
            c"msgstatus.twilio_account_sid",
            c"Twilio account whose token is msgstatus.twilio_auth_token.",
            c"For one account; several are in msgstatus.credentials_file. Also from the environment: TWILIO_ACCOUNT_SID.",
            &TWILIO_ACCOUNT_SID,
            GucContext::Sighup,
            GucFlags::SUPERUSER_ONLY,
        ),
        (
            c"msgstatus.credentials_file",
            c"TOML file with credentials of Twilio accounts.",
            c"One table per Account SID, with auth_token, or api_key and api_secret, or all; whatsapp with app_secret. Nobody but the server's user may have access to it.",
            &CREDENTIALS_FILE,
            GucContext::Sighup,
            GucFlags::SUPERUSER_ONLY,
        ),
    ] {
        GucRegistry::define_string_guc(name, short, long, setting, context, flags);
    }
    for (name, short, long, setting, least, most, flags) in [
        (
            c"msgstatus.poll_interval",
            c"Time between the starts of two rounds of asking.",
            c"What is due then is in msgstatus.due().",
            &POLL_INTERVAL,
            1,
            86_400,
            GucFlags::UNIT_S,
        ),
        (
            c"msgstatus.poll_batch",
            c"Messages asked about in one round.",
            c"Half of them are those that wait longest.",
            &POLL_BATCH,
            1,
            10_000,
            GucFlags::default(),
        ),
        (
            c"msgstatus.max_checks",
            c"How often Twilio is asked about one message.",
            c"A message with as many checks is left alone.",
            &MAX_CHECKS,
            1,
            10_000,
            GucFlags::default(),
        ),
        (
            c"msgstatus.poll_concurrency",
            c"Requests to Twilio at once.",
            c"Twilio limits how many an account may have under way.",
            &POLL_CONCURRENCY,
            1,
            64,
            GucFlags::default(),
        ),
        (
            c"msgstatus.poll_delay",
            c"Time between the starts of two requests.",
            c"50 ms make at most 20 requests a second.",
            &POLL_DELAY,
            0,
            60_000,
            GucFlags::UNIT_MS,
        ),
        (
            c"msgstatus.http_timeout",
            c"Time that one request may take.",
            c"From the connection to the last byte of the answer.",
            &HTTP_TIMEOUT,
            100,
            600_000,
            GucFlags::UNIT_MS,
        ),
        (
            c"msgstatus.unknown_after",
            c"How long a message may be sent without a receipt.",
            c"Then its status becomes delivery_unknown, until a receipt comes.",
            &UNKNOWN_AFTER,
            1,
            i32::MAX,
            GucFlags::UNIT_S,
        ),
        (
            c"msgstatus.give_up_after",
            c"Age from which on Twilio is not asked about a message.",
            c"After 72 hours a receipt is unlikely.",
            &GIVE_UP_AFTER,
            1,
            i32::MAX,
            GucFlags::UNIT_S,
        ),
        (
            c"msgstatus.auth_retry",
            c"How long an account rests whose credentials were refused.",
            c"Other accounts go on.",
            &AUTH_RETRY,
            1,
            86_400,
            GucFlags::UNIT_S,
        ),
    ] {
        GucRegistry::define_int_guc(name, short, long, setting, least, most, GucContext::Suset, flags);
    }
    secret::init();
    // SAFETY: called from _PG_init with a static string.
    unsafe { pg_sys::MarkGUCPrefixReserved(c"msgstatus".as_ptr()) };
}
