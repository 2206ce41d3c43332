//! The decoders of a vault's superblock and pin, for fuzzing.

use std::path::Path;

use keyfold_crypto::{Context, Label, RecoveryKey, SealKey};

use super::copies::Copies;
use super::pin::Stored;
use super::slot::{Secret, Slot};
use super::superblock::{Parsed, Superblock, VaultId};
use super::unlock::try_slots;
use super::wire::Canonical;
use crate::layout::PinRow;

/// A superblock of this version that was accepted is written and read as the same.
pub(crate) fn superblock(bytes: &[u8]) {
    let Parsed::Usable(superblock) = Superblock::parse(bytes) else {
        return;
    };
    let Parsed::Usable(again) = Superblock::parse(&superblock.to_json()) else {
        panic!("what was written is not accepted");
    };
    assert!(superblock.same_as(&again));
    assert!(superblock.encode() == again.encode());
}

/// `length of the first copy(4)`, both copies: chosen from and unlocked as at opening, with a
/// recovery key, which takes no time.
pub(crate) fn copies(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else {
        return;
    };
    let at = (u32::from_le_bytes(*length) as usize).min(rest.len());
    let (primary, backup) = rest.split_at(at);
    let read = [Ok(primary.to_vec()), Ok(backup.to_vec())];
    let Ok(mut copies) = Copies::choose(Path::new("/v"), read) else {
        return;
    };
    // Of the golden vault, whose superblock is in the corpus.
    let words = include_str!("../../tests/golden/vault-1/recovery-key.txt");
    if let Ok(key) = RecoveryKey::parse(words.trim()) {
        let opened = try_slots(&copies, &Secret::Recovery(key));
        copies.distrust_unless_signed_by(&opened.masters);
        let newest = copies.newest().map(|(_, superblock)| superblock.clone());
        if let Some(newest) = newest {
            let _ = copies.health(&newest).worse();
        }
    }
}

/// A slot that was accepted is written and read as the same.
pub(crate) fn slot(bytes: &[u8]) {
    let Ok(slot) = serde_json::from_slice::<Slot>(bytes) else {
        return;
    };
    if slot.check_bounds().is_err() {
        return;
    }
    let text = serde_json::to_vec(&slot).expect("texts and numbers have a form");
    let again = serde_json::from_slice::<Slot>(&text).expect("what was written is read");
    assert!(slot == again);
    let code = |slot: &Slot| slot.encode(Canonical::default()).finish();
    assert!(code(&slot) == code(&again));
}

/// What is kept outside the vault, whole and altered.
pub(crate) fn pin(bytes: &[u8]) {
    let key = SealKey::from_bytes([7; 32]);
    let context = Context::new(Label::PIN_RECORD).bytes(&VaultId([1; 16]).0);
    if let Some(stored) = Stored::parse(bytes) {
        assert!(keyfold_crypto::open(&key, &context, stored.sealed).is_err());
        let _ = stored.place.is_absolute();
    }
    if let Ok(sealed) = keyfold_crypto::seal(&key, &context, bytes)
        && let Ok(opened) = keyfold_crypto::open(&key, &context, &sealed)
    {
        let row = PinRow::decode(&opened);
        assert_eq!(row.is_ok(), bytes.len() == 80);
    }
}
