//! The journal: what small fsyncs made durable since the last commit of the database.
//!
//! A record is one write and one sync into space written ahead, where a commit of the database
//! is several pages. Records belong to the database commit they follow, by its number: the next
//! commit makes all of them void at once, and the journal begins anew at its start. Opening
//! applies the records that follow the last commit, in order, up to the first that does not
//! verify: that one was being written when the system stopped, and nobody was told it was safe.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use keyfold_crypto::{Context, Label, SealKey};

use crate::error::{FsError, FsResult};

/// Bytes of the journal, written ahead.
const CAPACITY: u64 = 16 << 20;
/// `sealed length(4) zero(4) commit(8)` before each record.
const HEADER: usize = 16;
/// Records begin at multiples of this.
const ALIGN: u64 = 512;

/// The path of the journal within the vault directory.
pub(crate) fn journal_path(vault: &Path) -> PathBuf {
    vault.join("journal")
}

/// Which vault's journal it is, and the key of its records.
pub(crate) struct JournalKey {
    pub(crate) key: SealKey,
    pub(crate) vault: [u8; 16],
}

impl JournalKey {
    fn context(&self, commit: u64, number: u64) -> Context {
        Context::new(Label::JOURNAL_RECORD)
            .bytes(&self.vault)
            .u64(commit)
            .u64(number)
    }
}

/// A journal being written.
pub(crate) struct Journal {
    file: File,
    key: JournalKey,
    commit: u64,
    number: u64,
    position: u64,
}

/// Whether a record found room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Appended {
    /// It is durable.
    Durable,
    /// The journal is full: a commit of the database has to come first.
    NoRoom,
}

impl Journal {
    /// Makes or empties the journal and writes it ahead, for records after `commit`.
    pub(crate) fn open(vault: &Path, key: JournalKey, commit: u64) -> io::Result<Self> {
        let path = journal_path(vault);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        let ahead = file
            .write_all_at(&vec![0; CAPACITY as usize], 0)
            .and_then(|()| {
                file.sync_all()?;
                File::open(vault)?.sync_all()
            });
        if let Err(e) = ahead {
            drop(std::fs::remove_file(&path));
            return Err(e);
        }
        Ok(Self {
            file,
            key,
            commit,
            number: 0,
            position: 0,
        })
    }

