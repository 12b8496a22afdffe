//! PostgreSQL's times, as it holds them: microseconds since 2000-01-01, with the two infinities at the ends.

use postgres::types::{FromSql, Type};
use std::error::Error;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Time(pub i64);

const DAY: i64 = 86_400_000_000;
pub const BEFORE_ALL: Time = Time(i64::MIN);
pub const AFTER_ALL: Time = Time(i64::MAX);
/// 0001-12-31 23:59:59.4 BC, the last second before year 1.
pub const BEFORE_CHRIST: Time = Time(-730_119 * DAY - 600_000);
/// 294276-12-31 23:59:59.999999, the last moment that a timestamp holds.
pub const LAST: Time = Time(9_223_371_331_199_999_999);
/// 2026-06-16 10:00:00, where the tester's ordinary times begin. They are behind us: the guard writes now().
const TEN: Time = Time(9_663 * DAY + 10 * 3_600_000_000);

impl<'a> FromSql<'a> for Time {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Time(i64::from_be_bytes(raw.try_into()?)))
    }
    fn accepts(ty: &Type) -> bool {
        matches!(*ty, Type::TIMESTAMP | Type::TIMESTAMPTZ)
    }
}

impl Time {
    /// A time `tenths` of a second after ten o'clock.
    pub fn tenths(tenths: i64) -> Time {
        Time(TEN.0 + tenths * 100_000)
    }

    pub fn is_finite(self) -> bool {
        self != BEFORE_ALL && self != AFTER_ALL
    }

    /// Whether this is a time of years 1 to 9999, which every way to write times down can write. The first and the last
    /// of them are not: they may stand for what lies beyond.
    pub fn is_ordinary(self) -> bool {
        self.0 > -730_119 * DAY && self.0 < 2_921_940 * DAY - 1
    }

    /// Whether a timestamp can hold it: rounding up may lead out of what there is.
    pub fn fits(self) -> bool {
        !self.is_finite() || self <= LAST
    }

    /// As PostgreSQL rounds to so many digits: half away from 2000-01-01.
    pub fn round(self, digits: Option<u8>) -> Time {
        let Some(digits) = digits else { return self };
        if !self.is_finite() || digits >= 6 {
            return self;
        }
        let scale = 10_i64.pow(6 - u32::from(digits));
        let half = scale / 2;
        if self.0 >= 0 {
            Time(self.0.saturating_add(half) / scale * scale)
        } else {
            Time(-((-self.0).saturating_add(half) / scale * scale))
        }
    }

    /// As a literal that means the same for timestamptz and, in UTC, for timestamp.
    pub fn text(self) -> String {
        if self == BEFORE_ALL {
            return "-infinity".to_owned();
        }
        if self == AFTER_ALL {
            return "infinity".to_owned();
        }
        let (days, rest) = (self.0.div_euclid(DAY), self.0.rem_euclid(DAY));
        let (year, month, day) = civil(days + 10_957);
        let (shown, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
        let (seconds, micros) = (rest / 1_000_000, rest % 1_000_000);
        let fraction =
            if micros == 0 { String::new() } else { format!(".{micros:06}").trim_end_matches('0').to_owned() };
        format!(
            "{shown:04}-{month:02}-{day:02} {:02}:{:02}:{:02}{fraction}+00{era}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        )
    }

    /// As it stands in a status map: an ISO time in UTC. None for what is written otherwise.
    pub fn from_iso(text: &str) -> Option<Time> {
        let (date, clock) = text.split_once(['T', ' '])?;
        let clock = clock.strip_suffix('Z').or_else(|| clock.strip_suffix("+00:00")).or(clock.strip_suffix("+00"))?;
        let mut date = date.splitn(3, '-').map(|n| n.parse::<i64>().ok());
        let (year, month, day) = (date.next()??, date.next()??, date.next()??);
        let (whole, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
        let mut whole = whole.splitn(3, ':').map(|n| n.parse::<i64>().ok());
        let (hours, minutes, seconds) = (whole.next()??, whole.next()??, whole.next()??);
        let micros = format!("{fraction:0<6}").get(..6)?.parse::<i64>().ok()?;
        let days = days(year, month, day) - 10_957;
        Some(Time(days * DAY + ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + micros))
    }

    pub fn iso(self) -> String {
        self.text().replace(' ', "T").replace("+00", "Z")
    }
}

/// Days since 1970-01-01 as year, month and day, and back; the Gregorian calendar in eras of 400 years from March on.
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let (era, day_of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let part = (5 * day_of_year + 2) / 153;
    let month = if part < 10 { part + 3 } else { part - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day_of_year - (153 * part + 2) / 5 + 1)
}

fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        assert_eq!(Time::tenths(16).text(), "2026-06-16 10:00:01.6+00");
        assert_eq!(BEFORE_CHRIST.text(), "0001-12-31 23:59:59.4+00 BC");
        assert_eq!(LAST.text(), "294276-12-31 23:59:59.999999+00");
        assert_eq!(Time::from_iso("2026-06-16T10:00:01.6Z"), Some(Time::tenths(16)));
        assert_eq!(Time::tenths(16).round(Some(0)), Time::tenths(20));
        assert!(!LAST.round(Some(0)).fits());
        assert!(!BEFORE_CHRIST.is_ordinary());
    }
}
