//! Registering, logging in and logging out.

use keyfold_crypto::{AccountSecret, IdentityKey, Password, RecoveryKey};
use keyfold_protocol::account::{AccountRoot, Kit, NewAccount, WayIn};
use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::chain::{KeyChain, SignedEntry};
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::ids::{DeviceId, EntryHash};
use keyfold_protocol::names::{DeviceName, Email, UserName};
use keyfold_protocol::routes::Route;
use keyfold_protocol::wire::{Base64, Key, Login, LoginReply, RecoveryLogin, Register};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::error::{AccountError, Lie};
use super::kept::{Changes, Kept, KeptToken, Keys, Pinned, Profile, Slot};
use super::way_in::{self, Ways};
use super::{Account, Proof, Session, kit, now, people};
use crate::engine::Engine;
use crate::remote::{Deadlines, Remote, RemoteError, Server, Token};

/// An account to be made.
pub(crate) struct Registration<'p> {
    /// On which server.
    pub(crate) server: Server,
    /// Its name.
    pub(crate) user: UserName,
    /// Where mail is sent.
    pub(crate) email: Email,
    /// What this vault is called.
    pub(crate) device_name: DeviceName,
    /// The account's password.
    pub(crate) password: &'p Password,
    /// For servers that want one.
    pub(crate) invitation: Option<String>,
}

/// An account that was made.
#[derive(Debug)]
pub(crate) struct Registered {
    /// To be kept on paper.
    pub(crate) kit: Kit,
    /// Whether a mail has to be answered before the first login. If not, this vault is logged in.
    pub(crate) verify_email: bool,
}

/// Somebody who logs in.
pub(crate) struct Entry {
    /// On which server.
    pub(crate) server: Server,
    /// Who.
    pub(crate) user: UserName,
    /// What this vault is called.
    pub(crate) device_name: DeviceName,
    /// By what.
    pub(crate) proof: Proof,
    /// A code of the second factor.
    pub(crate) second_factor: Option<String>,
    /// Whether the password was changed elsewhere since this vault last saw its parameters.
    pub(crate) parameters: Parameters,
}

/// Whose parameters are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parameters {
    /// Those first seen.
    AsFirstSeen,
    /// Others, as the user says.
    Changed,
}

/// The kit, where the vault has no keys yet.
pub(crate) type WithKit = Option<Kit>;

/// How a logout went.
#[derive(Debug)]
pub(crate) enum LoggedOut {
    /// The server ended the session.
    Everywhere,
    /// The vault has forgotten it; the server could not be told.
    HereOnly(RemoteError),
}

/// How much is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Forget {
    /// Keys and session.
    Keys,
    /// All that the vault has of the account.
    Everything,
}

/// Makes an account, and logs in where the server lets it. May be repeated after it failed.
pub(crate) async fn register(
    engine: &Engine,
    wanted: &Registration<'_>,
    deadlines: Deadlines,
) -> Result<Registered, AccountError> {
    let kept = Kept::in_vault(engine);
    let remote = Remote::new(&wanted.server, deadlines)?;
    let (profile, keys, ways) = match begun(kept, wanted)? {
        Some(begun) => begun,
        None => begin(kept, wanted)?,
    };
    let recovery = keys.recovery()?.ok_or(AccountError::NoRecoveryKey)?;
    drop(recovery);
    let body = Register {
        user: wanted.user.clone(),
        email: wanted.email.clone(),
        kdf: ways.parameters(),
        auth: ways.auth(),
        recovery_auth: ways.recovery_auth(),
        roots: ways.seal(&keys.account)?,
        entry: Base64(first(&keys)?.encode()),
        invitation: wanted.invitation.clone(),
    };
    let reply = match remote.register(&body).await {
        Ok(reply) => reply,
        Err(error) => {
            if !error.may_have_arrived() {
                forget(kept, Forget::Everything)?;
            }
            return Err(error.into());
        }
    };
    if reply.root != profile.root {
        return Err(Lie::OwnRoot.into());
    }
    let kit = kit(&profile, &keys)?;
    if !reply.verify_email {
        let login = Login {
            user: profile.user.clone(),
            auth: ways.auth(),
            device: profile.device,
            device_name: profile.device_name.clone(),
            second_factor: None,
        };
        let reply = remote.login(&login).await?;
        take_session(kept, &profile, &keys, &reply)?;
    }
    Ok(Registered {
        kit,
        verify_email: reply.verify_email,
    })
}

