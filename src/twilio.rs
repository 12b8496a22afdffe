//! Twilio's Messages API: asking what became of messages. Plain Rust, without PostgreSQL.
//!
//! | module | what it is |
//! |---|---|
//! | [`account`] | accounts, their logins and tokens |
//! | [`message`] | the Message resource, as far as it matters here |
//! | [`client`] | one request and what became of it |
//! | [`pace`] | how fast requests may follow each other |
//! | [`plan`] | whether to fetch one by one or to list |
//! | [`inquiry`] | everything that is asked in one round |
//! | [`thread`] | the thread on which all of it runs |

pub mod account;
pub mod client;
pub mod inquiry;
pub mod message;
pub mod pace;
pub mod plan;
pub mod thread;

/// Microseconds since 2000-01-01 UTC, PostgreSQL's `timestamptz`.
pub type Time = i64;

/// Seconds from 1970-01-01 to 2000-01-01.
const EPOCH: i64 = 946_684_800;

/// A time of chrono's as PostgreSQL has it.
pub fn time(at: chrono::DateTime<chrono::Utc>) -> Time {
    at.timestamp_micros() - EPOCH * 1_000_000
}

/// A time of PostgreSQL's for chrono. Times out of its range are at its ends.
pub fn utc(at: Time) -> chrono::DateTime<chrono::Utc> {
    let micros = at.saturating_add(EPOCH * 1_000_000);
    let end = if at < 0 { chrono::DateTime::<chrono::Utc>::MIN_UTC } else { chrono::DateTime::<chrono::Utc>::MAX_UTC };
    chrono::DateTime::from_timestamp_micros(micros).unwrap_or(end)
}

/// Now, by this machine's clock.
pub fn now() -> Time {
    time(chrono::Utc::now())
}
