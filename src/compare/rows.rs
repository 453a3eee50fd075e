//! Which rows of two tables differ, in bounded memory.
//!
//! Both sides write their row text (blobs by reference) to scratch files without a name, and a
//! fixed-size record of each row to a sorter that spills. Sorted, all rows of one key stand
//! together; what has no equal on the other side is a difference. The differences are sorted once
//! more, by place, so that they come out in row order.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;

use super::CompareError;
use crate::format::digest::Digest;
use crate::format::rows;
use crate::io::spill::{Merge, Sorter};
use crate::progress::Progress;

/// Key 16, row 16, side 1, offset 8, length 8: in the order they sort by.
const RECORD: usize = 49;
/// Kind 1, place to sort by 8, then offset and length here, and offset and length there.
const DIFFERENCE: usize = 41;

/// One of the two that are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    /// The archive.
    Here = 0,
    /// What it is compared with.
    There = 1,
}

/// How a row differs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It is only in the archive.
    OnlyHere,
    /// It is in both, with other values.
    Changed,
    /// It is only in what the archive is compared with.
    OnlyThere,
}

/// Takes the rows of one side of a table.
#[derive(Debug)]
pub struct Collector {
    side: Side,
    /// Fields of what is kept that make the key; none: the whole row is.
    key: Vec<usize>,
    /// Fields of the text that are kept, in their order; absent: all.
    fields: Option<Vec<usize>>,
    text: BufWriter<File>,
    at: u64,
    sorter: Sorter<RECORD>,
    rows: u64,
}

impl Collector {
    pub(super) fn new(
        side: Side,
        key: Vec<usize>,
        fields: Option<Vec<usize>>,
        memory: usize,
    ) -> io::Result<Self> {
        Ok(Self {
            side,
            key,
            fields,
            text: BufWriter::with_capacity(256 << 10, tempfile::tempfile()?),
            at: 0,
            sorter: Sorter::new(memory),
            rows: 0,
        })
    }

    /// Takes rows as text.
    ///
    /// # Errors
    /// The scratch file cannot be written, or (`InvalidData`) a row has too few fields.
    pub fn take(&mut self, text: &[u8]) -> io::Result<()> {
        let mut kept = Vec::new();
        for row in rows::rows(text) {
            let row = match &self.fields {
                None => row,
                Some(wanted) => {
                    kept.clear();
                    let all: Vec<&[u8]> = rows::fields(row).collect();
                    for (place, number) in wanted.iter().enumerate() {
                        if place > 0 {
                            kept.push(b'\t');
                        }
                        kept.extend_from_slice(all.get(*number).ok_or_else(few)?);
                    }
                    &kept[..]
                }
            };
            let whole = half(Digest::of(row));
            let key = if self.key.is_empty() { whole } else { half(self.key_of(row)?) };
            let length = u64::try_from(row.len()).unwrap_or(u64::MAX);
            let mut record = [0; RECORD];
            let side = [self.side as u8];
            let parts: [&[u8]; 5] =
                [&key, &whole, &side, &self.at.to_be_bytes(), &length.to_be_bytes()];
            fill(&mut record, &parts);
            self.sorter.push(record)?;
            self.text.write_all(row)?;
            self.at += length;
            self.rows += 1;
        }
        Ok(())
    }

    fn key_of(&self, row: &[u8]) -> io::Result<Digest> {
        let all: Vec<&[u8]> = rows::fields(row).collect();
        let mut key = Vec::new();
        for number in &self.key {
            // Tabs do not stand within fields, so no two keys run into the same bytes.
            key.extend_from_slice(all.get(*number).ok_or_else(few)?);
            key.push(b'\t');
        }
        Ok(Digest::of(&key))
    }

    /// How many rows it took.
    pub fn rows(&self) -> u64 {
        self.rows
    }
}

fn few() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a row has fewer fields than the table has columns")
}

