//! What a program under Valgrind's callgrind can tell it: what to count (valgrind/callgrind.h; the manual,
//! "Callgrind specific client requests"). Callgrind is to be started with `--instr-atstart=no --collect-atstart=no`.

use std::ffi::CStr;

use crate::valgrind::request;

/// `VG_USERREQ_TOOL_BASE('C', 'T')` and what callgrind.h counts from there.
const ZERO_STATS: u64 = 0x4354_0001;
const TOGGLE_COLLECT: u64 = 0x4354_0002;
const DUMP_STATS_AT: u64 = 0x4354_0003;
const START_INSTRUMENTATION: u64 = 0x4354_0004;
const STOP_INSTRUMENTATION: u64 = 0x4354_0005;

/// Whether callgrind, or another of Valgrind's tools, runs this program.
pub fn is_running() -> bool {
    crate::valgrind::is_running()
}

/// Begins to count, or ends it. In the place of a clock: it tells no time.
pub fn toggle() -> u64 {
    request(TOGGLE_COLLECT, 0, 0);
    0
}

/// Callgrind writes a file of what is counted meanwhile, by [`toggle`], under this name.
pub fn record(name: &CStr, work: impl FnOnce()) {
    request(START_INSTRUMENTATION, 0, 0);
    request(ZERO_STATS, 0, 0);
    work();
    request(DUMP_STATS_AT, name.as_ptr() as u64, 0);
    request(STOP_INSTRUMENTATION, 0, 0);
}
