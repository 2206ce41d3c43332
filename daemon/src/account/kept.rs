//! What a vault keeps of its account, in the forms that docs/format.md shows.

mod known;
mod logs;
mod staying;
mod waiting;

use keyfold_crypto::{AccountKdf, AccountRounds, AccountSecret, IdentityKey, RecoveryKey};
use keyfold_fs::error::FsError;
use keyfold_fs::share::Access;
use keyfold_fs::volume::AccountSlot;
use keyfold_protocol::account::{AccountBook, AccountRoot};
use keyfold_protocol::cbor::{DecodeError, Decoded, Encoded, Reader, Writer};
use keyfold_protocol::chain::SignedEntry;
use keyfold_protocol::ids::{ChainRoot, DeviceId, EntryHash, ShareId, Time};
use keyfold_protocol::limits;
use keyfold_protocol::names::{DeviceName, Slug, UserName};
use parking_lot::MutexGuard;
use zeroize::Zeroizing;

use super::error::AccountError;
use crate::engine::Engine;
use crate::remote::{CaFile, Server, Token};

pub(crate) use known::{
    Activity, Happened, Heads, Known, Listed, Offered, People, Published, ShareHead, Shares, Shown,
    ShownRequest,
};
pub(crate) use logs::Standing;
#[cfg(test)]
pub(super) use logs::{KeptRecord, Ring};
pub(crate) use staying::Staying;
pub(crate) use waiting::{Invitation, Revocation};

/// Bytes of the longest value.
const LONGEST: usize = keyfold_fs::volume::ACCOUNT_VALUE_MAX - 81;
/// People and shares that a vault knows at most.
const LIST: usize = 16 << 10;
/// What happened is kept of so many events, the newest.
const HAPPENED: usize = 500;

/// Which value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Slot {
    /// Who the account is, where, and on which device. Outlasts a logout.
    Profile = 0,
    /// Its keys. Not there while nobody is logged in.
    Keys = 1,
    /// The session with the server.
    Token = 2,
    /// The account's book as last seen.
    Book = 3,
    /// Key chains as last seen.
    People = 4,
    /// Heads of shares as last applied.
    Heads = 5,
    /// Profile and keys that were being put in place of the ones there are.
    Next = 6,
    /// Requests that were shown.
    Shown = 7,
    /// Shares that the account may not change, as far as was known last.
    ReadOnly = 8,
    /// Shares that were offered from this vault.
    Published = 9,
    /// What happened about shares.
    Activity = 10,
    /// Who is to be taken out of shares as soon as the server answers.
    Revocations = 11,
    /// Who is invited to shares and did not come yet.
    Invitations = 12,
    /// What of shares is to stay in this vault whole.
    Staying = 16,
}

/// The values of one vault.
#[derive(Clone, Copy)]
pub(crate) struct Kept<'a> {
    engine: &'a Engine,
}

/// Values to be put together.
#[derive(Default)]
pub(crate) struct Changes(Vec<(Slot, Option<Zeroizing<Vec<u8>>>)>);

impl Changes {
    /// Puts a value.
    pub(crate) fn put(mut self, slot: Slot, value: &impl Encoded) -> Self {
        self.0.push((slot, Some(Zeroizing::new(value.encode()))));
        self
    }

    /// Deletes a value.
    pub(crate) fn delete(mut self, slot: Slot) -> Self {
        self.0.push((slot, None));
        self
    }
}

impl<'a> Kept<'a> {
    /// The values in the vault of `engine`.
    pub(crate) fn in_vault(engine: &'a Engine) -> Self {
        Self { engine }
    }

