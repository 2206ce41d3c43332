//! Every key derivation and every label of Keyfold.
//!
//! Two labels must never be equal, and none may change its meaning: what was sealed under it
//! would no longer open. HKDF is RFC 5869 with SHA-256.

use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{Context, EpochKey, FileKey, IdentityKey, MasterKey, SealKey};

// Children of the master key, by HKDF-Expand.
const META_DB: &str = "keyfold/1/meta-db";
const SUPERBLOCK_MAC: &str = "keyfold/1/superblock-mac";
const STATE_HASH: &str = "keyfold/1/state-hash";
const ACCOUNT: &str = "keyfold/1/account";
const JOURNAL: &str = "keyfold/1/journal";
const PIN: &str = "keyfold/1/pin";

// Children of what a key slot is opened with, by HKDF with the slot's salt.
const PASSWORD_PARAMS: &str = "keyfold/1/password/params";
const PASSWORD_KEK: &str = "keyfold/1/password/kek";
const RECOVERY_PARAMS: &str = "keyfold/1/recovery/params";
const RECOVERY_KEK: &str = "keyfold/1/recovery/kek";

// Children of a file key, by HKDF-Expand.
const FILE_XTS: &str = "keyfold/1/file/xts";
const FILE_MAC: &str = "keyfold/1/file/mac";

// Children of what an account's sealed root is opened with: by HKDF with the account secret as salt
// from a stretched password, by HKDF with the account's salt from its recovery key.
const ACCOUNT_PASSWORD_PARAMS: &str = "keyfold/1/account-password/params";
const ACCOUNT_PASSWORD_KEK: &str = "keyfold/1/account-password/kek";
const ACCOUNT_PASSWORD_AUTH: &str = "keyfold/1/account-password/auth";
const ACCOUNT_RECOVERY_PARAMS: &str = "keyfold/1/account-recovery/params";
const ACCOUNT_RECOVERY_KEK: &str = "keyfold/1/account-recovery/kek";
const ACCOUNT_RECOVERY_AUTH: &str = "keyfold/1/account-recovery/auth";

// Child of an identity's seed, by HKDF-Expand.
const IDENTITY_BOOK: &str = "keyfold/1/identity/book";

// Children of an epoch key, by HKDF-Expand.
const EPOCH_RECORD: &str = "keyfold/1/epoch/record";
const EPOCH_PREV: &str = "keyfold/1/epoch/prev";
const EPOCH_SNAPSHOT: &str = "keyfold/1/epoch/snapshot";
const EPOCH_COMMIT: &str = "keyfold/1/epoch/commit";

/// What kind of value is sealed: each has a label of its own, and all of them are here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label(&'static str);

impl Label {
    /// The master key in a key slot.
    pub const SLOT: Self = Self("keyfold/1/slot");
    /// A record of the journal.
    pub const JOURNAL_RECORD: Self = Self("keyfold/1/journal-record");
    /// What is kept outside the vault of what was last seen of it.
    pub const PIN_RECORD: Self = Self("keyfold/1/pin-record");

    /// What a vault keeps of its account.
    pub const ACCOUNT_VALUE: Self = Self("keyfold/1/account-value");
    /// An order to the daemon of a mounted vault.
    pub const ORDER: Self = Self("keyfold/1/order");
    /// What it answers.
    pub const ORDER_REPLY: Self = Self("keyfold/1/order-reply");

    /// The secrets of an account, for its next device.
    pub const ACCOUNT_ROOT: Self = Self("keyfold/1/account-root");
    /// What an account knows of others: verified roots, groups.
    pub const ACCOUNT_BOOK: Self = Self("keyfold/1/account-book");
    /// The body of a content or snapshot record.
    pub const RECORD_BODY: Self = Self("keyfold/1/record-body");
    /// The key of an epoch under that of the next.
    pub const PREVIOUS_EPOCH: Self = Self("keyfold/1/previous-epoch");
    /// A piece of a snapshot's tree.
    pub const SNAPSHOT_CHUNK: Self = Self("keyfold/1/snapshot-chunk");
    /// The block descriptors at the start of a pack.
    pub const PACK: Self = Self("keyfold/1/pack");
    /// The key of an epoch, wrapped for a member.
    pub const GRANT: Self = Self("keyfold/1/grant");
    /// What a requester writes to an owner.
    pub const REQUEST_MESSAGE: Self = Self("keyfold/1/request-message");