fn first(keys: &Keys) -> Result<&SignedEntry, AccountError> {
    keys.chain.first().ok_or(AccountError::NoAccount)
}

/// What an earlier attempt left, if it was for the same account.
fn begun(
    kept: Kept<'_>,
    wanted: &Registration<'_>,
) -> Result<Option<(Profile, Keys, Ways)>, AccountError> {
    let Some(profile) = kept.profile()? else {
        return Ok(None);
    };
    refuse_other(&profile, &wanted.server, &wanted.user)?;
    if kept.token()?.is_some() {
        return Err(AccountError::LoggedIn(profile.user));
    }
    let Some(keys) = kept.keys()? else {
        return Err(AccountError::NotLoggedIn);
    };
    let recovery = keys.recovery()?.ok_or(AccountError::NotLoggedIn)?;
    let secrets = (&keys.secret, &recovery);
    let ways = Ways::again(&profile.user, wanted.password, secrets, &profile.pinned);
    match ways {
        Ok(ways) => Ok(Some((profile, keys, ways))),
        Err(AccountError::WrongPassword) => Err(AccountError::OtherPassword),
        Err(other) => Err(other),
    }
}

/// Makes keys and keeps them, so that a lost reply loses no account.
fn begin(kept: Kept<'_>, wanted: &Registration<'_>) -> Result<(Profile, Keys, Ways), AccountError> {
    let new = NewAccount::generate(wanted.user.clone(), now())?;
    let recovery = RecoveryKey::generate()?;
    let secrets = (&new.secret, &recovery);
    let ways = Ways::make(&wanted.user, wanted.password, secrets)?;
    let profile = Profile {
        server: wanted.server.clone(),
        user: wanted.user.clone(),
        root: new.root.root,
        device: DeviceId::generate()?,
        device_name: wanted.device_name.clone(),
        pinned: ways.pinned,
    };
    let keys = Keys {
        secret: new.secret,
        recovery: Some(recovery.to_words()),
        account: new.root,
        chain: vec![new.entry],
        earlier: Vec::new(),
    };
    let changes = Changes::default()
        .put(Slot::Profile, &profile)
        .put(Slot::Keys, &keys);
    kept.change(&changes)?;
    Ok((profile, keys, ways))
}

fn refuse_other(profile: &Profile, server: &Server, user: &UserName) -> Result<(), AccountError> {
    if profile.user == *user && profile.server.address == server.address {
        return Ok(());
    }
    Err(AccountError::OtherAccount {
        user: profile.user.clone(),
        server: profile.server.address.to_string(),
    })
}

/// What a login has to go by.
struct Means {
    /// What the vault knows of the account already.
    known: Option<Profile>,
    /// Its keys, where the vault has them.
    keys: Option<Keys>,
    secret: AccountSecret,
    recovery: Option<Zeroizing<String>>,
    kit: WithKit,
}

impl Means {
    fn gather(kept: Kept<'_>, entry: &Entry, kit: WithKit) -> Result<Self, AccountError> {
        let known = kept.profile()?;
        if let Some(profile) = &known {
            refuse_other(profile, &entry.server, &entry.user)?;
        }
        if let Some(kit) = &kit {
            let address = &kit.address;
            if address.user != entry.user || address.host != entry.server.address.host() {
                return Err(AccountError::OtherKit);
            }
        }
        let keys = kept.keys()?;
        let (secret, recovery) = match (&kit, &keys) {
            (Some(kit), _) => (
                kit.secret.clone(),
                kit.recovery.as_ref().map(RecoveryKey::to_words),
            ),
            (None, Some(keys)) => (keys.secret.clone(), keys.recovery.clone()),
            (None, None) => return Err(AccountError::KitNeeded),
        };
        Ok(Self {
            known,
            keys,
            secret,
            recovery,
            kit,
        })
    }

