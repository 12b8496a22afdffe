//! What a list is asked for: Twilio's filters, and the many ways to write a date.

use crate::clock::Moment;
use crate::message::Message;
use crate::trouble::Trouble;
use chrono::{DateTime, NaiveDate, NaiveDateTime};

/// The seconds of a day.
const DAY: i64 = 86_400;

#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub to: Option<String>,
    pub from: Option<String>,
    /// The first and the last second of date_sent. With it, messages that have not been sent are left out.
    pub sent: Option<(i64, i64)>,
}

impl Filter {
    /// Takes one parameter of a query, if it is a filter.
    pub fn read(&mut self, name: &str, value: &str) -> Result<bool, Trouble> {
        match name {
            "To" => self.to = Some(value.to_owned()),
            "From" => self.from = Some(value.to_owned()),
            // A day, even where a time is given: Twilio's SDKs write the date they are given as its midnight.
            "DateSent" => {
                let day = seconds(value)?.0.div_euclid(DAY) * DAY;
                self.narrow((day, day + DAY - 1));
            }
            // The operator is part of the name, and both include the date itself (Twilio's OpenAPI, ListMessage: "on
            // and before", "on and after"; older ones said "midnight on a date": a client does well to give a time).
            "DateSent>" => self.narrow((seconds(value)?.0, i64::MAX)),
            "DateSent<" => self.narrow((i64::MIN, seconds(value)?.1)),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn narrow(&mut self, (first, last): (i64, i64)) {
        let (low, high) = self.sent.unwrap_or((i64::MIN, i64::MAX));
        self.sent = Some((low.max(first), high.min(last)));
    }

    pub fn passes(&self, message: &Message, now: Moment) -> bool {
        let sent = message.sent_by(now).map(Moment::second);
        self.to.as_ref().is_none_or(|to| **to == *message.to)
            && self.from.as_ref().is_none_or(|from| **from == *message.from)
            && self.sent.is_none_or(|(first, last)| sent.is_some_and(|sent| (first..=last).contains(&sent)))
    }
}

/// The first and the last second of a date as filters write it: of a whole day in GMT, or of that second. Twilio's
/// OpenAPI documents YYYY-MM-DD; its examples have the other forms, and its SDKs send ISO 8601.
fn seconds(value: &str) -> Result<(i64, i64), Trouble> {
    if let Ok(day) = NaiveDate::parse_from_str(value, "%Y-%m-%d") {
        let midnight = day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp();
        return Ok((midnight, midnight + DAY - 1));
    }
    let without_zone = || {
        ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"]
            .iter()
            .find_map(|format| NaiveDateTime::parse_from_str(value, format).ok())
            .map(|time| time.and_utc().timestamp())
    };
    // 06/11/2019 22:05:25 MST: the names of time zones are those of RFC 2822.
    let american = || {
        let (time, zone) = value.rsplit_once(' ')?;
        let time = NaiveDateTime::parse_from_str(time, "%m/%d/%Y %H:%M:%S").ok()?;
        let mail = format!("{} {zone}", time.format("%a, %d %b %Y %H:%M:%S"));
        DateTime::parse_from_rfc2822(&mail).ok().map(|time| time.timestamp())
    };
    DateTime::parse_from_rfc3339(value)
        .or_else(|_| DateTime::parse_from_rfc2822(value))
        .map(|time| time.timestamp())
        .ok()
        .or_else(without_zone)
        .or_else(american)
        .map(|second| (second, second))
        .ok_or_else(|| Trouble::date(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_in_all_forms() {
        let second = |value: &str| seconds(value).map(|(first, last)| (first, last - first));
        assert_eq!(second("2019-06-11"), Ok((1_560_211_200, DAY - 1)));
        for same in [
            "2019-06-11T22:05:25Z",
            "2019-06-11T22:05:25.000Z",
            "2019-06-12T00:05:25+02:00",
            "2019-06-11T22:05:25",
            "2019-06-11 22:05:25.000",
            "Tue, 11 Jun 2019 22:05:25 -0000",
            "06/11/2019 15:05:25 MST",
        ] {
            assert_eq!(second(same), Ok((1_560_290_725, 0)), "{same}");
        }
        for bad in ["", "yesterday", ">=2019-08-08", "2019-13-01", "2019-06-11T25:00:00Z"] {
            assert_eq!(seconds(bad), Err(Trouble::date(bad)));
        }
    }

    #[test]
    fn filters_of_dates_narrow_each_other() {
        let mut filter = Filter::default();
        assert_eq!(filter.read("DateSent>", "2019-06-11"), Ok(true));
        assert_eq!(filter.read("DateSent<", "2019-06-12"), Ok(true));
        assert_eq!(filter.sent, Some((1_560_211_200, 1_560_211_200 + 2 * DAY - 1)));
        assert_eq!(filter.read("DateSent", "2019-06-12T10:00:00Z"), Ok(true));
        assert_eq!(filter.sent, Some((1_560_211_200 + DAY, 1_560_211_200 + 2 * DAY - 1)));
        assert_eq!(filter.read("PageSize", "7"), Ok(false));
    }
}
