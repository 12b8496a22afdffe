//! The simulator's own clock, which tests may put wrong, and moments in the formats of HTTP and of Twilio.

use chrono::{DateTime, Utc};
use std::sync::atomic::{AtomicI64, Ordering};

/// A point in time: milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(i64);

impl Moment {
    pub const fn of_millis(millis: i64) -> Moment {
        Moment(millis)
    }

    pub const fn millis(self) -> i64 {
        self.0
    }

    /// The whole second that it lies in: all that Twilio shows.
    pub const fn second(self) -> i64 {
        self.0.div_euclid(1000)
    }

    pub fn plus_millis(self, millis: i64) -> Moment {
        Moment(self.0.saturating_add(millis))
    }

    fn utc(self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.0).unwrap_or_default()
    }

    /// As in resources (Twilio's OpenAPI, Message: date_sent is RFC 2822 in GMT; its examples say +0000).
    pub fn rfc2822(self) -> String {
        self.utc().format("%a, %d %b %Y %H:%M:%S +0000").to_string()
    }

    /// As in the header Date (RFC 7231).
    pub fn http(self) -> String {
        self.utc().format("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }
}

impl From<DateTime<Utc>> for Moment {
    fn from(time: DateTime<Utc>) -> Moment {
        Moment(time.timestamp_millis())
    }
}

/// Tells the time, off by as much as it was told to be.
#[derive(Default)]
pub struct Clock {
    offset_millis: AtomicI64,
}

impl Clock {
    pub fn now(&self) -> Moment {
        Moment::from(Utc::now()).plus_millis(self.offset_millis.load(Ordering::Relaxed))
    }

    pub fn set_offset(&self, millis: i64) {
        self.offset_millis.store(millis, Ordering::Relaxed);
    }

    pub fn set_now(&self, now: Moment) {
        self.set_offset(now.millis().saturating_sub(Moment::from(Utc::now()).millis()));
    }
}
