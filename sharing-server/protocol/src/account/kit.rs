//! What people read out, type and keep on paper: safety words, fingerprints, addresses, the kit.

use std::fmt;
use std::str::FromStr;

use keyfold_crypto::{AccountSecret, CryptoError, RecoveryKey, Written, read_written, write_down};
use zeroize::Zeroizing;

use crate::cbor::{DecodeError, Decoded};
use crate::ids::ChainRoot;
use crate::names::{Slug, UserName};

/// 2048 words, sorted: the English list of BIP-39.
const WORDS: &str = include_str!("../safety-words.txt");
const WORD_BITS: usize = 11;
const WORD_COUNT: usize = 12;

/// Twelve words for the first 132 bits of a chain root, most significant bit first.
pub fn safety_words(root: ChainRoot) -> [&'static str; WORD_COUNT] {
    let list: Vec<&str> = WORDS.lines().collect();
    std::array::from_fn(|at| {
        let bits = at * WORD_BITS..(at + 1) * WORD_BITS;
        let number = bits.fold(0_usize, |number, bit| {
            number << 1 | usize::from(root.0[bit / 8] >> (7 - bit % 8) & 1)
        });
        list.get(number).copied().unwrap_or_default()
    })
}

/// The first 17 bytes of a chain root as `K7QD-...`: eight groups of four characters.
pub fn fingerprint(root: ChainRoot) -> String {
    let mut value = [0; 17];
    value.copy_from_slice(&root.0[..17]);
    write_down(Written::Fingerprint, &value).to_string()
}

/// Reads a fingerprint as it is typed.
pub fn read_fingerprint(text: &str) -> Decoded<Fingerprint> {
    read_written(Written::Fingerprint, text)
        .map(|value| Fingerprint(*value))
        .map_err(|_| DecodeError::Malformed)
}

/// The first 17 bytes of a chain root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 17]);

impl Fingerprint {
    /// Whether it is that of `root`.
    pub fn fits(&self, root: ChainRoot) -> bool {
        self.0 == root.0[..17]
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&write_down(Written::Fingerprint, &self.0))
    }
}

/// `alice@files.example.org[:port][/slug][#K7QD-...]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Whose.
    pub user: UserName,
    /// The server's host, and its port where that is not 443.
    pub host: String,
    /// Which publication.
    pub slug: Option<Slug>,
    /// Using an address that has it verifies the owner.
    pub fingerprint: Option<Fingerprint>,
}

impl FromStr for Address {
    type Err = DecodeError;

    fn from_str(text: &str) -> Decoded<Self> {
        let (rest, fingerprint) = match text.split_once('#') {
            Some((rest, fingerprint)) => (rest, Some(read_fingerprint(fingerprint)?)),
            None => (text, None),
        };
        let (account, slug) = match rest.split_once('/') {
            Some((account, slug)) => (account, Some(slug.parse()?)),
            None => (rest, None),
        };
        let (user, host) = account.split_once('@').ok_or(DecodeError::Malformed)?;
        if !is_host(host) {
            return Err(DecodeError::Malformed);
        }
        Ok(Self {
            user: user.parse()?,
            host: host.to_owned(),
            slug,
            fingerprint,
        })
    }
}

fn is_host(text: &str) -> bool {
    let (host, port) = text.split_once(':').unwrap_or((text, "443"));
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let port_is_one = port
        .parse::<u16>()
        .is_ok_and(|number| number.to_string() == port && number > 0);
    (1..=253).contains(&host.len()) && host.bytes().all(plain) && port_is_one
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.user, self.host)?;
        if let Some(slug) = &self.slug {
            write!(f, "/{slug}")?;
        }
        if let Some(fingerprint) = &self.fingerprint {
            write!(f, "#{fingerprint}")?;
        }
        Ok(())
    }
}

/// The sheet that opens an account on another device: three lines, each `name: value`.
pub struct Kit {
    /// Whose, where, and who that is.
    pub address: Address,
    /// Needed with the password.
    pub secret: AccountSecret,
    /// Needed without it. A kit made on a device that never had it lacks it.
    pub recovery: Option<RecoveryKey>,
}

impl fmt::Debug for Kit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kit(..)")
    }
}

impl Kit {
    /// The sheet's lines.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(512));
        text.push_str("address: ");
        text.push_str(&self.address.to_string());
        text.push_str("\naccount secret: ");
        text.push_str(&self.secret.to_words());
        if let Some(recovery) = &self.recovery {
            text.push_str("\nrecovery key: ");
            text.push_str(&recovery.to_words());
        }
        text.push('\n');
        text
    }

    /// Reads a sheet. Empty lines and lines that begin with `#` are skipped; anything else that is
    /// not expected is [`CryptoError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, CryptoError> {
        let (mut address, mut secret, mut recovery) = (None, None, None);
        let lines = text.lines().map(str::trim);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, value) = line.split_once(": ").ok_or(CryptoError::Malformed)?;
            let again = match name {
                "address" => address
                    .replace(value.parse().map_err(|_| CryptoError::Malformed)?)
                    .is_some(),
                "account secret" => secret.replace(AccountSecret::parse(value)?).is_some(),
                "recovery key" => recovery.replace(RecoveryKey::parse(value)?).is_some(),
                _ => true,
            };
            if again {
                return Err(CryptoError::Malformed);
            }
        }
        Ok(Self {
            address: address.ok_or(CryptoError::Malformed)?,
            secret: secret.ok_or(CryptoError::Malformed)?,
            recovery,
        })
    }
}
