//! What an account keeps about others: whom its user verified, and groups.

use keyfold_crypto::{Context, CryptoError, IdentityKey, Label, RandomError, open, seal};

use crate::cbor::{Decoded, Encoded, Reader, Writer};
use crate::ids::{ChainRoot, Time};
use crate::limits;
use crate::names::{Title, UserName};
use crate::padding::{pad, unpad};

/// Somebody whose safety words were compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// His name.
    pub user: UserName,
    /// Who he is.
    pub root: ChainRoot,
    /// Since when that is known.
    pub since: Time,
}

impl Encoded for Contact {
    const LIMIT: usize = 128;

    fn write(&self, w: &mut Writer) {
        w.array(3);
        self.user.write(w);
        self.root.write(w);
        self.since.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(3)?;
        Ok(Self {
            user: UserName::read(r)?,
            root: ChainRoot::read(r)?,
            since: Time::read(r)?,
        })
    }
}

/// A name for several, expanded when something is granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What it is called.
    pub name: Title,
    /// Who is in it.
    pub members: Vec<ChainRoot>,
}

impl Encoded for Group {
    const LIMIT: usize = limits::ACCOUNT_BOOK_BYTES;

    fn write(&self, w: &mut Writer) {
        w.array(2);
        self.name.write(w);
        w.list(&self.members);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(2)?;
        Ok(Self {
            name: Title::read(r)?,
            members: r.list(limits::BOOK_ENTRIES)?,
        })
    }
}

/// The account's book.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccountBook {
    /// Whom the user verified.
    pub contacts: Vec<Contact>,
    /// His groups.
    pub groups: Vec<Group>,
}

impl AccountBook {
    /// Seals the book as its generation `generation`, padded.
    pub fn seal(
        &self,
        identity: &IdentityKey,
        root: ChainRoot,
        generation: u64,
    ) -> Result<Vec<u8>, RandomError> {
        let padded = pad(&self.encode());
        seal(&identity.book_key(), &context(root, generation), &padded)
    }

    /// Opens a book. Fails with [`CryptoError::Tampered`] for another generation or account.
    pub fn open(
        identity: &IdentityKey,
        root: ChainRoot,
        generation: u64,
        sealed: &[u8],
    ) -> Result<Self, CryptoError> {
        let padded = open(&identity.book_key(), &context(root, generation), sealed)?;
        let plain = unpad(&padded).ok_or(CryptoError::Malformed)?;
        Self::decode(&plain).map_err(|_| CryptoError::Malformed)
    }
}

fn context(root: ChainRoot, generation: u64) -> Context {
    Context::new(Label::ACCOUNT_BOOK)
        .bytes(&root.0)
        .u64(generation)
}

impl Encoded for AccountBook {
    const LIMIT: usize = limits::ACCOUNT_BOOK_BYTES;

    fn write(&self, w: &mut Writer) {
        w.array(3);
        w.uint(1);
        w.list(&self.contacts);
        w.list(&self.groups);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(3)?;
        r.version()?;
        Ok(Self {
            contacts: r.list(limits::BOOK_ENTRIES)?,
            groups: r.list(limits::BOOK_ENTRIES)?,
        })
    }
}
