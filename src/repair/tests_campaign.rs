//! Damage of every kind, many times, to a large archive: what is damaged is found, what parity reaches
//! is repaired to the identical file, and nothing is called repaired that is not. Guards against
//! mistakes that small archives have no room for: several windows, long ones, large gaps.
//!
//! It takes a while, and so runs only when it is asked for:
//!
//! `cargo test --release --lib campaign -- --ignored --nocapture`
//!
//! `PGARK_TRIES` (20 of each kind), `PGARK_SEED` (1) and `PGARK_MEGABYTES` (320) change it. The same
//! numbers give the same damage at the same places.

use std::sync::Arc;
use std::time::Instant;

use crate::format::batch::BatchBuilder;
use crate::format::manifest::{Column, Manifest, Name, Source, Table, TypeKind, TypeRef};
use crate::format::parity::Protection;
use crate::format::writer::{ArchiveWriter, WriterOptions};
use crate::io::ReadAt;
use crate::progress::Silent;
use crate::repair;
use crate::verify::{self, Level, VerifyOptions};

/// Numbers that are the same every time.
struct Luck(u64);

impl Luck {
    fn of(seed: u64, kind: &str, number: u64) -> Self {
        let text = format!("{seed} {kind} {number}");
        let digest = crate::format::digest::Digest::of(text.as_bytes());
        Self(u64::from_le_bytes(*digest.0.first_chunk().unwrap()) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap()
    }

    /// Up to `limit`, as often short as long: the logarithm is even.
    fn up_to(&mut self, limit: usize) -> usize {
        let bits = limit.ilog2() + 1;
        let most = 1 << (self.below(bits as usize) + 1);
        1 + self.below(most.min(limit))
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let each = std::iter::repeat_with(|| self.next().to_le_bytes());
        each.flatten().take(length).collect()
    }
}

fn column(name: &str, of: &str) -> Column {
    let base = TypeRef { name: Name::new("pg_catalog", of), kind: TypeKind::Base };
    Column { base, not_null: true, ..Column::new(name, of) }
}

/// Images that do not compress, texts that do, and rows that refer to neither.
fn archive(bytes: usize) -> Vec<u8> {
    let options = WriterOptions { created: 1_700_000_000, memory: 64 << 20 };
    let parity = Some(Protection::default());
    let mut writer = ArchiveWriter::create_protected(Vec::new(), &options, parity).unwrap();
    let mut manifest = Manifest {
        tool: "campaign".into(),
        source: Source { encoding: "UTF8".into(), ..Source::default() },
        ..Manifest::default()
    };
    let table = |name: &str, last: &str, of: &str| {
        Table::new(Name::new("public", name), vec![column("id", "int8"), column(last, of)])
    };
    manifest.tables = vec![table("image", "file", "bytea"), table("note", "text", "text")];
    writer.schema(b"", b"", &manifest).unwrap();
    let mut luck = Luck(77);
    writer.begin_table(Some(&manifest.tables[0].name)).unwrap();
    let (mut done, mut id) = (0, 0_u64);
    while done < bytes / 10 * 9 {
        let mut builder = BatchBuilder::new(writer.known());
        for _ in 0..8 {
            id += 1;
            let length = 65 + luck.up_to(4 << 20);
            let value = match id % 5 {
                // Half as long in the file, and more.
                0 => luck.bytes(length / 2).iter().flat_map(|byte| [b'a' + byte % 8; 2]).collect(),
                _ => luck.bytes(length),
            };
            builder.text(id.to_string().as_bytes());
            builder.blob(&value);
            builder.end_row();
            done += if id % 5 == 0 { value.len() / 5 } else { value.len() };
        }
        writer.batch(&builder.finish()).unwrap();
    }
    manifest.tables[0].data = Some(writer.end_table().unwrap());
    writer.begin_table(Some(&manifest.tables[1].name)).unwrap();
    for _ in 0..bytes / 10 / 30_000 {
        let mut builder = BatchBuilder::new(writer.known());
        for _ in 0..1000 {
            id += 1;
            let words = luck.bytes(24);
            let words: Vec<u8> =
                words.iter().map(|byte| b"etaoin shrdlu cmfwyp"[usize::from(byte % 20)]).collect();
            builder.text(id.to_string().as_bytes());
            builder.text(&[&words[..], format!(" {:x}", luck.next()).as_bytes()].concat());
            builder.end_row();
        }
        writer.batch(&builder.finish()).unwrap();
    }
    manifest.tables[1].data = Some(writer.end_table().unwrap());
    writer.finish(manifest).unwrap().0
}

fn zeroed(bad: &mut [u8], at: usize, length: usize) {
    let end = (at + length).min(bad.len());
    bad[at..end].fill(0);
}

fn put_in(bad: &mut Vec<u8>, luck: &mut Luck, at: usize, length: usize) {
    let bytes = luck.bytes(length);
    bad.splice(at..at, bytes);
}

fn taken_out(bad: &mut Vec<u8>, at: usize, length: usize) {
    let end = (at + length).min(bad.len());
    bad.drain(at..end);
}

type Damage = fn(&mut Vec<u8>, &mut Luck);

/// Kinds of damage, and whether parity always reaches so far.
const KINDS: [(&str, bool, Damage); 19] = [
    ("one bit flipped", true, |bad, luck| {
        let at = luck.below(bad.len());
        bad[at] ^= 1 << luck.below(8);
    }),
    ("60 single bytes changed", true, |bad, luck| {
        for _ in 0..60 {
            let at = luck.below(bad.len());
            bad[at] ^= u8::try_from(1 + luck.below(255)).unwrap();
        }
    }),
    ("a sector of 4 KiB zeroed", true, |bad, luck| {
        let at = luck.below(bad.len()) / 4096 * 4096;
        zeroed(bad, at, 4096);
    }),
    ("20 sectors of 4 KiB overwritten", true, |bad, luck| {
        for _ in 0..20 {
            let at = luck.below(bad.len() / 4096) * 4096;
            let bytes = luck.bytes(4096);
            bad[at..at + 4096].copy_from_slice(&bytes);
        }
    }),
    ("60 sectors of 4 KiB overwritten", true, |bad, luck| {
        for _ in 0..60 {
            let at = luck.below(bad.len() / 4096) * 4096;
            let bytes = luck.bytes(4096);
            bad[at..at + 4096].copy_from_slice(&bytes);
        }
    }),
    ("256 KiB zeroed", true, |bad, luck| {
        let at = luck.below(bad.len()) / 512 * 512;
        zeroed(bad, at, 256 << 10);
    }),
    ("1 MiB zeroed", true, |bad, luck| {
        let at = luck.below(bad.len()) / 512 * 512;
        zeroed(bad, at, 1 << 20);
    }),
    ("8 MiB zeroed", false, |bad, luck| {
        let at = luck.below(bad.len()) / 512 * 512;
        zeroed(bad, at, 8 << 20);
    }),
    ("two stretches of 64 KiB exchanged", true, |bad, luck| {
        let most = bad.len() - (64 << 10);
        let (one, other) = (luck.below(most), luck.below(most));
        for step in 0..64 << 10 {
            bad.swap(one + step, other + step);
        }
    }),
    ("a stretch of 64 KiB doubled over what follows", true, |bad, luck| {
        let at = luck.below(bad.len() - (128 << 10));
        bad.copy_within(at..at + (64 << 10), at + (64 << 10));
    }),
    ("1 to 20 kB missing at the end", true, |bad, luck| {
        let length = bad.len() - 1 - luck.below(20_000);
        bad.truncate(length);
    }),
    ("up to half missing at the end", false, |bad, luck| {
        let length = bad.len() - 1 - luck.below(bad.len() / 2);
        bad.truncate(length);
    }),
    ("up to 1 MB appended", true, |bad, luck| {
        let length = luck.up_to(1_000_000);
        let bytes = luck.bytes(length);
        bad.extend(bytes);
    }),
    ("one byte put in", true, |bad, luck| {
        let at = luck.below(bad.len());
        put_in(bad, luck, at, 1);
    }),
    ("1 to 1,000,000 bytes put in", true, |bad, luck| {
        let (at, length) = (luck.below(bad.len()), luck.up_to(1_000_000));
        put_in(bad, luck, at, length);
    }),
    ("1 to 1,000,000 bytes taken out", true, |bad, luck| {
        let (at, length) = (luck.below(bad.len() - 1), luck.up_to(1_000_000));
        taken_out(bad, at, length);
    }),
    ("3 cuts of 1 to 4096 bytes", true, |bad, luck| {
        for _ in 0..3 {
            let (at, length) = (luck.below(bad.len() - 1), luck.up_to(4096));
            if luck.below(2) == 0 {
                put_in(bad, luck, at, length);
            } else {
                taken_out(bad, at, length);
            }
        }
    }),
    ("3 cuts, and 20 sectors overwritten", true, |bad, luck| {
        for _ in 0..20 {
            let at = luck.below(bad.len() / 4096) * 4096;
            let bytes = luck.bytes(4096);
            bad[at..at + 4096].copy_from_slice(&bytes);
        }
        for _ in 0..3 {
            let at = luck.below(bad.len() - 1);
            let length = luck.up_to(4096);
            put_in(bad, luck, at, length);
        }
    }),
    ("sent in text mode", true, |bad, _| {
        let mut out = Vec::with_capacity(bad.len() + bad.len() / 200);
        for byte in bad.drain(..) {
            if byte == b'\n' {
                out.push(b'\r');
            }
            out.push(byte);
        }
        *bad = out;
    }),
];

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
#[expect(clippy::cast_precision_loss, reason = "of a length in megabytes")]
#[ignore = "takes a quarter of an hour: see above how to run it"]
fn a_large_archive() {
    let (tries, seed) = (number("PGARK_TRIES", 20), number("PGARK_SEED", 1));
    let good = archive(usize::try_from(number("PGARK_MEGABYTES", 320)).unwrap() * 1_000_000);
    let whole: Arc<dyn ReadAt> = Arc::new(good.clone());
    let options = VerifyOptions { level: Level::Full, ..VerifyOptions::default() };
    let report = verify::run(&whole, &options, &Silent).unwrap();
    assert!(report.ok, "{:#?}", report.findings);
    drop(whole);
    println!(
        "An archive of {:.1} MB; {tries} tries of each kind, seed {seed}.\n",
        good.len() as f64 / 1e6
    );
    println!(
        "| damage | tries | found | repaired to the identical file | else said to be beyond repair | seconds a repair, at most |"
    );
    println!("|---|---|---|---|---|---|");
    let mut missed = Vec::new();
    for (kind, reached, damage) in KINDS {
        let (mut found, mut identical, mut said, mut longest) = (0, 0, 0, 0.0_f64);
        for try_number in 0..tries {
            let mut bad = good.clone();
            damage(&mut bad, &mut Luck::of(seed, kind, try_number));
            assert!(bad != good, "{kind} {try_number} is no damage");
            let file: Arc<dyn ReadAt> = Arc::new(bad);
            let report = verify::run(&file, &options, &Silent).unwrap();
            found += u64::from(!report.ok);
            let began = Instant::now();
            let mut target = Vec::new();
            let report = repair::mend(&*file, &mut target, &Silent).unwrap();
            longest = longest.max(began.elapsed().as_secs_f64());
            let same = target == good;
            assert!(same || !report.whole, "{kind} {try_number}: repaired to another file");
            assert!(report.whole || !report.beyond.is_empty(), "{kind} {try_number}: nothing said");
            identical += u64::from(report.whole && same);
            said += u64::from(!report.whole);
            if reached && !report.whole {
                missed.push(format!("{kind} {try_number}: {:#?}", report.beyond));
            }
        }
        if found < tries {
            missed.push(format!("{kind}: found {found} of {tries}"));
        }
        println!("| {kind} | {tries} | {found} | {identical} | {said} | {longest:.1} |");
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
