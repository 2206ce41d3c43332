//! Fixed-width little-endian fields, one after the other.

use super::BadLayout;
use crate::vfs::Timestamp;

#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn u32(&mut self, v: u32) {
        self.0.extend_from_slice(&v.to_le_bytes());
    }
    pub(super) fn u64(&mut self, v: u64) {
        self.0.extend_from_slice(&v.to_le_bytes());
    }
    pub(super) fn time(&mut self, t: Timestamp) {
        self.0.extend_from_slice(&t.secs.to_le_bytes());
        self.u32(t.nanos);
    }
    pub(super) fn bytes(&mut self, b: &[u8]) {
        self.0.extend_from_slice(b);
    }
    pub(super) fn done(self) -> Box<[u8]> {
        self.0.into_boxed_slice()
    }
}

pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], BadLayout> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(BadLayout)?;
        self.0 = tail;
        Ok(*head)
    }
    pub(super) fn u32(&mut self) -> Result<u32, BadLayout> {
        self.array().map(u32::from_le_bytes)
    }
    pub(super) fn u64(&mut self) -> Result<u64, BadLayout> {
        self.array().map(u64::from_le_bytes)
    }
    pub(super) fn time(&mut self) -> Result<Timestamp, BadLayout> {
        let secs = self.array().map(i64::from_le_bytes)?;
        let nanos = self.u32()?;
        if nanos > 999_999_999 {
            return Err(BadLayout);
        }
        Ok(Timestamp { secs, nanos })
    }
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
    pub(super) fn end(&self) -> Result<(), BadLayout> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(BadLayout)
        }
    }
}
