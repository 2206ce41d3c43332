//! Commands about who takes part in shares: what they do, and what they tell.
//!
//! A vault that is not mounted and the daemon of one that is carry them out by this alone.

use keyfold_fs::error::FsError;
use keyfold_protocol::account::{fingerprint, safety_words};
use keyfold_protocol::ids::{ChainRoot, Seq, ShareId, Time};
use serde::{Deserialize, Serialize};

use super::arrival::Arrival;
use super::groups::{self, GroupShown};
use super::{
    InboxItem, Shared, SharingError, Stub, Terms, Wish, approve, deny, find, inbox, removed,
    request, role_name, withdraw,
};
use crate::account::{AccountError, Kept, Session, now};
use crate::control::{Approve, Leave, Request, RoleOf, RosterCommand, Sought, Until};
use crate::sharing::{Ends, Reads};

/// What a command tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Reply {
    /// Shares.
    Shares(Vec<ShareShown>),
    /// Members of one.
    Members(MembersShown),
    /// What others ask for.
    Inbox(InboxShown),
    /// People.
    People(Vec<PersonShown>),
    /// Groups of them.
    Groups(Vec<GroupShown>),
    /// What was done.
    Done(Done),
}

/// What was done, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) done: String,
}

/// A share that the account is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShareShown {
    pub(crate) share: String,
    pub(crate) role: String,
    pub(crate) records: u64,
    pub(crate) rotation_due: bool,
    /// Where it is in the vault; where it is not, it was not accepted.
    pub(crate) path: Option<String>,
    /// Who made it, of one that is not in the vault.
    pub(crate) owner: Option<String>,
    /// What it is called, of one that is not in the vault.
    pub(crate) name: Option<String>,
}

/// Who takes part in a share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MembersShown {
    pub(crate) share: String,
    pub(crate) records: u64,
    pub(crate) rotation_due: bool,
    /// What the account was not given, and other trouble that no server alone could make.
    pub(crate) trouble: Vec<String>,
    pub(crate) members: Vec<MemberLine>,
}

/// Somebody who does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MemberLine {
    pub(crate) user: String,
    pub(crate) role: String,
    pub(crate) fingerprint: String,
    pub(crate) verified: bool,
    pub(crate) expires: Option<u64>,
    pub(crate) expired: bool,
    pub(crate) confirmed_record: Option<u64>,
    pub(crate) confirmed_at: Option<u64>,
}

/// What others ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InboxShown {
    pub(crate) items: Vec<ItemShown>,
    /// Why others are not shown.
    pub(crate) refused: Vec<String>,
}

/// What somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ItemShown {
    pub(crate) id: String,
    pub(crate) request: String,
    pub(crate) share: String,
    pub(crate) title: String,
    pub(crate) user: String,
    pub(crate) fingerprint: String,
    pub(crate) verified: bool,
    pub(crate) role: String,
    pub(crate) expires: u64,
    pub(crate) message: Option<String>,
}

/// Somebody whom the vault knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PersonShown {
    pub(crate) user: String,
    pub(crate) fingerprint: String,
    pub(crate) safety_words: String,
    pub(crate) verified: bool,
    pub(crate) since: u64,
}

/// Carries out a command.
pub(crate) async fn carry_out(
    session: &Session<'_>,
    command: &RosterCommand,
) -> Result<Reply, SharingError> {
    let done = match command {
        RosterCommand::Shares(_) => return shares(session).await.map(Reply::Shares),
        RosterCommand::Members(of) => {
            let share = find(session, &of.share).await?;
            let shared = Shared::open(session, share).await?;
            return members_shown(&shared).map(Reply::Members);
        }
        RosterCommand::Inbox(_) => return inbox_shown(session).await.map(Reply::Inbox),
        RosterCommand::People(_) => return Ok(Reply::People(people(*session.kept())?)),
        RosterCommand::Role(wanted) => role(session, wanted).await?,
        RosterCommand::Group(wanted) => return groups::group(session, wanted).await,
        RosterCommand::Leave(wanted) => leave(session, wanted).await?,
        RosterCommand::Approve(wanted) => approved(session, wanted).await?,
        RosterCommand::Deny(wanted) => {
            deny(session, &wanted.id).await?;
            "Refused.".to_owned()
        }
        RosterCommand::Request(wanted) => requested(session, wanted).await?,
        RosterCommand::Withdraw(wanted) => {
            withdraw(session, &wanted.id).await?;
            "Taken back.".to_owned()
        }
    };
    Ok(Reply::Done(Done { done }))
}

