//! The operations in flight, and their memory.

use std::io;
use std::ptr::NonNull;

use ringwire_abi::flags::IORING_NOTIF_USAGE_ZC_COPIED;

use super::payload::{Completed, Operation};
use super::request::{Area, Request};
use crate::{cqueue, squeue};

/// Owns what the entries of operations in flight name, until their last completions.
///
/// An entry's `user_data` is the index of its place here, with the number of operations that the place
/// has had above it: no completion is taken for another operation's. Once there are as many places as
/// operations are ever in flight, nothing is allocated.
#[derive(Debug, Default)]
pub(super) struct Slab {
    places: Vec<Place>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place {
    generation: u32,
    /// The caller's.
    user_data: u64,
    request: Option<Request>,
    /// Not a `Box`: the engine writes to it while the place is moved by its vector's growth, and a box
    /// that is moved promises that nobody does.
    area: NonNull<Area>,
}

/// Operations are told from what was pushed as a raw entry by this bit, which no generation has.
pub(super) const RAW: u64 = 1 << 63;
const GENERATIONS: u32 = (RAW >> 32) as u32 - 1;

impl Slab {
    /// Takes an operation in; returns its entry.
    pub(super) fn insert(
        &mut self,
        user_data: u64,
        request: Request,
    ) -> (Operation, squeue::Entry) {
        let index = self.free.pop().unwrap_or_else(|| self.grow());
        let place = &mut self.places[index as usize];
        place.user_data = user_data;
        let request = place.request.insert(request);
        // SAFETY: the place's own allocation, which lives as long as the place; a place from the free
        // list has no operation in flight, so nobody else reads or writes it.
        let entry = request.entry(unsafe { place.area.as_mut() });
        let key = u64::from(place.generation) << 32 | u64::from(index);
        (Operation(key), entry.user_data(key))
    }

    /// Reads a completion. With an operation's last one its memory goes back to the caller.
    ///
    /// # Panics
    /// If no operation in flight has this `user_data`: to free the memory of another would be worse.
    pub(super) fn complete(&mut self, entry: &cqueue::Entry) -> Completed {
        let (index, generation) = (entry.user_data() as u32, (entry.user_data() >> 32) as u32);
        let place = self.places.get_mut(index as usize);
        let place = place.filter(|place| place.generation == generation && place.request.is_some());
        let place = place.expect("owned: a completion of an operation that is not in flight");
        let mut completed = completed(place.user_data, entry);
        let request = place.request.as_ref().expect("checked above");
        // SAFETY: the place's own allocation; the engine writes to it only before it posts a
        // completion that says so, and on the thread that this is on or, with a thread of its own,
        // before the release store that published the completion.
        request.progress(unsafe { place.area.as_ref() }, &mut completed);
        if completed.more {
            return completed;
        }
        let received = *completed.result.as_ref().unwrap_or(&0);
        let request = place.request.take().expect("checked above");
        if let Some(payload) = request.into_payload(received) {
            completed.payload = Some(payload);
        }
        place.generation = (place.generation + 1) & GENERATIONS;
        self.free.push(index);
        completed
    }

    /// Operations in flight.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    fn grow(&mut self) -> u32 {
        let index =
            u32::try_from(self.places.len()).expect("owned: operations in flight are counted");
        self.places.push(Place {
            generation: 0,
            user_data: 0,
            request: None,
            area: NonNull::from(Box::leak(Box::default())),
        });
        index
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // SAFETY: leaked from a box by `grow`, and freed here only. The engine has stopped: the ring
        // is dropped before its slab.
        drop(unsafe { Box::from_raw(self.area.as_ptr()) });
    }
}

/// What a completion says by itself.
pub(super) fn completed(user_data: u64, entry: &cqueue::Entry) -> Completed {
    let (res, flags) = (entry.result(), entry.flags());
    // The second completion of a zero-copy send: its result is a set of flags.
    let copied = cqueue::notif(flags) && res as u32 & IORING_NOTIF_USAGE_ZC_COPIED != 0;
    let res = if cqueue::notif(flags) { 0 } else { res };
    Completed {
        user_data,
        result: u32::try_from(res).map_err(|_| io::Error::from_raw_os_error(-res)),
        more: cqueue::more(flags),
        flags,
        payload: None,
        rest: Vec::new(),
        address: None,
        truncated: false,
        copied,
    }
}

#[cfg(test)]
#[path = "slab_tests.rs"]
mod tests;
