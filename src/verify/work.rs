//! Threads, and the bytes they may hold together.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use super::VerifyError;

/// Lets work in until it holds so many bytes together; what is larger than all of it goes alone.
#[derive(Debug)]
pub(super) struct Gate {
    held: Mutex<u64>,
    changed: Condvar,
    limit: u64,
}

/// Bytes that are given back when this is dropped.
#[derive(Debug)]
pub(super) struct Held<'a> {
    gate: &'a Gate,
    bytes: u64,
}

impl Gate {
    pub(super) fn new(limit: u64) -> Self {
        Self { held: Mutex::new(0), changed: Condvar::new(), limit }
    }

    /// Waits for room. Whoever holds some must not ask for more: two of those would wait for ever.
    pub(super) fn enter(&self, bytes: u64) -> Held<'_> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        while *held != 0 && held.saturating_add(bytes) > self.limit {
            held = self.changed.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        *held = held.saturating_add(bytes);
        Held { gate: self, bytes }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut held = self.gate.held.lock().unwrap_or_else(PoisonError::into_inner);
        *held = held.saturating_sub(self.bytes);
        drop(held);
        self.gate.changed.notify_all();
    }
}

/// Hands out the numbers from 0 up to an end, a few at a time.
#[derive(Debug)]
pub(super) struct Counter {
    next: AtomicU64,
    end: u64,
}

impl Counter {
    pub(super) fn new(end: u64) -> Self {
        Self { next: AtomicU64::new(0), end }
    }

    pub(super) fn take(&self) -> Option<u64> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < self.end).then_some(number)
    }
}

/// One bit for each of many things, set from many threads.
#[derive(Debug)]
pub(super) struct Bits(Vec<AtomicU64>);

impl Bits {
    pub(super) fn new(count: u64) -> Self {
        let words = usize::try_from(count.div_ceil(64)).unwrap_or(0);
        Self(std::iter::repeat_with(AtomicU64::default).take(words).collect())
    }

    fn word(&self, number: u64) -> Option<&AtomicU64> {
        usize::try_from(number / 64).ok().and_then(|word| self.0.get(word))
    }

    /// Sets one; whether it was set before.
    pub(super) fn set(&self, number: u64) -> bool {
        let mask = 1 << (number % 64);
        self.word(number).is_some_and(|word| word.fetch_or(mask, Ordering::Relaxed) & mask != 0)
    }

    pub(super) fn get(&self, number: u64) -> bool {
        let mask = 1 << (number % 64);
        self.word(number).is_some_and(|word| word.load(Ordering::Relaxed) & mask != 0)
    }
}

/// Runs `work` on so many threads and gives what each came to.
pub(super) fn workers<T: Send>(
    threads: usize,
    work: impl Fn() -> Result<T, VerifyError> + Sync,
) -> Result<Vec<T>, VerifyError> {
    thread::scope(|scope| {
        let mut handles = Vec::with_capacity(threads);
        for _ in 0..threads.max(1) {
            let builder = thread::Builder::new().name("verify".into());
            handles.push(builder.spawn_scoped(scope, &work).map_err(VerifyError::Thread)?);
        }
        let done = handles.into_iter().map(thread::ScopedJoinHandle::join);
        done.map(|result| {
            result.map_err(|_| VerifyError::Internal("a checking thread panicked"))?
        })
        .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_handed_out_once_and_bits_stay() {
        let (counter, bits, gate) = (Counter::new(1000), Bits::new(1000), Gate::new(10));
        let taken = workers(4, || {
            let mut taken = 0_u64;
            while let Some(number) = counter.take() {
                let _held = gate.enter(number % 20);
                assert!(!bits.set(number));
                taken += 1;
            }
            Ok(taken)
        });
        assert_eq!(taken.unwrap().iter().sum::<u64>(), 1000);
        assert!((0..1000).all(|number| bits.get(number)) && !bits.get(5000));
    }
}
