//! A ring beside the kernel, on the kernel's own addresses, over veth.

mod changes;
mod conflicts;
mod driven;
mod errors;
mod flows;
mod given;
mod kernel;
mod links;
mod load;
mod policy;
mod router;
mod sockets;

use libtest_mimic::{Arguments, Trial};
use ringwire_tests::net::Veth;
use ringwire_tests::privileged;

/// A test with kernels at both ends of a pair, in the ring's namespace: there the ring's ports are.
fn beside(name: &str, test: impl FnOnce(&Veth) + Send + 'static) -> Trial {
    beside_with(1500, name, test)
}

fn beside_with(mtu: u32, name: &str, test: impl FnOnce(&Veth) + Send + 'static) -> Trial {
    privileged(name, move || {
        let veth = Veth::new(2, mtu, true);
        veth.peer_offloads_off();
        veth.in_ring(|| test(&veth));
    })
}

fn main() {
    let mut trials = flows::trials();
    trials.extend(conflicts::trials());
    trials.extend(kernel::trials());
    trials.extend(changes::trials());
    trials.extend(errors::trials());
    trials.extend(given::trials());
    trials.extend(links::trials());
    trials.extend(driven::trials());
    trials.extend(policy::trials());
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
