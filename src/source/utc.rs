//! Times with a zone, in UTC.
//!
//! `pg_dump` writes `timestamptz` values in the time zone of its session, whatever the server's or
//! role's default is; an archive has them in UTC.

use std::borrow::Cow;

/// Days of a 400-year era of the Gregorian calendar.
const ERA: i64 = 146_097;

/// What the server prints of a `timestamptz` (ISO style, any zone), as it prints it in UTC:
/// `2024-01-01 06:30:00.5+07` is `2023-12-31 23:30:00.5+00`. None if it is not such a text.
pub fn in_utc(text: &str) -> Option<Cow<'_, str>> {
    if matches!(text, "infinity" | "-infinity") {
        return Some(Cow::Borrowed(text));
    }
    let (before_christ, plain) = match text.strip_suffix(" BC") {
        Some(plain) => (true, plain),
        None => (false, text),
    };
    let (date, rest) = plain.split_once(' ')?;
    let sign = rest.rfind(['+', '-'])?;
    let (time, zone) = rest.split_at_checked(sign)?;
    let (clock, fraction) = match time.split_once('.') {
        Some((clock, fraction)) => (clock, Some(fraction)),
        None => (time, None),
    };
    if fraction.is_some_and(|digits| digits.is_empty() || number(digits, 6).is_none()) {
        return None;
    }
    let (year, month_day) = date.split_once('-')?;
    let (month, day) = month_day.split_once('-')?;
    let year = number(year, 7).filter(|year| *year > 0)?;
    let (month, day) = (two(month)?, two(day)?);
    let seconds = clock_seconds(clock, 3)?;
    let offset = clock_seconds(zone.get(1..)?, 1)?;
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || seconds > 86_400 {
        return None;
    }
    let offset = if zone.starts_with('-') { -offset } else { offset };
    if offset == 0 && zone == "+00" {
        return Some(Cow::Borrowed(text));
    }
    let year = if before_christ { 1 - year } else { year };
    let all = days(year, month, day) * 86_400 + seconds - offset;
    let (year, month, day) = date_of(all.div_euclid(86_400));
    let seconds = all.rem_euclid(86_400);
    let (shown, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    let fraction = fraction.map(|digits| format!(".{digits}")).unwrap_or_default();
    Some(Cow::Owned(format!(
        "{shown:04}-{month:02}-{day:02} {:02}:{:02}:{:02}{fraction}+00{era}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
    )))
}

/// A number of digits alone, at most so many.
fn number(digits: &str, most: usize) -> Option<i64> {
    let fits = !digits.is_empty() && digits.len() <= most;
    (fits && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

fn two(digits: &str) -> Option<i64> {
    number(digits, 2).filter(|_| digits.len() == 2)
}

/// `hh`, `hh:mm` or `hh:mm:ss` in seconds, with at least so many parts.
fn clock_seconds(text: &str, least: usize) -> Option<i64> {
    let mut total = 0;
    let mut parts = 0;
    for (part, unit) in text.split(':').zip([3600, 60, 1]) {
        let value = two(part)?;
        if unit != 3600 && value > 59 {
            return None;
        }
        total += value * unit;
        parts += 1;
    }
    (parts >= least && parts == text.split(':').count()).then_some(total)
}

/// Days since 0000-03-01 of the Gregorian calendar, in which the year before 1 is 0.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March have the leap day at their end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    era * ERA + of_era * 365 + of_era / 4 - of_era / 100 + (153 * month + 2) / 5 + day - 1
}

fn date_of(days: i64) -> (i64, i64, i64) {
    let (era, of_era) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let year = year + era * 400;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards against an hour, a day or a year being lost at a border. (tests/suite/ddl.rs asks
    /// servers.)
    #[test]
    fn over_every_border() {
        for (text, utc) in [
            ("2024-01-01 06:30:00.5+07", "2023-12-31 23:30:00.5+00"),
            ("2024-02-29 23:00:00-05:30", "2024-03-01 04:30:00+00"),
            ("2000-03-01 00:00:00+00:00:01", "2000-02-29 23:59:59+00"),
            ("1900-03-01 00:00:00+01", "1900-02-28 23:00:00+00"),
            ("0001-01-01 00:00:00+01", "0001-12-31 23:00:00+00 BC"),
            ("0001-12-31 23:30:00-01 BC", "0001-01-01 00:30:00+00"),
            ("4713-01-01 00:00:00+06:42:04 BC", "4714-12-31 17:17:56+00 BC"),
            ("294276-12-31 23:59:59.999999-00:30", "294277-01-01 00:29:59.999999+00"),
            ("2024-01-01 00:00:00+00", "2024-01-01 00:00:00+00"),
            ("infinity", "infinity"),
        ] {
            assert_eq!(in_utc(text).as_deref(), Some(utc), "{text}");
        }
        for text in [
            "",
            "now",
            "2024-01-01",
            "2024-01-01 00:00:00",
            "2024-01-01 00:00+07",
            "2024-13-01 00:00:00+07",
            "2024-01-01 00:00:00.+07",
            "2024-01-01 00:00:00+7",
            "2024-01-01 00:00:00+07:",
            "2024-01-01 00:00:00+07:00:00:00",
            "2024-01-01 00:00:00+é",
            "0000-01-01 00:00:00+07",
            "Mon Jan 01 00:00:00 2024 ICT",
        ] {
            assert_eq!(in_utc(text), None, "{text}");
        }
        for day in (-2_000_000..2_000_000).step_by(97) {
            let (year, month, of_month) = date_of(day);
            assert_eq!(days(year, month, of_month), day);
        }
    }
}