    /// The records after `commit`, as far as they verify.
    pub(crate) fn read(vault: &Path, key: &JournalKey, commit: u64) -> io::Result<Vec<Vec<u8>>> {
        let mut bytes = Vec::new();
        match File::open(journal_path(vault)) {
            Ok(file) => file.take(CAPACITY).read_to_end(&mut bytes)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        Ok(records_in(&bytes, key, commit))
    }

    /// Writes a record and waits until it is durable.
    pub(crate) fn append(&mut self, record: &[u8]) -> FsResult<Appended> {
        let context = self.key.context(self.commit, self.number);
        let sealed = keyfold_crypto::seal(&self.key.key, &context, record)
            .map_err(|_| FsError::Disk(libc::EIO))?;
        let length = ((HEADER + sealed.len()) as u64).next_multiple_of(ALIGN);
        if self.position + length > CAPACITY {
            return Ok(Appended::NoRoom);
        }
        let mut bytes = Vec::with_capacity(length as usize);
        bytes.extend_from_slice(&(sealed.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.commit.to_le_bytes());
        bytes.extend_from_slice(&sealed);
        bytes.resize(length as usize, 0);
        match self
            .file
            .write_all_at(&bytes, self.position)
            .map_err(FsError::from)
        {
            Ok(()) => {}
            // Written ahead it may be, and still need room: on a disk that copies on writing.
            Err(FsError::NoSpace) => return Ok(Appended::NoRoom),
            Err(e) => return Err(e),
        }
        self.file.sync_data()?;
        self.position += length;
        self.number += 1;
        Ok(Appended::Durable)
    }

    /// Begins anew after a commit of the database, which made all records void.
    pub(crate) fn restart(&mut self, commit: u64) {
        (self.commit, self.number, self.position) = (commit, 0, 0);
    }

    /// Empties a journal that is not open, where there is one.
    pub(crate) fn clear(vault: &Path) -> io::Result<()> {
        match OpenOptions::new().write(true).open(journal_path(vault)) {
            Ok(file) => file.set_len(0),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Leaves nothing behind: the last commit holds everything.
    pub(crate) fn close(self) -> io::Result<()> {
        self.file.set_len(0)
    }
}

/// The records after `commit` in a journal's bytes, as far as they verify.
pub(super) fn records_in(bytes: &[u8], key: &JournalKey, commit: u64) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    let mut rest = bytes;
    while let Some((header, sealed)) = split_record(rest) {
        let context = key.context(commit, records.len() as u64);
        let opened = keyfold_crypto::open(&key.key, &context, sealed);
        let Ok(record) = opened.map(|o| o.to_vec()) else {
            break;
        };
        if header.commit != commit {
            break;
        }
        records.push(record);
        let used = (HEADER + sealed.len()).next_multiple_of(ALIGN as usize);
        rest = rest.get(used..).unwrap_or_default();
    }
    records
}

struct Header {
    commit: u64,
}

fn split_record(bytes: &[u8]) -> Option<(Header, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (_, rest) = rest.split_first_chunk::<4>()?;
    let (commit, rest) = rest.split_first_chunk::<8>()?;
    let length = u32::from_le_bytes(*length) as usize;
    let sealed = rest.get(..length).filter(|s| !s.is_empty())?;
    Some((
        Header {
            commit: u64::from_le_bytes(*commit),
        },
        sealed,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> JournalKey {
        JournalKey {
            key: SealKey::from_bytes([7; 32]),
            vault: [9; 16],
        }
    }

    fn journal(dir: &Path, commit: u64, records: &[&[u8]]) -> Journal {
        let mut journal = Journal::open(dir, key(), commit).unwrap();
        for record in records {
            assert_eq!(journal.append(record), Ok(Appended::Durable));
        }
        journal
    }

    #[test]
    fn records_are_read_back_in_order() {
        let dir = tempfile::tempdir().unwrap();
        journal(dir.path(), 5, &[b"one", &[2; 5000], b""]);
        let read = Journal::read(dir.path(), &key(), 5).unwrap();
        assert_eq!(read, [b"one".to_vec(), vec![2; 5000], Vec::new()]);
    }

    #[test]
    fn nothing_is_read_from_an_altered_record_on() {
        let dir = tempfile::tempdir().unwrap();
        journal(dir.path(), 5, &[b"one", b"two", b"three"]);
        let mut bytes = std::fs::read(journal_path(dir.path())).unwrap();
        bytes[ALIGN as usize + HEADER + 40] ^= 1;
        std::fs::write(journal_path(dir.path()), &bytes).unwrap();
        let read = Journal::read(dir.path(), &key(), 5).unwrap();
        assert_eq!(read, [b"one".to_vec()]);
    }

    #[test]
    fn a_journal_cut_anywhere_gives_a_prefix() {
        let dir = tempfile::tempdir().unwrap();
        journal(dir.path(), 5, &[b"one", b"two"]);
        let bytes = std::fs::read(journal_path(dir.path())).unwrap();
        for length in 0..2 * ALIGN as usize {
            std::fs::write(journal_path(dir.path()), &bytes[..length]).unwrap();
            let read = Journal::read(dir.path(), &key(), 5).unwrap();
            assert!(
                [b"one".to_vec(), b"two".to_vec()].starts_with(&read),
                "cut at {length}"
            );
        }
    }

    #[test]
    fn a_commit_makes_all_records_void() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = journal(dir.path(), 5, &[b"one", b"two"]);
        journal.restart(6);
        assert_eq!(Journal::read(dir.path(), &key(), 6).unwrap().len(), 0);
        assert_eq!(journal.append(b"new"), Ok(Appended::Durable));
        assert_eq!(Journal::read(dir.path(), &key(), 5).unwrap().len(), 0);
        assert_eq!(
            Journal::read(dir.path(), &key(), 6).unwrap(),
            [b"new".to_vec()]
        );
    }

    #[test]
    fn a_full_journal_takes_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = journal(dir.path(), 5, &[]);
        let record = vec![1; 1 << 20];
        let taken = (0..20).take_while(|_| journal.append(&record) == Ok(Appended::Durable));
        assert_eq!(taken.count(), 15);
        assert_eq!(Journal::read(dir.path(), &key(), 5).unwrap().len(), 15);
    }
}