fn half(digest: Digest) -> [u8; 16] {
    digest.0.first_chunk().copied().unwrap_or_default()
}

fn fill(out: &mut [u8], parts: &[&[u8]]) {
    let bytes = parts.iter().flat_map(|part| part.iter());
    for (to, from) in out.iter_mut().zip(bytes) {
        *to = *from;
    }
}

/// Where a row's text is in its scratch file.
#[derive(Clone, Copy, Default, Debug)]
struct Place {
    offset: u64,
    length: u64,
}

/// A row of a group, and how many more of it this side has.
#[derive(Clone, Copy, Debug)]
struct Entry {
    side: Side,
    place: Place,
}

/// A row that differs. Its texts are read when they are asked for.
pub(super) struct Difference<'a> {
    pub(super) kind: Kind,
    here: Place,
    there: Place,
    texts: [&'a File; 2],
}

impl Difference<'_> {
    /// Its text in the archive; empty if it is not there.
    pub(super) fn here(&self) -> Result<Vec<u8>, CompareError> {
        read(self.texts[0], self.here)
    }

    /// Its text in the other; empty if it is not there.
    pub(super) fn there(&self) -> Result<Vec<u8>, CompareError> {
        read(self.texts[1], self.there)
    }
}

fn read(file: &File, place: Place) -> Result<Vec<u8>, CompareError> {
    let length = usize::try_from(place.length).unwrap_or(usize::MAX);
    let mut text = vec![0; length];
    file.read_exact_at(&mut text, place.offset).map_err(CompareError::Scratch)?;
    Ok(text)
}

/// Gives every difference to `visit`: rows only here, then changed ones, then rows only there,
/// each in the order of their side's rows.
pub(super) fn differences(
    here: Collector,
    there: Collector,
    memory: usize,
    progress: &dyn Progress,
    visit: &mut dyn FnMut(&Difference<'_>) -> Result<(), CompareError>,
) -> Result<(), CompareError> {
    let scratch = CompareError::Scratch;
    let (here_text, there_text) = (text(here.text)?, text(there.text)?);
    let mut merge = Merge::new(vec![here.sorter, there.sorter], memory / 4).map_err(scratch)?;
    let mut found = Sorter::<DIFFERENCE>::new(memory / 4);
    let mut group = Group::default();
    let mut count = 0_u64;
    while let Some(record) = merge.next().map_err(scratch)? {
        count += 1;
        if count.is_multiple_of(1 << 16) && progress.interrupted() {
            return Err(CompareError::Interrupted);
        }
        group.add(&record, &mut found).map_err(scratch)?;
    }
    group.end(&mut found).map_err(scratch)?;
    drop(merge);
    let mut merge = Merge::new(vec![found], memory / 4).map_err(scratch)?;
    while let Some(record) = merge.next().map_err(scratch)? {
        count += 1;
        if count.is_multiple_of(1 << 10) && progress.interrupted() {
            return Err(CompareError::Interrupted);
        }
        let (kind, rest) = record.split_first().map_or((0, &[][..]), |(kind, rest)| (*kind, rest));
        let (here, there) = rest.split_at_checked(8).map_or((&[][..], &[][..]), |(_, places)| {
            places.split_at_checked(16).unwrap_or_default()
        });
        visit(&Difference {
            kind: match kind {
                0 => Kind::OnlyHere,
                1 => Kind::Changed,
                _ => Kind::OnlyThere,
            },
            here: place(here),
            there: place(there),
            texts: [&here_text, &there_text],
        })?;
    }
    Ok(())
}

fn text(writer: BufWriter<File>) -> Result<File, CompareError> {
    writer.into_inner().map_err(|error| CompareError::Scratch(error.into_error()))
}

fn place(bytes: &[u8]) -> Place {
    let number = |at: usize| {
        let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>);
        u64::from_be_bytes(bytes.copied().unwrap_or_default())
    };
    Place { offset: number(0), length: number(8) }
}

