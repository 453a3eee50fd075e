//! Which archives a rule of retention keeps. Nothing here looks at a disk or a clock.

use crate::format::digest::Digest;
use crate::format::time::civil;

/// How many archives are kept of each kind. Periods are those of the calendar in UTC, weeks begin
/// on Monday.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Keep {
    /// The newest ones.
    pub last: u32,
    /// The newest one of each hour, for as many hours that have any.
    pub hourly: u32,
    /// The same of each day.
    pub daily: u32,
    /// The same of each week.
    pub weekly: u32,
    /// The same of each month.
    pub monthly: u32,
    /// The same of each year.
    pub yearly: u32,
}

impl Keep {
    /// The names of its parts, for messages.
    pub const NAMES: &'static str = "last, hourly, daily, weekly, monthly, yearly";

    /// Whether it keeps nothing at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The part of this name.
    pub fn slot(&mut self, name: &str) -> Option<&mut u32> {
        Some(match name {
            "last" => &mut self.last,
            "hourly" => &mut self.hourly,
            "daily" => &mut self.daily,
            "weekly" => &mut self.weekly,
            "monthly" => &mut self.monthly,
            "yearly" => &mut self.yearly,
            _ => return None,
        })
    }
}

/// What is known of an archive's soundness.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Soundness {
    /// It was verified, and is not damaged.
    Sound,
    /// Nobody looked since it was written or changed.
    Unknown,
    /// It is damaged, or cannot be read.
    Damaged,
}

/// An archive that may be removed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// When it was made: seconds since 1970-01-01 UTC.
    pub created: u64,
    /// Its manifest's digest, if it can be read.
    pub manifest: Option<Digest>,
    /// The manifest digest of the archive that it cannot be read without.
    pub base: Option<Digest>,
    /// What is known of it.
    pub soundness: Soundness,
    /// Whether it is to be kept in any case, such as for a link that leads to it.
    pub pinned: bool,
}

/// Why an archive is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reason {
    /// One of the newest: its place among them, from 1.
    Last(u32),
    /// The newest of its period: the period's name, such as `day 2026-11-27`, and its number
    /// among those kept.
    Period(&'static str, String, u32),
    /// The newest one that was verified.
    NewestSound,
    /// Others cannot be read without it.
    Base,
    /// A link leads to it.
    Pinned,
    /// It is damaged: that is for a person to look at.
    Damaged,
}

/// Says for each archive why it is kept; an empty list means it may go.
///
/// Damaged ones take nobody's place: a period whose newest archive is damaged keeps the newest one
/// that is not. They are never let go themselves.
pub fn plan(archives: &[Candidate], keep: &Keep) -> Vec<Vec<Reason>> {
    let mut reasons: Vec<Vec<Reason>> = archives.iter().map(|_| Vec::new()).collect();
    let mut give = |at: usize, reason: Reason| {
        if let Some(list) = reasons.get_mut(at) {
            list.push(reason);
        }
    };
    let mut order: Vec<(usize, &Candidate)> = archives.iter().enumerate().collect();
    // Newest first; of two made in the same second, the one that is named later.
    order.sort_by_key(|(at, archive)| std::cmp::Reverse((archive.created, *at)));
    let sound = |archive: &Candidate| archive.soundness != Soundness::Damaged;
    let whole: Vec<(usize, &Candidate)> =
        order.iter().copied().filter(|(_, archive)| sound(archive)).collect();
    for (number, (at, _)) in (1..=keep.last).zip(&whole) {
        give(*at, Reason::Last(number));
    }
    for (name, count, period) in [
        ("hour", keep.hourly, hour as fn(u64) -> String),
        ("day", keep.daily, day),
        ("week", keep.weekly, week),
        ("month", keep.monthly, month),
        ("year", keep.yearly, year),
    ] {
        let (mut last, mut number) = (None, 0);
        for (at, archive) in &whole {
            let this = period(archive.created);
            if number < count && last.as_ref() != Some(&this) {
                number += 1;
                give(*at, Reason::Period(name, this.clone(), number));
            }
            last = Some(this);
        }
    }
    let newest = order.iter().find(|(_, archive)| archive.soundness == Soundness::Sound);
    if let Some((at, _)) = newest {
        give(*at, Reason::NewestSound);
    }
    for (at, archive) in &order {
        if archive.pinned {
            give(*at, Reason::Pinned);
        }
        if !sound(archive) {
            give(*at, Reason::Damaged);
        }
    }
    // A base has a base of its own, perhaps: until nothing is added any more.
    loop {
        let needed: Vec<Digest> = archives
            .iter()
            .zip(&reasons)
            .filter(|(_, reasons)| !reasons.is_empty())
            .filter_map(|(archive, _)| archive.base)
            .collect();
        let mut added = false;
        for (archive, reasons) in archives.iter().zip(&mut reasons) {
            let base = archive.manifest.is_some_and(|manifest| needed.contains(&manifest));
            if base && !reasons.contains(&Reason::Base) {
                reasons.push(Reason::Base);
                added = true;
            }
        }
        if !added {
            return reasons;
        }
    }
}

fn hour(created: u64) -> String {
    format!("{} {:02}:00", day(created), created / 3600 % 24)
}

fn day(created: u64) -> String {
    let (year, month, day) = civil(created / 86_400);
    format!("{year}-{month:02}-{day:02}")
}

/// A week is named by its Monday.
fn week(created: u64) -> String {
    // 1970-01-01 was a Thursday; its week began three days before the count does.
    let monday = ((created / 86_400 + 3) / 7 * 7).saturating_sub(3);
    format!("of {}", day(monday * 86_400))
}

fn month(created: u64) -> String {
    let (year, month, _) = civil(created / 86_400);
    format!("{year}-{month:02}")
}

fn year(created: u64) -> String {
    civil(created / 86_400).0.to_string()
}

#[cfg(test)]
mod tests;
