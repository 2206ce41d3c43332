//! The bytes of one file, kept sparsely and shared between the states of a disk.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fs::OpenOptions;
use std::hash::{Hash, Hasher};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// Bytes that a disk writes all or none of.
pub const SECTOR: u64 = 512;
/// Bytes kept together.
const CHUNK: u64 = 4096;

type Chunk = [u8; CHUNK as usize];

/// A file's size and its bytes that are not zero.
#[derive(Debug, Clone, Default)]
pub struct Content {
    len: u64,
    chunks: BTreeMap<u64, Arc<Chunk>>,
}

/// The parts of a range that lie in one chunk each: chunk, place in it, place in the range.
fn pieces(range: Range<u64>) -> impl Iterator<Item = (u64, Range<usize>, Range<usize>)> {
    let chunks = range.start / CHUNK..range.end.div_ceil(CHUNK);
    chunks.map(move |chunk| {
        let start = range.start.max(chunk * CHUNK);
        let end = range.end.min((chunk + 1) * CHUNK);
        let inside = (start - chunk * CHUNK) as usize..(end - chunk * CHUNK) as usize;
        let outside = (start - range.start) as usize..(end - range.start) as usize;
        (chunk, inside, outside)
    })
}

impl Content {
    /// What a file of the system holds.
    pub fn read_from(path: &Path) -> io::Result<Self> {
        let bytes = std::fs::read(path)?;
        let mut content = Self::default();
        content.write(0, &bytes);
        content.set_len(bytes.len() as u64);
        Ok(content)
    }

    /// The size in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts bytes somewhere, without a change of the size.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        for (chunk, inside, outside) in pieces(offset..offset + data.len() as u64) {
            let data = &data[outside];
            let zeros = data.iter().all(|b| *b == 0);
            if zeros && !self.chunks.contains_key(&chunk) {
                continue;
            }
            if zeros && inside.len() == CHUNK as usize {
                self.chunks.remove(&chunk);
                continue;
            }
            let chunk = self
                .chunks
                .entry(chunk)
                .or_insert_with(|| Arc::new([0; CHUNK as usize]));
            Arc::make_mut(chunk)[inside].copy_from_slice(data);
        }
    }

    /// Makes a range zeros, without a change of the size.
    pub fn zero(&mut self, range: Range<u64>) {
        let touched: Vec<u64> = self
            .chunks
            .range(range.start / CHUNK..range.end.div_ceil(CHUNK))
            .map(|(chunk, _)| *chunk)
            .collect();
        for chunk in touched {
            let start = range.start.max(chunk * CHUNK);
            let end = range.end.min((chunk + 1) * CHUNK);
            if end - start == CHUNK {
                self.chunks.remove(&chunk);
            } else if let Some(bytes) = self.chunks.get_mut(&chunk) {
                let inside = (start - chunk * CHUNK) as usize..(end - chunk * CHUNK) as usize;
                Arc::make_mut(bytes)[inside].fill(0);
            }
        }
    }

    /// Changes the size; what is cut off is zeros should the file grow again.
    pub fn set_len(&mut self, len: u64) {
        self.zero(len..u64::MAX - CHUNK);
        self.len = len;
    }

    /// Makes the size at least `len`.
    pub fn grow(&mut self, len: u64) {
        self.len = self.len.max(len);
    }

    /// Makes the file at `path`, which is new; holes stay holes.
    pub fn write_to(&self, path: &Path) -> io::Result<()> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.set_len(self.len)?;
        let mut run: (u64, Vec<u8>) = (0, Vec::new());
        for (chunk, bytes) in &self.chunks {
            let offset = chunk * CHUNK;
            let length = self.len.saturating_sub(offset).min(CHUNK) as usize;
            if run.0 + run.1.len() as u64 != offset {
                file.write_all_at(&run.1, run.0)?;
                run = (offset, Vec::new());
            }
            run.1.extend_from_slice(&bytes[..length]);
        }
        file.write_all_at(&run.1, run.0)
    }

    pub(crate) fn digest(&self, hasher: &mut DefaultHasher) {
        self.len.hash(hasher);
        for (chunk, bytes) in &self.chunks {
            if bytes.iter().any(|b| *b != 0) {
                chunk.hash(hasher);
                hasher.write(&**bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_is_zeros_when_the_file_grows_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut content = Content::default();
        content.grow(10_000);
        content.write(0, &[7; 10_000]);
        content.set_len(5000);
        content.grow(9000);
        let path = dir.path().join("file");
        content.write_to(&path).unwrap();
        let mut expected = vec![7; 5000];
        expected.resize(9000, 0);
        assert_eq!(std::fs::read(path).unwrap(), expected);
    }

    #[test]
    fn bytes_written_apart_are_read_apart() {
        let dir = tempfile::tempdir().unwrap();
        let mut content = Content::default();
        content.grow(3 << 20);
        for offset in [0, 4096, 8191, 1 << 20, (3 << 20) - 1] {
            content.write(offset, &[offset as u8 | 1]);
        }
        content.zero(4096..4097);
        let path = dir.path().join("file");
        content.write_to(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let found: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
        assert_eq!(found, [0, 8191, 1 << 20, (3 << 20) - 1]);
        assert_eq!(Content::read_from(&path).unwrap().len(), 3 << 20);
    }
}
