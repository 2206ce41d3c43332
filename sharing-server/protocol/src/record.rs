//! Records: the links of a share's log.
//!
//! ```text
//! header = [1, kind, share(32), seq, previous(32), roster(32), [user, root(32), entry(32)],
//!           epoch, body hash(32), [blob(32)...] added, [blob(32)...] dropped, time]
//! record = [header bytes, signature(64), body bytes or null]
//! ```
//!
//! A record's hash is that of its header, so headers prove the chain without bodies. The body of a
//! roster record is plain; others are sealed under the epoch's key, padded before.

use keyfold_crypto::{
    Context, CryptoError, EpochKey, HashLabel, IdentityKey, IdentityPublic, Label, RandomError,
    SignLabel, Signature, labelled_hash, open, seal,
};
use zeroize::Zeroizing;

use crate::cbor::{DecodeError, Decoded, Encoded, Reader, Writer, require};
use crate::ids::{BlobId, BodyHash, ChainRoot, EntryHash, Epoch, RecordHash, Seq, ShareId, Time};
use crate::limits;
use crate::names::UserName;
use crate::padding::{pad, unpad};

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Who takes part. Readable by the server.
    Roster,
    /// What is in the share.
    Content,
    /// What was in the share at a place of the log.
    Snapshot,
}

/// Who wrote a record, and by which of his keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// His name.
    pub user: UserName,
    /// Who he is.
    pub root: ChainRoot,
    /// The keys he signs with.
    pub entry: EntryHash,
}

impl Encoded for Author {
    const LIMIT: usize = 110;

    fn write(&self, w: &mut Writer) {
        w.array(3);
        self.user.write(w);
        self.root.write(w);
        self.entry.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(3)?;
        Ok(Self {
            user: UserName::read(r)?,
            root: ChainRoot::read(r)?,
            entry: EntryHash::read(r)?,
        })
    }
}

/// What is signed of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What it is about.
    pub kind: Kind,
    /// The share; zeros in its first record.
    pub share: ShareId,
    /// Its place, from 0.
    pub seq: Seq,
    /// The record before; zeros in the first.
    pub previous: RecordHash,
    /// The last roster record before it that is not void; zeros in the first.
    pub roster: RecordHash,
    /// Who wrote it.
    pub author: Author,
    /// The epoch in force before it; 0 in the first.
    pub epoch: Epoch,
    /// Hash of the body.
    pub body: BodyHash,
    /// Blobs that the share has from here on, ascending.
    pub added: Vec<BlobId>,
    /// Blobs that nothing in the share names any more, ascending.
    pub dropped: Vec<BlobId>,
    /// When it was written, by the author's clock.
    pub time: Time,
}

impl Header {
    /// Hash of the record.
    pub fn hash(&self) -> RecordHash {
        RecordHash(labelled_hash(HashLabel::RECORD, &self.encode()))
    }

    /// What the sealed body of this record is bound to.
    fn body_context(&self) -> Context {
        Context::new(Label::RECORD_BODY)
            .bytes(&self.share.0)
            .u64(self.seq.0)
            .u64(self.epoch.0)
            .u64(kind_number(self.kind))
            .bytes(&self.author.root.0)
            .bytes(&self.author.entry.0)
    }
}

fn kind_number(kind: Kind) -> u64 {
    match kind {
        Kind::Roster => 0,
        Kind::Content => 1,
        Kind::Snapshot => 2,
    }
}

impl Encoded for Header {
    const LIMIT: usize = limits::HEADER_BYTES;

