//! How many of something there may be at one time, in all and for each who has them.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Places that are taken and given back.
#[derive(Clone)]
pub(crate) struct Cap(Arc<Inner>);

struct Inner {
    in_all: usize,
    each: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    /// Only of those who have any.
    each: HashMap<Vec<u8>, usize>,
}

/// A place, given back when dropped.
pub(crate) struct Place {
    cap: Cap,
    whose: Vec<u8>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// All are taken.
    InAll,
    /// Who asks has as many as one may have.
    Each,
}

impl Cap {
    pub(crate) fn new(in_all: usize, each: usize) -> Self {
        Self(Arc::new(Inner {
            in_all,
            each,
            taken: Mutex::default(),
        }))
    }

    /// Takes a place, if there is one.
    pub(crate) fn take(&self, whose: &[u8]) -> Result<Place, Full> {
        let mut taken = self.0.taken.lock();
        let has = taken.each.get(whose).copied().unwrap_or(0);
        if has >= self.0.each {
            return Err(Full::Each);
        }
        if taken.all >= self.0.in_all {
            return Err(Full::InAll);
        }
        taken.all += 1;
        taken.each.insert(whose.to_vec(), has + 1);
        Ok(Place {
            cap: self.clone(),
            whose: whose.to_vec(),
        })
    }

    /// Places that are taken.
    pub(crate) fn taken(&self) -> usize {
        self.0.taken.lock().all
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.cap.0.taken.lock();
        taken.all -= 1;
        let left = taken.each.get(&self.whose).map_or(0, |has| has - 1);
        if left == 0 {
            taken.each.remove(&self.whose);
        } else {
            taken.each.insert(self.whose.clone(), left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_more_places_than_one_may_and_all_have_no_more_than_there_are() {
        let cap = Cap::new(3, 2);
        let places = [cap.take(b"a"), cap.take(b"a"), cap.take(b"b")];
        assert!(places.iter().all(Result::is_ok));
        assert_eq!(cap.take(b"a").err(), Some(Full::Each));
        assert_eq!(cap.take(b"b").err(), Some(Full::InAll));
        drop(places);
        assert_eq!(cap.taken(), 0);
        assert!(cap.0.taken.lock().each.is_empty());
        assert!(cap.take(b"b").is_ok());
    }
}
