//! What goes to and from the routes of a share's log, in CBOR.
//!
//! ```text
//! append = [record bytes, [grant bytes...]]
//! pulled = [head seq, head record(32), [[record bytes, grant bytes or null]...], [receipt bytes...]]
//! ```
//!
//! A member gets his own grants only. A record's bytes go from one member to another as they are.

use crate::cbor::{Decoded, Encoded, Reader, Writer};
use crate::grant::Grant;
use crate::ids::{RecordHash, Seq};
use crate::limits;
use crate::receipt::Receipt;
use crate::record::Record;
use crate::roster::RosterBody;
use crate::signed::Signed;

/// Body of `CreateShare` and `Append`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// The record with its body.
    pub record: Record,
    /// The grants that it lists.
    pub grants: Vec<Grant>,
}

impl Append {
    /// Whether the grants are exactly those that the body of the roster record lists.
    pub fn grants_fit(&self, body: &RosterBody) -> bool {
        let mut given: Vec<_> = self
            .grants
            .iter()
            .map(|g| (g.recipient, g.hash()))
            .collect();
        given.sort_unstable();
        given == body.grants
    }
}

impl Encoded for Append {
    const LIMIT: usize = Record::LIMIT + limits::MEMBERS * (limits::GRANT_BYTES + 8) + 64;

    fn write(&self, w: &mut Writer) {
        w.array(2);
        w.bytes(&self.record.encode());
        w.array(self.grants.len());
        for grant in &self.grants {
            w.bytes(&grant.encode());
        }
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(2)?;
        let record = Record::decode(r.bytes(Record::LIMIT)?)?;
        let mut grants = Vec::new();
        for _ in 0..r.length(limits::MEMBERS)? {
            grants.push(Grant::decode(r.bytes(Grant::LIMIT)?)?);
        }
        Ok(Self { record, grants })
    }
}

/// A record as it comes from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// The record, perhaps without its body.
    pub record: Record,
    /// The caller's grant that came with it.
    pub grant: Option<Grant>,
}

impl Encoded for Delivered {
    const LIMIT: usize = Record::LIMIT + limits::GRANT_BYTES + 16;

    fn write(&self, w: &mut Writer) {
        w.array(2);
        w.bytes(&self.record.encode());
        w.optional(self.grant.as_ref(), |w, grant| w.bytes(&grant.encode()));
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(2)?;
        Ok(Self {
            record: Record::decode(r.bytes(Record::LIMIT)?)?,
            grant: r.optional(|r| Grant::decode(r.bytes(Grant::LIMIT)?))?,
        })
    }
}

/// Reply of `Pull`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The head's place.
    pub head_seq: Seq,
    /// The head.
    pub head: RecordHash,
    /// From the place asked for, in order.
    pub records: Vec<Delivered>,
    /// The last of every device.
    pub receipts: Vec<Signed<Receipt>>,
}

impl Encoded for Pulled {
    const LIMIT: usize = limits::PULL_BYTES + Delivered::LIMIT + limits::RECEIPTS * 512 + 64;

    fn write(&self, w: &mut Writer) {
        w.array(4);
        self.head_seq.write(w);
        self.head.write(w);
        w.list(&self.records);
        w.array(self.receipts.len());
        for receipt in &self.receipts {
            w.bytes(&receipt.encode());
        }
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(4)?;
        let head_seq = Seq::read(r)?;
        let head = RecordHash::read(r)?;
        let records = r.list(limits::PULL_RECORDS)?;
        let mut receipts = Vec::new();
        for _ in 0..r.length(limits::RECEIPTS)? {
            receipts.push(Signed::decode(r.bytes(512)?)?);
        }
        Ok(Self {
            head_seq,
            head,
            records,
            receipts,
        })
    }
}
