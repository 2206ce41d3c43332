//! Slots that kept images name: they are neither punched nor deleted.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::layout::{ImageId, SegmentId, SegmentRow};

/// What was live in each segment at the moment of an image.
pub(in crate::volume) type Slots = BTreeMap<SegmentId, SegmentRow>;

/// The slots of every kept image.
#[derive(Default)]
pub(in crate::volume) struct Held {
    images: BTreeMap<ImageId, Slots>,
    /// The image in whose segments nothing is punched at all, because they are being copied.
    still: Option<ImageId>,
}

impl Held {
    /// A number for what holds slots and is no image: whatever is being read by others.
    pub(in crate::volume) fn free_id(&self) -> ImageId {
        let after = self.images.keys().next_back().map_or(0, |id| id.0);
        ImageId(after.max(ImageId::LAST) + 1)
    }

    /// Holds the slots of an image from here on.
    pub(in crate::volume) fn add(&mut self, id: ImageId, slots: Slots) {
        self.images.insert(id, slots);
    }

    /// Notes what one segment had at the moment of an image.
    pub(in crate::volume) fn add_segment(&mut self, id: ImageId, at: SegmentId, row: SegmentRow) {
        self.images.entry(id).or_default().insert(at, row);
    }

    /// Lets go of an image's slots. Returns the segments where nothing live names some of them.
    pub(in crate::volume) fn remove(&mut self, id: ImageId, live: &Slots) -> BTreeSet<SegmentId> {
        let slots = self.images.remove(&id).unwrap_or_default();
        self.still = self.still.filter(|still| *still != id);
        let none = SegmentRow::default();
        slots
            .iter()
            .filter(|(at, row)| row.live_beyond(live.get(at).unwrap_or(&none)) > 0)
            .map(|(at, _)| *at)
            .collect()
    }

    /// Leaves the segments of an image as they are, also what is dead in them.
    pub(in crate::volume) fn keep_still(&mut self, id: ImageId) {
        self.still = Some(id);
    }

    /// Whether nothing is to be punched in a segment.
    pub(in crate::volume) fn is_still(&self, at: SegmentId) -> bool {
        let slots = self.still.and_then(|id| self.images.get(&id));
        slots.is_some_and(|slots| slots.contains_key(&at))
    }

    /// The slots of one image.
    pub(in crate::volume) fn of(&self, id: ImageId) -> Option<&Slots> {
        self.images.get(&id)
    }

    /// Whether an image names a slot of the segment.
    pub(in crate::volume) fn holds(&self, at: SegmentId) -> bool {
        let mut rows = self.images.values().filter_map(|slots| slots.get(&at));
        rows.any(|row| row.live() > 0)
    }

    /// The segment with what images name in it as live, too.
    pub(in crate::volume) fn over<'a>(
        &self,
        at: SegmentId,
        row: &'a SegmentRow,
    ) -> Cow<'a, SegmentRow> {
        let mut all = Cow::Borrowed(row);
        for held in self.images.values().filter_map(|slots| slots.get(&at)) {
            if held.live_beyond(&all) > 0 {
                // The file is as long as the volume says, whatever an image says.
                let committed = all.committed;
                all.to_mut().add(held);
                all.to_mut().committed = committed;
            }
        }
        all
    }

    /// Slots that are kept only because images name them.
    pub(in crate::volume) fn back(&self, live: &Slots) -> u64 {
        let none = SegmentRow::default();
        let named: BTreeSet<SegmentId> = self
            .images
            .values()
            .flat_map(|s| s.keys().copied())
            .collect();
        let held = |at: SegmentId| {
            let row = live.get(&at).unwrap_or(&none);
            u64::from(self.over(at, row).live_beyond(row))
        };
        named.into_iter().map(held).sum()
    }

    /// Slots that are kept only because some of these images name them.
    pub(in crate::volume) fn alone(&self, ids: &[ImageId], live: &Slots) -> u64 {
        let own: Vec<&Slots> = ids.iter().filter_map(|id| self.images.get(id)).collect();
        let named: BTreeSet<SegmentId> = own.iter().flat_map(|s| s.keys().copied()).collect();
        let alone = |at: SegmentId| {
            let mut others = live.get(&at).cloned().unwrap_or_default();
            for (id, slots) in &self.images {
                if !ids.contains(id)
                    && let Some(row) = slots.get(&at)
                {
                    others.add(row);
                }
            }
            let mut all = SegmentRow::default();
            for row in own.iter().filter_map(|slots| slots.get(&at)) {
                all.add(row);
            }
            u64::from(all.live_beyond(&others))
        };
        named.into_iter().map(alone).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(slots: &[u32]) -> SegmentRow {
        let mut row = SegmentRow::default();
        for slot in slots {
            row.set_live(*slot);
        }
        row
    }

    #[test]
    fn what_is_held_back_is_what_only_images_name() {
        let at = SegmentId(4);
        let mut held = Held::default();
        held.add(ImageId(1), Slots::from([(at, row(&[1, 2, 3]))]));
        held.add(ImageId(2), Slots::from([(at, row(&[3, 4]))]));
        let live = Slots::from([(at, row(&[2, 9]))]);
        assert_eq!(held.back(&live), 3);
        assert_eq!(held.alone(&[ImageId(1)], &live), 1);
        assert_eq!(held.alone(&[ImageId(2)], &live), 1);
        assert_eq!(held.alone(&[ImageId(1), ImageId(2)], &live), 3);
        assert_eq!(held.remove(ImageId(1), &live), BTreeSet::from([at]));
        assert_eq!(held.back(&live), 2);
        assert!(
            held.remove(ImageId(2), &Slots::from([(at, row(&[3, 4]))]))
                .is_empty()
        );
        assert!(!held.holds(at));
    }

    #[test]
    fn a_segment_that_is_gone_is_still_held() {
        let mut held = Held::default();
        held.add(ImageId(1), Slots::from([(SegmentId(1), row(&[7]))]));
        assert_eq!(held.back(&Slots::new()), 1);
        assert!(held.holds(SegmentId(1)));
        assert!(!held.holds(SegmentId(2)));
    }
}
