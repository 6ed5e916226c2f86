//! Rings that are set up in other ways than the oracle's: one text (`text.rs`) runs on the kernel's
//! io_uring and on ringwire, and the transcripts must be equal.

use libtest_mimic::{Arguments, Trial};
use ringwire_tests::net::Veth;
use ringwire_tests::privileged;

mod on_kernel {
    use io_uring::{Builder, IoUring, cqueue, squeue};

    pub fn builder<S: squeue::EntryMarker, C: cqueue::EntryMarker>() -> Builder<S, C> {
        IoUring::<S, C>::builder()
    }

    include!("text.rs");
}

mod on_ringwire {
    use ringwire::{Builder, IoUring, cqueue, squeue};
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