async fn shares(session: &Session<'_>) -> Result<Vec<ShareShown>, SharingError> {
    let mut all = Vec::new();
    for item in session.remote().shares().await?.shares {
        let path = path_of(session, item.share)?;
        let arrival = match path {
            Some(_) => None,
            None => Arrival::of(session, item.share).await?,
        };
        let (owner, name) = arrival.map(|a| (a.owner, a.name)).unzip();
        all.push(ShareShown {
            share: item.share.to_string(),
            role: role_name(item.role).to_owned(),
            records: item.head.seq.0 + 1,
            rotation_due: item.rotation_due,
            path,
            owner,
            name,
        });
    }
    Ok(all)
}

/// Where a share is in the vault.
fn path_of(session: &Session<'_>, share: ShareId) -> Result<Option<String>, SharingError> {
    let volume = session.kept().engine().volume();
    let shares = volume.shares().map_err(AccountError::Kept)?;
    let info = shares.into_iter().find(|info| info.id.0 == share.0);
    let path = info.map(|info| volume.path_of_share(&info));
    let path = path.transpose().map_err(AccountError::Kept)?;
    Ok(path.map(|path| String::from_utf8_lossy(&path).into_owned()))
}

fn members_shown(shared: &Shared<'_, '_>) -> Result<MembersShown, SharingError> {
    let members = shared.members()?;
    let lines = members.into_iter().map(|member| MemberLine {
        user: member.user.to_string(),
        role: role_name(member.role).to_owned(),
        fingerprint: fingerprint(member.root),
        verified: member.verified,
        expires: member.expires.map(|time| time.0),
        expired: member.expired,
        confirmed_record: member.confirmed.map(|(seq, _)| seq.0),
        confirmed_at: member.confirmed.map(|(_, time)| time.0),
    });
    let trouble = shared.events().iter();
    let voids = shared
        .log()
        .voids()
        .map(|(seq, void)| (seq, format!("without effect, as {void}")));
    let trouble = trouble.map(|(seq, event)| (*seq, event.to_string()));
    Ok(MembersShown {
        share: shared.id().to_string(),
        records: shared.log().head().map_or(0, |(seq, _)| seq.0 + 1),
        rotation_due: shared.rotation_due(),
        trouble: trouble
            .chain(voids)
            .map(|(Seq(seq), what)| format!("record {seq}: {what}"))
            .collect(),
        members: lines.collect(),
    })
}

async fn role(session: &Session<'_>, wanted: &RoleOf) -> Result<String, SharingError> {
    let share = find(session, &wanted.share).await?;
    let mut shared = Shared::open(session, share).await?;
    let member = shared.member(&wanted.user)?;
    let (root, before) = (member.key.root, member.role);
    let done = if let Some(role) = wanted.role.role() {
        let book = session.kept().book()?.book;
        let verified = book.contacts.iter().any(|contact| contact.root == root);
        if role > before && !verified {
            let user = wanted.user.clone();
            return Err(SharingError::NotVerified { user, root });
        }
        let ends = match wanted.expires.as_ref().map(|until| until.value) {
            None => Ends::AsBefore,
            Some(Until::For(time)) => Ends::At(after(time)),
            Some(Until::Ever) => Ends::Never,
        };
        shared.set_role(root, role, ends).await?;
        format!("{} is {} now.", wanted.user, role_name(role))
    } else {
        shared.remove(root).await?;
        removed(&wanted.user)
    };
    if shared.rotation_due() {
        shared.rotate().await?;
    }
    Ok(done)
}

