//! The table of registered buffers: the application's own, and those of the requests that are none of
//! its own.

use ringwire::engine::Engine;
use ringwire_abi::register::{
    IORING_REGISTER_BUFFERS_UPDATE, IORING_REGISTER_BUFFERS2, IORING_RSRC_REGISTER_SPARSE,
    RsrcRegister, RsrcUpdate2,
};

/// Registers a table of empty slots.
pub(crate) fn table(engine: &mut Engine, slots: u32) {
    let table = RsrcRegister {
        nr: slots,
        flags: IORING_RSRC_REGISTER_SPARSE,
        ..RsrcRegister::default()
    };
    let bytes = size_of::<RsrcRegister>() as u32;
    // SAFETY: the argument lives through the call, and points nowhere.
    unsafe { engine.register(IORING_REGISTER_BUFFERS2, &raw const table as u64, bytes) }
        .expect("a table of buffers");
}

/// Puts memory into the slots from `first` on. It is the application's, which its host keeps as long as
/// the engine.
pub(crate) fn put(engine: &mut Engine, first: u16, memory: &[libc::iovec]) {
    let update = RsrcUpdate2 {
        offset: first.into(),
        data: memory.as_ptr() as u64,
        nr: memory.len() as u32,
        ..RsrcUpdate2::default()
    };
    let bytes = size_of::<RsrcUpdate2>() as u32;
    // SAFETY: the argument and the iovecs live through the call, and what these name as long as the
    // engine, by the caller's promise.
    unsafe {
        engine.register(
            IORING_REGISTER_BUFFERS_UPDATE,
            &raw const update as u64,
            bytes,
        )
    }
    .expect("registered buffers");
}
