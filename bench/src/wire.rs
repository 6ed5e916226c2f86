//! How frames get from one host to the other, the same for ours and smoltcp's: each is copied once, from
//! where its sender wrote it to a buffer of its receiver's, as a NIC's DMA does; it waits there with
//! those before it until the receiver takes them all. Buffers are used again last in, first out.

/// Carries a frame.
///
/// # Panics
/// If the buffer is too short.
#[inline(never)]
pub fn carry(frame: &[u8], buffer: &mut [u8]) {
    buffer[..frame.len()].copy_from_slice(frame);
}