    /// The vault that they are in.
    pub(crate) fn engine(self) -> &'a Engine {
        self.engine
    }

    fn read<T: Encoded>(self, slot: Slot) -> Result<Option<T>, AccountError> {
        let value = self.engine.account_value(AccountSlot(slot as u32))?;
        let value = value.map(|value| T::decode(&value)).transpose();
        value.map_err(|error| match error {
            DecodeError::UnknownVersion => AccountError::Newer,
            DecodeError::Malformed => AccountError::Kept(FsError::MetadataTampered),
        })
    }

    /// Keeps others from changing a value between a look at it and its change.
    pub(crate) fn alone(self) -> MutexGuard<'a, ()> {
        self.engine.account_change()
    }

    /// Puts values, all or none.
    pub(crate) fn change(self, changes: &Changes) -> Result<(), AccountError> {
        let all: Vec<_> = changes
            .0
            .iter()
            .map(|(slot, value)| {
                let value = value.as_ref().map(|value| value.as_slice());
                (AccountSlot(*slot as u32), value)
            })
            .collect();
        Ok(self.engine.put_account_values(&all)?)
    }

    /// Who the account is.
    pub(crate) fn profile(self) -> Result<Option<Profile>, AccountError> {
        self.read(Slot::Profile)
    }

    /// Its keys.
    pub(crate) fn keys(self) -> Result<Option<Keys>, AccountError> {
        self.read(Slot::Keys)
    }

    /// The session.
    pub(crate) fn token(self) -> Result<Option<Token>, AccountError> {
        let kept: Option<KeptToken> = self.read(Slot::Token)?;
        Ok(kept.and_then(|kept| Token::new(kept.text.clone())))
    }

    /// The book as last seen; generation 0 where none was.
    pub(crate) fn book(self) -> Result<KeptBook, AccountError> {
        Ok(self.read(Slot::Book)?.unwrap_or_default())
    }

    /// Key chains as last seen.
    pub(crate) fn people(self) -> Result<People, AccountError> {
        Ok(self.read(Slot::People)?.unwrap_or_default())
    }

    /// Shares that the account may not change, as far as was known last.
    pub(crate) fn read_only(self) -> Result<Vec<ShareId>, AccountError> {
        let kept: Shares = self.read(Slot::ReadOnly)?.unwrap_or_default();
        Ok(kept.0)
    }

    /// Keeps whether the account may change a share.
    pub(crate) fn put_access(self, share: ShareId, access: Access) -> Result<(), AccountError> {
        self.change_list(Slot::ReadOnly, |kept| {
            let known = kept.iter().position(|known| *known == share);
            match (known, access) {
                (None, Access::ReadOnly) => kept.push(share),
                (Some(known), Access::Full) => drop(kept.remove(known)),
                (None, Access::Full) | (Some(_), Access::ReadOnly) => {}
            }
        })
    }

    /// Requests that were shown last.
    pub(crate) fn shown(self) -> Result<Vec<ShownRequest>, AccountError> {
        let shown: Shown = self.read(Slot::Shown)?.unwrap_or_default();
        Ok(shown.0)
    }

    /// Keeps what is shown now.
    pub(crate) fn show(self, requests: &[ShownRequest]) -> Result<(), AccountError> {
        let shown = Listed(requests.to_vec());
        self.change(&Changes::default().put(Slot::Shown, &shown))
    }

    /// The name in addresses under which this vault offered a share last.
    pub(crate) fn slug_of(self, share: ShareId) -> Result<Option<Slug>, AccountError> {
        let kept: Published = self.read(Slot::Published)?.unwrap_or_default();
        let offered = kept.0.into_iter().find(|one| one.share == share);
        Ok(offered.map(|one| one.slug))
    }

    /// Keeps under which name a share is offered, or that it is not.
    pub(crate) fn put_slug(self, share: ShareId, slug: Option<&Slug>) -> Result<(), AccountError> {
        self.change_list(Slot::Published, |kept: &mut Vec<Offered>| {
            kept.retain(|one| one.share != share);
            kept.extend(slug.map(|slug| Offered {
                share,
                slug: slug.clone(),
            }));
        })
    }

    /// What happened about shares, the newest last.
    pub(crate) fn activity(self) -> Result<Vec<Happened>, AccountError> {
        let kept: Activity = self.read(Slot::Activity)?.unwrap_or_default();
        Ok(kept.0)
    }

    /// Keeps that something happened, and forgets the oldest beyond a bound.
    pub(crate) fn add_activity(self, happened: Happened) -> Result<(), AccountError> {
        self.change_list(Slot::Activity, |kept| {
            kept.push(happened);
            let beyond = kept.len().saturating_sub(HAPPENED);
            kept.drain(..beyond);
        })
    }

    /// Profile and keys that were being put in place.
    pub(crate) fn next(self) -> Result<Option<Next>, AccountError> {
        self.read(Slot::Next)
    }
}

/// KDF parameters as they were first seen, with their code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pinned {
    /// The parameters.
    pub(crate) kdf: AccountKdf,
    /// Under the key that the password gives.
    pub(crate) mac: [u8; 32],
}

/// Who the account is, where, and on which device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Profile {
    /// Its server.
    pub(crate) server: Server,
    /// Its name.
    pub(crate) user: UserName,
    /// Who it is.
    pub(crate) root: ChainRoot,
    /// This vault, as the server knows it.
    pub(crate) device: DeviceId,
    /// What the user calls it.
    pub(crate) device_name: DeviceName,
    /// What the password is stretched with.
    pub(crate) pinned: Pinned,
}

impl Encoded for Profile {
    const LIMIT: usize = LONGEST;

    fn write(&self, w: &mut Writer) {
        w.array(10);
        w.uint(1);
        w.text(&self.server.address.to_string());
        w.optional(self.server.ca.as_ref(), |w, ca| w.bytes(ca.as_pem()));
        self.user.write(w);
        self.root.write(w);
        self.device.write(w);
        self.device_name.write(w);
        w.bytes(&self.pinned.kdf.salt);
        w.uint(u64::from(self.pinned.kdf.rounds.get()));
        w.bytes(&self.pinned.mac);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(10)?;
        r.version()?;
        let address = r.text(300)?.parse().map_err(|_| DecodeError::Malformed)?;
        let ca = r.optional(|r| r.bytes(LONGEST).map(<[u8]>::to_vec))?;
        let ca = ca.map(CaFile::from_pem).transpose();
        Ok(Self {
            server: Server {
                address,
                ca: ca.map_err(|_| DecodeError::Malformed)?,
            },
            user: UserName::read(r)?,
            root: ChainRoot::read(r)?,
            device: DeviceId::read(r)?,
            device_name: DeviceName::read(r)?,
            pinned: Pinned {
                kdf: AccountKdf {
                    salt: r.fixed()?,
                    rounds: rounds(r.uint()?)?,
                },
                mac: r.fixed()?,
            },
        })
    }
}