    fn write(&self, w: &mut Writer) {
        w.array(12);
        w.uint(1);
        w.uint(kind_number(self.kind));
        self.share.write(w);
        self.seq.write(w);
        self.previous.write(w);
        self.roster.write(w);
        self.author.write(w);
        self.epoch.write(w);
        w.bytes(&self.body.0);
        w.list(&self.added);
        w.list(&self.dropped);
        self.time.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(12)?;
        r.version()?;
        let kind = match r.uint()? {
            0 => Kind::Roster,
            1 => Kind::Content,
            2 => Kind::Snapshot,
            _ => return Err(DecodeError::Malformed),
        };
        Ok(Self {
            kind,
            share: ShareId::read(r)?,
            seq: Seq::read(r)?,
            previous: RecordHash::read(r)?,
            roster: RecordHash::read(r)?,
            author: Author::read(r)?,
            epoch: Epoch::read(r)?,
            body: BodyHash(r.fixed()?),
            added: ascending(r)?,
            dropped: ascending(r)?,
            time: Time::read(r)?,
        })
    }
}

fn ascending(r: &mut Reader<'_>) -> Decoded<Vec<BlobId>> {
    let blobs: Vec<BlobId> = r.list(limits::RECORD_BLOBS)?;
    require(blobs.windows(2).all(|pair| pair[0] < pair[1]))?;
    Ok(blobs)
}

/// A record, whose signature may not be verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What is signed.
    pub header: Header,
    signature: Signature,
    /// The body as it is sent; absent where only the chain is wanted.
    body: Option<Vec<u8>>,
}

impl Record {
    /// Signs a record over a plain body; `header.body` is set here.
    pub fn sign(mut header: Header, body: Vec<u8>, key: &IdentityKey) -> Self {
        header.body = hash_body(&body);
        let signature = key.sign(SignLabel::RECORD, &header.encode());
        Self {
            header,
            signature,
            body: Some(body),
        }
    }

    /// Seals `body` for the epoch and signs a record over it; `header.body` is set here.
    pub fn seal(
        header: Header,
        body: &[u8],
        epoch: &EpochKey,
        key: &IdentityKey,
    ) -> Result<Self, RandomError> {
        let padded = pad(body);
        let sealed = seal(&epoch.record_key(), &header.body_context(), &padded)?;
        Ok(Self::sign(header, sealed, key))
    }

    /// Fails with [`CryptoError::Tampered`] unless `key` signed the header.
    pub fn verify(&self, key: &IdentityPublic) -> Result<(), CryptoError> {
        key.verify(SignLabel::RECORD, &self.header.encode(), &self.signature)
    }

    /// The body as it is sent, if it is here.
    pub fn body(&self) -> Option<&[u8]> {
        self.body.as_deref()
    }

    /// Whether the body, if it is here, is the one that was signed.
    pub fn body_fits(&self) -> bool {
        let body = self.body.as_deref();
        body.is_none_or(|body| hash_body(body) == self.header.body)
    }

    /// The plain body of a sealed one. Fails with [`CryptoError::Tampered`] for what was not sealed
    /// for this place, and with [`CryptoError::Malformed`] where it is padded otherwise.
    pub fn open_body(&self, epoch: &EpochKey) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let sealed = self.body.as_deref().ok_or(CryptoError::Malformed)?;
        let padded = open(&epoch.record_key(), &self.header.body_context(), sealed)?;
        unpad(&padded).ok_or(CryptoError::Malformed)
    }

    /// The same record without its body.
    #[must_use]
    pub fn without_body(&self) -> Self {
        Self {
            body: None,
            ..self.clone()
        }
    }
}

fn hash_body(body: &[u8]) -> BodyHash {
    BodyHash(labelled_hash(HashLabel::BODY, body))
}

impl Encoded for Record {
    const LIMIT: usize = limits::HEADER_BYTES + limits::BODY_BYTES + 128;

    fn write(&self, w: &mut Writer) {
        w.array(3);
        w.bytes(&self.header.encode());
        w.bytes(&self.signature.0);
        w.optional(self.body.as_deref(), Writer::bytes);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(3)?;
        Ok(Self {
            header: Header::decode(r.bytes(limits::HEADER_BYTES)?)?,
            signature: Signature(r.fixed()?),
            body: r.optional(|r| r.bytes(limits::BODY_BYTES).map(<[u8]>::to_vec))?,
        })
    }
}
