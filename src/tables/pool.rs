//! Buffers that go round between threads instead of being allocated anew: clearing a fresh page costs the kernel more
//! than decoding what fills it.

use std::sync::{Arc, Mutex, PoisonError};

/// Used buffers that wait for their next use; clones share them.
#[derive(Debug)]
pub struct Pool<T> {
    waiting: Arc<Mutex<Vec<T>>>,
}

/// More never wait: what the channels between the threads hold at once is less.
const WAITING_MAX: usize = 32;

impl<T> Clone for Pool<T> {
    fn clone(&self) -> Pool<T> {
        Pool { waiting: self.waiting.clone() }
    }
}

impl<T> Default for Pool<T> {
    fn default() -> Pool<T> {
        Pool { waiting: Arc::default() }
    }
}

impl<T: Default> Pool<T> {
    /// Returns a used buffer as it was given, or a new one.
    pub fn take(&self) -> T {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    pub fn give(&self, buffer: T) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < WAITING_MAX {
            waiting.push(buffer);
        }
    }
}
