//! The partition keys of the rows of a batch: each set of keys once, and for each row which one.

use std::collections::HashMap;
use std::sync::Arc;

/// Partition keys by row. Rows without keys take no memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowKeys {
    distinct: Vec<Arc<[String]>>,
    of_rows: Vec<u32>,
    places: HashMap<Arc<[String]>, u32>,
}

impl RowKeys {
    /// Adds the next row's keys. Either all rows of a batch have keys or none.
    pub fn push(&mut self, keys: Option<Arc<[String]>>) {
        let Some(keys) = keys else { return };
        let same_as_last = self.of_rows.last().filter(|last| Arc::ptr_eq(&self.distinct[**last as usize], &keys));
        let place = match same_as_last {
            Some(last) => *last,
            None => self.place(keys),
        };
        self.of_rows.push(place);
    }

    fn place(&mut self, keys: Arc<[String]>) -> u32 {
        let next = self.distinct.len() as u32;
        *self.places.entry(keys).or_insert_with_key(|keys| {
            self.distinct.push(Arc::clone(keys));
            next
        })
    }

    /// The number of a row's set of keys within the batch, and the keys.
    #[must_use]
    pub fn of_row(&self, row: usize) -> (u32, &[String]) {
        match self.of_rows.get(row) {
            Some(place) => (*place, &self.distinct[*place as usize]),
            None => (0, &[]),
        }
    }

    /// What they take in memory, roughly.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let of = |keys: &Arc<[String]>| 64 + keys.iter().map(|key| key.len() + 24).sum::<usize>();
        self.of_rows.len() * 4 + self.distinct.iter().map(of).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_keys_are_kept_once() {
        let keys = |key: &str| Some(Arc::from([key.to_owned()]));
        let mut rows = RowKeys::default();
        let shared = keys("a");
        for of_row in [shared.clone(), shared, keys("b"), keys("a")] {
            rows.push(of_row);
        }
        let places: Vec<_> = (0..4).map(|row| rows.of_row(row)).collect();
        let (a, b) = (&["a".to_owned()][..], &["b".to_owned()][..]);
        assert_eq!(places, [(0, a), (0, a), (1, b), (0, a)]);
        let mut none = RowKeys::default();
        none.push(None);
        assert_eq!((none.of_row(0), none.memory_bytes()), ((0, &[][..]), 0));
    }
}
