//! What a sealed value is bound to: a label and fields, encoded so that no two differ only in
//! where one field ends and the next begins.

use crate::Label;

/// Domain label plus length-prefixed fields (who, what id, which generation).
///
/// Encoding: the label and then every field, each as its length (u64 LE) and its bytes. Use one
/// label per kind of sealed value and always the same fields with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context(Vec<u8>);

impl Context {
    /// A context of the kind `label`, without fields.
    pub fn new(label: Label) -> Self {
        Self::of(label.text())
    }

    pub(crate) fn of(label: &str) -> Self {
        Self(Vec::with_capacity(96)).bytes(label.as_bytes())
    }

    /// Adds a field.
    #[must_use]
    pub fn bytes(mut self, field: &[u8]) -> Self {
        self.0
            .extend_from_slice(&(field.len() as u64).to_le_bytes());
        self.0.extend_from_slice(field);
        self
    }

    /// Adds a number as a field of eight bytes, little endian.
    #[must_use]
    pub fn u64(self, field: u64) -> Self {
        self.bytes(&field.to_le_bytes())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_a_byte_between_fields_changes_the_context() {
        let all = [
            Context::of("k").bytes(b"ab").bytes(b"c"),
            Context::of("k").bytes(b"a").bytes(b"bc"),
            Context::of("ka").bytes(b"b").bytes(b"c"),
            Context::of("k").bytes(b"abc"),
            Context::of("k").bytes(b"ab").bytes(b"c").bytes(b""),
        ];
        for (i, x) in all.iter().enumerate() {
            for y in &all[i + 1..] {
                assert_ne!(x, y);
            }
        }
    }
}
