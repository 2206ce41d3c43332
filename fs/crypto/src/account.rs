//! What opens an account's sealed root on the server, and what proves the login.
//!
//! A password is stretched by PBKDF2 and joined with the account secret, 128 bits that only clients
//! have, so that nobody can guess passwords from what a server stores. The recovery key needs
//! neither.

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::keys::redacted_debug;
use crate::mac::HmacKey;
use crate::random::random_secret;
use crate::schedule::{self, AccountInput, AccountSecrets};
use crate::written::{Written, read_written, write_down};
use crate::{CryptoError, KdfParams, Password, RandomError, RecoveryKey, Rounds, SealKey};

/// 128 random bits that clients of an account have and its server has not.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct AccountSecret([u8; 16]);

impl AccountSecret {
    /// A fresh random secret.
    pub fn generate() -> Result<Self, RandomError> {
        random_secret().map(|bytes| Self(*bytes))
    }

    /// The secret as it was stored. Wipe the original.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes, for sealing only.
    pub fn secret(&self) -> Zeroizing<[u8; 16]> {
        Zeroizing::new(self.0)
    }

    /// As it is written on the kit: eight groups of four characters.
    pub fn to_words(&self) -> Zeroizing<String> {
        let mut value = Zeroizing::new([0; 17]);
        value[1..].copy_from_slice(&self.0);
        write_down(Written::AccountSecret, &value)
    }

    /// Reads a secret as it was written down. Fails with [`CryptoError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, CryptoError> {
        let value = read_written(Written::AccountSecret, text)?;
        match value.split_first_chunk::<1>() {
            Some(([0], rest)) => {
                let bytes = <[u8; 16]>::try_from(rest).map_err(|_| CryptoError::Malformed)?;
                Ok(Self(bytes))
            }
            _ => Err(CryptoError::Malformed),
        }
    }
}

/// PBKDF2 rounds of an account: few enough for a phone, and never below the floor, whatever a
/// server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountRounds(Rounds);

impl AccountRounds {
    /// The fewest rounds accepted.
    pub const FLOOR: u32 = Rounds::FLOOR;
    /// The most rounds accepted.
    pub const CEILING: u32 = 2_000_000;

    /// Fails with [`CryptoError::Malformed`] outside [`Self::FLOOR`] to [`Self::CEILING`].
    pub fn new(rounds: u32) -> Result<Self, CryptoError> {
        if rounds > Self::CEILING {
            return Err(CryptoError::Malformed);
        }
        Rounds::new(rounds).map(Self)
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

/// Public parameters that an account's password is stretched with. The salt is the recovery key's
/// salt too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountKdf {
    /// Random, made anew whenever the password is set.
    pub salt: [u8; 32],
    /// How often to iterate.
    pub rounds: AccountRounds,
}

/// What proves a login to the server. It opens nothing.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct AuthKey([u8; 32]);

impl AuthKey {
    /// As it came over the wire.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for the wire.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// What a server stores of it: HMAC-SHA-256 with a pepper kept outside its database.
    pub fn peppered(&self, pepper: &[u8; 32]) -> [u8; 32] {
        HmacKey::new(pepper).mac(&[&self.0])
    }

    /// Compares with what is stored, in constant time. Fails with [`CryptoError::WrongKey`].
    pub fn verify(&self, pepper: &[u8; 32], stored: &[u8; 32]) -> Result<(), CryptoError> {
        if self.peppered(pepper).ct_eq(stored).into() {
            Ok(())
        } else {
            Err(CryptoError::WrongKey)
        }
    }
}

/// The three keys of one way into an account.
pub struct AccountAccess {
    params: HmacKey,
    kek: SealKey,
    auth: AuthKey,
}

impl AccountAccess {
    /// From the password and the account secret. Takes as long as the rounds say.
    pub fn derive_password(password: &Password, secret: &AccountSecret, kdf: &AccountKdf) -> Self {
        let stretched = password.stretch(&KdfParams {
            salt: kdf.salt,
            rounds: kdf.rounds.0,
        });
        Self::from_secrets(&schedule::account_access(
            AccountInput::Password(&stretched),
            &secret.0,
        ))
    }

