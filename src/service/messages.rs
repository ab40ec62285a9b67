//! The messages of a stream, on their way to everybody who listens.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A listener that is slower than this many messages loses the oldest.
const WAITING_MAX: usize = 1_000;

/// Hands each message to all listeners.
#[derive(Debug, Clone, Default)]
pub struct Messages {
    listeners: Arc<Mutex<Vec<Arc<Queue>>>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Arc<str>>,
    lost_count: u64,
    is_closed: bool,
}

/// One who listens, from when it was made on.
#[derive(Debug)]
pub struct Listener {
    queue: Arc<Queue>,
}

/// What a listener hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    Message(Arc<str>),
    /// So many were lost, since this listener is too slow.
    Lost(u64),
    Nothing,
    /// No more will come.
    End,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Messages {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Queue>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Never waits: a slow listener loses messages, and is told how many.
    pub fn tell(&self, message: &str) {
        let message: Arc<str> = Arc::from(message);
        for queue in self.lock().iter() {
            let mut waiting = queue.lock();
            if waiting.messages.len() >= WAITING_MAX {
                waiting.messages.pop_front();
                waiting.lost_count += 1;
            }
            waiting.messages.push_back(message.clone());
            queue.changed.notify_one();
        }
    }

    pub fn listen(&self) -> Listener {
        let queue = Arc::<Queue>::default();
        self.lock().push(queue.clone());
        Listener { queue }
    }

    /// Forgets listeners that have gone.
    pub fn forget(&self, listener: &Listener) {
        self.lock().retain(|queue| !Arc::ptr_eq(queue, &listener.queue));
    }

    /// Tells all listeners that no more will come.
    pub fn end(&self) {
        for queue in self.lock().iter() {
            queue.lock().is_closed = true;
            queue.changed.notify_one();
        }
    }
}

impl Listener {
    /// Waits at most so long.
    pub fn next(&self, timeout: Duration) -> Heard {
        let mut waiting = self.queue.lock();
        if waiting.messages.is_empty() && !waiting.is_closed {
            let waited = self.queue.changed.wait_timeout(waiting, timeout);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if waiting.lost_count > 0 {
            return Heard::Lost(std::mem::take(&mut waiting.lost_count));
        }
        match waiting.messages.pop_front() {
            Some(message) => Heard::Message(message),
            None if waiting.is_closed => Heard::End,
            None => Heard::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_listener_hears_all_from_its_beginning_on() {
        let messages = Messages::default();
        messages.tell("before");
        let (one, other) = (messages.listen(), messages.listen());
        messages.tell("a");
        messages.forget(&other);
        messages.tell("b");
        messages.end();
        let hear = |listener: &Listener| listener.next(Duration::ZERO);
        assert_eq!(
            [hear(&one), hear(&one), hear(&one)],
            [Heard::Message("a".into()), Heard::Message("b".into()), Heard::End]
        );
        assert_eq!([hear(&other), hear(&other)], [Heard::Message("a".into()), Heard::Nothing]);
    }

    #[test]
    fn a_slow_listener_loses_the_oldest_and_is_told() {
        let messages = Messages::default();
        let slow = messages.listen();
        for number in 0..WAITING_MAX + 3 {
            messages.tell(&number.to_string());
        }
        assert_eq!(slow.next(Duration::ZERO), Heard::Lost(3));
        assert_eq!(slow.next(Duration::ZERO), Heard::Message("3".into()));
    }
}
