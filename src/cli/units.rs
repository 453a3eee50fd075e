//! Sizes, durations, counts and times: as people type them and as they are shown to people.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Reads a size: a number and `K`, `M`, `G` or `T` (also `KB`, `KiB`, in either case), each 1024
/// times the one before, as the server's own settings have it. Without a unit: bytes.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    const WANTED: &str = "a size is a whole number and a unit, such as 256M or 1G";
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| WANTED.to_owned())?;
    let shift = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(WANTED.to_owned()),
    };
    number.checked_mul(1 << shift).ok_or_else(|| "this size is too large".to_owned())
}

/// The least memory that the commands can work in: a task of rows and its packs are in flight.
const LEAST_MEMORY: u64 = 64 << 20;

/// Reads the size of a memory budget.
pub(super) fn parse_memory(text: &str) -> Result<usize, String> {
    let size = parse_size(text)?;
    if size < LEAST_MEMORY {
        return Err("at least 64M are needed".to_owned());
    }
    usize::try_from(size).map_err(|_| "this machine cannot address so much".to_owned())
}

/// How much parity an archive gets: parity shards for 1024 of data, or none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Parity(pub(super) Option<u32>);

/// Reads a share of parity in percent, with up to two decimals.
pub(super) fn parse_parity(text: &str) -> Result<Parity, String> {
    const WANTED: &str = "parity is a percentage from 0 to 25, such as 3.1";
    let (whole, decimals) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(decimals) || decimals.len() > 2 {
        return Err(WANTED.to_owned());
    }
    let hundredths: u32 =
        format!("{whole}{decimals:0<2}").parse().map_err(|_| WANTED.to_owned())?;
    match hundredths {
        0 => Ok(Parity(None)),
        1..=2500 => Ok(Parity(Some((hundredths * 1024).div_ceil(10_000)))),
        _ => Err(WANTED.to_owned()),
    }
}

/// Reads a duration: numbers and units (`ms`, `s`, `min` or `m`, `h`, `d`), such as `30s`,
/// `500ms` or `1h30m`. A unit is required: the server would read a bare number as milliseconds,
/// the shell as seconds.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    const WANTED: &str = "a duration is a whole number and a unit, such as 500ms, 30s or 5min";
    let wanted = || WANTED.to_owned();
    let too_long = || "this duration is too long".to_owned();
    let mut rest = text.trim();
    let mut total: u64 = 0;
    if rest.is_empty() {
        return Err(wanted());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wanted)?;
        let (number, tail) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wanted())?;
        let tail = tail.trim_start();
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let millis: u64 = match unit {
            "ms" => 1,
            "s" | "sec" => 1000,
            "m" | "min" => 60 * 1000,
            "h" => 60 * 60 * 1000,
            "d" => 24 * 60 * 60 * 1000,
            _ => return Err(wanted()),
        };
        total = number
            .checked_mul(millis)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(too_long)?;
        rest = tail.trim_start();
    }
    // The server keeps such times as milliseconds in an int4; 0 would mean for ever.
    match total {
        0 => Err("the shortest possible is 1ms".to_owned()),
        1..=0x7fff_ffff => Ok(Duration::from_millis(total)),
        _ => Err(too_long()),
    }
}

/// Reads a number of parallel workers.
pub(super) fn parse_jobs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(jobs @ 1..=256) => Ok(jobs),
        _ => Err("a number from 1 to 256 is needed".to_owned()),
    }
}

