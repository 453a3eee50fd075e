//! Window by window, from a damaged file to a whole one.

use std::fs::File;
use std::io;

use sha2::{Digest as _, Sha256};

use super::realign::{self, Moved, Realigned, Text, Undone};
use super::scan::{self, Scan};
use super::{REPORT_VERSION, RepairError, RepairReport, Stretch, Target};
use crate::format::digest::Digest;
use crate::format::index::EntryRecord;
use crate::format::limits::BLOCK;
use crate::format::line_ends::Change;
use crate::format::parity::{self, Head, Kind, Protection, Windows, checksum, reconstruct};
use crate::format::reader::{self, Tail};
use crate::format::seal::{self, Place, Seal};
use crate::format::ustar::{self, EntryKind};
use crate::io::ReadAt;
use crate::progress::Progress;

/// Mends `file` into `target`. Where that does not make it whole, and bytes were put into the file or
/// taken out of it, or its line ends changed, these are moved back first. Memory: two windows, their
/// parity, the heads of all, and a little.
///
/// # Errors
/// [`RepairError`] if `target` fails or the person wants it to stop; damage beyond repair is in
/// the report, which says too whether `target` is whole.
pub fn mend(
    file: &dyn ReadAt,
    target: &mut dyn Target,
    progress: &dyn Progress,
) -> Result<RepairReport, RepairError> {
    let mut report = as_it_stands(file, target, progress)?;
    if !report.whole {
        report = match realign::text(file, progress)? {
            Text::No => moved_back(file, report, target, progress)?,
            Text::Undo(lines) => {
                let added = lines.added;
                let view = Undone::new(file, lines);
                let report = as_it_stands(&view, target, progress)?;
                let mut report = if report.whole {
                    report
                } else {
                    moved_back(&view, report, target, progress)?
                };
                let what = Change::Returned.what();
                let what =
                    format!("{what}, as a transfer in text mode does: {added} bytes taken out");
                report.repaired.push(Stretch { offset: 0, length: report.bytes, what });
                report
            }
            Text::Lost(change) => {
                let mut report = moved_back(file, report, target, progress)?;
                let what = change.what();
                let what = format!("{what}, as a transfer in text mode does: {AGAIN}");
                report.beyond.push(Stretch { offset: 0, length: 0, what });
                report
            }
        };
    }
    report.bytes_before = file.len();
    if report.whole {
        target.set_len(report.bytes)?;
    }
    report.repaired.sort_by_key(|stretch| stretch.offset);
    report.beyond.sort_by_key(|stretch| stretch.offset);
    Ok(report)
}

/// What to do about a file that was sent as text.
const AGAIN: &str = "copy the file once more, in binary mode";

/// Mends a file in which bytes may stand elsewhere than they did; `report` says what came of it as it
/// stands.
fn moved_back(
    file: &dyn ReadAt,
    mut report: RepairReport,
    target: &mut dyn Target,
    progress: &dyn Progress,
) -> Result<RepairReport, RepairError> {
    match realign::find(file, progress)? {
        Moved::No => {}
        Moved::Unclear => {
            let what = "bytes were put in or taken out, and there is more than one archive in the \
                        file: which one it is cannot be told";
            report.beyond.push(Stretch { offset: 0, length: 0, what: what.into() });
            report.whole = false;
        }
        Moved::As(map) => {
            let told = map.told().to_vec();
            report = as_it_stands(&Realigned::new(file, map), target, progress)?;
            report.repaired.extend(told);
        }
    }
    Ok(report)
}

/// Mends a file in which every byte that is right stands where it was written.
fn as_it_stands(
    file: &dyn ReadAt,
    target: &mut dyn Target,
    progress: &dyn Progress,
) -> Result<RepairReport, RepairError> {
    let report = RepairReport {
        report_version: REPORT_VERSION,
        bytes_before: file.len(),
        ..RepairReport::default()
    };
    let seal = Tail::read(file).ok().and_then(|tail| tail.seal().ok());
    let mut mending = Mending { file, target, progress, report, seal, extents: Vec::new() };
    let scan = scan::scan(file, progress)?;
    mending.all(&scan)?;
    let mut report = mending.report;
    report.whole = report.beyond.is_empty();
    Ok(report)
}

