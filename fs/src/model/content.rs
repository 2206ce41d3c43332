//! The bytes of one file, kept sparsely: a block is data once any byte of it was written.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Bytes in a block; holes are whole blocks.
pub(super) const BLOCK: u64 = 4096;

/// The content half of a file: its size and its data blocks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Content {
    size: u64,
    blocks: BTreeMap<u64, Arc<[u8; BLOCK as usize]>>,
}

/// The part of a byte range that lies in one block.
struct Piece {
    block: u64,
    /// Bytes of the block.
    inside: Range<usize>,
    /// Bytes of the whole range.
    outside: Range<usize>,
}

fn pieces(offset: u64, len: u64) -> impl Iterator<Item = Piece> {
    let end = offset + len;
    (offset / BLOCK..end.div_ceil(BLOCK)).map(move |block| {
        let start = offset.max(block * BLOCK);
        let stop = end.min((block + 1) * BLOCK);
        Piece {
            block,
            inside: (start - block * BLOCK) as usize..(stop - block * BLOCK) as usize,
            outside: (start - offset) as usize..(stop - offset) as usize,
        }
    })
}

impl Content {
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Space taken in units of 512 bytes.
    pub(super) fn sectors(&self) -> u64 {
        self.blocks.len() as u64 * (BLOCK / 512)
    }

    /// Reads what lies before the end; returns how many bytes those are.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> usize {
        let len = self.size.saturating_sub(offset).min(buf.len() as u64);
        for piece in pieces(offset, len) {
            let target = &mut buf[piece.outside];
            match self.blocks.get(&piece.block) {
                Some(block) => target.copy_from_slice(&block[piece.inside]),
                None => target.fill(0),
            }
        }
        len as usize
    }

    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        for piece in pieces(offset, data.len() as u64) {
            let block = self
                .blocks
                .entry(piece.block)
                .or_insert_with(|| Arc::new([0; BLOCK as usize]));
            Arc::make_mut(block)[piece.inside].copy_from_slice(&data[piece.outside]);
        }
        self.extend(offset + data.len() as u64);
    }

    /// Grows to `size` unless the file is that long already.
    pub(super) fn extend(&mut self, size: u64) {
        self.size = self.size.max(size);
    }

    /// Zeroes a range: whole blocks become holes, the edges of others are filled with zeros.
    /// Bytes past the end of the file are zero anyway.
    pub(super) fn zero(&mut self, offset: u64, len: u64) {
        let end = offset + len;
        let touched: Vec<u64> = self
            .blocks
            .range(offset / BLOCK..end.div_ceil(BLOCK))
            .map(|(at, _)| *at)
            .collect();
        for block in touched {
            let start = offset.max(block * BLOCK) - block * BLOCK;
            let stop = end.min((block + 1) * BLOCK) - block * BLOCK;
            if stop - start == BLOCK {
                self.blocks.remove(&block);
            } else if let Some(data) = self.blocks.get_mut(&block) {
                Arc::make_mut(data)[start as usize..stop as usize].fill(0);
            }
        }
    }

    pub(super) fn truncate(&mut self, size: u64) {
        if size < self.size {
            let last = self
                .blocks
                .last_key_value()
                .map_or(0, |(at, _)| (at + 1) * BLOCK);
            let cut = size.next_multiple_of(BLOCK);
            self.zero(size, cut - size);
            if last > cut {
                self.zero(cut, last - cut);
            }
        }
        self.size = size;
    }

    /// The next byte of data at or after `offset`.
    pub(super) fn next_data(&self, offset: u64) -> Option<u64> {
        let (block, _) = self.blocks.range(offset / BLOCK..).next()?;
        Some(offset.max(block * BLOCK)).filter(|at| *at < self.size)
    }

    /// The next byte at or after `offset` that is in a hole, or the end of the file.
    pub(super) fn next_hole(&self, offset: u64) -> u64 {
        let mut at = offset / BLOCK;
        while self.blocks.contains_key(&at) {
            at += 1;
        }
        offset.max(at * BLOCK).min(self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_cut_off_come_back_as_zeros() {
        let mut content = Content::default();
        content.write(0, &[7; 5000]);
        content.truncate(10);
        content.truncate(5000);
        let mut buf = [1; 5000];
        assert_eq!(content.read(0, &mut buf), 5000);
        assert_eq!(buf[..10], [7; 10]);
        assert!(buf[10..].iter().all(|b| *b == 0));
        assert_eq!(content.sectors(), 8);
    }

    #[test]
    fn a_hole_is_a_whole_block_never_written() {
        let mut content = Content::default();
        content.write(3 * BLOCK + 1, b"x");
        assert_eq!(content.next_data(0), Some(3 * BLOCK));
        assert_eq!(content.next_hole(3 * BLOCK), 3 * BLOCK + 2);
        content.zero(3 * BLOCK, 10);
        assert_eq!(content.next_data(0), Some(3 * BLOCK));
        content.zero(3 * BLOCK, BLOCK);
        assert_eq!(content.next_data(0), None);
        assert_eq!(content.size(), 3 * BLOCK + 2);
    }
}
