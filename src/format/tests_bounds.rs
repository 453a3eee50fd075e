//! What a writer knows of chunks, blobs and segments is in memory or in files: the archive is the same,
//! byte by byte. One that is not would have a chunk twice, or lose it.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::base::OnBase;
use super::batch::{Batch, BatchBuilder};
use super::bounds::Bounds;
use super::manifest::Name;
use super::reader::Archive;
use super::tests::{manifest, noise};
use super::writer::{ArchiveWriter, WriteError, WriterOptions};
use crate::io::Scratch;

/// How an archive is written.
struct How {
    cramped: bool,
    memory: usize,
    base: Option<Arc<OnBase>>,
    scratch: Scratch,
    /// Values that go into a batch.
    batch: usize,
}

impl How {
    fn roomy() -> Self {
        let (memory, batch) = (1 << 30, 100);
        // Where nothing may go to a file.
        Self { cramped: false, memory, base: None, scratch: Scratch::full(), batch }
    }

    fn cramped() -> Self {
        Self { cramped: true, scratch: Scratch::default(), ..Self::roomy() }
    }

    fn on(self, base: &[u8]) -> Self {
        let archive = Archive::from_file(Arc::new(base.to_vec())).unwrap();
        Self { base: Some(Arc::new(OnBase::new(archive).unwrap())), ..self }
    }

    /// Two tables: of values, every tenth of which comes in pieces, and of text, with a stretch that
    /// is there twice.
    fn write(&self, values: &[Vec<u8>]) -> Result<Vec<u8>, WriteError> {
        let options = WriterOptions { created: 1_700_000_000, memory: self.memory };
        let (base, scratch) = (self.base.clone(), self.scratch.clone());
        let mut writer = if self.cramped {
            let bounds = Bounds::cramped();
            ArchiveWriter::within(Vec::new(), &options, None, base, scratch, bounds)?
        } else {
            ArchiveWriter::create_on(Vec::new(), &options, None, base, scratch)?
        };
        writer.schema(b"CREATE TABLE t;", b"", &manifest())?;
        writer.begin_table(Some(&Name::new("public", "t")))?;
        let mut row = 0;
        let mut builder = BatchBuilder::new(writer.known());
        for value in values {
            if row % 10 == 9 {
                // It goes ahead of its row, and what is before that row ahead of it.
                writer.batch(&builder.finish())?;
                builder = BatchBuilder::new(writer.known());
                builder.text(row.to_string().as_bytes());
                let mut pieces = value.chunks(50_000).map(<[u8]>::to_vec);
                match writer.blob(&mut || Ok(pieces.next()))? {
                    super::rows::Bytea::Inline(bytes) => builder.blob(&bytes),
                    super::rows::Bytea::Blob(blob) => builder.blob_ref(blob),
                }
            } else {
                builder.text(row.to_string().as_bytes());
                builder.blob(value);
            }
            builder.end_row();
            row += 1;
            if row % self.batch == 0 {
                writer.batch(&builder.finish())?;
                builder = BatchBuilder::new(writer.known());
            }
        }
        writer.batch(&builder.finish())?;
        let values = writer.end_table()?;
        writer.begin_table(Some(&Name::new("public", "u")))?;
        let line = |n: u64| format!("{}\n", n % 30_000 * 7919 % 1_000_003);
        let text: String = (0..200_000).map(line).collect();
        for part in text.split_inclusive('\n').collect::<Vec<_>>().chunks(20_000) {
            writer.batch(&Batch::from_copy_text(part.concat().into_bytes()).unwrap())?;
        }
        writer.end_table()?;
        let mut manifest = manifest();
        manifest.large_objects = Some(values);
        Ok(writer.finish(manifest)?.0)
    }
}

/// Values of many kinds, from few numbers: many are there more than once, and long ones share chunks.
fn values(kinds: &[(u8, u8)]) -> Vec<Vec<u8>> {
    let value = |(kind, seed): &(u8, u8)| {
        let seed = u64::from(*seed);
        match kind % 8 {
            0 => noise(300_000, seed),
            1 => [noise(200_000, seed), noise(400_000, seed / 2)].concat(),
            2 => noise(70_000, seed).iter().map(|byte| byte % 4).collect(),
            3 => noise(65, seed),
            4 => vec![kind % 3; 66_000 + usize::from(*kind)],
            _ => noise(100 + usize::from(*kind), seed + 1000 * u64::from(*kind)),
        }
    };
    kinds.iter().map(value).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3) })]
    #[test]
    fn memory_leaves_no_trace(
        kinds in prop::collection::vec((any::<u8>(), 0_u8..100), 60..250),
        more in prop::collection::vec((any::<u8>(), 0_u8..200), 50..100),
        batch in 1_usize..50,
    ) {
        let kinds = values(&kinds);
        let roomy = How::roomy().write(&kinds).unwrap();
        let cramped = How { batch, ..How::cramped() }.write(&kinds).unwrap();
        prop_assert!(roomy == cramped, "{} and {} bytes", roomy.len(), cramped.len());
        // Thin ones too.
        let more: Vec<_> = kinds.into_iter().step_by(2).chain(values(&more)).collect();
        let thin = How::roomy().on(&roomy).write(&more).unwrap();
        let cramped = How { batch, ..How::cramped() }.on(&roomy).write(&more).unwrap();
        prop_assert!(thin == cramped, "{} and {} bytes", thin.len(), cramped.len());
        let alone = How::roomy().write(&more).unwrap();
        prop_assert!(thin.len() < alone.len());
    }
}

/// The bounds that a small `--memory` gives: 2,300 chunks in memory, and 16,384 in an open pack.
#[test]
fn many_small_values_need_little_memory() {
    let values: Vec<_> = (0..40_000).map(|n| noise(65, n)).collect();
    let roomy = How::roomy().write(&values).unwrap();
    let little = How { memory: 1 << 20, scratch: Scratch::default(), ..How::roomy() };
    assert!(little.write(&values).unwrap() == roomy);
}

#[test]
fn a_full_disk_is_told_and_nothing_has_a_name() {
    let values: Vec<_> = (0..40).map(|n| noise(200_000, n)).collect();
    let full = How { scratch: Scratch::full(), ..How::cramped() }.write(&values);
    assert!(matches!(full, Err(WriteError::Scratch(_))), "{full:?}");
    let nowhere = Scratch::within(Path::new("/nonexistent/pgark"));
    let nowhere = How { scratch: nowhere, ..How::cramped() }.write(&values);
    assert!(matches!(nowhere, Err(WriteError::Scratch(_))), "{nowhere:?}");
    let folder = tempfile::tempdir().unwrap();
    let within = How { scratch: Scratch::within(folder.path()), ..How::cramped() };
    within.write(&values).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