struct Mending<'a> {
    file: &'a dyn ReadAt,
    target: &'a mut dyn Target,
    progress: &'a dyn Progress,
    report: RepairReport,
    /// The file's own, where a copy of it is whole.
    seal: Option<Seal>,
    /// What has been written before the tail: windows and parity entries.
    extents: Vec<(u64, u64)>,
}

/// Where things are behind the windows.
struct Behind {
    created: u64,
    start: u64,
    index: Place,
    manifest: Place,
    tail: Place,
}

impl Mending<'_> {
    fn beyond(&mut self, offset: u64, length: u64, what: impl Into<String>) {
        self.report.beyond.push(Stretch { offset, length, what: what.into() });
    }

    fn all(&mut self, scan: &Scan) -> Result<(), RepairError> {
        if scan.is_empty() {
            let none = match self.seal {
                Some(seal) if seal.tail == Place::default() => {
                    "the archive was made without parity"
                }
                _ => "no parity is found in it",
            };
            self.beyond(0, self.file.len(), none);
            return Ok(());
        }
        for head in &scan.windows {
            self.window(head)?;
        }
        // The tail has a share of its own.
        let share = Protection::default().share;
        let tail = scan.tail.first().map(|head| Protection { share, ..head.protection });
        let protection = scan.windows.first().map(|head| head.protection).or(tail);
        let protection = protection.unwrap_or_default();
        let Some(behind) = self.tail(scan, protection)? else { return Ok(()) };
        self.lost_blocks(&behind, protection)?;
        self.tiles(&behind);
        self.end(&behind)
    }

    /// Mends one window before the index and its parity entry.
    fn window(&mut self, head: &Head) -> Result<(), RepairError> {
        if self.block(head)? {
            let name = EntryKind::Parity.name(&Digest::default(), head.number);
            let header = ustar::header(&name, head.block_bytes(), head.created);
            self.write(&header, head.position - 512, &format!("tar header of {name}"))?;
        }
        self.extents.push((head.start, head.end()));
        self.extents.push((head.position - 512, head.position + head.block_bytes()));
        Ok(())
    }

    /// Writes bytes that can be computed; tells if they were not the same before.
    fn write(&mut self, bytes: &[u8], offset: u64, what: &str) -> Result<(), RepairError> {
        let length = u64::try_from(bytes.len()).unwrap_or(0);
        let before = scan::read(self.file, offset, length, 512);
        if !before.failed.is_empty() || before.bytes != bytes {
            let what = format!("{what}, made again");
            self.report.repaired.push(Stretch { offset, length, what });
        }
        self.target.write_all_at(bytes, offset)?;
        Ok(())
    }

    /// Mends what a block protects, and the block; whether that came to be whole.
    fn block(&mut self, head: &Head) -> Result<bool, RepairError> {
        if self.progress.interrupted() {
            return Err(RepairError::Interrupted);
        }
        self.report.windows += 1;
        self.progress.bytes(head.length);
        let layout = head.layout();
        let wide = |n: u32| usize::try_from(n).unwrap_or(0);
        let shard = wide(layout.shard);
        let step = u64::from(layout.shard);
        let (sums, parity_sums) =
            head.checksums.split_at_checked(wide(layout.data)).unwrap_or_default();
        let mut data = scan::read(self.file, head.start, head.length, step).bytes;
        data.resize(shard * wide(layout.data), 0);
        let differs = |bytes: &[u8], sums: &[parity::Checksum]| -> Vec<bool> {
            bytes.chunks(shard.max(1)).zip(sums).map(|(one, sum)| checksum(one) != *sum).collect()
        };
        let lost = differs(&data, sums);
        let at = head.position + head.bytes();
        let mut parity = scan::read(self.file, at, u64::from(layout.parity) * step, step).bytes;
        let whole: Vec<bool> = differs(&parity, parity_sums).iter().map(|lost| !lost).collect();
        if lost.contains(&true) {
            self.report.windows_damaged += 1;
            if let Err(error) = reconstruct(head, &mut data, &lost, &parity, &whole) {
                for (offset, length) in runs(head, &lost) {
                    self.beyond(offset, length, format!("{}: {error}", name(head)));
                }
                // As it was: what is whole in it can be salvaged.
                let length = usize::try_from(head.length).unwrap_or(0);
                let data = scan::read(self.file, head.start, head.length, 512).bytes;
                self.target.write_all_at(data.get(..length).unwrap_or_default(), head.start)?;
                return Ok(false);
            }
            for (offset, length) in runs(head, &lost) {
                let what = format!("mended from {}", name(head));
                self.report.repaired.push(Stretch { offset, length, what });
            }
        }
        data.truncate(usize::try_from(head.length).unwrap_or(0));
        self.target.write_all_at(&data, head.start)?;
        if whole.contains(&false) {
            let Some(made) = encode(head, &data) else {
                // The checksums of all the data are right, so those of the parity never were.
                self.beyond(at, 0, format!("{} does not fit its data", name(head)));
                return Ok(false);
            };
            parity = made;
        }
        let encoded = head.encode();
        let block = [encoded.as_slice(), &parity, &encoded].concat();
        self.write(&block, head.position, &name(head))?;
        Ok(true)
    }

    /// Mends the tail and its parity. Where nothing is left of that parity, index and manifest may
    /// still be whole, and the seal know them.
    fn tail(&mut self, scan: &Scan, protection: Protection) -> Result<Option<Behind>, RepairError> {
        let (true, Some(first), Some(last)) =
            (scan.has_whole_tail(), scan.tail.first(), scan.tail.last())
        else {
            return self.tail_by_seal(protection);
        };
        let (start, end, created) = (first.start, last.end(), first.created);
        let length = last.position + last.block_bytes() - first.position;
        let mut whole = true;
        for head in &scan.tail {
            whole &= self.block(head)?;
        }
        if !whole {
            return Ok(None);
        }
        if first.position != end + 512 {
            self.beyond(end, 0, "the tail's parity is not where it says");
            return Ok(None);
        }
        let header = ustar::header(parity::TAIL, length, created);
        self.write(&header, end, &format!("tar header of {}", parity::TAIL))?;
        let tail = self.place(first.position, length)?;
        self.behind(start, end, created, tail)
    }

    /// What the tail's headers say: it is whole, so they can be believed.
    fn behind(
        &mut self,
        start: u64,
        end: u64,
        created: u64,
        tail: Place,
    ) -> Result<Option<Behind>, RepairError> {
        let mut places = [Place::default(); 2];
        let mut at = start;
        for (name, place) in [ustar::INDEX, ustar::MANIFEST].iter().zip(&mut places) {
            let mut header = [0; BLOCK];
            self.target.read_exact_at(&mut header, at)?;
            let length = octal(header.get(124..135).unwrap_or_default());
            let fits = length.filter(|length| {
                header == ustar::header(name, *length, created) && at + 512 + length <= end
            });
            let Some(length) = fits else {
                self.beyond(at, 512, format!("where {name} should be is another entry"));
                return Ok(None);
            };
            *place = self.place(at + 512, length)?;
            at = (at + 512 + length).next_multiple_of(512);
        }
        let [index, manifest] = places;
        Ok(Some(Behind { created, start, index, manifest, tail }))
    }

    /// A place in the target, with the digest of what is there.
    fn place(&self, offset: u64, length: u64) -> Result<Place, RepairError> {
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        let mut done = 0;
        while done < length {
            let now = usize::try_from(length - done).unwrap_or(usize::MAX).min(buffer.len());
            let part = buffer.get_mut(..now).unwrap_or_default();
            self.target.read_exact_at(part, offset + done)?;
            hash.update(&*part);
            done += u64::try_from(now).unwrap_or(0);
        }
        Ok(Place { offset, length, digest: Digest(hash.finalize().into()) })
    }

    /// Without one whole head in `parity/tail.rs`: if what it protects is whole, it can be made
    /// again, and its digest is in the seal.
    fn tail_by_seal(&mut self, protection: Protection) -> Result<Option<Behind>, RepairError> {
        let lost = "the parity of index and manifest is lost";
        let Some(seal) = self.seal.filter(|seal| seal.tail != Place::default()) else {
            let from = self.extents.iter().map(|(_, end)| *end).max().unwrap_or(0);
            let length = self.file.len().saturating_sub(from);
            self.beyond(from, length, format!("{lost}, and the seal too"));
            return Ok(None);
        };
        let start = seal.index.offset.saturating_sub(512);
        let end = seal.tail.offset.saturating_sub(512);
        if end > self.file.len() {
            self.beyond(start, end.saturating_sub(start), lost);
            return Ok(None);
        }
        let mut windows = Windows::new(protection.of_tail());
        let mut at = start;
        while at < end {
            let length = (end - at).min(1 << 20);
            let read = scan::read(self.file, at, length, 4096);
            windows.take(&read.bytes, at);
            self.target.write_all_at(&read.bytes, at)?;
            at += length;
        }
        windows.close();
        let finished = windows.finished();
        let of = u32::try_from(finished.len()).unwrap_or(u32::MAX);
        let mut blocks = Vec::new();
        let mut position = seal.tail.offset;
        for (number, window) in (0..).zip(&finished) {
            let head = window.head(Kind::Tail { of }, number, seal.created, position);
            position += head.block_bytes();
            blocks.extend(window.block(&head));
        }
        if Digest::of(&blocks) != seal.tail.digest {
            self.beyond(start, end.saturating_sub(start), format!("{lost}, and they are damaged"));
            return Ok(None);
        }
        self.report.windows += u64::from(of);
        self.write(&blocks, seal.tail.offset, parity::TAIL)?;
        let header = ustar::header(parity::TAIL, seal.tail.length, seal.created);
        self.write(&header, end, &format!("tar header of {}", parity::TAIL))?;
        self.behind(start, end, seal.created, seal.tail)
    }

    /// Parity entries of which no head was found: where their window is whole, they are made again,
    /// and the index knows their digest.
    fn lost_blocks(&mut self, behind: &Behind, protection: Protection) -> Result<(), RepairError> {
        let Some(entries) = self.parity_entries(behind) else {
            let Place { offset, length, .. } = behind.index;
            self.beyond(offset, length, "the index is not one");
            return Ok(());
        };
        let mut before = 0;
        for entry in entries {
            let start = entry.offset.saturating_sub(512);
            let end = entry.offset.saturating_add(entry.length);
            if !self.extents.contains(&(start, end)) {
                self.lost_block(&entry, before, start, behind.created, protection)?;
            }
            before = end;
        }
        Ok(())
    }

    fn lost_block(
        &mut self,
        entry: &EntryRecord,
        from: u64,
        to: u64,
        created: u64,
        protection: Protection,
    ) -> Result<(), RepairError> {
        let name = entry.name();
        let length = to.saturating_sub(from);
        let what = format!("{name} is lost, and what it protects is damaged");
        if length == 0 || length > protection.window_bytes() {
            self.beyond(from, length, what);
            return Ok(());
        }
        let data = scan::read(self.file, from, length, 4096).bytes;
        let mut windows = Windows::new(protection);
        windows.take(&data, from);
        windows.close();
        let Some(window) = windows.finished().pop() else { return Ok(()) };
        let head = window.head(Kind::Window, entry.number, created, entry.offset);
        let block = window.block(&head);
        self.target.write_all_at(&data, from)?;
        if Digest::of(&block) != entry.digest {
            self.beyond(from, length, what);
            return Ok(());
        }
        self.report.windows += 1;
        self.write(
            &ustar::header(&name, entry.length, created),
            to,
            &format!("tar header of {name}"),
        )?;
        self.write(&block, entry.offset, &name)?;
        self.extents.push((from, to));
        self.extents.push((to, entry.offset.saturating_add(entry.length)));
        Ok(())
    }

    /// The parity entries that the repaired index has.
    fn parity_entries(&self, behind: &Behind) -> Option<Vec<EntryRecord>> {
        let view = View { target: &*self.target, length: behind.tail.offset };
        let index = reader::read_index(&view, &behind.index).ok()?;
        let count = index.facts(Digest::default()).entries;
        let entries = (0..count).filter_map(|number| index.entry(number).ok());
        Some(entries.filter(|entry| entry.kind == EntryKind::Parity).collect())
    }

    /// What was written must be all of the file, up to the tail.
    fn tiles(&mut self, behind: &Behind) {
        self.extents.sort_unstable();
        let mut next = 0;
        let mut gaps = Vec::new();
        let tail = (behind.start, behind.start);
        for (start, end) in self.extents.iter().copied().chain([tail]) {
            if start != next {
                gaps.push((next.min(start), start.abs_diff(next)));
            }
            next = end;
        }
        for (offset, length) in gaps {
            let known = |stretch: &Stretch| {
                stretch.offset <= offset && offset + length <= stretch.offset + stretch.length
            };
            if !self.report.beyond.iter().any(known) {
                self.beyond(offset, length, "the parity that protects this is lost");
            }
        }
    }

    /// The seal and the end of the file.
    fn end(&mut self, behind: &Behind) -> Result<(), RepairError> {
        let at = behind.tail.offset + behind.tail.length;
        let total = at + u64::try_from(seal::TAIL).unwrap_or(0);
        let Behind { created, index, manifest, tail, .. } = *behind;
        let seal = Seal { total, created, index, manifest, tail };
        if self.seal.is_some_and(|own| own != seal) && self.file.len() == total {
            self.beyond(at, 0, "what was made does not fit the seal of the file");
            return Ok(());
        }
        let copy = seal.encode();
        let header = ustar::header(ustar::SEAL, 1024, created);
        let bytes = [header.as_slice(), &copy, &copy, &[0; 2 * BLOCK]].concat();
        self.write(&bytes, at, "seal and end of the file")?;
        if self.file.len() > total {
            let (length, what) = (self.file.len() - total, "more than the archive, left out");
            self.report.repaired.push(Stretch { offset: total, length, what: what.into() });
        }
        self.report.bytes = total;
        Ok(())
    }
}

