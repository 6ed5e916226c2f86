//! What a program under Valgrind's memcheck can tell it: which of its memory must not be touched
//! (valgrind/valgrind.h and valgrind/memcheck.h; the manual, "Client Requests").

use crate::valgrind::request;

const COUNT_ERRORS: u64 = 0x1201;
const CHANGE_ERR_DISABLEMENT: u64 = 0x1801;
/// `VG_USERREQ_TOOL_BASE('M', 'C')` and what memcheck.h counts from there.
const MAKE_MEM_NOACCESS: u64 = 0x4d43_0000;
const MAKE_MEM_DEFINED: u64 = 0x4d43_0002;

/// Whether memcheck, or another of Valgrind's tools, runs this program.
pub fn is_running() -> bool {
    crate::valgrind::is_running()
}

/// Errors found so far, the same one as often as it was met.
pub fn errors() -> u64 {
    request(COUNT_ERRORS, 0, 0)
}

/// From now on each load or store of these bytes is an error.
pub fn seal(bytes: *const u8, len: usize) {
    request(MAKE_MEM_NOACCESS, bytes as u64, len as u64);
}

/// Ends that: they may be read and written.
pub fn open(bytes: *const u8, len: usize) {
    request(MAKE_MEM_DEFINED, bytes as u64, len as u64);
}

/// Does what may touch sealed bytes: a device's part.
pub fn as_device<T>(work: impl FnOnce() -> T) -> T {
    request(CHANGE_ERR_DISABLEMENT, 1, 0);
    let result = work();
    request(CHANGE_ERR_DISABLEMENT, -1i64 as u64, 0);
    result
}
