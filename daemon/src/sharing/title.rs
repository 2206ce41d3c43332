//! What a share is called, which its content says, and opening the snapshots that say it to whoever does
//! not read what came before.

use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::ids::{Epoch, OperationId};
use keyfold_protocol::log::Event;
use keyfold_protocol::names::Title;
use keyfold_protocol::operation::{Action, Operation, Shape};
use keyfold_protocol::pack::blob_id;
use keyfold_protocol::roster::Role;
use keyfold_protocol::snapshot::{SnapshotBody, SnapshotPlace};
use keyfold_protocol::tree::Tree;

use super::Shared;
use super::content::{Appended, ContentRecord, Outgoing, Said};
use super::error::SharingError;
use crate::remote::RemoteError;

/// What a share is called, and what it is.
pub(crate) type Description = (Title, Shape);

/// How often something small is written over what others wrote.
const ATTEMPTS: usize = 8;

impl Shared<'_, '_> {
    /// What the share was called last, and said to be, by content that nobody took; of snapshots, those of
    /// owners.
    pub(crate) async fn take_description(&mut self) -> Result<Option<Description>, SharingError> {
        let mut content = self.take_content();
        self.learn_all(&mut content).await?;
        for record in content.iter().rev() {
            let said = match &record.said {
                Said::Operations(operations) => last_said(operations),
                Said::Snapshot(body) if record.role == Some(Role::Owner) => {
                    self.said_by(record, body).await?
                }
                _ => None,
            };
            if said.is_some() {
                return Ok(said);
            }
        }
        Ok(None)
    }

    async fn said_by(
        &self,
        record: &ContentRecord,
        body: &SnapshotBody,
    ) -> Result<Option<Description>, SharingError> {
        let tree = self.open_snapshot(record.epoch, body).await?.ok();
        Ok(tree.as_ref().and_then(Tree::description).cloned())
    }

    /// The tree of a snapshot, or what to tell of it.
    pub(crate) async fn open_snapshot(
        &self,
        epoch: Epoch,
        body: &SnapshotBody,
    ) -> Result<Result<Tree, Event>, SharingError> {
        let (remote, share) = (self.session.remote(), self.id());
        let mut chunks = Vec::new();
        for (chunk, length) in body.pieces() {
            match remote.blob(share, chunk, 0..length).await {
                Ok(bytes) if blob_id(&bytes) == chunk => chunks.push(bytes),
                Ok(_) => return Ok(Err(Event::SnapshotWithheld)),
                Err(error) if is_missing(&error) => return Ok(Err(Event::SnapshotWithheld)),
                Err(error) => return Err(error.into()),
            }
        }
        let place = SnapshotPlace {
            share,
            epoch,
            seq: body.seq,
            record: body.record,
        };
        let key = self.log.epoch_key(epoch);
        let key = key.ok_or(SharingError::NoEpochKey)?;
        Ok(place
            .open(body, &chunks, key)
            .map_err(|_| Event::FalseSnapshot))
    }

    /// Says what the share is called, and what it is.
    pub(crate) async fn describe(
        &mut self,
        title: Title,
        shape: Shape,
    ) -> Result<(), SharingError> {
        for _ in 0..ATTEMPTS {
            let operation = Operation {
                id: OperationId::generate()?,
                action: Action::Describe {
                    title: title.clone(),
                    shape,
                },
            };
            let append = self.draft_content(Outgoing {
                operations: vec![operation],
                ..Outgoing::default()
            })?;
            if self.append_content(&append).await? == Appended::Done {
                return Ok(());
            }
        }
        Err(SharingError::Busy)
    }
}

fn last_said(operations: &[Operation]) -> Option<Description> {
    let mut said = operations.iter().filter_map(|one| match &one.action {
        Action::Describe { title, shape } => Some((title.clone(), *shape)),
        _ => None,
    });
    said.next_back()
}

/// Whether the server has the blob not, or another.
fn is_missing(error: &RemoteError) -> bool {
    let code = error.code();
    matches!(code, Some(ErrorCode::NotFound | ErrorCode::BadRange))
        || matches!(error, RemoteError::Malformed { .. })
}
