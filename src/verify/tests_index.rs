//! A long index, which is not in memory: what cannot be found in it because it cannot be read any more
//! must not pass for what is not there.

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;

use super::tests::{IMAGE, ITEM, noise, sample};
use super::*;
use crate::format::reader::Tail;
use crate::format::ustar;
use crate::progress::Silent;

/// An archive whose index is too long for memory, on a disk that gives back so many bytes of it when
/// it is looked up.
struct Failing(Vec<u8>, File);

impl ReadAt for Failing {
    fn len(&self) -> u64 {
        ReadAt::len(&self.0)
    }
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }
    fn as_file(&self) -> Option<&File> {
        Some(&self.1)
    }
}

/// What is not found in an index that cannot be read is not what is not there.
#[test]
fn an_index_that_cannot_be_read_again_is_told() {
    let mut many = sample();
    many.rows[IMAGE] = (0..200).map(|n| format!("{n:03}")).collect();
    many.images = (0..200).map(|n| noise(70 + n)).collect();
    many.rows[ITEM].clear();
    let bytes = many.write();
    let index = Tail::read(&bytes).unwrap().seal().unwrap().index;
    assert!(index.length > 8 * 1024);
    for (lost, found) in [(0, false), (8, true), (index.length - 100, true), (index.length, true)] {
        let mut file = tempfile::tempfile().unwrap();
        let there = index.offset + index.length - lost;
        file.write_all(&bytes[..usize::try_from(there).unwrap()]).unwrap();
        let file: Arc<dyn ReadAt> = Arc::new(Failing(bytes.clone(), file));
        let options = VerifyOptions { memory: 1 << 20, ..VerifyOptions::default() };
        let report = run(&file, &options, &Silent).unwrap();
        let told = report.findings.iter().any(|finding| {
            finding.code == Code::Unreadable && finding.entry.as_deref() == Some(ustar::INDEX)
        });
        assert_eq!(told, found, "{lost} bytes: {:?}", report.findings);
        assert_eq!(report.findings.is_empty(), !found, "{lost} bytes");
    }
}
