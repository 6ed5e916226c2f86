//! Buffer groups whose entries name memory in the registered buffers: a SEND or SEND_ZC with a group and
//! `IORING_RECVSEND_FIXED_BUF`.

use ringwire_abi::errno::Errno;
use ringwire_abi::request::Transfer;

use super::Engine;
use super::buffers::MAX_BUNDLE;
use super::request::{Kept, RequestId};

impl Engine {
    /// Takes the buffers of a send, and holds the registered buffer that they lie in. Also where there is an error,
    /// the request's flags then name the first, if it is used up.
    pub(super) fn take_registered(
        &mut self,
        id: RequestId,
        send: &Transfer,
        group: u16,
    ) -> Result<(), Errno> {
        let most = if send.bundle { MAX_BUNDLE } else { 1 };
        let registered = &self.registered;
        let find = |addr, len| registered.entry(addr, len);
        let limits = (send.len as usize, most);
        let (flags, taken) = self.groups.take_registered(group, limits, find);
        let request = self.requests.get_mut(id);
        request.buffer_flags = flags;
        let (node, mut bundle) = taken?;
        // A zero-copy send is one pick: more completions than one would say that there are more notifications.
        bundle.exhausted |= !send.bundle || send.notify.is_some();
        request.kept = Some(Kept::Many(bundle));
        self.registered.hold(node);
        // What a bundle that goes on has sent before was copied.
        if let Some(before) = request.buffer.replace(node) {
            self.let_go_of_buffer(before);
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "registered_group_bed.rs"]
mod bed;
#[cfg(test)]
#[path = "registered_group_change_tests.rs"]
mod change_tests;
#[cfg(test)]
#[path = "registered_group_tests.rs"]
mod tests;
