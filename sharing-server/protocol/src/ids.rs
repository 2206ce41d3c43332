//! Ids: a type for each, written in lower-case hexadecimal.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use keyfold_crypto::{FileId, RandomError, fill_random};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::cbor::{DecodeError, Decoded, Encoded, Reader, Writer};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident($bytes:literal);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $bytes]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), HEXLOWER.encode(&self.0[..4]))
            }
        }

        impl FromStr for $name {
            type Err = DecodeError;

            fn from_str(text: &str) -> Decoded<Self> {
                let mut bytes = [0; $bytes];
                if text.len() != 2 * $bytes {
                    return Err(DecodeError::Malformed);
                }
                HEXLOWER
                    .decode_mut(text.as_bytes(), &mut bytes)
                    .map_err(|_| DecodeError::Malformed)?;
                Ok(Self(bytes))
            }
        }

        impl Encoded for $name {
            const LIMIT: usize = $bytes + 2;

            fn write(&self, w: &mut Writer) {
                w.bytes(&self.0);
            }

            fn read(r: &mut Reader<'_>) -> Decoded<Self> {
                r.fixed().map(Self)
            }
        }

        crate::schema::text!($name, concat!("^([0-9a-f]{2}){", stringify!($bytes), "}$"));

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// Hash of an account's first chain entry: who somebody is.
    ChainRoot(32);
    /// Hash of a chain entry: which keys somebody has.
    EntryHash(32);
    /// Hash of a record's header.
    RecordHash(32);
    /// Hash of a share's first record.
    ShareId(32);
    /// Hash of a record's body as it is sent.
    BodyHash(32);
    /// Hash of a roster without its grants.
    RosterHash(32);
    /// Hash of a grant.
    GrantHash(32);
    /// SHA-256 of a blob.
    BlobId(32);
    /// Hash of a publication.
    PublicationHash(32);
    /// Hash of a request.
    RequestHash(32);
    /// Hash of a share's whole tree.
    TreeHash(32);
    /// Root over a file's content.
    ContentRoot(32);
    /// A file, directory, symlink or share point of a share. Of a file it is the file id too.
    NodeId(16);
    /// An operation, and the version of a file that it writes.
    OperationId(16);
    /// A device of an account.
    DeviceId(16);
    /// A vault, as its superblock names it.
    VaultId(16);
    /// Random bytes that make a statement unlike any other.
    Nonce(16);
}

macro_rules! random_ids {
    ($($name:ident),*) => {$(
        impl $name {
            /// A fresh random one.
            pub fn generate() -> Result<Self, RandomError> {
                let mut bytes = [0; 16];
                fill_random(&mut bytes)?;
                Ok(Self(bytes))
            }
        }
    )*};
}

random_ids!(NodeId, OperationId, DeviceId, Nonce);

impl ShareId {
    /// What the genesis record has in place of its own hash.
    pub const GENESIS: Self = Self([0; 32]);
}

impl RecordHash {
    /// What the genesis record has in place of a record before it.
    pub const NONE: Self = Self([0; 32]);

    /// The share that begins with this record.
    pub fn share(self) -> ShareId {
        ShareId(self.0)
    }
}

impl NodeId {
    /// The directory that a share's tree begins with.
    pub const ROOT: Self = Self([0; 16]);

    /// The file id that blocks of this file are bound to.
    pub fn file(self) -> FileId {
        FileId(self.0)
    }
}

impl OperationId {
    /// The version of a file that was never written.
    pub const NONE: Self = Self([0; 16]);
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The one after it.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl Encoded for $name {
            const LIMIT: usize = 9;

            fn write(&self, w: &mut Writer) {
                w.uint(self.0);
            }

            fn read(r: &mut Reader<'_>) -> Decoded<Self> {
                r.uint().map(Self)
            }
        }
    )*};
}

numbers! {
    /// A record's place in its share, from 0.
    Seq;
    /// The time during which one key of a share is in force, from 1.
    Epoch;
    /// How many roster records there were before one.
    RosterVersion;
    /// Seconds since 1970 began, UTC.
    Time;
}

/// The time within which nobody's clock matters: what has no end, ends never.
impl Time {
    /// The latest.
    pub const MAX: Self = Self(crate::limits::NUMBER);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = BlobId([0xab; 32]);
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", &id.to_string().to_uppercase(), &id.to_string()[1..]] {
            assert_eq!(wrong.parse::<BlobId>(), Err(DecodeError::Malformed));
        }
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<BlobId>(&json).unwrap(), id);
        assert_eq!(BlobId::decode(&id.encode()), Ok(id));
    }

    #[test]
    fn random_ids_differ() {
        assert_ne!(NodeId::generate().unwrap(), NodeId::generate().unwrap());
    }
}
