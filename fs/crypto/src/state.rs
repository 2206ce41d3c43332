//! A keyed hash of the set of all metadata rows that is updated row by row.
//!
//! `MSet-Add-Hash` of Clarke, Devadas, van Dijk, Gassend and Suh (ASIACRYPT 2003): the sum of the
//! rows' HMACs modulo 2^256. It is secure only while nobody without the key sees sums, so what
//! leaves the vault is [`StateHashKey::pin`].

use std::fmt;

use subtle::ConstantTimeEq;

use crate::StateHashKey;

/// Hash of one row, to be added to and removed from a [`StateHash`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RowHash(Sum);

/// Sum over all rows of a state; the default is that of no rows.
#[derive(Clone, Copy, Default)]
pub struct StateHash(Sum);

/// A number modulo 2^256, least significant limb first.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Sum([u64; 4]);

impl StateHashKey {
    /// Hash of a row. `key` must name the row within `table`, and the encoding of `value` must be
    /// injective; the row's table, key and value cannot run into each other.
    pub fn row(&self, table: u8, key: &[u8], value: &[u8]) -> RowHash {
        let mut head = [table, 0, 0, 0, 0];
        head[1..].copy_from_slice(&(key.len() as u32).to_le_bytes());
        RowHash(Sum::from_bytes(&self.rows.mac(&[&head, key, value])))
    }

    /// What may be kept outside the vault to recognise this state: the commit counter and the
    /// state under a MAC of its own key, never the sum.
    pub fn pin(&self, counter: u64, state: &StateHash) -> [u8; 32] {
        self.pin.mac(&[&counter.to_le_bytes(), &state.to_bytes()])
    }
}

impl StateHash {
    /// Adds a row that was inserted.
    pub fn add(&mut self, row: &RowHash) {
        self.0 = self.0.plus(&row.0);
    }

    /// Removes a row that was deleted or replaced.
    pub fn remove(&mut self, row: &RowHash) {
        self.0 = self.0.plus(&row.0.negated());
    }

    /// Joins the hash of further rows, for scans done in parts.
    pub fn merge(&mut self, other: &Self) {
        self.0 = self.0.plus(&other.0);
    }

    /// The sum, little endian. Keep it inside the encrypted database.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// What [`Self::to_bytes`] gave.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Sum::from_bytes(&bytes))
    }
}

impl PartialEq for StateHash {
    fn eq(&self, other: &Self) -> bool {
        self.to_bytes().ct_eq(&other.to_bytes()).into()
    }
}

impl Eq for StateHash {}

impl Sum {
    fn from_bytes(bytes: &[u8; 32]) -> Self {
        let mut limbs = [0; 4];
        for (limb, bytes) in limbs.iter_mut().zip(bytes.as_chunks().0) {
            *limb = u64::from_le_bytes(*bytes);
        }
        Self(limbs)
    }

    fn to_bytes(self) -> [u8; 32] {
        let mut out = [0; 32];
        for (bytes, limb) in out.as_chunks_mut().0.iter_mut().zip(self.0) {
            *bytes = limb.to_le_bytes();
        }
        out
    }

    fn plus(&self, other: &Self) -> Self {
        let mut carry = false;
        Self(std::array::from_fn(|i| {
            let (sum, over) = self.0[i].overflowing_add(other.0[i]);
            let (sum, over_by_carry) = sum.overflowing_add(u64::from(carry));
            carry = over | over_by_carry;
            sum
        }))
    }

    fn negated(&self) -> Self {
        Self(self.0.map(|limb| !limb)).plus(&Self([1, 0, 0, 0]))
    }
}

impl fmt::Debug for RowHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RowHash(..)")
    }
}

impl fmt::Debug for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StateHash(..)")
    }
}

#[cfg(test)]
mod tests;
