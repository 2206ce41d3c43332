//! What extended attributes tell of a file or directory that is shared, or that can be asked for.

use keyfold_fs::vfs::Ino;
use keyfold_protocol::account::{Address, fingerprint};
use keyfold_protocol::ids::ShareId;

use super::desk::{Desk, State};
use super::paths;
use crate::account::{Account, Kept};
use crate::remote::Deadlines;
use crate::sharing::{Stub, role_name};

impl Desk {
    /// What is known of an inode by the name of an attribute.
    pub(crate) fn attribute(&self, ino: Ino, name: &[u8]) -> Option<String> {
        let volume = self.engine.volume();
        if let Some(info) = volume.locked_share_at(ino).ok()? {
            return self.of_stub(&Stub::of(&info)?, name);
        }
        let info = paths::share_at(volume, ino).ok()??;
        let known = self.board(|board| board.shares.get(&info.number).cloned());
        let known = known.unwrap_or_default();
        let waits = || volume.has_settled_marks(info.number).unwrap_or(true);
        match name {
            b"state" if known.state == State::Synced && waits() => {
                Some(State::Syncing.word().to_owned())
            }
            b"state" => Some(known.state_now().word().to_owned()),
            b"sync" => {
                let marks = volume.pending_marks(info.number).ok()?;
                Some(match marks {
                    0 => "nothing waits".to_owned(),
                    marks => format!("{marks} changes wait"),
                })
            }
            b"share" => Some(ShareId(info.id.0).to_string()),
            b"role" => known.role.map(|role| role_name(role).to_owned()),
            b"owner" => known.creator.map(|(user, _)| user.to_string()),
            b"fingerprint" => known.creator.map(|(_, root)| fingerprint(root)),
            b"link" => {
                let kept = Kept::in_vault(&self.engine);
                let slug = kept.slug_of(ShareId(info.id.0)).ok()??;
                let own = Account::of(&self.engine, Deadlines::default()).ok()?;
                let address = Address {
                    slug: Some(slug),
                    ..own.address()
                };
                Some(address.to_string())
            }
            b"members" if !known.members.is_empty() => {
                let members = known.members.iter();
                let lines = members.map(|(user, role)| format!("{user} {}", role_name(*role)));
                Some(lines.collect::<Vec<_>>().join("\n"))
            }
            _ => None,
        }
    }

    fn of_stub(&self, stub: &Stub, name: &[u8]) -> Option<String> {
        match name {
            b"state" => Some(stub.asked.state().to_owned()),
            b"share" => Some(stub.share().to_string()),
            b"owner" => Some(stub.owner.to_string()),
            b"fingerprint" => Some(fingerprint(stub.offer().owner)),
            b"link" => self.address_of(stub),
            _ => None,
        }
    }
}
