//! Images: of which type some bytes are, and whether they decode.

mod decode;
mod parts;
mod png;
mod sniff;

pub(super) use decode::{ENCODED, Fault, decode, follow, need};
pub(super) use sniff::{Declared, HEAD, Kind, declared, sniff};
