//! What sharing derives, signs and hashes, as an independent implementation has it.

use crate::vectors::{Vector, read};
use crate::{
    AccountAccess, AccountKdf, AccountRounds, AccountSecret, EpochKey, FileId, HashLabel,
    IdentityKey, LeafHash, Password, SignLabel, Signature, Tag, Written, content_root,
    labelled_hash, leaf_hash, write_down,
};

fn vectors() -> Vec<Vector> {
    read(include_str!("../tests/vectors/sharing.txt"))
}

#[test]
fn children_of_an_epoch_key_are_those_of_the_vectors() {
    for vector in vectors() {
        let key = EpochKey::from_slice(&vector.hex("epoch-key")).unwrap();
        assert_eq!(key.record_key().expose()[..], vector.hex("epoch-record"));
        assert_eq!(key.previous_key().expose()[..], vector.hex("epoch-prev"));
        assert_eq!(
            key.snapshot_key().expose()[..],
            vector.hex("epoch-snapshot")
        );
        assert_eq!(key.commitment().0[..], vector.hex("epoch-commit"));
    }
}

#[test]
fn the_way_into_an_account_is_that_of_the_vectors() {
    for vector in vectors() {
        let secret = AccountSecret::from_bytes(vector.array("secret"));
        assert_eq!(*secret.to_words(), vector.text("secret-written"));
        let kdf = AccountKdf {
            salt: vector.array("salt"),
            rounds: AccountRounds::new(vector.number("rounds") as u32).unwrap(),
        };
        let password = Password::new(vector.text("password").to_owned());
        let access = AccountAccess::derive_password(&password, &secret, &kdf);
        assert_eq!(access.auth_key().expose()[..], vector.hex("auth"));
        assert_eq!(access.kek().expose()[..], vector.hex("kek"));
        let mac = access.params_mac(&vector.hex("parameters"));
        assert_eq!(mac[..], vector.hex("parameters-mac"));
    }
}

#[test]
fn signatures_hashes_and_fingerprints_are_those_of_the_vectors() {
    for vector in vectors() {
        let (key, message) = (
            IdentityKey::from_seed(&vector.array("identity")),
            vector.hex("message"),
        );
        let signature = Signature(vector.array("signature"));
        assert_eq!(key.sign(SignLabel::RECORD, &message), signature);
        assert_eq!(key.book_key().expose()[..], vector.hex("book"));
        assert_eq!(
            labelled_hash(HashLabel::RECORD, &message)[..],
            vector.hex("hash")
        );
        let mut value = [0; 17];
        value.copy_from_slice(&vector.hex("tag")[..17]);
        assert_eq!(
            *write_down(Written::Fingerprint, &value),
            vector.text("fingerprint")
        );
    }
}

#[test]
fn the_root_over_a_content_is_that_of_the_vectors() {
    for vector in vectors() {
        let index = vector.number("leaf");
        let leaf = leaf_hash(index, &[Some(Tag(vector.array("tag")))]);
        assert_eq!(leaf, LeafHash(vector.array("leaf-hash")));
        let file = FileId(vector.array("file"));
        let root = content_root(&file, vector.number("size"), &[(index, leaf)]);
        assert_eq!(root, Some(vector.array("root")));
    }
}
