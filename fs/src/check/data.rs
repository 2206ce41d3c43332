//! Reading every block: as the volume does, and some of each file through the independent path.
//!
//! A mounted volume goes on meanwhile, and may move what is about to be read. So the place of a
//! block is looked up while no slot can be given back, and read before that ends.

use keyfold_crypto::{BlockCipher, FileId};

use super::findings::{Findings, Subject};
use super::maps::File;
use super::report::FindingKind as Kind;
use super::{Phase, Progress};
use crate::error::FsResult;
use crate::layout::{
    BLOCK_SIZE, BlockEntry, BlockIndex, BlockRow, ContentRow, FileKeyRow, InodeRow, KeyIndex, Leaf,
    LeafIndex, MapId, Place,
};
use crate::meta::{Key, Scanner, Table};
use crate::vfs::Ino;
use crate::volume::Volume;

/// Leaves of a file that are read while slots are held: 1 MiB of data.
const LEAVES_AT_ONCE: usize = 4;
/// Blocks of each file that are opened through the independent path too, one of each batch.
const REFERENCE_BLOCKS: u32 = 4;

type Located = (BlockIndex, BlockEntry);

/// What reading blocks showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Missing,
    Unreadable,
    KeyMissing,
    Tampered,
    Differs,
    Padding,
}

impl Fault {
    fn kind(self) -> Kind {
        match self {
            Self::Missing => Kind::BlockMissing,
            Self::Unreadable => Kind::BlockUnreadable,
            Self::KeyMissing => Kind::KeyMissing,
            Self::Tampered => Kind::BlockTampered,
            Self::Differs => Kind::ReferenceDiffers,
            Self::Padding => Kind::Padding,
        }
    }

    fn says(self) -> &'static str {
        match self {
            Self::Missing => "are not stored",
            Self::Unreadable => "could not be read from the disk",
            Self::KeyMissing => "are sealed with a key it does not have",
            Self::Tampered => "do not verify: they were altered beneath the vault",
            Self::Differs => "are decrypted differently by the independent path",
            Self::Padding => "hold something beyond its end",
        }
    }
}

/// Reads files of a volume.
pub(super) struct Reader<'a> {
    pub(super) volume: &'a Volume,
    pub(super) scanner: &'a Scanner,
    pub(super) blocks_read: u64,
    pub(super) total: u64,
}

/// A file being read.
struct Open {
    ino: Ino,
    id: FileId,
    map: MapId,
    size: u64,
    ciphers: Vec<(KeyIndex, BlockCipher)>,
    reference: u32,
    faults: Vec<(Fault, BlockIndex)>,
}

