//! Room in memory: how many bytes of puts may be in flight, of one connection or of the whole process.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A number of bytes that puts share. Counted in KiB, since a semaphore's permits are counted in 32 bits.
#[derive(Debug, Clone)]
pub struct Room {
    kib: Arc<Semaphore>,
    kib_max: u32,
}

/// A put's part of a [`Room`], given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
    _outer: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// Two places of the same put: of a stream's share and of what all share.
    pub(super) fn within(self, outer: Self) -> Self {
        Self { _permit: self._permit, _outer: Some(outer._permit) }
    }
}

impl Room {
    /// Room for so many bytes.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        let kib_max = u32::try_from(bytes_max.div_ceil(1024)).unwrap_or(u32::MAX).clamp(1, 1 << 28);
        Self { kib: Arc::new(Semaphore::new(kib_max as usize)), kib_max }
    }

    /// Waits for a place. A put that is larger than the room takes all of it.
    pub async fn enter(&self, bytes: usize) -> Place {
        let permit = Arc::clone(&self.kib).acquire_many_owned(self.kib_of(bytes)).await;
        Place { _permit: permit.expect("the room is never closed"), _outer: None }
    }

    /// Takes a place where there is one now.
    #[must_use]
    pub fn try_enter(&self, bytes: usize) -> Option<Place> {
        let permit = Arc::clone(&self.kib).try_acquire_many_owned(self.kib_of(bytes)).ok()?;
        Some(Place { _permit: permit, _outer: None })
    }

    fn kib_of(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).clamp(1, self.kib_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_does_not_fit_waits_until_there_is_room() {
        let room = Room::new(10 << 10);
        let first = room.enter(6 << 10).await;
        assert!(room.try_enter(4 << 10).is_some());
        assert!(room.try_enter((4 << 10) + 1).is_none());
        let waiting = tokio::spawn({
            let room = room.clone();
            async move { room.enter(100 << 10).await }
        });
        drop(first);
        drop(waiting.await.unwrap());
        assert!(room.try_enter(10 << 10).is_some(), "what was larger than the room gave all of it back");
    }
}
