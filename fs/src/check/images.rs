//! Kept images: that each is there and is the one its row says, and that what it names is there.

use std::collections::BTreeSet;

use super::findings::{Findings, Subject};
use super::report::FindingKind as Kind;
use super::segments::Segments;
use crate::error::FsResult;
use crate::layout::{ImageId, ImageRow, SegmentId, SegmentRow};
use crate::meta::ScannedRow;
use crate::volume::Volume;

/// The images passed by.
pub(super) struct Images<'a> {
    volume: &'a Volume,
    known: BTreeSet<u64>,
}

impl<'a> Images<'a> {
    pub(super) fn new(volume: &'a Volume) -> Self {
        Self {
            volume,
            known: BTreeSet::new(),
        }
    }

    /// Takes a row of the image table, and looks at the file.
    pub(super) fn image(&mut self, row: &ScannedRow<'_>, findings: &mut Findings) {
        let number = row.key.a;
        self.known.insert(number);
        let id = u32::try_from(number).ok().filter(|id| *id <= ImageId::LAST);
        let (Some(id), Ok(image)) = (id, ImageRow::decode(row.value)) else {
            let what = format!("the row of image {number} cannot be read");
            findings.add(Kind::BadRow, Subject::Volume, what);
            return;
        };
        let id = ImageId(id);
        if !image.is_whole() {
            // Rows that a crash, or the moment of an image, has of one that is being made.
            return;
        }
        if self.volume.is_image_whole(id, &image) || self.is_gone_by_now(id) {
            return;
        }
        let what = format!("image {id} is missing or altered; it can be deleted, and not be used");
        findings.add(Kind::Image, Subject::Volume, what);
    }

    /// A mounted volume may have dropped it since the snapshot.
    fn is_gone_by_now(&self, id: ImageId) -> bool {
        self.volume.images().iter().all(|image| image.id != id)
    }

    /// Takes a row of the table of held slots.
    pub(super) fn held(
        &self,
        row: &ScannedRow<'_>,
        segments: &mut Segments<'_>,
        findings: &mut Findings,
    ) -> FsResult<()> {
        let (image, segment) = (row.key.a, row.key.number());
        let (Ok(id), Ok(slots)) = (u32::try_from(segment), SegmentRow::decode(row.value)) else {
            let what = format!("a row of the slots that image {image} holds cannot be read");
            findings.add(Kind::BadRow, Subject::Segment(segment), what);
            return Ok(());
        };
        if !self.known.contains(&image) {
            let what = format!("slots are held for image {image}, which does not exist");
            findings.add(Kind::Held, Subject::Segment(segment), what);
        }
        segments.held((image, SegmentId(id)), &slots, findings)
    }
}
