//! The only source of randomness.

use zeroize::Zeroizing;

use crate::RandomError;

/// Fills `buf` from the operating system's generator.
pub fn fill_random(buf: &mut [u8]) -> Result<(), RandomError> {
    getrandom::fill(buf).map_err(|_| RandomError)
}

pub(crate) fn random_secret<const N: usize>() -> Result<Zeroizing<[u8; N]>, RandomError> {
    let mut bytes = Zeroizing::new([0; N]);
    fill_random(bytes.as_mut_slice())?;
    Ok(bytes)
}

pub(crate) fn random_id<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    fill_random(&mut bytes)?;
    Ok(bytes)
}
