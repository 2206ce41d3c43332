//! Stubs: what others offer to this account and did not give it.
//!
//! In the volume a stub is a locked directory, and this is what is kept with it:
//!
//! ```text
//! stub = [1, owner's name, signed publication, asked (0 to 5)]
//! ```
//!
//! It is made anew from what the server shows and its owner signed, and believed in nothing but what to
//! show meanwhile.

use keyfold_fs::error::FsResult;
use keyfold_fs::layout::ShareId as EngineShareId;
use keyfold_fs::share::{Kept as KeptShare, ShareInfo};
use keyfold_fs::volume::Volume;
use keyfold_protocol::account::Address;
use keyfold_protocol::cbor::{Decoded, Encoded, Reader, Writer};
use keyfold_protocol::ids::ShareId;
use keyfold_protocol::limits;
use keyfold_protocol::names::UserName;
use keyfold_protocol::publication::Publication;
use keyfold_protocol::signed::Signed;
use keyfold_protocol::wire::RequestState;

/// What became of asking for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Asked {
    /// Nobody asked.
    #[default]
    Not,
    /// The owner has not answered.
    Waiting,
    /// The owner has granted it, and a device of his has to hand it over.
    Granted,
    /// The owner said no.
    Denied,
    /// It was taken back.
    Withdrawn,
    /// Nobody answered in time.
    Expired,
}

impl Asked {
    const ALL: [Self; 6] = [
        Self::Not,
        Self::Waiting,
        Self::Granted,
        Self::Denied,
        Self::Withdrawn,
        Self::Expired,
    ];

    /// What `user.keyfold.state` says.
    pub(crate) fn state(self) -> &'static str {
        match self {
            Self::Waiting | Self::Granted => "requested",
            Self::Not | Self::Denied | Self::Withdrawn | Self::Expired => "locked",
        }
    }

    /// What `status` says of asking.
    pub(crate) fn word(self) -> Option<&'static str> {
        match self {
            Self::Not => None,
            Self::Waiting => Some("waiting"),
            Self::Granted => Some("granted"),
            Self::Denied => Some("denied"),
            Self::Withdrawn => Some("withdrawn"),
            Self::Expired => Some("expired"),
        }
    }
}

impl From<RequestState> for Asked {
    fn from(state: RequestState) -> Self {
        match state {
            RequestState::Open => Self::Waiting,
            RequestState::Granted => Self::Granted,
            RequestState::Denied => Self::Denied,
            RequestState::Withdrawn => Self::Withdrawn,
            RequestState::Expired => Self::Expired,
        }
    }
}

/// What somebody offers to this account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stub {
    /// Who.
    pub(crate) owner: UserName,
    /// What, as he signed it.
    pub(crate) offer: Signed<Publication>,
    /// Whether it was asked for.
    pub(crate) asked: Asked,
}

impl Stub {
    /// What is kept with a locked directory, if it is that.
    pub(crate) fn of(info: &ShareInfo) -> Option<Self> {
        let stub = Self::decode(&info.data).ok()?;
        (stub.share().0 == info.id.0).then_some(stub)
    }

    /// What is offered.
    pub(crate) fn offer(&self) -> &Publication {
        self.offer.unverified()
    }

    /// Which share.
    pub(crate) fn share(&self) -> ShareId {
        self.offer().share
    }

    /// What to ask with, on this server. Without a fingerprint, which would verify the owner: who he is
    /// may be known from the server alone.
    pub(crate) fn address(&self, host: String) -> Address {
        Address {
            user: self.owner.clone(),
            host,
            slug: Some(self.offer().slug.clone()),
            fingerprint: None,
        }
    }

    /// The stub of a share, if the volume has one.
    pub(crate) fn find(volume: &Volume, share: ShareId) -> FsResult<Option<(ShareInfo, Self)>> {
        let locked = volume.locked_shares()?;
        let found = locked.into_iter().find(|info| info.id.0 == share.0);
        Ok(found.and_then(|info| Self::of(&info).map(|stub| (info, stub))))
    }

    /// The stub at a path of the volume.
    pub(crate) fn at(volume: &Volume, path: &str) -> FsResult<Option<Self>> {
        let wanted: Vec<&str> = path
            .split('/')
            .filter(|name| !matches!(*name, "" | "."))
            .collect();
        let wanted = wanted.join("/");
        for info in volume.locked_shares()? {
            if volume.path_of_directory(info.root)? == wanted.as_bytes() {
                return Ok(Self::of(&info));
            }
        }
        Ok(None)
    }

    /// Keeps what became of asking for a share, where there is a stub of it.
    pub(crate) fn note_asked(volume: &Volume, share: ShareId, asked: Asked) -> FsResult<()> {
        match Self::find(volume, share)? {
            Some((info, stub)) if stub.asked != asked => Self { asked, ..stub }.keep(volume, &info),
            _ => Ok(()),
        }
    }

    /// Keeps this with a locked directory.
    pub(crate) fn keep(&self, volume: &Volume, info: &ShareInfo) -> FsResult<()> {
        let kept = KeptShare {
            share: Some(self.encode().into()),
            ..KeptShare::default()
        };
        volume.keep_of_share(info.number, &kept)
    }

    /// How the engine names the share.
    pub(crate) fn engine_id(&self) -> EngineShareId {
        EngineShareId(self.share().0)
    }
}

impl Encoded for Stub {
    const LIMIT: usize = limits::STATEMENT_BYTES + 128;

    fn write(&self, w: &mut Writer) {
        w.array(4);
        w.uint(1);
        self.owner.write(w);
        self.offer.write(w);
        let asked = Asked::ALL.iter().position(|one| *one == self.asked);
        w.uint(asked.unwrap_or_default() as u64);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(4)?;
        r.version()?;
        Ok(Self {
            owner: UserName::read(r)?,
            offer: Signed::read(r)?,
            asked: Asked::ALL[r.uint_up_to(Asked::ALL.len() as u64 - 1)? as usize],
        })
    }
}

#[cfg(test)]
mod tests {
    use keyfold_crypto::IdentityKey;
    use keyfold_protocol::ids::{ChainRoot, EntryHash, Time};
    use keyfold_protocol::publication::Audience;

    use super::*;

    #[test]
    fn a_stub_has_one_form_and_is_none_of_another_share() {
        let publication = Publication {
            share: ShareId([1; 32]),
            slug: "plan".parse().unwrap(),
            title: "Plan".parse().unwrap(),
            audience: Audience::Everyone,
            serial: 7,
            owner: ChainRoot([2; 32]),
            entry: EntryHash([3; 32]),
            time: Time(4),
        };
        for asked in Asked::ALL {
            let stub = Stub {
                owner: "alice".parse().unwrap(),
                offer: Signed::sign(publication.clone(), &IdentityKey::from_seed(&[5; 32])),
                asked,
            };
            let bytes = stub.encode();
            assert_eq!(bytes[..9], *b"\x84\x01\x65alice\x82");
            let info = |share| ShareInfo {
                number: keyfold_fs::share::ShareNumber(1 << 32),
                id: EngineShareId([share; 32]),
                root: keyfold_fs::vfs::Ino(9),
                name: None,
                within: None,
                data: bytes.clone().into(),
            };
            assert_eq!(Stub::of(&info(1)), Some(stub));
            assert_eq!(Stub::of(&info(2)), None);
            for length in 0..bytes.len() {
                assert!(Stub::decode(&bytes[..length]).is_err());
            }
        }
    }
}
