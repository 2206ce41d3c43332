//! Accounts, sessions and administration.

use serde::{Deserialize, Serialize};

use super::{Base64, Key};
use crate::ids::{ChainRoot, DeviceId, Time};
use crate::names::{DeviceName, Email, UserName};

/// Reply of `ServerInfo`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServerInfoReply {
    /// The program's version.
    pub version: String,
    /// Versions of this protocol that it speaks; this is 1.
    pub protocols: Vec<u32>,
    /// Its clock.
    pub time: Time,
    /// Whether anybody may register.
    pub open_registration: bool,
}

/// What a password is stretched with, as the account's owner made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct KdfParameters {
    /// Random, 32 bytes.
    pub salt: Key,
    /// PBKDF2 rounds.
    pub rounds: u32,
    /// Over both and the user name, under a key that the password gives; 32 bytes.
    pub mac: Key,
}

/// The account root, sealed for both ways in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SealedRoots {
    /// For the password.
    pub password: Base64,
    /// For the recovery key.
    pub recovery: Base64,
}

/// Body of `Register`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// The name wanted.
    pub user: UserName,
    /// Where mail is sent.
    pub email: Email,
    /// For the next login.
    pub kdf: KdfParameters,
    /// What proves a login by password.
    pub auth: Key,
    /// What proves a login by recovery key.
    pub recovery_auth: Key,
    /// The account's secrets.
    pub roots: SealedRoots,
    /// The first chain entry with its signature.
    pub entry: Base64,
    /// From an invitation, where the server wants one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invitation: Option<String>,
}

/// Reply of `Register`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RegisterReply {
    /// Who the account is.
    pub root: ChainRoot,
    /// Whether a mail has to be answered before the first login.
    pub verify_email: bool,
}

/// Body of `VerifyEmail`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct VerifyEmail {
    /// From the mail.
    pub token: String,
}

/// Body of `ResendVerification`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AddressQuery {
    /// Of the account.
    pub user: UserName,
}

/// Body of `LoginParameters`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LoginParameters {
    /// Who wants to log in. Its reply is a [`KdfParameters`], whether there is such a user or not.
    pub user: UserName,
}

/// Body of `Login`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// Who logs in.
    pub user: UserName,
    /// Derived from password and account secret.
    pub auth: Key,
    /// The device's id, kept by it.
    pub device: DeviceId,
    /// What the user calls it.
    pub device_name: DeviceName,
    /// A code of the second factor, or a recovery code of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_factor: Option<String>,
}

/// Body of `RecoveryLogin`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RecoveryLogin {
    /// Who logs in.
    pub user: UserName,
    /// Derived from the recovery key.
    pub auth: Key,
    /// The device's id, kept by it.
    pub device: DeviceId,
    /// What the user calls it.
    pub device_name: DeviceName,
    /// A code of the second factor, or a recovery code of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_factor: Option<String>,
}

/// Reply of `Login` and `RecoveryLogin`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LoginReply {
    /// To be sent as `Authorization: Bearer`.
    pub token: String,
    /// When the session ends if it is not used.
    pub expires: Time,
    /// The account root, sealed for the way in that was taken.
    pub root: Base64,
    /// The account's key chain, first entry first.
    pub chain: Vec<Base64>,
}

impl std::fmt::Debug for LoginReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginReply")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// Reply of `Account`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AccountReply {
    /// Its name.
    pub user: UserName,
    /// Who it is.
    pub root: ChainRoot,
    /// Where mail is sent.
    pub email: Email,
    /// What it may do on the server.
    pub standing: Standing,
    /// Bytes that it may store.
    pub quota: u64,
    /// Bytes that it stores.
    pub used: u64,
    /// The number of the last event for it.
    pub last_event: u64,
}

/// What an account may do on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Nothing beyond its own.
    User,
    /// See what happens.
    Auditor,
    /// Run the server.
    Admin,
}

