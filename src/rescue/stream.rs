//! Tar files, compressed or not, read to a proven end.
//!
//! A header of zeros ends a tar for every reader, without a word; so does the end of the file. What
//! was read is whole only if the two blocks of zeros that end a tar are there, and nothing but zeros
//! after them.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _};
use std::path::Path;
use std::rc::Rc;

use super::RescueError;
use crate::progress::Progress;

/// An entry, with its bytes.
pub(super) type Entry<'a, 'p> = tar::Entry<'a, Ends<Box<dyn Read + 'p>>>;

/// A tar is made of blocks of this many bytes.
const BLOCK: u64 = 512;
/// zstd's own limit; `--long=31` asks for it.
const WINDOW_LOG: u32 = 31;

/// Calls `visit` for each entry, with its number, and proves that the file is whole.
pub(super) fn read(
    path: &Path,
    progress: &dyn Progress,
    mut visit: impl FnMut(i64, &mut Entry<'_, '_>) -> io::Result<()>,
) -> Result<(), RescueError> {
    let failed = |source: io::Error| {
        if progress.interrupted() {
            RescueError::Interrupted
        } else {
            RescueError::Input { path: path.to_owned(), source }
        }
    };
    let file = File::open(path).map_err(failed)?;
    let inner = open(file, progress).map_err(failed)?;
    let mut archive = tar::Archive::new(Ends { inner, zeros: Rc::default() });
    for (number, entry) in (0..).zip(archive.entries().map_err(failed)?) {
        let mut entry = entry.map_err(failed)?;
        visit(number, &mut entry).map_err(failed)?;
    }
    prove_end(archive.into_inner()).map_err(failed)
}

/// Whatever goes on is thrown away, as long as it is zeros.
fn prove_end(mut rest: Ends<Box<dyn Read + '_>>) -> io::Result<()> {
    let before = *rest.zeros.borrow();
    let mut buffer = vec![0; 64 << 10];
    let mut more = 0_u64;
    loop {
        let got = rest.read(&mut buffer)?;
        if got == 0 {
            break;
        }
        if buffer.get(..got).is_some_and(|bytes| bytes.iter().any(|byte| *byte != 0)) {
            return Err(odd(
                "one of its headers is zeros, and more comes after it: it is damaged, and who unpacks \
                 it gets a part without a word"
                    .into(),
            ));
        }
        more += u64::try_from(got).unwrap_or(u64::MAX);
    }
    if before < BLOCK || more < BLOCK {
        return Err(odd("it is cut off: the blocks that end a tar file are missing".into()));
    }
    Ok(())
}

/// The bytes of the tar, whatever they are compressed with.
fn open<'a>(mut file: File, progress: &'a dyn Progress) -> io::Result<Box<dyn Read + 'a>> {
    let mut magic = [0; 6];
    let mut got = 0;
    while got < magic.len() {
        match file.read(magic.get_mut(got..).unwrap_or_default())? {
            0 => break,
            some => got += some,
        }
    }
    if got == 0 {
        return Err(odd("there is nothing in it".into()));
    }
    file.rewind()?;
    let file = BufReader::with_capacity(256 << 10, Told { file, progress });
    Ok(match magic {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        // A frame, or one to be skipped.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(file)?;
            decoder.window_log_max(WINDOW_LOG)?;
            Box::new(decoder)
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0] => return Err(compressed("xz")),
        [b'B', b'Z', b'h', ..] => return Err(compressed("bzip2")),
        [0x04, 0x22, 0x4d, 0x18, ..] => return Err(compressed("lz4")),
        [b'P', b'G', b'D', b'M', b'P', ..] => {
            return Err(odd("it is a dump of pg_dump, not the tar of a data directory".into()));
        }
        _ => Box::new(file),
    })
}

fn compressed(with: &str) -> io::Error {
    odd(format!("it is compressed with {with}: {with} -dc FILE | pgark rescue - reads it"))
}

/// An error of the contents.
pub(super) fn odd(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Tells how far the file is read, and stops when the person wants it to stop.
struct Told<'a> {
    file: File,
    progress: &'a dyn Progress,
}

impl Read for Told<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.progress.interrupted() {
            // Not the kind `Interrupted`, which is tried again.
            return Err(odd("interrupted".into()));
        }
        let got = self.file.read(buffer)?;
        self.progress.bytes(u64::try_from(got).unwrap_or(0));
        Ok(got)
    }
}

/// Knows how many zeros the last bytes were.
pub(super) struct Ends<R> {
    inner: R,
    zeros: Rc<RefCell<u64>>,
}

impl<R: Read> Read for Ends<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        let bytes = buffer.get(..got).unwrap_or_default();
        let last = bytes.iter().rev().take_while(|byte| **byte == 0).count();
        let mut zeros = self.zeros.borrow_mut();
        let before = if last == got { *zeros } else { 0 };
        *zeros = before.saturating_add(u64::try_from(last).unwrap_or(0));
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    //! Guards against half a tar being taken for a whole one, which is what every reader does.
    use std::io::Write as _;

    use super::*;
    use crate::progress::Silent;

    fn sample() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for name in ["a", "b", "c"] {
            let mut header = tar::Header::new_ustar();
            header.set_size(700);
            header.set_mode(0o600);
            header.set_cksum();
            builder.append_data(&mut header, name, &[7_u8; 700][..]).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn names(bytes: &[u8]) -> Result<Vec<String>, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let mut names = Vec::new();
        read(file.path(), &Silent, |_, entry| {
            names.push(String::from_utf8(entry.path_bytes().into_owned()).unwrap());
            Ok(())
        })
        .map_err(|error| error.to_string())?;
        Ok(names)
    }

    #[test]
    fn whole_in_every_dress() {
        let whole = sample();
        assert_eq!(names(&whole).unwrap(), ["a", "b", "c"]);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&whole).unwrap();
        let gzip = gzip.finish().unwrap();
        assert_eq!(names(&gzip).unwrap().len(), 3);
        let zstd = zstd::encode_all(&whole[..], 1).unwrap();
        assert_eq!(names(&zstd).unwrap().len(), 3);
        // Cut off anywhere, it is an error.
        for cut in 1..gzip.len() {
            assert!(names(&gzip[..cut]).is_err(), "gzip cut at {cut}");
        }
        for cut in 1..zstd.len() {
            assert!(names(&zstd[..cut]).is_err(), "zstd cut at {cut}");
        }
    }

    #[test]
    fn cut_off_anywhere() {
        let whole = sample();
        // One of the two blocks at the end is enough to prove nothing.
        for cut in (0..whole.len()).step_by(256) {
            assert!(names(&whole[..cut]).is_err(), "cut at {cut} of {}", whole.len());
        }
    }

    /// GNU tar and the crate end there with success.
    #[test]
    fn a_header_of_zeros() {
        let mut bytes = sample();
        let second = 512 + 1024;
        bytes[second..second + 512].fill(0);
        let error = names(&bytes).unwrap_err();
        assert!(error.contains("one of its headers is zeros"), "{error}");
    }

    #[test]
    fn what_it_is_not() {
        assert!(names(b"\xfd7zXZ\0....").unwrap_err().contains("xz -dc FILE"));
        assert!(names(b"PGDMP\x01").unwrap_err().contains("a dump of pg_dump"));
        assert!(names(b"").is_err());
    }
}
