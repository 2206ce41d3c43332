//! Passwords and how long stretching one takes.

use std::fmt;
use std::time::{Duration, Instant};

use sha2::Sha256;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use crate::CryptoError;
use crate::keys::redacted_debug;

/// A password as the bytes of its NFC normal form, so that it is the same from every keyboard.
#[derive(Clone)]
pub struct Password(Zeroizing<Vec<u8>>);

impl Password {
    /// Takes the password over; the original is wiped.
    pub fn new(text: String) -> Self {
        let text = Zeroizing::new(text);
        // NFC makes UTF-8 at most three times as long; growing would leave unwiped copies.
        let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() * 3));
        let mut utf8 = Zeroizing::new([0; 4]);
        for c in text.nfc() {
            bytes.extend_from_slice(c.encode_utf8(utf8.as_mut_slice()).as_bytes());
        }
        Self(bytes)
    }

    /// PBKDF2-HMAC-SHA-256 (RFC 8018).
    pub(crate) fn stretch(&self, params: &KdfParams) -> Zeroizing<[u8; 32]> {
        let mut out = Zeroizing::new([0; 32]);
        pbkdf2::pbkdf2_hmac::<Sha256>(
            &self.0,
            &params.salt,
            params.rounds.get(),
            out.as_mut_slice(),
        );
        out
    }
}

redacted_debug!(Password);

/// Number of PBKDF2 rounds, within bounds that neither a weak nor a stalling vault can leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rounds(u32);

impl Rounds {
    /// The fewest rounds ever used or accepted.
    pub const FLOOR: u32 = 600_000;
    /// The most rounds accepted for a local vault: about ten seconds on a fast machine.
    pub const CEILING: u32 = 100_000_000;

    /// Fails with [`CryptoError::Malformed`] outside [`Self::FLOOR`] to [`Self::CEILING`].
    pub fn new(rounds: u32) -> Result<Self, CryptoError> {
        if (Self::FLOOR..=Self::CEILING).contains(&rounds) {
            Ok(Self(rounds))
        } else {
            Err(CryptoError::Malformed)
        }
    }

    /// The number of rounds that takes about `target` on this machine, never below the floor.
    pub fn calibrate(target: Duration) -> Self {
        const SAMPLE: u32 = 50_000;
        // The fastest sample is the one least disturbed by other programs.
        let fastest = (0..4)
            .map(|_| time_rounds(SAMPLE))
            .min()
            .unwrap_or_default();
        let nanos = fastest.as_nanos().max(1);
        let rounds = u128::from(SAMPLE).saturating_mul(target.as_nanos()) / nanos;
        let bounded = rounds.clamp(u128::from(Self::FLOOR), u128::from(Self::CEILING));
        Self(bounded as u32)
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Rounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn time_rounds(rounds: u32) -> Duration {
    let start = Instant::now();
    let mut out = [0; 32];
    pbkdf2::pbkdf2_hmac::<Sha256>(b"calibration", &[0; 32], rounds, &mut out);
    std::hint::black_box(out);
    start.elapsed()
}

/// Public parameters that a password is stretched with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KdfParams {
    /// Random, made anew whenever the slot is written.
    pub salt: [u8; 32],
    /// How often to iterate.
    pub rounds: Rounds,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn composed_and_decomposed_spellings_are_one_password() {
        let composed = Password::new("caf\u{e9} \u{1e9b}\u{323}".into());
        let decomposed = Password::new("cafe\u{301} \u{1e9b}\u{323}".into());
        assert_eq!(*composed.0, *decomposed.0);
    }

    #[test]
    fn normalising_never_grows_the_buffer() {
        // U+0390 and U+1D160 are among the characters NFC lengthens most.
        for text in ["\u{1d160}".repeat(50), "\u{390}\u{958}\u{fb2c}".repeat(50)] {
            let capacity = text.len() * 3;
            let password = Password::new(text);
            assert!(password.0.len() <= capacity);
            assert_eq!(password.0.capacity(), capacity);
        }
    }

    #[test]
    fn rounds_outside_the_bounds_are_refused() {
        for rounds in [0, 1, Rounds::FLOOR - 1, Rounds::CEILING + 1, u32::MAX] {
            assert_eq!(Rounds::new(rounds), Err(CryptoError::Malformed));
        }
        assert_eq!(Rounds::new(Rounds::FLOOR).unwrap().get(), Rounds::FLOOR);
        assert_eq!(Rounds::new(Rounds::CEILING).unwrap().get(), Rounds::CEILING);
    }

    #[test]
    fn calibration_stays_within_the_bounds() {
        assert_eq!(Rounds::calibrate(Duration::ZERO).get(), Rounds::FLOOR);
        assert_eq!(Rounds::calibrate(Duration::MAX).get(), Rounds::CEILING);
        let second = Rounds::calibrate(Duration::from_secs(1));
        assert!(
            second.get() > Rounds::FLOOR,
            "a second is worth more than the floor: {second}"
        );
    }

    #[test]
    fn a_password_is_not_printed() {
        assert_eq!(
            format!("{:?}", Password::new("hunter2".into())),
            "Password(..)"
        );
    }
}
