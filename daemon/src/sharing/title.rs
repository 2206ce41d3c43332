//! What a share is called.

use keyfold_protocol::ids::OperationId;
use keyfold_protocol::names::Title;
use keyfold_protocol::operation::{Action, Operation, Shape};

use super::{Appended, Outgoing, Shared, SharingError};

/// How often it is written over what others wrote.
const ATTEMPTS: usize = 8;

impl Shared<'_, '_> {
    /// What the share was called last, by content that nobody took.
    pub(crate) fn take_title(&mut self) -> Option<Title> {
        let operations = self.take_content().into_iter().filter_map(|r| r.operations);
        let mut titles = operations.flatten().filter_map(|one| match one.action {
            Action::Describe { title, .. } => Some(title),
            _ => None,
        });
        titles.next_back()
    }

    /// Says what the share is called.
    pub(crate) async fn describe(&mut self, title: Title) -> Result<(), SharingError> {
        for _ in 0..ATTEMPTS {
            let operation = Operation {
                id: OperationId::generate()?,
                action: Action::Describe {
                    title: title.clone(),
                    shape: Shape::Folder,
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