async fn leave(session: &Session<'_>, wanted: &Leave) -> Result<String, SharingError> {
    let share = find(session, &wanted.share).await?;
    match Shared::open(session, share).await {
        Ok(shared) => shared.leave().await?,
        // He was taken out before, and has only what is here to leave.
        Err(SharingError::NotAMember) => {}
        Err(error) => return Err(error),
    }
    let volume = session.kept().engine().volume();
    let shares = volume.shares().map_err(AccountError::Kept)?;
    let here = shares.iter().find(|info| info.id.0 == share.0);
    match here.map(|info| volume.end_share(info.number)) {
        None => Ok("Left the share.".to_owned()),
        // Whoever syncs it came first.
        Some(Ok(()) | Err(FsError::NotFound)) => Ok("Left the share. What of it was read here \
                                                    stays where it is, and is yours now."
            .to_owned()),
        Some(Err(error)) => Err(AccountError::Kept(error).into()),
    }
}

async fn inbox_shown(session: &Session<'_>) -> Result<InboxShown, SharingError> {
    let found = inbox(session).await?;
    Ok(InboxShown {
        items: found.items.iter().map(ItemShown::from).collect(),
        refused: found.refused.iter().map(ToString::to_string).collect(),
    })
}

impl From<&InboxItem> for ItemShown {
    fn from(item: &InboxItem) -> Self {
        Self {
            id: item.short_id(),
            request: item.request.to_string(),
            share: item.share.to_string(),
            title: item.title.to_string(),
            user: item.user().to_string(),
            fingerprint: fingerprint(item.person.root()),
            verified: item.person.is_verified(),
            role: role_name(item.role).to_owned(),
            expires: item.expires.0,
            message: item.message.as_ref().map(ToString::to_string),
        }
    }
}

async fn approved(session: &Session<'_>, wanted: &Approve) -> Result<String, SharingError> {
    let terms = Terms {
        role: wanted.role(),
        expires: wanted.expires.as_ref().map(|time| after(time.value)),
        reads: if wanted.with_history {
            Reads::Before
        } else {
            Reads::FromNow
        },
        key: wanted.key.as_ref().map(|key| key.value),
    };
    let item = approve(session, &wanted.id, &terms).await?;
    Ok(format!(
        "{user} is {} of \"{}\" now. It opens for {user} when a mounted vault of yours has handed it \
         over.",
        role_name(terms.role.unwrap_or(item.role)),
        item.title,
        user = item.user(),
    ))
}

async fn requested(session: &Session<'_>, wanted: &Request) -> Result<String, SharingError> {
    let address = match &wanted.what.value {
        Sought::Address(address) => address.clone(),
        Sought::Path(path) => {
            let stub = Stub::at(session.kept().engine().volume(), path);
            let stub = stub.map_err(AccountError::Kept)?;
            let stub = stub.ok_or_else(|| SharingError::NoStub(path.clone()))?;
            stub.address(session.account().address().host)
        }
    };
    let wish = Wish {
        address,
        role: wanted.role(),
        expires: after(wanted.stands()),
        message: wanted.message.clone(),
    };
    let request = request(session, &wish).await?;
    let id: String = request.to_string().chars().take(8).collect();
    Ok(format!(
        "Asked {}. It is request {id}, which `keyfold withdraw` takes back.",
        wish.address.user
    ))
}

/// So much later than now.
pub(crate) fn after(time: std::time::Duration) -> Time {
    Time(now().0.saturating_add(time.as_secs()))
}

/// Whom the vault knows, by name. Asks no server.
pub(crate) fn people(kept: Kept<'_>) -> Result<Vec<PersonShown>, AccountError> {
    let shown = |user: &str, root, (verified, since)| PersonShown {
        user: user.to_owned(),
        fingerprint: fingerprint(root),
        safety_words: safety_words(root).join(" "),
        verified,
        since,
    };
    let book = kept.book()?.book;
    let mut all: Vec<PersonShown> = book
        .contacts
        .iter()
        .map(|one| shown(one.user.as_str(), one.root, (true, one.since.0)))
        .collect();
    for known in kept.people()?.0 {
        let verified = book.contacts.iter().any(|one| one.user == known.user);
        if let (false, Some(first)) = (verified, known.entries.first()) {
            let root = ChainRoot(first.0);
            all.push(shown(known.user.as_str(), root, (false, known.since.0)));
        }
    }
    all.sort_by(|a, b| a.user.cmp(&b.user));
    Ok(all)
}