    /// From the account's recovery key.
    pub fn derive_recovery(key: &RecoveryKey, salt: &[u8; 32]) -> Self {
        Self::from_secrets(&schedule::account_access(
            AccountInput::Recovery(key.expose()),
            salt,
        ))
    }

    fn from_secrets(secrets: &AccountSecrets) -> Self {
        Self {
            params: HmacKey::new(secrets.params.as_slice()),
            kek: SealKey::from_bytes(*secrets.kek),
            auth: AuthKey(*secrets.auth),
        }
    }

    /// Authentication code of the parameters in their canonical bytes.
    pub fn params_mac(&self, params: &[u8]) -> [u8; 32] {
        self.params.mac(&[params])
    }

    /// To be called before anything derived is sent. Fails with [`CryptoError::WrongKey`]: the
    /// password or the account secret is wrong, or the parameters were edited.
    pub fn verify_params(&self, params: &[u8], mac: &[u8; 32]) -> Result<(), CryptoError> {
        self.params.verify(params, mac)
    }

    /// Key that seals the account root.
    pub fn kek(&self) -> &SealKey {
        &self.kek
    }

    /// What proves the login.
    pub fn auth_key(&self) -> &AuthKey {
        &self.auth
    }
}

redacted_debug!(AccountSecret, AccountAccess, AuthKey);

#[cfg(test)]
mod tests {
    use super::*;

    fn kdf(rounds: u32) -> AccountKdf {
        AccountKdf {
            salt: [4; 32],
            rounds: AccountRounds::new(rounds).unwrap(),
        }
    }

    #[test]
    fn rounds_outside_the_bounds_are_refused() {
        for rounds in [
            0,
            AccountRounds::FLOOR - 1,
            AccountRounds::CEILING + 1,
            u32::MAX,
        ] {
            assert_eq!(AccountRounds::new(rounds), Err(CryptoError::Malformed));
        }
        for rounds in [AccountRounds::FLOOR, AccountRounds::CEILING] {
            assert_eq!(AccountRounds::new(rounds).unwrap().get(), rounds);
        }
    }

    #[test]
    fn without_the_account_secret_a_password_opens_nothing() {
        let password = Password::new("correct horse".into());
        let derive = |secret: u8| {
            let secret = AccountSecret([secret; 16]);
            AccountAccess::derive_password(&password, &secret, &kdf(AccountRounds::FLOOR))
        };
        let (right, wrong) = (derive(1), derive(2));
        let mac = right.params_mac(b"parameters");
        assert_eq!(right.verify_params(b"parameters", &mac), Ok(()));
        assert_eq!(
            wrong.verify_params(b"parameters", &mac),
            Err(CryptoError::WrongKey)
        );
        assert_eq!(
            right.verify_params(b"other parameters", &mac),
            Err(CryptoError::WrongKey)
        );
        assert_ne!(right.auth.0, wrong.auth.0);
        assert_ne!(*right.kek.expose(), right.auth.0);
    }

    #[test]
    fn a_secret_is_read_as_it_was_written() {
        let secret = AccountSecret([0xa5; 16]);
        assert!(AccountSecret::parse(&secret.to_words()).unwrap() == secret);
        let mut other_version = [0; 17];
        other_version[0] = 1;
        let text = write_down(Written::AccountSecret, &other_version);
        assert!(AccountSecret::parse(&text).is_err());
    }

    #[test]
    fn what_a_server_stores_is_not_what_proves_a_login() {
        let (auth, pepper) = (AuthKey([3; 32]), [5; 32]);
        let stored = auth.peppered(&pepper);
        assert_eq!(auth.verify(&pepper, &stored), Ok(()));
        assert!(auth.verify(&[6; 32], &stored).is_err());
        assert!(AuthKey(stored).verify(&pepper, &stored).is_err());
    }
}