/// Body of `SetPassword`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SetPassword {
    /// By the password so far, or by the recovery key.
    pub current_auth: Key,
    /// For the next login.
    pub kdf: KdfParameters,
    /// What proves a login by the new password.
    pub auth: Key,
    /// What proves a login by recovery key, whose salt changed.
    pub recovery_auth: Key,
    /// The account's secrets, sealed anew.
    pub roots: SealedRoots,
}

/// Body of `AppendChain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AppendChain {
    /// The entry with its signatures.
    pub entry: Base64,
    /// The account's secrets with the new keys.
    pub roots: SealedRoots,
    /// Devices whose sessions end with it.
    pub remove_devices: Vec<DeviceId>,
}

/// Reply of `Chain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChainReply {
    /// Entries with their signatures, first entry first.
    pub entries: Vec<Base64>,
}

/// Reply of `Book`. Generation 0 with no bytes: there is none yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BookReply {
    /// How often it was replaced.
    pub generation: u64,
    /// The sealed book.
    pub sealed: Base64,
}

/// Body of `PutBook`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PutBook {
    /// One more than that of the book it replaces.
    pub generation: u64,
    /// The sealed book.
    pub sealed: Base64,
}

/// Reply of `Pin`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PinReply {
    /// The vault's commit counter.
    pub counter: u64,
    /// What the vault sealed.
    pub sealed: Base64,
}

/// Body of `PutPin`. A counter below the stored one is a conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PutPin {
    /// The vault's commit counter.
    pub counter: u64,
    /// What the vault sealed.
    pub sealed: Base64,
}

/// Reply of `Devices`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DevicesReply {
    /// All with a session.
    pub devices: Vec<Device>,
}

/// A device with a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Device {
    /// Its id.
    pub device: DeviceId,
    /// What the user calls it.
    pub name: DeviceName,
    /// When it logged in.
    pub since: Time,
    /// When it was last heard of.
    pub last_seen: Time,
    /// Whether it is the one that asks.
    pub current: bool,
}

/// Body of `FindUser`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Find {
    /// An address that its owner proved.
    pub email: Email,
}

/// Reply of `FindUser`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FoundReply {
    /// Whose it is.
    pub user: UserName,
}

/// Body of `Invite`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Invite {
    /// Who is invited.
    pub email: Email,
}

/// Reply of `AdminUsers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AdminUsersReply {
    /// By name.
    pub users: Vec<AdminUser>,
}

/// A user as administrators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AdminUser {
    /// Its name.
    pub user: UserName,
    /// What it may do.
    pub standing: Standing,
    /// Whether it is switched off.
    pub disabled: bool,
    /// Bytes that it may store.
    pub quota: u64,
    /// Bytes that it stores.
    pub used: u64,
    /// When it registered.
    pub created: Time,
}

/// Body of `AdminSetUser`: what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AdminSetUser {
    /// What it may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<Standing>,
    /// Whether it is switched off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// Bytes that it may store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<u64>,
}

/// Reply of `AdminFigures`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AdminFiguresReply {
    /// Accounts.
    pub users: u64,
    /// Shares.
    pub shares: u64,
    /// Records of all shares.
    pub records: u64,
    /// Complete blobs.
    pub blobs: u64,
    /// Bytes of them.
    pub blob_bytes: u64,
}

/// Reply of `AdminAudit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditReply {
    /// In order.
    pub entries: Vec<AuditEntry>,
    /// The last entry of all, absent while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<AuditHead>,
    /// The server's public audit key, 32 bytes.
    pub key: Base64,
}

/// The last entry of the audit log, signed by the server's audit key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditHead {
    /// Its place.
    pub number: u64,
    /// Its hash.
    pub hash: Key,
    /// Over both, 64 bytes.
    pub signature: Base64,
}

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// Its place, from 1.
    pub number: u64,
    /// When.
    pub time: Time,
    /// What was done: a word from the server's list.
    pub act: String,
    /// Who did it.
    pub user: Option<UserName>,
    /// Ids of what it was done to.
    pub subject: String,
    /// Over the entry before and this one.
    pub hash: Key,
}
