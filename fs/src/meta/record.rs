//! Rows as a record of the journal holds them.
//!
//! `next ino(8) next map(8) next block(8)`, then for each row `table(1) a(8) tail kind(1)`, the
//! tail (`n(8)`, or `length(4)` and bytes), `present(1)` and, where it is, `length(4)` and bytes.

use super::key::{Key, Table, Tail};
use super::rows::RowChange;
use crate::layout::BadLayout;

/// What one record of the journal makes durable.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Record {
    pub(crate) next_ino: u64,
    pub(crate) next_map: u64,
    pub(crate) next_block: u64,
    pub(crate) rows: Vec<RowChange>,
}

impl Record {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for v in [self.next_ino, self.next_map, self.next_block] {
            out.extend_from_slice(&v.to_le_bytes());
        }
        for (key, row) in &self.rows {
            out.push(key.table as u8);
            out.extend_from_slice(&key.a.to_le_bytes());
            match &key.b {
                Tail::None => out.push(0),
                Tail::Int(n) => {
                    out.push(1);
                    out.extend_from_slice(&n.to_le_bytes());
                }
                Tail::Bytes(b) => {
                    out.push(2);
                    put_bytes(&mut out, b);
                }
            }
            out.push(u8::from(row.is_some()));
            if let Some(row) = row {
                put_bytes(&mut out, row);
            }
        }
        out
    }

    /// # Errors
    /// [`BadLayout`] for anything `encode` does not produce.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BadLayout> {
        let mut r = bytes;
        let mut record = Self {
            next_ino: take_u64(&mut r)?,
            next_map: take_u64(&mut r)?,
            next_block: take_u64(&mut r)?,
            rows: Vec::new(),
        };
        while !r.is_empty() {
            let [table] = take(&mut r)?;
            let table = *Table::ALL
                .get(usize::from(table).wrapping_sub(1))
                .ok_or(BadLayout)?;
            let a = take_u64(&mut r)?;
            let b = match take(&mut r)? {
                [0] => Tail::None,
                [1] => Tail::Int(take_u64(&mut r)?),
                [2] => Tail::Bytes(take_bytes(&mut r)?),
                _ => return Err(BadLayout),
            };
            let key = Key { table, a, b };
            if !key.has_shape() {
                return Err(BadLayout);
            }
            let row = match take(&mut r)? {
                [0] => None,
                [1] => Some(take_bytes(&mut r)?),
                _ => return Err(BadLayout),
            };
            record.rows.push((key, row));
        }
        Ok(record)
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn take<const N: usize>(r: &mut &[u8]) -> Result<[u8; N], BadLayout> {
    let (head, tail) = r.split_first_chunk::<N>().ok_or(BadLayout)?;
    *r = tail;
    Ok(*head)
}

fn take_u64(r: &mut &[u8]) -> Result<u64, BadLayout> {
    take(r).map(u64::from_le_bytes)
}

fn take_bytes(r: &mut &[u8]) -> Result<Box<[u8]>, BadLayout> {
    let length = u32::from_le_bytes(take(r)?) as usize;
    let (head, tail) = r.split_at_checked(length).ok_or(BadLayout)?;
    *r = tail;
    Ok(head.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::Ino;

    fn sample() -> Record {
        Record {
            next_ino: 7,
            next_map: 8,
            next_block: 9,
            rows: vec![
                (Key::inode(Ino(3)), Some(vec![1, 2, 3].into())),
                (Key::dentry(Ino(1), b"name"), None),
                (Key::file_key(Ino(3), 0), Some(Box::default())),
            ],
        }
    }

    #[test]
    fn a_record_reads_back_as_it_was() {
        assert_eq!(Record::decode(&sample().encode()), Ok(sample()));
    }

    #[test]
    fn a_record_cut_anywhere_within_a_row_is_refused() {
        let bytes = sample().encode();
        let whole: Vec<usize> = (0..=3)
            .map(|n| {
                Record {
                    rows: sample().rows[..n].to_vec(),
                    ..sample()
                }
                .encode()
                .len()
            })
            .collect();
        for length in (0..bytes.len()).filter(|l| !whole.contains(l)) {
            assert_eq!(
                Record::decode(&bytes[..length]),
                Err(BadLayout),
                "cut at {length}"
            );
        }
    }
}
