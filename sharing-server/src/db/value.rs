//! What goes into statements and comes out of rows.

use keyfold_protocol::ids::{
    BlobId, ChainRoot, DeviceId, EntryHash, Epoch, Nonce, PublicationHash, RecordHash, RequestHash,
    RosterVersion, Seq, ShareId, Time, VaultId,
};
use keyfold_protocol::names::{DeviceName, Email, Slug, UserName};
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};

use super::DbError;

/// A parameter of a statement.
pub(crate) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Text(&'a str),
    Null,
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            // No number in the protocol exceeds 2^53.
            Self::Number(number) => ValueRef::Integer(i64::try_from(*number).unwrap_or(i64::MAX)),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Null => ValueRef::Null,
        }))
    }
}

impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Value<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Value<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

macro_rules! ids {
    ($($id:ident),*) => {$(
        impl<'a> From<&'a $id> for Value<'a> {
            fn from(id: &'a $id) -> Self {
                Self::Bytes(&id.0)
            }
        }
    )*};
}

macro_rules! numbers {
    ($($number:ident),*) => {$(
        impl From<$number> for Value<'_> {
            fn from(number: $number) -> Self {
                Self::Number(number.0)
            }
        }
    )*};
}

macro_rules! names {
    ($($name:ident),*) => {$(
        impl<'a> From<&'a $name> for Value<'a> {
            fn from(name: &'a $name) -> Self {
                Self::Text(name.as_str())
            }
        }
    )*};
}

ids!(
    BlobId,
    ChainRoot,
    DeviceId,
    EntryHash,
    Nonce,
    PublicationHash,
    RecordHash,
    RequestHash,
    ShareId,
    VaultId
);
numbers!(Epoch, RosterVersion, Seq, Time);
names!(DeviceName, Email, Slug, UserName);

/// Parameters in order.
macro_rules! values {
    ($($value:expr),* $(,)?) => { &[$($crate::db::Value::from($value)),*] };
}
pub(crate) use values;

/// A row, whose columns are numbered from 0.
pub(crate) struct Row<'a>(pub(super) &'a rusqlite::Row<'a>);

impl Row<'_> {
    pub(crate) fn u64(&self, column: usize) -> Result<u64, DbError> {
        let number: i64 = self.0.get(column)?;
        u64::try_from(number).map_err(|_| odd(column))
    }

    pub(crate) fn u64_or(&self, column: usize, absent: u64) -> Result<u64, DbError> {
        Ok(self.optional_u64(column)?.unwrap_or(absent))
    }

    pub(crate) fn optional_u64(&self, column: usize) -> Result<Option<u64>, DbError> {
        let number: Option<i64> = self.0.get(column)?;
        let number = number.map(u64::try_from).transpose();
        number.map_err(|_| odd(column))
    }

    pub(crate) fn flag(&self, column: usize) -> Result<bool, DbError> {
        Ok(self.u64(column)? != 0)
    }

    pub(crate) fn bytes(&self, column: usize) -> Result<Vec<u8>, DbError> {
        Ok(self.0.get(column)?)
    }

    pub(crate) fn optional_bytes(&self, column: usize) -> Result<Option<Vec<u8>>, DbError> {
        Ok(self.0.get(column)?)
    }

    /// An id or a key, of a fixed length.
    pub(crate) fn fixed<const N: usize>(&self, column: usize) -> Result<[u8; N], DbError> {
        let bytes = self.bytes(column)?;
        bytes.try_into().map_err(|_| odd(column))
    }

    pub(crate) fn text(&self, column: usize) -> Result<String, DbError> {
        Ok(self.0.get(column)?)
    }

    pub(crate) fn optional_text(&self, column: usize) -> Result<Option<String>, DbError> {
        Ok(self.0.get(column)?)
    }

    /// Text that has a form.
    pub(crate) fn name<T: std::str::FromStr>(&self, column: usize) -> Result<T, DbError> {
        self.text(column)?.parse().map_err(|_| odd(column))
    }
}

/// What this server did not write.
pub(super) fn odd(column: usize) -> DbError {
    DbError::Failed(format!("column {column} holds no value of its kind"))
}
