//! What an account keeps on its server: its secrets and its book, both sealed; and the kit, which
//! its user keeps on paper.
//!
//! ```text
//! parameters = [1, user, salt(32), rounds]                        under the MAC of a way in
//! root       = [1, user, root(32), entry(32), identity seed(32), kem seed(32),
//!               [[entry(32), kem seed(32)]...] of entries before]
//! book       = [1, [[user, root(32), since]...], [[name, [root(32)...]]...]]
//! ```

mod book;
mod kit;

use keyfold_crypto::{
    AccountAccess, AccountKdf, AccountSecret, Context, CryptoError, IdentityKey, KemKey, Label,
    RandomError, open, seal,
};

use crate::cbor::{Decoded, Encoded, Reader, Writer};
use crate::chain::KeyChain;
use crate::ids::{ChainRoot, EntryHash};
use crate::limits;
use crate::names::UserName;

pub use book::{AccountBook, Contact, Group};
pub use kit::{Address, Fingerprint, Kit, fingerprint, read_fingerprint, safety_words};

/// What a way in authenticates before anything derived from it is sent.
pub fn parameters(user: &UserName, kdf: &AccountKdf) -> Vec<u8> {
    let mut w = Writer::default();
    w.array(4);
    w.uint(1);
    user.write(&mut w);
    w.bytes(&kdf.salt);
    w.uint(u64::from(kdf.rounds.get()));
    w.finish()
}

/// A way into an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WayIn {
    /// Password and account secret.
    Password,
    /// Recovery key.
    Recovery,
}

/// The secrets of an account.
#[derive(Clone)]
pub struct AccountRoot {
    /// Its name.
    pub user: UserName,
    /// Who it is.
    pub root: ChainRoot,
    /// The entry whose keys these are.
    pub entry: EntryHash,
    /// What it signs with.
    pub identity: IdentityKey,
    /// What it unwraps with.
    pub kem: KemKey,
    /// What it unwraps older grants with, by entry.
    pub earlier: Vec<(EntryHash, KemKey)>,
}

impl std::fmt::Debug for AccountRoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccountRoot")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

impl AccountRoot {
    /// Seals the secrets for a way in.
    pub fn seal(&self, access: &AccountAccess, way: WayIn) -> Result<Vec<u8>, RandomError> {
        let plain = zeroize::Zeroizing::new(self.encode());
        seal(access.kek(), &root_context(&self.user, way), &plain)
    }

    /// Opens what was sealed for `user` and a way in. Fails with [`CryptoError::Tampered`] for
    /// anything else.
    pub fn open(
        user: &UserName,
        access: &AccountAccess,
        way: WayIn,
        sealed: &[u8],
    ) -> Result<Self, CryptoError> {
        let plain = open(access.kek(), &root_context(user, way), sealed)?;
        let root = Self::decode(&plain).map_err(|_| CryptoError::Malformed)?;
        if root.user == *user {
            Ok(root)
        } else {
            Err(CryptoError::Tampered)
        }
    }

    /// Whether these are the secrets of the head of `chain`. Fails with [`CryptoError::WrongKey`]
    /// for an older root, another's chain, or private keys that do not match the public ones.
    pub fn verify(&self, chain: &KeyChain) -> Result<(), CryptoError> {
        let head = chain.key();
        let same = chain.root() == self.root
            && head.user == self.user
            && head.entry == self.entry
            && head.identity == self.identity.public()
            && head.kem == self.kem.public();
        if same {
            Ok(())
        } else {
            Err(CryptoError::WrongKey)
        }
    }
}

/// The account's name and the way in.
fn root_context(user: &UserName, way: WayIn) -> Context {
    Context::new(Label::ACCOUNT_ROOT)
        .bytes(user.as_str().as_bytes())
        .u64(match way {
            WayIn::Password => 0,
            WayIn::Recovery => 1,
        })
}

impl Encoded for AccountRoot {
    const LIMIT: usize = limits::ACCOUNT_ROOT_BYTES - 81;

    fn write(&self, w: &mut Writer) {
        w.array(7);
        w.uint(1);
        self.user.write(w);
        self.root.write(w);
        self.entry.write(w);
        w.bytes(self.identity.seed().as_slice());
        w.bytes(self.kem.seed().as_slice());
        w.array(self.earlier.len());
        for (entry, kem) in &self.earlier {
            w.array(2);
            entry.write(w);
            w.bytes(kem.seed().as_slice());
        }
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(7)?;
        r.version()?;
        let user = UserName::read(r)?;
        let root = ChainRoot::read(r)?;
        let entry = EntryHash::read(r)?;
        let identity = IdentityKey::from_seed(&r.fixed()?);
        let kem = KemKey::from_seed(r.fixed()?);
        let mut earlier = Vec::new();
        for _ in 0..r.length(limits::CHAIN_ENTRIES)? {
            r.array(2)?;
            earlier.push((EntryHash::read(r)?, KemKey::from_seed(r.fixed()?)));
        }
        Ok(Self {
            user,
            root,
            entry,
            identity,
            kem,
            earlier,
        })
    }
}

/// What a new account consists of, before anything is sent: for registering.
#[derive(Debug)]
pub struct NewAccount {
    /// Its secrets.
    pub root: AccountRoot,
    /// Its first chain entry.
    pub entry: crate::chain::SignedEntry,
    /// For its kit.
    pub secret: AccountSecret,
}

impl NewAccount {
    /// Fresh random keys and their first entry.
    pub fn generate(user: UserName, time: crate::ids::Time) -> Result<Self, RandomError> {
        let (identity, kem) = (IdentityKey::generate()?, KemKey::generate()?);
        let entry = crate::chain::ChainEntry {
            seq: 0,
            previous: EntryHash([0; 32]),
            user: user.clone(),
            identity: identity.public(),
            kem: kem.public(),
            time,
        };
        let hash = entry.hash();
        Ok(Self {
            entry: crate::chain::SignedEntry::first(entry, &identity),
            root: AccountRoot {
                user,
                root: ChainRoot(hash.0),
                entry: hash,
                identity,
                kem,
                earlier: Vec::new(),
            },
            secret: AccountSecret::generate()?,
        })
    }
}
