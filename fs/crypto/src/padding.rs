//! How long a sealed record is made, so that its length tells little (PADMÉ, Nikitin et al. 2019).

/// The length that `length` bytes are padded to: at most 12 % more, and of the lengths up to L only
/// O(log log L) bits can be told apart.
pub fn padded_length(length: usize) -> usize {
    if length < 2 {
        return length;
    }
    let exponent = length.ilog2();
    let kept = exponent.checked_ilog2().map_or(0, |log| log + 1);
    let mask = (1_usize << (exponent - kept)) - 1;
    length.checked_add(mask).map_or(length, |sum| sum & !mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_the_paper_hold() {
        // Section 4 of the paper: the number of the last bits that must be zero, by example.
        for (length, padded) in [(1, 1), (2, 2), (8, 8), (9, 10), (100, 104), (1000, 1024)] {
            assert_eq!(padded_length(length), padded);
        }
    }

    #[test]
    fn padding_never_shortens_and_adds_at_most_an_eighth() {
        for length in (0..100_000).chain([1 << 20, (1 << 20) + 1, usize::MAX]) {
            let padded = padded_length(length);
            assert!(padded >= length);
            assert!(padded - length <= length / 8 + 1, "{length}");
            assert_eq!(padded_length(padded), padded);
        }
    }
}
