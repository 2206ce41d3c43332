//! Padding under a seal: `length (u32 LE) || value || zeros`, to a length that says little.

use keyfold_crypto::padded_length;
use zeroize::Zeroizing;

pub(crate) fn pad(value: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut padded = Zeroizing::new(vec![0; padded_length(4 + value.len())]);
    padded[..4].copy_from_slice(&(value.len() as u32).to_le_bytes());
    padded[4..4 + value.len()].copy_from_slice(value);
    padded
}

pub(crate) fn unpad(padded: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (length, rest) = padded.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    let (value, zeros) = rest.split_at_checked(length)?;
    let right = padded.len() == padded_length(4 + length) && zeros.iter().all(|b| *b == 0);
    right.then(|| Zeroizing::new(value.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_one_padded_form() {
        for length in [0, 1, 5, 100, 4096, 10_000] {
            let value = vec![7; length];
            let padded = pad(&value);
            assert_eq!(**unpad(&padded).unwrap(), value);
            let longer = [&padded[..], &[0]].concat();
            assert!(unpad(&longer).is_none());
            let mut other = padded.to_vec();
            if let Some(last) = other.last_mut().filter(|_| padded.len() > 4 + length) {
                *last = 1;
                assert!(unpad(&other).is_none());
            }
        }
        for wrong in [&[][..], &[1, 0, 0], &[255; 8]] {
            assert!(unpad(wrong).is_none());
        }
    }
}
