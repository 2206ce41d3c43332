//! What a password or a recovery key gives, and what has to be true before any of it is sent.

use keyfold_crypto::{
    AccountAccess, AccountKdf, AccountRounds, AccountSecret, AuthKey, CryptoError, Password,
    RandomError, RecoveryKey, fill_random,
};
use keyfold_protocol::account::{AccountRoot, WayIn, parameters};
use keyfold_protocol::names::UserName;
use keyfold_protocol::wire::{Base64, KdfParameters, Key, SealedRoots};

use super::error::{AccountError, Lie};
use super::kept::Pinned;

/// Few enough for a phone. The account secret, not the rounds, is what keeps a server from guessing.
fn rounds() -> Result<AccountRounds, AccountError> {
    AccountRounds::new(AccountRounds::FLOOR).map_err(|_| AccountError::Random)
}

/// Judges parameters that a server names: bounds, and what was seen first.
pub(super) fn judge(
    offered: &KdfParameters,
    first_seen: Option<&Pinned>,
) -> Result<Pinned, AccountError> {
    let rounds = AccountRounds::new(offered.rounds);
    let rounds = rounds.map_err(|_| Lie::Rounds(offered.rounds))?;
    let offered = Pinned {
        kdf: AccountKdf {
            salt: *offered.salt.0,
            rounds,
        },
        mac: *offered.mac.0,
    };
    match first_seen {
        Some(first) if *first != offered => Err(Lie::Parameters.into()),
        _ => Ok(offered),
    }
}

/// What a password gives, if the parameters are those that whoever knows it made.
pub(super) fn by_password(
    user: &UserName,
    password: &Password,
    secret: &AccountSecret,
    pinned: &Pinned,
) -> Result<AccountAccess, AccountError> {
    let access = AccountAccess::derive_password(password, secret, &pinned.kdf);
    let canonical = parameters(user, &pinned.kdf);
    match access.verify_params(&canonical, &pinned.mac) {
        Ok(()) => Ok(access),
        Err(_) => Err(AccountError::WrongPassword),
    }
}

/// What a recovery key gives. It needs no stretching, so the rounds do not matter, and a salt that a
/// server made up gives keys that nobody else uses.
pub(super) fn by_recovery(key: &RecoveryKey, pinned: &Pinned) -> AccountAccess {
    AccountAccess::derive_recovery(key, &pinned.kdf.salt)
}

/// Opens the account root that came for a way in.
pub(super) fn open_root(
    user: &UserName,
    access: &AccountAccess,
    way: WayIn,
    sealed: &[u8],
) -> Result<AccountRoot, AccountError> {
    AccountRoot::open(user, access, way, sealed).map_err(|e| match e {
        CryptoError::UnknownVersion => AccountError::Newer,
        _ => Lie::Root.into(),
    })
}

/// Both ways into an account, freshly made.
pub(super) struct Ways {
    pub(super) pinned: Pinned,
    password: AccountAccess,
    recovery: AccountAccess,
}

impl Ways {
    /// New parameters, and what they give.
    pub(super) fn make(
        user: &UserName,
        password: &Password,
        (secret, recovery): (&AccountSecret, &RecoveryKey),
    ) -> Result<Self, AccountError> {
        let mut salt = [0; 32];
        fill_random(&mut salt)?;
        let kdf = AccountKdf {
            salt,
            rounds: rounds()?,
        };
        let password = AccountAccess::derive_password(password, secret, &kdf);
        let mac = password.params_mac(&parameters(user, &kdf));
        Ok(Self {
            pinned: Pinned { kdf, mac },
            recovery: AccountAccess::derive_recovery(recovery, &kdf.salt),
            password,
        })
    }

    /// What a password and a recovery key give under parameters that were made before.
    pub(super) fn again(
        user: &UserName,
        password: &Password,
        (secret, recovery): (&AccountSecret, &RecoveryKey),
        pinned: &Pinned,
    ) -> Result<Self, AccountError> {
        Ok(Self {
            pinned: *pinned,
            password: by_password(user, password, secret, pinned)?,
            recovery: by_recovery(recovery, pinned),
        })
    }

    pub(super) fn parameters(&self) -> KdfParameters {
        KdfParameters {
            salt: Key(self.pinned.kdf.salt.into()),
            rounds: self.pinned.kdf.rounds.get(),
            mac: Key(self.pinned.mac.into()),
        }
    }

    pub(super) fn auth(&self) -> Key {
        wire(self.password.auth_key())
    }

    pub(super) fn recovery_auth(&self) -> Key {
        wire(self.recovery.auth_key())
    }

    pub(super) fn seal(&self, account: &AccountRoot) -> Result<SealedRoots, RandomError> {
        Ok(SealedRoots {
            password: Base64(account.seal(&self.password, WayIn::Password)?),
            recovery: Base64(account.seal(&self.recovery, WayIn::Recovery)?),
        })
    }
}

pub(super) fn wire(auth: &AuthKey) -> Key {
    Key((*auth.expose()).into())
}