fn rounds(number: u64) -> Decoded<AccountRounds> {
    let number = u32::try_from(number).map_err(|_| DecodeError::Malformed)?;
    AccountRounds::new(number).map_err(|_| DecodeError::Malformed)
}

/// The keys of an account.
#[derive(Clone)]
pub(crate) struct Keys {
    /// What the password is joined with.
    pub(crate) secret: AccountSecret,
    /// The recovery key as it is written down, where this vault ever had it.
    pub(crate) recovery: Option<Zeroizing<String>>,
    /// What it signs and unwraps with.
    pub(crate) account: AccountRoot,
    /// Its key chain.
    pub(crate) chain: Vec<SignedEntry>,
    /// What it signed with before, where this vault made the keys that came after: shares whose rosters
    /// have the older keys take the newer ones only from who signs with those.
    pub(crate) earlier: Vec<(EntryHash, IdentityKey)>,
}

impl Keys {
    /// What is signed with by who is known by this entry, if this vault has it.
    pub(crate) fn identity_of(&self, entry: EntryHash) -> Option<&IdentityKey> {
        if entry == self.account.entry {
            return Some(&self.account.identity);
        }
        let earlier = self.earlier.iter().find(|(known, _)| *known == entry);
        earlier.map(|(_, identity)| identity)
    }

    /// The recovery key, where this vault ever had it.
    pub(crate) fn recovery(&self) -> Result<Option<RecoveryKey>, AccountError> {
        let read = |words: &Zeroizing<String>| RecoveryKey::parse(words);
        let read = self.recovery.as_ref().map(read).transpose();
        read.map_err(|_| AccountError::Kept(FsError::MetadataTampered))
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(..)")
    }
}

impl Encoded for Keys {
    const LIMIT: usize = LONGEST;

    fn write(&self, w: &mut Writer) {
        w.array(6);
        w.uint(1);
        w.bytes(self.secret.secret().as_slice());
        w.optional(self.recovery.as_ref(), |w, words| w.text(words));
        w.bytes(&Zeroizing::new(self.account.encode()));
        w.list(&self.chain);
        w.array(self.earlier.len());
        for (entry, identity) in &self.earlier {
            w.array(2);
            entry.write(w);
            w.bytes(identity.seed().as_slice());
        }
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(6)?;
        r.version()?;
        let secret = AccountSecret::from_bytes(r.fixed()?);
        let recovery = r.optional(|r| r.text(128).map(|words| Zeroizing::new(words.to_owned())))?;
        let account = AccountRoot::decode(r.bytes(AccountRoot::LIMIT)?)?;
        let chain = r.list(limits::CHAIN_ENTRIES)?;
        let mut earlier = Vec::new();
        for _ in 0..r.length(limits::CHAIN_ENTRIES)? {
            r.array(2)?;
            earlier.push((EntryHash::read(r)?, IdentityKey::from_seed(&r.fixed()?)));
        }
        Ok(Self {
            secret,
            recovery,
            account,
            chain,
            earlier,
        })
    }
}

/// Profile and keys that were being put in place of the ones there are.
#[derive(Debug, Clone)]
pub(crate) struct Next {
    pub(crate) profile: Profile,
    pub(crate) keys: Keys,
}

impl Encoded for Next {
    const LIMIT: usize = LONGEST;

    fn write(&self, w: &mut Writer) {
        w.array(3);
        w.uint(1);
        self.profile.write(w);
        self.keys.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(3)?;
        r.version()?;
        Ok(Self {
            profile: Profile::read(r)?,
            keys: Keys::read(r)?,
        })
    }
}

/// The session as it is kept.
pub(crate) struct KeptToken {
    text: String,
    expires: Time,
}

impl KeptToken {
    /// A session that ends then unless it is used.
    pub(crate) fn new(token: &Token, expires: Time) -> Self {
        Self {
            text: token.expose().to_owned(),
            expires,
        }
    }
}

impl Drop for KeptToken {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.text);
    }
}

impl Encoded for KeptToken {
    const LIMIT: usize = 1024;

    fn write(&self, w: &mut Writer) {
        w.array(3);
        w.uint(1);
        w.text(&self.text);
        self.expires.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(3)?;
        r.version()?;
        Ok(Self {
            text: r.text(512)?.to_owned(),
            expires: Time::read(r)?,
        })
    }
}

/// The account's book as last seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct KeptBook {
    /// How often it was replaced.
    pub(crate) generation: u64,
    /// The book.
    pub(crate) book: AccountBook,
}

impl Encoded for KeptBook {
    const LIMIT: usize = LONGEST;

    fn write(&self, w: &mut Writer) {
        w.array(3);
        w.uint(1);
        w.uint(self.generation);
        self.book.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(3)?;
        r.version()?;
        Ok(Self {
            generation: r.uint()?,
            book: AccountBook::read(r)?,
        })
    }
}