/// The rows of one key, as they come: those of one text together, of these the archive's first.
///
/// Holds two places, whatever the number of rows: duplicates of one text are counted, and of rows
/// without an equal only one a side waits for a partner.
#[derive(Debug, Default)]
struct Group {
    key: [u8; 16],
    row: [u8; 16],
    /// Rows of this text in the archive, less those in the other.
    balance: i64,
    here: Place,
    there: Place,
    waiting: [Option<Place>; 2],
}

impl Group {
    fn add(&mut self, record: &[u8; RECORD], out: &mut Sorter<DIFFERENCE>) -> io::Result<()> {
        let (key, rest) = record.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
        let (row, rest) = rest.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
        let (side, rest) = rest.split_first().unwrap_or((&0, &[]));
        if (key, row) != (&self.key, &self.row) {
            self.settle(out)?;
        }
        if *key != self.key {
            self.pair(out)?;
        }
        (self.key, self.row) = (*key, *row);
        if *side == Side::Here as u8 {
            self.balance += 1;
            self.here = place(rest);
        } else {
            self.balance -= 1;
            self.there = place(rest);
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Sorter<DIFFERENCE>) -> io::Result<()> {
        self.settle(out)?;
        self.pair(out)
    }

    /// All rows of one text have come.
    fn settle(&mut self, out: &mut Sorter<DIFFERENCE>) -> io::Result<()> {
        let entry = if self.balance > 0 {
            Entry { side: Side::Here, place: self.here }
        } else {
            Entry { side: Side::There, place: self.there }
        };
        for _ in 0..self.balance.unsigned_abs() {
            let waiting = match entry.side {
                Side::Here => &mut self.waiting[0],
                Side::There => &mut self.waiting[1],
            };
            match waiting {
                None => *waiting = Some(entry.place),
                Some(_) => alone(entry, out)?,
            }
        }
        self.balance = 0;
        Ok(())
    }

    /// All rows of one key have come.
    fn pair(&mut self, out: &mut Sorter<DIFFERENCE>) -> io::Result<()> {
        match std::mem::take(&mut self.waiting) {
            [Some(here), Some(there)] => tell(Kind::Changed, here.offset, here, there, out),
            [Some(place), None] => alone(Entry { side: Side::Here, place }, out),
            [None, Some(place)] => alone(Entry { side: Side::There, place }, out),
            [None, None] => Ok(()),
        }
    }
}

fn alone(entry: Entry, out: &mut Sorter<DIFFERENCE>) -> io::Result<()> {
    let place = entry.place;
    match entry.side {
        Side::Here => tell(Kind::OnlyHere, place.offset, place, Place::default(), out),
        Side::There => tell(Kind::OnlyThere, place.offset, Place::default(), place, out),
    }
}

fn tell(
    kind: Kind,
    order: u64,
    here: Place,
    there: Place,
    out: &mut Sorter<DIFFERENCE>,
) -> io::Result<()> {
    let mut record = [0; DIFFERENCE];
    let numbers = [order, here.offset, here.length, there.offset, there.length];
    let numbers = numbers.map(u64::to_be_bytes);
    fill(&mut record, &[&[kind as u8], numbers.as_flattened()]);
    out.push(record)
}

#[cfg(test)]
mod tests {
    //! A duplicate that cancels one too many, or a changed row told as lost and new, would send
    //! people to mend the wrong rows.
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::progress::Silent;

    fn told(
        here: &[String],
        there: &[String],
        key: &[usize],
        memory: usize,
    ) -> Vec<(Kind, String, String)> {
        let collect = |side, rows: &[String]| {
            let mut collector = Collector::new(side, key.to_vec(), None, memory).unwrap();
            for row in rows {
                collector.take(format!("{row}\n").as_bytes()).unwrap();
            }
            collector
        };
        let mut out = Vec::new();
        let (here, there) = (collect(Side::Here, here), collect(Side::There, there));
        differences(here, there, memory, &Silent, &mut |difference| {
            let text = |bytes| String::from_utf8(bytes).unwrap();
            let (here, there) = (text(difference.here()?), text(difference.there()?));
            out.push((difference.kind, here, there));
            Ok(())
        })
        .unwrap();
        out
    }

