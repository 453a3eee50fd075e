//! Guards against the loss of an archive that somebody needs: the newest good one, a base of
//! others, one that a slip in the calendar takes for a double.

use proptest::prelude::*;

use super::*;

/// Friday, 2026-11-27 00:00 UTC.
const START: u64 = 1_795_737_600;
const DAY: u64 = 86_400;

fn candidate(created: u64) -> Candidate {
    Candidate { created, manifest: None, base: None, soundness: Soundness::Sound, pinned: false }
}

fn digest(byte: u8) -> Digest {
    Digest([byte; 32])
}

fn kept(archives: &[Candidate], keep: &Keep) -> Vec<usize> {
    let plan = plan(archives, keep);
    (0..archives.len()).filter(|at| !plan[*at].is_empty()).collect()
}

#[test]
fn the_calendar() {
    assert_eq!(day(START), "2026-11-27");
    assert_eq!(day(START - 1), "2026-11-26");
    assert_eq!(day(951_782_400), "2000-02-29");
    assert_eq!(day(951_782_400 + DAY), "2000-03-01");
    assert_eq!(day(4_107_542_399), "2100-02-28");
    assert_eq!(day(4_107_542_400), "2100-03-01");
    assert_eq!(hour(START + 3 * 3600 + 1), "2026-11-27 03:00");
    // The Monday before that Friday, from its first second to the last of its Sunday.
    assert_eq!(week(START), "of 2026-11-23");
    assert_eq!(week(START - 4 * DAY), "of 2026-11-23");
    assert_eq!(week(START - 4 * DAY - 1), "of 2026-11-16");
    assert_eq!(week(START + 3 * DAY - 1), "of 2026-11-23");
    assert_eq!(week(START + 3 * DAY), "of 2026-11-30");
    assert_eq!(week(0), "of 1970-01-01");
    assert_eq!((month(START), year(START)), ("2026-11".into(), "2026".into()));
}

/// Forty days, two archives a day, pruned after each as a nightly job does.
#[test]
fn forty_days() {
    let keep = Keep { last: 3, daily: 7, weekly: 4, monthly: 2, ..Keep::default() };
    let mut there: Vec<Candidate> = Vec::new();
    for number in 0..40 {
        for time in [2 * 3600, 14 * 3600] {
            there.push(candidate(START + number * DAY + time));
            let left = kept(&there, &keep);
            there = left.iter().map(|at| there[*at].clone()).collect();
        }
    }
    let days: Vec<String> = there.iter().map(|archive| hour(archive.created)).collect();
    // The last day is Tuesday, 2027-01-05. Weeks: of 01-04, 12-28, 12-21, 12-14. Months: the newest
    // of January is among them, and the last of December is the newest of its week as well.
    assert_eq!(
        days,
        [
            "2026-12-20 14:00",
            "2026-12-27 14:00",
            "2026-12-30 14:00",
            "2026-12-31 14:00",
            "2027-01-01 14:00",
            "2027-01-02 14:00",
            "2027-01-03 14:00",
            "2027-01-04 14:00",
            "2027-01-05 02:00",
            "2027-01-05 14:00",
        ]
    );
}

/// A job that did not run for a month must not find all it kept out of date.
#[test]
fn periods_without_archives_do_not_count() {
    let archives: Vec<Candidate> = (0..5).map(|n| candidate(START + n * 30 * DAY)).collect();
    let keep = Keep { daily: 3, ..Keep::default() };
    assert_eq!(kept(&archives, &keep), [2, 3, 4]);
}

#[test]
fn a_damaged_one_takes_nobodys_place_and_stays() {
    let mut archives: Vec<Candidate> = (0..4).map(|n| candidate(START + n * 3600)).collect();
    archives[3].soundness = Soundness::Damaged;
    let keep = Keep { daily: 1, ..Keep::default() };
    assert_eq!(kept(&archives, &keep), [2, 3]);
    assert_eq!(plan(&archives, &keep)[3], [Reason::Damaged]);
}

#[test]
fn the_newest_that_was_verified_stays() {
    let mut archives: Vec<Candidate> = (0..5).map(|n| candidate(START + n * 3600)).collect();
    for archive in &mut archives[1..] {
        archive.soundness = Soundness::Unknown;
    }
    let keep = Keep { last: 2, ..Keep::default() };
    assert_eq!(kept(&archives, &keep), [0, 3, 4]);
    assert_eq!(plan(&archives, &keep)[0], [Reason::NewestSound]);
}