    /// What parameters are held to. A kit that is not the vault's own was made with others.
    fn first_seen(&self, parameters: Parameters) -> Option<&Pinned> {
        let own = self
            .keys
            .as_ref()
            .is_none_or(|keys| keys.secret.secret().as_slice() == self.secret.secret().as_slice());
        let profile = self.known.as_ref().map(|profile| &profile.pinned);
        profile.filter(|_| own && parameters == Parameters::AsFirstSeen)
    }

    /// What was signed with before: shares whose rosters have the older keys take the newer ones only from
    /// who signs with those.
    fn earlier(&self, entry: EntryHash) -> Vec<(EntryHash, IdentityKey)> {
        let Some(keys) = &self.keys else {
            return Vec::new();
        };
        let mut earlier = keys.earlier.clone();
        let before = &keys.account;
        let known = earlier.iter().any(|(known, _)| *known == before.entry);
        if before.entry != entry && !known {
            earlier.push((before.entry, before.identity.clone()));
        }
        earlier
    }

    fn recovery(&self) -> Result<RecoveryKey, AccountError> {
        let words = self.recovery.as_ref().ok_or(AccountError::NoRecoveryKey)?;
        RecoveryKey::parse(words).map_err(|_| AccountError::NoRecoveryKey)
    }

    /// Whether this is the account that kit and vault speak of, with its newest keys.
    fn verify(
        &self,
        user: &UserName,
        account: &AccountRoot,
        entries: &[SignedEntry],
    ) -> Result<(), AccountError> {
        let chain = KeyChain::verify(entries).map_err(|_| Lie::Chain(user.clone()))?;
        let known = self.known.as_ref();
        let as_known = known.is_none_or(|profile| profile.root == chain.root());
        let fingerprint = self.kit.as_ref().and_then(|kit| kit.address.fingerprint);
        let as_kit = fingerprint.is_none_or(|fingerprint| fingerprint.fits(chain.root()));
        if !as_known || !as_kit {
            return Err(Lie::OwnRoot.into());
        }
        account.verify(&chain).map_err(|_| Lie::Keys)?;
        if let Some(keys) = &self.keys {
            let seen: Vec<_> = keys.chain.iter().map(|e| e.unverified().hash()).collect();
            people::compare(user, &seen, &chain)?;
        }
        Ok(())
    }
}

/// Logs in. Nothing of the vault changes unless all that came fits.
pub(crate) async fn login(
    engine: &Engine,
    entry: &Entry,
    kit: WithKit,
    deadlines: Deadlines,
) -> Result<Profile, AccountError> {
    let kept = Kept::in_vault(engine);
    let means = Means::gather(kept, entry, kit)?;
    let remote = Remote::new(&entry.server, deadlines)?;
    if let Some(token) = kept.token()? {
        refuse_while_it_lasts(&remote.clone().with_session(&token), &entry.user).await?;
    }
    let offered = remote.login_parameters(&entry.user).await?;
    let pinned = way_in::judge(&offered, means.first_seen(entry.parameters))?;
    let device = means
        .known
        .as_ref()
        .map_or_else(DeviceId::generate, |known| Ok(known.device))?;
    let (reply, account) = enter(&remote, entry, (&means, &pinned), device).await?;
    let entries = remote.entries(Route::Login, &reply.chain)?;
    means.verify(&entry.user, &account, &entries)?;
    let profile = Profile {
        server: entry.server.clone(),
        user: entry.user.clone(),
        root: account.root,
        device,
        device_name: entry.device_name.clone(),
        pinned,
    };
    let entry_now = account.entry;
    let keys = Keys {
        secret: means.secret.clone(),
        recovery: means.recovery.clone(),
        account,
        chain: entries,
        earlier: means.earlier(entry_now),
    };
    take_session(kept, &profile, &keys, &reply)?;
    Ok(profile)
}