    pub(crate) fn text(self) -> &'static str {
        self.0
    }
}

/// What kind of statement is signed: each has a label of its own, and all of them are here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignLabel(&'static str);

impl SignLabel {
    /// The header of a record.
    pub const RECORD: Self = Self("keyfold/1/sign-record");
    /// An entry of a key chain.
    pub const CHAIN_ENTRY: Self = Self("keyfold/1/sign-chain-entry");
    /// What an owner offers to others.
    pub const PUBLICATION: Self = Self("keyfold/1/sign-publication");
    /// A wish for access.
    pub const REQUEST: Self = Self("keyfold/1/sign-request");
    /// The end of a request without a grant.
    pub const DECISION: Self = Self("keyfold/1/sign-decision");
    /// What a device has seen of a share.
    pub const RECEIPT: Self = Self("keyfold/1/sign-receipt");
    /// An order to the server that no other signature covers.
    pub const ACT: Self = Self("keyfold/1/sign-act");

    pub(crate) fn text(self) -> &'static str {
        self.0
    }
}

/// What kind of value is hashed: each has a label of its own, and all of them are here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashLabel(&'static str);

impl HashLabel {
    /// The header of a record.
    pub const RECORD: Self = Self("keyfold/1/hash-record");
    /// The body of a record, as it is sent.
    pub const BODY: Self = Self("keyfold/1/hash-body");
    /// A roster without its grants.
    pub const ROSTER: Self = Self("keyfold/1/hash-roster");
    /// A grant.
    pub const GRANT: Self = Self("keyfold/1/hash-grant");
    /// An entry of a key chain.
    pub const CHAIN_ENTRY: Self = Self("keyfold/1/hash-chain-entry");
    /// A publication.
    pub const PUBLICATION: Self = Self("keyfold/1/hash-publication");
    /// A request.
    pub const REQUEST: Self = Self("keyfold/1/hash-request");
    /// The tree that a snapshot holds.
    pub const TREE: Self = Self("keyfold/1/hash-tree");

    pub(crate) fn text(self) -> &'static str {
        self.0
    }
}

/// First bytes of the fixed trailer under every block tag.
pub(crate) const BLOCK_TRAILER: [u8; 8] = *b"kf/block";

pub(crate) type Secret<const N: usize> = Zeroizing<[u8; N]>;

pub(crate) fn meta_db(master: &MasterKey) -> Secret<32> {
    expand(master.expose(), META_DB)
}

pub(crate) fn superblock_mac(master: &MasterKey) -> Secret<32> {
    expand(master.expose(), SUPERBLOCK_MAC)
}

/// Row key, then pin key.
pub(crate) fn state_hash(master: &MasterKey) -> Secret<64> {
    expand(master.expose(), STATE_HASH)
}

pub(crate) fn account(master: &MasterKey) -> Secret<32> {
    expand(master.expose(), ACCOUNT)
}

pub(crate) fn journal(master: &MasterKey) -> Secret<32> {
    expand(master.expose(), JOURNAL)
}

pub(crate) fn pin(master: &MasterKey) -> Secret<32> {
    expand(master.expose(), PIN)
}

