//! What a file is, by its first bytes: its name may say anything.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek as _, SeekFrom};
use std::path::Path;

use super::error::DumpFileError;

/// Bytes that are read at once.
const BUFFER: usize = 256 << 10;
/// What is looked at.
const HEAD: usize = 512;

/// A dump, opened.
pub(super) enum Input {
    /// Plain SQL. The file is there if it is one, not compressed: it can be read again at any place.
    Plain(Box<dyn BufRead>, Option<File>),
    /// `pg_dump -Fc`.
    Custom(File),
    /// `pg_dump -Ft`.
    Tar(File),
    /// `pg_dump -Fd`.
    Directory,
}

/// Opens a dump; `-` is standard input. What has to be read at any place, and cannot be, is copied
/// to a file without a name in the folder `spool`.
pub(super) fn open(path: &Path, spool: &Path) -> Result<Input, DumpFileError> {
    let io = |source| DumpFileError::Io { path: path.to_owned(), source };
    if path == Path::new("-") {
        return inside(path, spool, Box::new(BufReader::with_capacity(BUFFER, io::stdin())), None);
    }
    if path.is_dir() {
        if path.join("toc.dat").exists() {
            return Ok(Input::Directory);
        }
        let what = "is a folder without toc.dat: not one that pg_dump -Fd wrote".into();
        return Err(DumpFileError::Kind { path: path.to_owned(), what });
    }
    let file = File::open(path).map_err(io)?;
    let again = file.metadata().map_err(io)?.is_file().then(|| file.try_clone()).transpose();
    let again = again.map_err(io)?;
    inside(path, spool, Box::new(BufReader::with_capacity(BUFFER, file)), again)
}

/// Sees what a stream is, and unpacks it if it is packed. `file` is the same, to be read anywhere.
fn inside(
    path: &Path,
    spool: &Path,
    mut stream: Box<dyn BufRead>,
    file: Option<File>,
) -> Result<Input, DumpFileError> {
    let io = |source| DumpFileError::Io { path: path.to_owned(), source };
    let kind = |what: &str| DumpFileError::Kind { path: path.to_owned(), what: what.to_owned() };
    // A pipe may give a few bytes at first; they are put back in front.
    let mut head = Vec::new();
    stream.by_ref().take(HEAD as u64).read_to_end(&mut head).map_err(io)?;
    let stream: Box<dyn BufRead> = Box::new(io::Cursor::new(head.clone()).chain(stream));
    let whole = |stream: Box<dyn BufRead>, file: Option<File>| match file {
        Some(file) => rewound(file).map_err(io),
        None => copied(stream, spool).map_err(io),
    };
    let is_tar = head.get(257..262) == Some(b"ustar");
    match head.as_slice() {
        [] => Err(kind("is empty")),
        [0x1f, 0x8b, ..] => {
            let unpacked = flate2::bufread::MultiGzDecoder::new(stream);
            inside(path, spool, Box::new(BufReader::with_capacity(BUFFER, unpacked)), None)
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let mut unpacked = zstd::stream::read::Decoder::with_buffer(stream).map_err(io)?;
            unpacked.window_log_max(27).map_err(io)?;
            inside(path, spool, Box::new(BufReader::with_capacity(BUFFER, unpacked)), None)
        }
        _ if head.starts_with(b"PGDMP") => Ok(Input::Custom(whole(stream, file)?)),
        _ if is_tar && head.starts_with(b"pgark-1.txt") => {
            Err(kind("is an archive of pgark already, not a dump"))
        }
        _ if is_tar => Ok(Input::Tar(whole(stream, file)?)),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Err(kind(
            "is text in UTF-16, as > in PowerShell writes it: values may be damaged. Let pg_dump \
             write the file itself, with -f",
        )),
        _ => Ok(Input::Plain(stream, file)),
    }
}

fn rewound(mut file: File) -> io::Result<File> {
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

fn copied(mut stream: Box<dyn BufRead>, spool: &Path) -> io::Result<File> {
    let mut file = tempfile::tempfile_in(spool)?;
    io::copy(&mut stream, &mut file)?;
    rewound(file)
}