#[test]
fn bases_stay_to_the_bottom() {
    let mut archives: Vec<Candidate> = (0..5).map(|n| candidate(START + n * DAY)).collect();
    for (number, archive) in (0..).zip(&mut archives) {
        archive.manifest = Some(digest(number));
    }
    // 4 stands on 2, and 2 on 0; nobody needs 1 and 3.
    archives[4].base = Some(digest(2));
    archives[2].base = Some(digest(0));
    archives[3].base = Some(digest(1));
    let keep = Keep { last: 1, ..Keep::default() };
    assert_eq!(kept(&archives, &keep), [0, 2, 4]);
    assert_eq!(plan(&archives, &keep)[0], [Reason::Base]);
}

#[test]
fn what_a_link_leads_to_stays() {
    let mut archives: Vec<Candidate> = (0..3).map(|n| candidate(START + n * DAY)).collect();
    archives[0].pinned = true;
    assert_eq!(kept(&archives, &Keep { last: 1, ..Keep::default() }), [0, 2]);
}

fn any_keep() -> impl Strategy<Value = Keep> {
    (0..4_u32, 0..4_u32, 0..4_u32, 0..4_u32, 0..4_u32, 0..3_u32)
        .prop_map(|(last, hourly, daily, weekly, monthly, yearly)| Keep {
            last,
            hourly,
            daily,
            weekly,
            monthly,
            yearly,
        })
        .prop_filter("keeps something", |keep| !keep.is_empty())
}

fn any_archives() -> impl Strategy<Value = Vec<Candidate>> {
    let one = (0..800 * DAY, 0..4_u8, 0..6_u8, any::<bool>());
    prop::collection::vec(one, 0..40).prop_map(|all| {
        let archive = |(at, (offset, state, base, pinned)): (usize, (u64, u8, u8, bool))| {
            let number = u8::try_from(at).unwrap();
            Candidate {
                created: START + offset,
                manifest: Some(digest(number)),
                // Only an older one in the list can be a base, as it is with real ones.
                base: (base == 0 && number > 0).then(|| digest(number / 2)),
                soundness: match state {
                    0 => Soundness::Damaged,
                    1 => Soundness::Unknown,
                    _ => Soundness::Sound,
                },
                pinned: pinned && state == 2 && number % 7 == 0,
            }
        };
        all.into_iter().enumerate().map(archive).collect()
    })
}

proptest! {
    #[test]
    fn what_must_stay_stays(archives in any_archives(), keep in any_keep()) {
        let plan = plan(&archives, &keep);
        prop_assert_eq!(plan.len(), archives.len());
        let kept = |at: usize| !plan[at].is_empty();
        let newest = |wanted: &dyn Fn(&Candidate) -> bool| {
            (0..archives.len()).filter(|at| wanted(&archives[*at])).max_by_key(|at| (archives[*at].created, *at))
        };
        // The newest verified one, and the newest of all that is not damaged.
        for at in [
            newest(&|archive| archive.soundness == Soundness::Sound),
            newest(&|archive| archive.soundness != Soundness::Damaged),
        ].into_iter().flatten() {
            prop_assert!(kept(at));
        }
        for (at, archive) in archives.iter().enumerate() {
            prop_assert!(kept(at) || (!archive.pinned && archive.soundness != Soundness::Damaged));
            if kept(at) && let Some(base) = archive.base {
                let base = archives.iter().position(|other| other.manifest == Some(base)).unwrap();
                prop_assert!(kept(base));
            }
        }
        // At least as many as asked for by count, if there are as many.
        let whole = archives.iter().filter(|a| a.soundness != Soundness::Damaged).count();
        let wanted = usize::try_from(keep.last).unwrap().min(whole);
        prop_assert!((0..archives.len()).filter(|at| kept(*at)).count() >= wanted);
    }

    /// Pruning twice takes no more than pruning once, and more to keep takes no more away.
    #[test]
    fn pruning_is_stable(archives in any_archives(), keep in any_keep()) {
        let left: Vec<Candidate> =
            kept(&archives, &keep).into_iter().map(|at| archives[at].clone()).collect();
        prop_assert_eq!(kept(&left, &keep).len(), left.len());
        let more = Keep { last: keep.last + 1, daily: keep.daily + 1, ..keep };
        let with_more = kept(&archives, &more);
        for at in kept(&archives, &keep) {
            prop_assert!(with_more.contains(&at));
        }
    }
}