impl Reader<'_> {
    /// Reads all blocks of a file.
    pub(super) fn file(
        &mut self,
        file: &File,
        findings: &mut Findings,
        progress: &mut dyn FnMut(Progress),
    ) -> FsResult<()> {
        let Some(mut open) = self.open(file.ino)? else {
            return Ok(());
        };
        let mut next = LeafIndex(0);
        while let Some(last) = self.batch(&mut open, next)? {
            progress(Progress {
                phase: Phase::Data,
                done: self.blocks_read,
                total: Some(self.total.max(self.blocks_read)),
            });
            next = LeafIndex(last.0 + 1);
        }
        report(&open, findings);
        Ok(())
    }

    /// The file as it is committed now; nothing if it is gone or was never written.
    fn open(&self, ino: Ino) -> FsResult<Option<Open>> {
        let decoded = |row: Option<&[u8]>| row.and_then(|r| InodeRow::decode(r).ok());
        let Some(id) = self
            .scanner
            .get(&Key::inode(ino), decoded)?
            .and_then(|row| row.file())
            .map(|file| file.id)
        else {
            return Ok(None);
        };
        let mut ciphers = Vec::new();
        for (key, row) in self.scanner.range(Table::FileKey, ino.0)? {
            if let (Ok(index), Ok(secret)) = (u32::try_from(key.number()), FileKeyRow::decode(&row))
            {
                ciphers.push((KeyIndex(index), secret.cipher()));
            }
        }
        Ok(Some(Open {
            ino,
            id,
            map: MapId::NONE,
            size: 0,
            ciphers,
            reference: 0,
            faults: Vec::new(),
        }))
    }

    /// Reads some leaves' blocks from `next` on. Returns the last leaf; nothing at the end.
    fn batch(&mut self, open: &mut Open, next: LeafIndex) -> FsResult<Option<LeafIndex>> {
        let volume = self.volume;
        let _held = volume.hold_slots();
        let content = self.scanner.get(&Key::content(open.ino), |row| {
            row.and_then(|r| ContentRow::decode(r).ok())
        })?;
        let Some(content) = content else {
            return Ok(None);
        };
        (open.map, open.size) = (content.map, content.size);
        let keys = open.map.leaf_key(next)..=*open.map.leaf_keys().end();
        if open.map == MapId::NONE || u64::from(next.0) > MapId::LAST_LEAF {
            return Ok(None);
        }
        let leaves = self.scanner.stored(Table::Leaf, keys, LEAVES_AT_ONCE)?;
        let mut located: Vec<Located> = Vec::new();
        let mut last = None;
        for (key, row) in &leaves {
            let index = MapId::leaf_of_key(key.a);
            last = Some(index);
            // A leaf that cannot be read was found before.
            if let Ok(leaf) = Leaf::decode(row) {
                // What lies in blobs is not here to be read.
                let here = leaf
                    .used()
                    .filter(|(_, e)| !matches!(e.place, Place::Remote(_)));
                located.extend(here.map(|(p, e)| (index.block(p), *e)));
            }
        }
        for run in located.chunk_by(follows) {
            self.run(open, run)?;
        }
        self.blocks_read += located.len() as u64;
        Ok(last)
    }

    /// Reads neighbouring blocks; when they do not verify, each by itself.
    fn run(&self, open: &mut Open, run: &[Located]) -> FsResult<()> {
        let mut data = vec![0; run.len() * BLOCK_SIZE];
        if self.verify(open, run, &mut data)?.is_ok() {
            self.look_at(open, run, &data)?;
            return Ok(());
        }
        for one in run {
            let mut data = [0; BLOCK_SIZE];
            // The second time is not the first's file handle or page: a passing failure is none.
            for again in [true, false] {
                match self.verify(open, std::slice::from_ref(one), &mut data)? {
                    Ok(()) => break,
                    Err(_) if again => {}
                    Err(fault) => open.faults.push((fault, one.0)),
                }
            }
        }
        Ok(())
    }

    /// Reads and opens a run as the volume does.
    fn verify(&self, open: &Open, run: &[Located], data: &mut [u8]) -> FsResult<Result<(), Fault>> {
        if let Err(fault) = self.read(run[0].1.place, data)? {
            return Ok(Err(fault));
        }
        let Some(cipher) = open.cipher(run[0].1.key) else {
            return Ok(Err(Fault::KeyMissing));
        };
        let items: Vec<_> = run.iter().map(|(b, e)| (b.0, e.sealed)).collect();
        Ok(cipher
            .open_run(&open.id, &items, data)
            .map_err(|_| Fault::Tampered))
    }

    fn read(&self, place: Place, data: &mut [u8]) -> FsResult<Result<(), Fault>> {
        match place {
            Place::Segment(slot) => Ok(self.volume.read_slots(slot, data).map_err(|e| {
                if e.kind() == std::io::ErrorKind::UnexpectedEof {
                    Fault::Missing
                } else {
                    Fault::Unreadable
                }
            })),
            Place::Database(id) => {
                let row = self.scanner.get(&Key::block(id), |row| {
                    row.and_then(|r| BlockRow::decode(r).ok())
                })?;
                Ok(match row {
                    Some(row) => {
                        data.copy_from_slice(&row.ciphertext);
                        Ok(())
                    }
                    None => Err(Fault::Missing),
                })
            }
            Place::Hole | Place::Remote(_) => Ok(Err(Fault::Missing)),
        }
    }

    /// Looks at plaintext: at the end of the file for what may not be there, and at its first
    /// block for whether the independent path gives the same.
    fn look_at(&self, open: &mut Open, run: &[Located], data: &[u8]) -> FsResult<()> {
        for ((block, _), plain) in run.iter().zip(data.chunks_exact(BLOCK_SIZE)) {
            let used = open.size.saturating_sub(block.offset());
            let padding = plain.get(used as usize..).unwrap_or_default();
            if padding.iter().any(|b| *b != 0) {
                open.faults.push((Fault::Padding, *block));
            }
        }
        if open.reference == REFERENCE_BLOCKS {
            return Ok(());
        }
        open.reference += 1;
        let (block, entry) = run[0];
        let mut again = [0; BLOCK_SIZE];
        let same = match (self.read(entry.place, &mut again)?, open.cipher(entry.key)) {
            (Ok(()), Some(cipher)) => cipher
                .open_block_reference(&open.id, block.0, &entry.sealed, &mut again)
                .is_ok_and(|()| again == data[..BLOCK_SIZE]),
            _ => false,
        };
        if !same {
            open.faults.push((Fault::Differs, block));
        }
        Ok(())
    }
}

impl Open {
    fn cipher(&self, key: KeyIndex) -> Option<&BlockCipher> {
        self.ciphers
            .iter()
            .find(|(index, _)| *index == key)
            .map(|(_, c)| c)
    }
}

/// Whether `b` comes right after `a` in the file and on disk, under the same key.
fn follows(a: &Located, b: &Located) -> bool {
    let neighbours = match (a.1.place, b.1.place) {
        (Place::Segment(a), Place::Segment(b)) => a.segment == b.segment && a.index + 1 == b.index,
        _ => false,
    };
    neighbours && a.1.key == b.1.key
}

/// One finding for each way in which a file is damaged.
fn report(open: &Open, findings: &mut Findings) {
    let mut faults = open.faults.clone();
    faults.sort_unstable();
    for same in faults.chunk_by(|a, b| a.0 == b.0) {
        let (fault, block) = same[0];
        if fault == Fault::Missing && findings.missing.contains(&open.ino) {
            continue;
        }
        let what = format!(
            "{} of its blocks {}; the first is block {}",
            same.len(),
            fault.says(),
            block.0
        );
        findings.add(fault.kind(), Subject::Block(open.ino, block.0), what);
    }
}