/// What a block is called.
fn name(head: &Head) -> String {
    match head.kind {
        Kind::Window => EntryKind::Parity.name(&Digest::default(), head.number),
        Kind::Tail { .. } => parity::TAIL.into(),
    }
}

/// Damaged stretches of the file, neighbours put together.
fn runs(head: &Head, lost: &[bool]) -> Vec<(u64, u64)> {
    let shard = u64::from(head.layout().shard);
    let mut out: Vec<(u64, u64)> = Vec::new();
    for (number, _) in (0_u64..).zip(lost).filter(|(_, lost)| **lost) {
        let start = head.start + number * shard;
        let end = (start + shard).min(head.end());
        match out.last_mut() {
            Some((from, length)) if *from + *length == start => *length = end - *from,
            _ => out.push((start, end - start)),
        }
    }
    out
}

/// The parity of a window whose data is whole; `None` if it is not what the head says.
fn encode(head: &Head, data: &[u8]) -> Option<Vec<u8>> {
    let mut windows = Windows::new(head.protection);
    windows.take(data, head.start);
    windows.close();
    let window = windows.finished().pop()?;
    let again = window.head(head.kind, head.number, head.created, head.position);
    (again == *head).then(|| window.parity().to_vec())
}

fn octal(digits: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

/// The target, read as a file of a fixed length.
struct View<'a> {
    target: &'a dyn Target,
    length: u64,
}

impl ReadAt for View<'_> {
    fn len(&self) -> u64 {
        self.length
    }
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.target.read_exact_at(buf, offset)
    }
    fn as_file(&self) -> Option<&File> {
        self.target.as_file()
    }
}
