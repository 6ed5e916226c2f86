//! Valgrind's client requests (valgrind/valgrind.h; the manual, "The Client Request mechanism").

const RUNNING_ON_VALGRIND: u64 = 0x1001;

/// A client request; 0 where no Valgrind hears it.
#[cfg(target_arch = "x86_64")]
pub(crate) fn request(request: u64, a: u64, b: u64) -> u64 {
    let arguments = [request, a, b, 0, 0, 0];
    let mut result = 0;
    // SAFETY: the rotations come to 128 bits, so rdi is as it was, and to exchange a register with itself does
    // nothing: on a processor this only sets flags. Valgrind reads the arguments and writes rdx.
    unsafe {
        std::arch::asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") arguments.as_ptr(),
            inout("rdx") result,
            options(nostack),
        );
    }
    result
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn request(_: u64, _: u64, _: u64) -> u64 {
    0
}

/// Whether one of Valgrind's tools runs this program.
pub(crate) fn is_running() -> bool {
    request(RUNNING_ON_VALGRIND, 0, 0) > 0
}
