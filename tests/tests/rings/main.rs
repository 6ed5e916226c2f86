//! Rings that are set up in other ways than the oracle's: one text (`text.rs`) runs on the kernel's
//! io_uring and on ringwire, and the transcripts must be equal.

use libtest_mimic::{Arguments, Trial};
use ringwire_tests::net::Veth;
use ringwire_tests::privileged;

mod on_kernel {
    use io_uring::{Builder, IoUring, cqueue, squeue};

    /// `io_uring_register_sync_msg` of liburing.
    ///
    /// # Safety
    /// None is needed here.
    pub unsafe fn register_sync_msg(entry: &squeue::Entry) -> std::io::Result<()> {
        const SEND_MSG_RING: u32 = 31;
        // SAFETY: the kernel reads the 64 bytes of the entry during the call.
        let sent =
            unsafe { libc::syscall(libc::SYS_io_uring_register, -1, SEND_MSG_RING, entry, 1) };
        if sent < 0 {
            return Err(std::io::Error::last_os_error());
        }
        Ok(())
    }

    pub fn builder<S: squeue::EntryMarker, C: cqueue::EntryMarker>() -> Builder<S, C> {
        IoUring::<S, C>::builder()
    }

    include!("text.rs");
    include!("messages_text.rs");
    include!("polled_text.rs");
}

mod on_ringwire {
    use ringwire::{Builder, IoUring, cqueue, register_sync_msg, squeue};
    use ringwire_tests::net::{RING_INTERFACE, RING_V4};

    pub fn builder<S: squeue::EntryMarker, C: cqueue::EntryMarker>() -> Builder<S, C> {
        let mut builder = IoUring::<S, C>::builder();
        builder
            .interface(RING_INTERFACE)
            .address(format!("{RING_V4}/24").parse().expect("an address"))
            .rx_checksum(ringwire::RxChecksum::AcceptPartial)
            .detect_duplicates(false);
        builder
    }

    include!("text.rs");
    include!("messages_text.rs");
    include!("polled_text.rs");
}

fn main() {
    let arguments = Arguments::from_args();
    let cases = on_kernel::CASES.iter().zip(on_ringwire::CASES);
    let trials: Vec<Trial> = cases
        .map(|(&(name, on_kernel), &(_, on_ringwire))| {
            privileged(name, move || {
                let expected = {
                    let veth = Veth::new(1, 1500, true);
                    let mut world = on_kernel::World::new(&veth);
                    veth.in_ring(|| on_kernel(&mut world));
                    world.transcript
                };
                let actual = {
                    let veth = Veth::new(1, 1500, false);
                    let mut world = on_ringwire::World::new(&veth);
                    veth.in_ring(|| on_ringwire(&mut world));
                    world.transcript
                };
                assert!(!expected.is_empty(), "the case says nothing");
                assert_eq!(
                    actual, expected,
                    "ringwire on the left, the kernel on the right"
                );
            })
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit();
}
