//! SHA-256, with a label wherever two kinds of value could be taken for each other.

use sha2::{Digest, Sha256};

use crate::HashLabel;

/// SHA-256 of the label, a zero byte and the bytes.
pub fn labelled_hash(label: HashLabel, bytes: &[u8]) -> [u8; 32] {
    sha256(&[label.text().as_bytes(), &[0], bytes])
}

/// SHA-256 of the parts joined.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_under_two_labels_hash_differently() {
        assert_ne!(
            labelled_hash(HashLabel::RECORD, b"x"),
            labelled_hash(HashLabel::BODY, b"x")
        );
    }

    #[test]
    fn a_labelled_hash_is_plain_sha_256_over_label_zero_and_bytes() {
        let label = HashLabel::RECORD;
        let joined = format!("{}\0abc", label.text());
        assert_eq!(labelled_hash(label, b"abc"), sha256(&[joined.as_bytes()]));
    }
}
