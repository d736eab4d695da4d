//! So many calls of modules at once, over all deliveries: each may take the memory of one instance.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use prometheus::{Histogram, IntGauge};

/// Places for calls. Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::transform) struct Slots {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    free: Mutex<usize>,
    freed: Condvar,
    in_use: IntGauge,
    wait_seconds: Histogram,
}

/// A place that is taken until it is dropped.
#[derive(Debug)]
pub(super) struct Slot<'a> {
    inner: &'a Inner,
}

impl Slots {
    /// So many places; 0 is the number of cores.
    pub(in crate::transform) fn new(count: usize, in_use: IntGauge, wait_seconds: Histogram) -> Self {
        let count = if count == 0 { std::thread::available_parallelism().map_or(1, usize::from) } else { count };
        Self { inner: Arc::new(Inner { free: Mutex::new(count), freed: Condvar::new(), in_use, wait_seconds }) }
    }

    /// Waits for a place. Only threads that may block call it.
    pub(super) fn take(&self) -> Slot<'_> {
        let inner = &*self.inner;
        let timer = inner.wait_seconds.start_timer();
        let mut free = inner.free.lock();
        inner.freed.wait_while(&mut free, |free| *free == 0);
        *free -= 1;
        timer.observe_duration();
        inner.in_use.inc();
        Slot { inner }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        *self.inner.free.lock() += 1;
        self.inner.in_use.dec();
        self.inner.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use crate::metrics::Metrics;

    use super::*;

    #[test]
    fn never_more_calls_than_places() {
        let metrics = Metrics::new();
        let slots = Slots::new(2, metrics.gauge("in_use", "x"), metrics.latency("wait", "x"));
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _slot = slots.take();
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        now.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!((1..=2).contains(&most.load(Ordering::SeqCst)));
        assert_eq!(slots.inner.in_use.get(), 0);
    }
}
