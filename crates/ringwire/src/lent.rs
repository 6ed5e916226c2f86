//! What a lent buffer group has lent, in the application's hands.

use std::io;
use std::sync::Arc;

use ringwire_abi::flags::IOU_PBUF_RING_LENT as FLAG;
use ringwire_umem::{LendTable, Lent};

use crate::ring::os_error;
use crate::submitter::Submitter;

/// The flag of [`Submitter::register_buf_ring_with_flags`] that makes a lent group: ringwire's own, the
/// kernel has none.
pub const IOU_PBUF_RING_LENT: u16 = FLAG;

impl Submitter<'_> {
    /// What a lent group has lent, by buffer id. The handle is for any thread; it is asked for once.
    ///
    /// # Errors
    /// `ENOENT`: no such group; `EINVAL`: it is not a lent one.
    pub fn lent_buffers(&self, bgid: u16) -> io::Result<LentBuffers> {
        let core = self.shared.enter()?;
        let table = core.engine.lend_table(bgid).map_err(os_error)?;
        Ok(LentBuffers::of(table))
    }
}

/// Received bytes where the NIC wrote them, by the buffer id of a completion of RECV, RECVMSG or READ with a
/// group that was registered with [`IOU_PBUF_RING_LENT`].
///
/// An id's bytes stay from the completion on until the id is added to the buffer ring again, or they are
/// [taken](Self::take). When the group is unregistered, or the ring dropped, they stay until the last handle
/// is dropped.
#[derive(Clone, Debug)]
pub struct LentBuffers {
    table: Arc<LendTable>,
}

impl LentBuffers {
    pub(crate) fn of(table: Arc<LendTable>) -> LentBuffers {
        LentBuffers { table }
    }

    /// The bytes under an id: with `IORING_CQE_F_BUF_MORE` those of the completions before with the same id,
    /// too, one behind the other. `None`: there are none.
    ///
    /// # Safety
    /// While the slice is in use, the id is not added to the buffer ring, nor are its bytes taken and dropped.
    pub unsafe fn get(&self, bid: u16) -> Option<&[u8]> {
        // SAFETY: the caller's promise: the engine takes bytes back when it sees their id in the ring.
        unsafe { self.table.get(bid) }
    }

    /// Takes the bytes of a completion over, as long as its result says: what is left of several completions'
    /// stays. The id can be added to the ring at once; the bytes go back when the guard is dropped.
    pub fn take(&self, bid: u16, len: usize) -> Option<Lent> {
        self.table.take(bid, len)
    }
}
