//! A jsonb column kept as `{"sent": "2024-10-03T10:30:00Z", …}`: the milestones of tables that have no columns
//! for them. Keys that are not milestones are left as they are.

use crate::fold::Time;
use crate::status::{MILESTONES, Milestone};
use serde_json::{Map, Value};

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// The milestones that a map holds. What is no time is read as not there, and corrected by the next event.
pub fn read(text: &[u8]) -> [Option<Time>; MILESTONES] {
    let map = object(text);
    Milestone::ALL.map(|m| map.get(m.label()).and_then(Value::as_str).and_then(parse))
}

/// A map of these milestones, to be put into the one that is there.
pub fn write(milestones: &[Option<Time>; MILESTONES]) -> String {
    let mut map = Map::new();
    for m in Milestone::ALL {
        if let Some(t) = milestones[m as usize].and_then(format) {
            map.insert(m.label().to_owned(), Value::String(t));
        }
    }
    Value::Object(map).to_string()
}

fn object(text: &[u8]) -> Map<String, Value> {
    match serde_json::from_slice(text) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// The first and the last moment that a map can hold: years 1 to 9999, as ISO 8601 has them.
pub const FIRST: Time = -730_119 * DAY;
pub const LAST: Time = 2_921_940 * DAY - 1;

/// ISO 8601 in UTC, with microseconds where there are any; `None` for what ISO 8601 can't say.
pub fn format(t: Time) -> Option<String> {
    if !(FIRST..=LAST).contains(&t) {
        return None;
    }
    let (year, month, day) = civil(t.div_euclid(DAY) + 10_957);
    let s = t.rem_euclid(DAY) / SECOND;
    let micros = t.rem_euclid(SECOND);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
    if micros != 0 {
        text.push_str(format!(".{micros:06}").trim_end_matches('0'));
    }
    text.push('Z');
    Some(text)
}

/// Reads ISO 8601: a date, a time, and a zone (`Z` or an offset; none is read as UTC).
pub fn parse(text: &str) -> Option<Time> {
    let (date, rest) = text.trim().split_once(['T', ' '])?;
    let mut ymd = date.splitn(3, '-').map(|p| p.parse::<i64>().ok());
    let (y, m, d) = (ymd.next()??, ymd.next()??, ymd.next()??);
    let at = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
    let (time, zone) = rest.split_at(at);
    let mut hms = time.splitn(3, ':');
    let hour = hms.next()?.parse::<i64>().ok()?;
    let minute = hms.next()?.parse::<i64>().ok()?;
    let (second, fraction) = match hms.next().unwrap_or("0").split_once('.') {
        Some((s, f)) => (s.to_owned(), f.to_owned()),
        None => (time.splitn(3, ':').nth(2).unwrap_or("0").to_owned(), String::new()),
    };
    let second = second.parse::<i64>().ok()?;
    let micros = format!("{fraction:0<6}").get(..6)?.parse::<i64>().ok()?;
    let valid = (1..=9999).contains(&y)
        && (1..=12).contains(&m)
        && (1..=31).contains(&d)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    if !valid {
        return None;
    }
    let local = (days(y, m, d) - 10_957) * DAY + ((hour * 60 + minute) * 60 + second) * SECOND + micros;
    Some(local - offset(zone)?)
}

/// Microseconds east of UTC.
fn offset(zone: &str) -> Option<i64> {
    let sign = match zone.as_bytes().first() {
        None | Some(b'Z' | b'z') => return Some(0),
        Some(b'-') => -1,
        Some(_) => 1,
    };
    let digits: String = zone[1..].chars().filter(char::is_ascii_digit).collect();
    let hours = digits.get(..2)?.parse::<i64>().ok()?;
    let minutes = digits.get(2..4).map_or(Some(0), |m| m.parse::<i64>().ok())?;
    Some(sign * (hours * 60 + minutes) * 60 * SECOND)
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar.
fn days(y: i64, m: i64, d: i64) -> i64 {
    let y = if m <= 2 { y - 1 } else { y };
    let era = y.div_euclid(400);
    let of_era = y.rem_euclid(400);
    let of_year = (153 * (if m > 2 { m - 3 } else { m + 9 }) + 2) / 5 + d - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date of a day since 1970-01-01.
fn civil(day: i64) -> (i64, i64, i64) {
    let z = day + 719_468;
    let era = z.div_euclid(146_097);
    let of_era = z.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let mp = (5 * of_year + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (era * 400 + year + i64::from(month <= 2), month, of_year - (153 * mp + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_times() {
        assert_eq!(format(0).as_deref(), Some("2000-01-01T00:00:00Z"));
        assert_eq!(parse("2000-01-01T00:00:00Z"), Some(0));
        assert_eq!(parse("2024-10-03T12:30:05.25+02:00"), parse("2024-10-03T10:30:05.25Z"));
        assert_eq!(format(parse("2024-02-29T23:59:59.5Z").unwrap_or(0)).as_deref(), Some("2024-02-29T23:59:59.5Z"));
        assert_eq!(parse("yesterday"), None);
        assert_eq!(parse("2024-13-01T00:00:00Z"), None);
    }

    #[test]
    fn the_ends_of_the_calendar() {
        assert_eq!(format(FIRST).as_deref(), Some("0001-01-01T00:00:00Z"));
        assert_eq!(format(LAST).as_deref(), Some("9999-12-31T23:59:59.999999Z"));
        assert_eq!(format(FIRST - 1), None);
        assert_eq!(format(LAST + 1), None);
        assert_eq!(format(FIRST).as_deref().and_then(parse), Some(FIRST));
    }

    #[test]
    fn garbage_is_no_time() {
        assert_eq!(read(br#"{"sent": "soon", "campaign": 7}"#), [None; MILESTONES]);
        assert_eq!(read(b"[1]"), [None; MILESTONES]);
        assert_eq!(write(&[Some(0), None, None, None, None]), r#"{"sent":"2000-01-01T00:00:00Z"}"#);
        assert_eq!(write(&[None; MILESTONES]), "{}");
    }

    proptest! {
        #[test]
        fn times_round_trip(t in -60_000_000_000_000_000i64..200_000_000_000_000_000) {
            prop_assert_eq!(format(t).as_deref().and_then(parse), Some(t));
        }

        #[test]
        fn nothing_panics(text in ".{0,40}") {
            let _ = parse(&text);
            let _ = read(text.as_bytes());
        }
    }
}