/// A session that the server has not ended is ended by logging out, not by another one.
async fn refuse_while_it_lasts(session: &Remote, user: &UserName) -> Result<(), AccountError> {
    match session.account().await {
        Ok(_) => Err(AccountError::LoggedIn(user.clone())),
        Err(error) if error.code() == Some(ErrorCode::Unauthenticated) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Proves who we are, and opens the account root that comes back.
async fn enter(
    remote: &Remote,
    entry: &Entry,
    (means, pinned): (&Means, &Pinned),
    device: DeviceId,
) -> Result<(LoginReply, AccountRoot), AccountError> {
    let (user, device_name) = (entry.user.clone(), entry.device_name.clone());
    let second_factor = entry.second_factor.clone();
    let (access, way) = match &entry.proof {
        Proof::Password(password) => {
            let access = way_in::by_password(&user, password, &means.secret, pinned)?;
            (access, WayIn::Password)
        }
        Proof::Recovery => (
            way_in::by_recovery(&means.recovery()?, pinned),
            WayIn::Recovery,
        ),
    };
    let auth: Key = way_in::wire(access.auth_key());
    let reply = match way {
        WayIn::Password => {
            let login = Login {
                user,
                auth,
                device,
                device_name,
                second_factor,
            };
            remote.login(&login).await?
        }
        WayIn::Recovery => {
            let login = RecoveryLogin {
                user,
                auth,
                device,
                device_name,
                second_factor,
            };
            remote.recovery_login(&login).await?
        }
    };
    let account = way_in::open_root(&entry.user, &access, way, &reply.root.0)?;
    Ok((reply, account))
}

/// Keeps a session that was begun.
fn take_session(
    kept: Kept<'_>,
    profile: &Profile,
    keys: &Keys,
    reply: &LoginReply,
) -> Result<(), AccountError> {
    let token = Token::new(reply.token.clone()).ok_or(Lie::Token)?;
    let changes = Changes::default()
        .put(Slot::Profile, profile)
        .put(Slot::Keys, keys)
        .put(Slot::Token, &KeptToken::new(&token, reply.expires))
        .delete(Slot::Next);
    kept.change(&changes)
}

fn forget(kept: Kept<'_>, how_much: Forget) -> Result<(), AccountError> {
    let mut changes = Changes::default()
        .delete(Slot::Keys)
        .delete(Slot::Token)
        .delete(Slot::Next);
    if how_much == Forget::Everything {
        let rest = [
            Slot::Profile,
            Slot::Book,
            Slot::People,
            Slot::Heads,
            Slot::Shown,
            Slot::Published,
            Slot::Activity,
            Slot::Staying,
            Slot::Revocations,
            Slot::Invitations,
        ];
        changes = rest.into_iter().fold(changes, Changes::delete);
    }
    kept.change(&changes)
}

impl Account<'_> {
    /// Ends the session and forgets keys. What was known of the account and of others stays, so that
    /// the next login is held to it.
    pub(crate) async fn logout(self, how_much: Forget) -> Result<LoggedOut, AccountError> {
        let kept = self.kept;
        let told = match kept.token()? {
            Some(token) => self.with_token(&token).remote.logout().await,
            None => Ok(()),
        };
        forget(kept, how_much)?;
        match told {
            Err(error) if error.code() != Some(ErrorCode::Unauthenticated) => {
                Ok(LoggedOut::HereOnly(error))
            }
            _ => Ok(LoggedOut::Everywhere),
        }
    }
}

impl Session<'_> {
    /// Ends the account on the server, and forgets it.
    pub(crate) async fn delete(self) -> Result<(), AccountError> {
        let act = self.act(keyfold_protocol::act::Order::DeleteAccount)?;
        self.remote().delete_account(&act).await?;
        forget(*self.kept(), Forget::Everything)
    }
}
