//! The kernel is the oracle: one text (`text.rs` and what stands beside it) runs on the kernel's io_uring and on ringwire, over
//! a veth pair with the same addresses, and the transcripts of completions must be equal.

use libtest_mimic::{Arguments, Trial};
use ringwire_tests::net::{RING_INTERFACE, RING_V4, RING_V6, Veth};
use ringwire_tests::privileged;

mod on_kernel {
    use io_uring::IoUring;
    include!("text.rs");
    include!("stream_text.rs");
    include!("transfer_text.rs");
    include!("option_text.rs");
    include!("option_effect_text.rs");
    include!("tcp_option_text.rs");
}

mod on_ringwire {
    use ringwire::IoUring;
    include!("text.rs");
    include!("stream_text.rs");
    include!("transfer_text.rs");
    include!("option_text.rs");
    include!("option_effect_text.rs");
    include!("tcp_option_text.rs");
}

/// Entries of the completion queue: small, so that it can be filled.
const SQ_ENTRIES: u32 = 16;
const CQ_ENTRIES: u32 = 16;

fn kernel(case: fn(&mut on_kernel::Bench)) -> Vec<String> {
    let veth = Veth::new(1, 1500, true);
    let ring = veth.in_ring(|| {
        io_uring::IoUring::builder()
            .setup_cqsize(CQ_ENTRIES)
            .build(SQ_ENTRIES)
            .unwrap()
    });
    let mut bench = on_kernel::Bench::new(ring, &veth);
    // The kernel looks addresses and routes up in the namespace that the socket was made in.
    veth.in_ring(|| case(&mut bench));
    bench.transcript
}

fn ringwire(case: fn(&mut on_ringwire::Bench)) -> Vec<String> {
    let veth = Veth::new(1, 1500, false);
    let ring = veth.in_ring(|| {
        ringwire::IoUring::builder()
            .interface(RING_INTERFACE)
            .address(format!("{RING_V4}/24").parse().unwrap())
            .address(format!("{RING_V6}/64").parse().unwrap())
            .rx_checksum(ringwire::RxChecksum::AcceptPartial)
            .detect_duplicates(false)
            .setup_cqsize(CQ_ENTRIES)
            .build(SQ_ENTRIES)
            .unwrap()
    });
    let mut bench = on_ringwire::Bench::new(ring, &veth);
    case(&mut bench);
    bench.transcript
}

fn main() {
    let arguments = Arguments::from_args();
    let (ours, theirs) = (on_ringwire::all_cases(), on_kernel::all_cases());
    let cases = theirs.zip(ours);
    let trials: Vec<Trial> = cases
        .map(|(&(name, on_kernel), &(_, on_ringwire))| {
            privileged(name, move || {
                let expected = kernel(on_kernel);
                let actual = ringwire(on_ringwire);
                assert!(!expected.is_empty(), "the case says nothing");
                let difference = expected.iter().zip(&actual).find(|(expected, actual)| expected != actual);
                assert!(
                    expected == actual,
                    "first difference (kernel, ringwire): {difference:?}\nkernel:   {expected:#?}\nringwire: {actual:#?}"
                );
            })
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit();
}