/// `1.4 GiB`; whole bytes below a KiB.
pub(super) fn size(bytes: u64) -> String {
    let mut unit = "bytes";
    let mut scale: u64 = 1;
    for (name, next) in [("KiB", 1_u64 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)]
    {
        // A size that would be shown as 1024.0 of one unit is 1.0 of the next.
        if u128::from(bytes) * 20 >= u128::from(next) * 20 - u128::from(next >> 10) {
            (unit, scale) = (name, next);
        }
    }
    if scale == 1 {
        return if bytes == 1 { "1 byte".to_owned() } else { format!("{bytes} bytes") };
    }
    let tenths = (u128::from(bytes) * 10 + u128::from(scale / 2)) / u128::from(scale);
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// `12,345`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 row`, `12,345 rows`.
pub(super) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// `0.4 s`, `38 s`, `2 min 5 s`, `1 h 2 min`.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..=9 => format!("{}.{} s", seconds, time.subsec_millis() / 100),
        10..=59 => format!("{seconds} s"),
        60..=3599 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// Part of a whole in percent, with one digit after the point: `12.5 %`.
pub(super) fn percent(part: u64, whole: u64) -> String {
    let tenths = match u128::from(whole) {
        0 => 0,
        whole => (u128::from(part) * 1000 + whole / 2) / whole,
    };
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// Seconds since 1970 as year, month, day, hour, minute, second in UTC.
fn civil(seconds: u64) -> (u64, u64, u64, u64, u64, u64) {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Eras of 400 years that begin on 1 March, so that the leap day comes last.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (year + era * 400 + carry, month, date, rest / 3600, rest / 60 % 60, rest % 60)
}

/// A path as it is named from the current folder, where that is shorter.
pub(super) fn near(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    let below = here.as_deref().and_then(|here| path.strip_prefix(here).ok());
    below.unwrap_or(path).display().to_string()
}

/// A word for a shell.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// `2026-11-23 07:05:09 UTC`.
pub(super) fn moment(seconds: u64) -> String {
    let (year, month, day, hour, minute, second) = civil(seconds);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// `OLD=NEW`: two roles.
pub(super) fn parse_role(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() => Ok((old.into(), new.into())),
        _ => Err("write OLD=NEW, two names of roles".to_owned()),
    }
}

/// `OLD=NEW`: two absolute paths; the second is made absolute.
pub(super) fn parse_map(text: &str) -> Result<(PathBuf, PathBuf), String> {
    match text.split_once('=') {
        Some((old, new)) if old.starts_with('/') && !new.is_empty() => {
            let new = std::path::absolute(new).map_err(|error| error.to_string())?;
            Ok((old.into(), new))
        }
        _ => Err("write OLD=NEW: the path that links lead to, and where it is now".to_owned()),
    }
}

/// `NAME=VALUE`: a setting of a server.
pub(super) fn parse_setting(text: &str) -> Result<(String, String), String> {
    let tame = |name: &str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
    };
    match text.split_once('=') {
        Some((name, value)) if tame(name) && !value.contains('\n') => {
            Ok((name.into(), value.into()))
        }
        _ => Err("write NAME=VALUE, a setting of the server".to_owned()),
    }
}

/// `20261123_070509`, as file names have it.
pub(super) fn stamp(seconds: u64) -> String {
    let (year, month, day, hour, minute, second) = civil(seconds);
    format!("{year:04}{month:02}{day:02}_{hour:02}{minute:02}{second:02}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn words_for_a_shell() {
        assert_eq!(quoted("postgres://a@h/b"), "postgres://a@h/b");
        assert_eq!(quoted("host=x dbname=y"), "'host=x dbname=y'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn paths_below_are_named_from_here() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(near(&here.join("backups/a.pgark")), "backups/a.pgark");
        assert_eq!(near(Path::new("/nowhere/a")), "/nowhere/a");
    }

    #[test]
    fn parity_is_a_percentage() {
        let share = |text| parse_parity(text).map(|Parity(share)| share).ok();
        assert_eq!(share("3.1"), Some(Some(32)));
        assert_eq!(share("0"), Some(None));
        assert_eq!((share("25"), share("0.05")), (Some(Some(256)), Some(Some(1))));
        for bad in ["", "-1", "25.01", "3.123", "x", ".", "3%", "99999999999"] {
            assert_eq!(share(bad), None, "{bad}");
        }
    }

    use super::*;

    #[test]
    fn sizes_as_typed() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("512b", 512),
            ("1k", 1024),
            ("256M", 256 << 20),
            ("256MB", 256 << 20),
            ("256 MiB", 256 << 20),
            (" 2g ", 2 << 30),
            ("16777215T", 16_777_215 << 40),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in
            ["", "M", "1.5G", "-1", "1X", "1MiBs", "16777216T", "99999999999999999999", "1 2M"]
        {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert_eq!(parse_memory("64M"), Ok(64 << 20));
        // "256" is a slip for 256M, and must not be taken for 256 bytes.
        assert!(parse_memory("256").is_err());
    }

    #[test]
    fn durations_as_typed() {
        for (text, millis) in [
            ("1ms", 1),
            ("30s", 30_000),
            ("5min", 300_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1h 30min", 5_400_000),
            ("2 s", 2_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in
            ["", "30", "s", "1.5s", "-1s", "0s", "1s5", "1y", "25d", "99999999999999999999s"]
        {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn jobs_as_typed() {
        assert_eq!(parse_jobs("1"), Ok(1));
        assert_eq!(parse_jobs("256"), Ok(256));
        for text in ["0", "257", "-1", "two", ""] {
            assert!(parse_jobs(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shown_to_people() {
        assert_eq!(size(0), "0 bytes");
        assert_eq!(size(1), "1 byte");
        assert_eq!(size(1000), "1000 bytes");
        assert_eq!(size(1024), "1.0 KiB");
        assert_eq!(size(1536), "1.5 KiB");
        // Rounding must not print "1024.0 KiB".
        assert_eq!(size((1 << 20) - 1), "1.0 MiB");
        assert_eq!(size(u64::MAX), "16777216.0 TiB");
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1000), "1,000");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(counted(1, "row", "rows"), "1 row");
        assert_eq!(counted(0, "row", "rows"), "0 rows");
        assert_eq!(span(Duration::from_millis(1_250)), "1.2 s");
        assert_eq!(span(Duration::from_secs(3_725)), "1 h 2 min");
        assert_eq!(percent(1, 8), "12.5 %");
        assert_eq!(percent(0, 0), "0.0 %");
    }

    #[test]
    fn moments() {
        assert_eq!(moment(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(moment(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(moment(951_868_800), "2000-03-01 00:00:00 UTC");
        assert_eq!(moment(4_107_542_399), "2100-02-28 23:59:59 UTC");
        assert_eq!(moment(4_107_542_400), "2100-03-01 00:00:00 UTC");
        assert_eq!(stamp(1_795_417_509), "20261123_070509");
    }
}