    fn counts(rows: &[String]) -> BTreeMap<&str, i64> {
        let mut out = BTreeMap::new();
        for row in rows {
            *out.entry(row.as_str()).or_default() += 1;
        }
        out
    }

    proptest! {
        /// Without a key: what is left of each when equal rows are taken away in pairs.
        #[test]
        fn multisets_differ_by_their_surplus(here in prop::collection::vec("[ab]{0,2}", 0..30), there in prop::collection::vec("[ab]{0,2}", 0..30), memory in 1_usize..2000) {
            let told = told(&here, &there, &[], memory);
            let (ours, theirs) = (counts(&here), counts(&there));
            let mut surplus: BTreeMap<&str, i64> = ours;
            for (row, count) in theirs {
                *surplus.entry(row).or_default() -= count;
            }
            surplus.retain(|_, count| *count != 0);
            let mut seen: BTreeMap<&str, i64> = BTreeMap::new();
            for (kind, here, there) in &told {
                match kind {
                    Kind::OnlyHere => *seen.entry(here).or_default() += 1,
                    Kind::OnlyThere => *seen.entry(there).or_default() -= 1,
                    Kind::Changed => prop_assert!(false, "changed without a key"),
                }
            }
            prop_assert_eq!(seen, surplus);
        }

        /// With a key: each key is lost, new or changed, or not told at all.
        #[test]
        fn keyed_rows_are_matched(here in prop::collection::btree_map(0_u8..40, 0_u8..3, 0..30), there in prop::collection::btree_map(0_u8..40, 0_u8..3, 0..30), memory in 1_usize..2000) {
            let rows = |map: &BTreeMap<u8, u8>| -> Vec<String> { map.iter().map(|(k, v)| format!("{k}\t{v}")).collect() };
            let told = told(&rows(&here), &rows(&there), &[0], memory);
            let mut want = Vec::new();
            for (k, v) in &here {
                match there.get(k) {
                    None => want.push((Kind::OnlyHere, format!("{k}\t{v}"), String::new())),
                    Some(w) if w != v => want.push((Kind::Changed, format!("{k}\t{v}"), format!("{k}\t{w}"))),
                    Some(_) => {}
                }
            }
            for (k, v) in &there {
                if !here.contains_key(k) {
                    want.push((Kind::OnlyThere, String::new(), format!("{k}\t{v}")));
                }
            }
            want.sort_by_key(|(kind, _, _)| *kind);
            prop_assert_eq!(told, want);
        }
    }

    #[test]
    fn a_key_that_is_not_unique_there_is_no_trouble() {
        let rows = |rows: &[&str]| rows.iter().map(|row| (*row).to_owned()).collect::<Vec<_>>();
        let told = told(&rows(&["1\ta"]), &rows(&["1\tb", "1\tc", "1\tc"]), &[0], 10);
        assert_eq!(told.iter().filter(|(kind, _, _)| *kind == Kind::Changed).count(), 1);
        assert_eq!(told.iter().filter(|(kind, _, _)| *kind == Kind::OnlyThere).count(), 2);
        assert_eq!(told.len(), 3);
    }

    #[test]
    fn fields_are_kept_in_the_order_asked_for() {
        let mut one = Collector::new(Side::Here, vec![0], Some(vec![2, 0]), 100).unwrap();
        one.take(b"a\tb\t1\n").unwrap();
        assert!(one.take(b"a\tb\n").is_err());
        let mut two = Collector::new(Side::There, vec![0], None, 100).unwrap();
        two.take(b"1\ta\n").unwrap();
        differences(one, two, 100, &Silent, &mut |_| panic!("they are equal")).unwrap();
    }
}
