//! The kernel's FUSE protocol, version 7 (`linux/fuse.h`): its numbers, and its structures read and
//! written field by field.
//!
//! Fields are in the machine's byte order and lie without gaps other than those that `linux/fuse.h`
//! names as padding.

pub(crate) mod flag;
pub(crate) mod opcode;

/// The version of the protocol spoken here.
pub(crate) const MAJOR: u32 = 7;
/// The newest minor version whose structures are known here.
pub(crate) const MINOR: u32 = 40;

/// Bytes of `fuse_in_header`, before every request.
pub(crate) const IN_HEADER: usize = 40;
/// Bytes of `fuse_write_in`, between that header and the data of a write.
pub(crate) const WRITE_IN: usize = 40;
/// Bytes of `fuse_out_header`, before every reply.
pub(crate) const OUT_HEADER: usize = 16;
/// Records of a listing begin at multiples of this.
pub(crate) const RECORD_ALIGN: usize = 8;

/// A request that is shorter than its structures, or says what no request can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A structure of a request; its fields are taken in turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (field, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*field)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_ne_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_ne_bytes)
    }

    /// Passes over padding, or fields of no interest.
    pub(crate) fn skip(&mut self, bytes: usize) -> Result<(), Malformed> {
        self.bytes(bytes).map(drop)
    }

    /// The next bytes as they are.
    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (field, rest) = self.0.split_at_checked(len).ok_or(Malformed)?;
        self.0 = rest;
        Ok(field)
    }

    /// A string ended by NUL, without it.
    pub(crate) fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let end = self.0.iter().position(|byte| *byte == 0);
        let string = self.bytes(end.ok_or(Malformed)?)?;
        self.skip(1)?;
        Ok(string)
    }
}

/// A structure of a reply; its fields are put in turn into room for all of them.
#[derive(Debug)]
pub(crate) struct Record<'a>(&'a mut [u8]);

impl<'a> Record<'a> {
    pub(crate) fn new(room: &'a mut [u8]) -> Self {
        Self(room)
    }

    pub(crate) fn bytes(mut self, field: &[u8]) -> Self {
        let (room, rest) = self.0.split_at_mut(field.len());
        room.copy_from_slice(field);
        self.0 = rest;
        self
    }

    pub(crate) fn u16(self, field: u16) -> Self {
        self.bytes(&field.to_ne_bytes())
    }

    pub(crate) fn u32(self, field: u32) -> Self {
        self.bytes(&field.to_ne_bytes())
    }

    pub(crate) fn u64(self, field: u64) -> Self {
        self.bytes(&field.to_ne_bytes())
    }

    /// Padding to the end.
    pub(crate) fn zeros(self) {
        self.0.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_end_where_the_bytes_end() {
        let bytes = [1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, b'a', b'b', 0, b'c'];
        let mut fields = Fields::new(&bytes);
        assert_eq!(fields.u32(), Ok(u32::from_ne_bytes([1, 0, 0, 0])));
        assert_eq!(
            fields.u64(),
            Ok(u64::from_ne_bytes([2, 0, 0, 0, 0, 0, 0, 0]))
        );
        assert_eq!(fields.string(), Ok(&b"ab"[..]));
        assert_eq!(fields.u32(), Err(Malformed));
        assert_eq!(fields.string(), Err(Malformed));
        assert_eq!(fields.skip(2), Err(Malformed));
        assert_eq!(fields.bytes(usize::MAX), Err(Malformed));
        assert_eq!(fields.bytes(1), Ok(&b"c"[..]));
        assert_eq!(fields.bytes(0), Ok(&b""[..]));
    }

    #[test]
    fn records_fill_their_room() {
        let mut room = [0xff; 16];
        Record::new(&mut room)
            .u32(1)
            .u16(2)
            .bytes(b"xy")
            .u32(3)
            .zeros();
        let mut expected = Vec::new();
        expected.extend(1_u32.to_ne_bytes());
        expected.extend(2_u16.to_ne_bytes());
        expected.extend(b"xy");
        expected.extend(3_u32.to_ne_bytes());
        expected.extend([0; 4]);
        assert_eq!(room[..], expected);
    }
}