/// What a key slot is opened with decides its labels, so a recovery key can never stand for a
/// stretched password.
#[derive(Clone, Copy)]
pub(crate) enum SlotSecret<'a> {
    /// Output of PBKDF2.
    Password(&'a [u8; 32]),
    /// 256 random bits.
    Recovery(&'a [u8; 32]),
}

/// The two keys of a slot.
pub(crate) struct SlotSecrets {
    pub(crate) params: Secret<32>,
    pub(crate) kek: Secret<32>,
}

pub(crate) fn slot(secret: SlotSecret<'_>, salt: &[u8; 32]) -> SlotSecrets {
    let (input, params, kek) = match secret {
        SlotSecret::Password(input) => (input, PASSWORD_PARAMS, PASSWORD_KEK),
        SlotSecret::Recovery(input) => (input, RECOVERY_PARAMS, RECOVERY_KEK),
    };
    let hkdf = Hkdf::<Sha256>::new(Some(salt), input);
    SlotSecrets {
        params: fill(&hkdf, params.as_bytes()),
        kek: fill(&hkdf, kek.as_bytes()),
    }
}

/// What an account's sealed root is opened with decides the labels.
#[derive(Clone, Copy)]
pub(crate) enum AccountInput<'a> {
    /// Output of PBKDF2.
    Password(&'a [u8; 32]),
    /// 256 random bits.
    Recovery(&'a [u8; 32]),
}

/// The three keys of a way into an account.
pub(crate) struct AccountSecrets {
    pub(crate) params: Secret<32>,
    pub(crate) kek: Secret<32>,
    pub(crate) auth: Secret<32>,
}

pub(crate) fn account_access(input: AccountInput<'_>, salt: &[u8]) -> AccountSecrets {
    let (input, [params, kek, auth]) = match input {
        AccountInput::Password(input) => (
            input,
            [
                ACCOUNT_PASSWORD_PARAMS,
                ACCOUNT_PASSWORD_KEK,
                ACCOUNT_PASSWORD_AUTH,
            ],
        ),
        AccountInput::Recovery(input) => (
            input,
            [
                ACCOUNT_RECOVERY_PARAMS,
                ACCOUNT_RECOVERY_KEK,
                ACCOUNT_RECOVERY_AUTH,
            ],
        ),
    };
    let hkdf = Hkdf::<Sha256>::new(Some(salt), input);
    AccountSecrets {
        params: fill(&hkdf, params.as_bytes()),
        kek: fill(&hkdf, kek.as_bytes()),
        auth: fill(&hkdf, auth.as_bytes()),
    }
}

pub(crate) fn identity_book(identity: &IdentityKey) -> Secret<32> {
    expand(identity.expose(), IDENTITY_BOOK)
}

pub(crate) fn epoch_record(key: &EpochKey) -> Secret<32> {
    expand(key.expose(), EPOCH_RECORD)
}

pub(crate) fn epoch_prev(key: &EpochKey) -> Secret<32> {
    expand(key.expose(), EPOCH_PREV)
}

pub(crate) fn epoch_snapshot(key: &EpochKey) -> Secret<32> {
    expand(key.expose(), EPOCH_SNAPSHOT)
}

pub(crate) fn epoch_commit(key: &EpochKey) -> Secret<32> {
    expand(key.expose(), EPOCH_COMMIT)
}

/// XTS keys, K1 then K2.
pub(crate) fn file_xts(key: &FileKey) -> Secret<64> {
    expand(key.secret(), FILE_XTS)
}

pub(crate) fn file_mac(key: &FileKey) -> Secret<32> {
    expand(key.secret(), FILE_MAC)
}

/// Encryption key, then commitment, of one sealed value. The context is hashed because some
/// implementations cap HKDF's info at 1024 bytes.
pub(crate) fn sealing(key: &SealKey, salt: &[u8; 32], context: &Context) -> Secret<64> {
    let info = Sha256::digest(context.as_bytes());
    fill(&Hkdf::<Sha256>::new(Some(salt), key.expose()), &info)
}

fn expand<const N: usize>(key: &[u8; 32], label: &str) -> Secret<N> {
    let hkdf = Hkdf::<Sha256>::from_prk(key).expect("32 bytes are a whole PRK");
    fill(&hkdf, label.as_bytes())
}

fn fill<const N: usize>(hkdf: &Hkdf<Sha256>, info: &[u8]) -> Secret<N> {
    const { assert!(N <= 255 * 32, "more than HKDF can give") };
    let mut out = Zeroizing::new([0; N]);
    hkdf.expand(info, out.as_mut_slice())
        .expect("the length is checked at compile time");
    out
}
