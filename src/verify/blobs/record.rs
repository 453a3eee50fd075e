//! What is put down of each reference to a blob, to be sorted by where the blob is.

/// Length of a record.
pub(in crate::verify) const RECORD: usize = 50;
/// Longest checksum that a record holds; a SHA-256 is compared at once, with the blob's name.
pub(super) const SUM: usize = 20;

/// A record taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Record {
    /// Where the blob begins: its first chunk's entry and offset.
    pub(super) place: u64,
    /// A chunk's number, or a blob's and [`super::MANY`].
    pub(super) id: u64,
    pub(super) spec: u32,
    pub(super) row: u64,
    pub(super) declared: u8,
    /// Length of the checksum, if one is declared.
    pub(super) sum: u8,
    pub(super) sums: [u8; SUM],
}

impl Record {
    pub(super) fn bytes(&self) -> [u8; RECORD] {
        let mut out = [0; RECORD];
        let mut rest = out.as_mut_slice();
        for part in [
            &self.place.to_be_bytes()[..],
            &self.id.to_be_bytes(),
            &self.spec.to_be_bytes(),
            &self.row.to_be_bytes(),
            &[self.declared, self.sum],
            &self.sums,
        ] {
            if let Some((to, after)) = std::mem::take(&mut rest).split_at_mut_checked(part.len()) {
                to.copy_from_slice(part);
                rest = after;
            }
        }
        out
    }

    pub(super) fn of(bytes: &[u8; RECORD]) -> Option<Self> {
        let (place, rest) = bytes.split_first_chunk::<8>()?;
        let (id, rest) = rest.split_first_chunk::<8>()?;
        let (spec, rest) = rest.split_first_chunk::<4>()?;
        let (row, rest) = rest.split_first_chunk::<8>()?;
        let ([declared, sum], rest) = rest.split_first_chunk::<2>()?;
        Some(Self {
            place: u64::from_be_bytes(*place),
            id: u64::from_be_bytes(*id),
            spec: u32::from_be_bytes(*spec),
            row: u64::from_be_bytes(*row),
            declared: *declared,
            sum: *sum,
            sums: *rest.first_chunk()?,
        })
    }
}
