//! Where the bytes of blobs are: objects in a folder, each durable before anything names it.
//!
//! An object is written once, under a name that no other ever has, so nothing that goes away can
//! take with it what came meanwhile.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use futures_util::StreamExt as _;
use keyfold_crypto::{fill_random, sha256};
use keyfold_protocol::ids::{BlobId, Time};
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use crate::service::{Failure, Outcome};

/// Objects, shared by all who use them.
#[derive(Clone)]
pub(crate) struct Objects(Arc<dyn ObjectStore>);

impl Objects {
    /// Objects in a folder, which must exist.
    pub(crate) fn in_folder(folder: &Path) -> Outcome<Self> {
        let store = LocalFileSystem::new_with_prefix(folder).map_err(|error| failed(&error))?;
        Ok(Self(Arc::new(store.with_fsync(true))))
    }

    /// Writes an object. It is durable when this returns.
    pub(crate) async fn put(&self, bytes: Bytes) -> Outcome<String> {
        let mut name = [0; 16];
        fill_random(&mut name)?;
        let name = HEXLOWER.encode(&name);
        let name = format!("{}/{name}", &name[..2]);
        let path = ObjectPath::from(name.as_str());
        let put = self.0.put(&path, PutPayload::from_bytes(bytes)).await;
        put.map_err(|error| failed(&error))?;
        Ok(name)
    }

    /// Bytes of an object from `start` on.
    pub(crate) async fn get(&self, name: &str, range: std::ops::Range<u64>) -> Outcome<Bytes> {
        let path = ObjectPath::from(name);
        let found = self.0.get_range(&path, range).await;
        found.map_err(|error| failed(&error))
    }

    /// Names of objects that were written before a time.
    pub(crate) async fn older_than(&self, before: Time) -> Outcome<Vec<String>> {
        let old = |seconds: i64| u64::try_from(seconds).is_ok_and(|seconds| seconds < before.0);
        let mut listed = self.0.list(None);
        let mut names = Vec::new();
        while let Some(object) = listed.next().await {
            let object = object.map_err(|error| failed(&error))?;
            if old(object.last_modified.timestamp()) {
                names.push(object.location.to_string());
            }
        }
        Ok(names)
    }

    /// Deletes an object. One that is not there is deleted.
    pub(crate) async fn delete(&self, name: &str) -> Outcome<()> {
        match self.0.delete(&ObjectPath::from(name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed(&error)),
        }
    }
}

/// The id of a blob with these bytes.
pub(crate) fn id_of(bytes: &[u8]) -> BlobId {
    BlobId(sha256(&[bytes]))
}

fn failed(error: &object_store::Error) -> Failure {
    Failure::Internal(format!("an object: {error}"))
}
