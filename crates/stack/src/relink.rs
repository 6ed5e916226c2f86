//! The link under a stack goes, comes back, or is another one.

use ringwire_tcp::Instant;
use ringwire_umem::Ledger;

use crate::Stack;
use crate::neighbour::Mac;
use crate::plan::PlanLimits;

impl Stack {
    /// The link is gone: who will be on it when it is back, and with which Ethernet address, is to be found out then
    /// (Linux `neigh_carrier_down`, `neigh_ifdown`). What waited for a neighbour is dropped.
    pub fn link_lost(&mut self, ledger: &mut Ledger) {
        for packet in self.neighbours.clear() {
            self.drop_packet(ledger, packet);
        }
        self.tcp.forget_flow();
    }

    /// The interface is another one than before, under the same name: its Ethernet address, its MTU in bytes of IP
    /// packet, and what its packets may be. Our addresses are announced, so that neighbours learn where they are now.
    ///
    /// To be called while nothing waits to be sent: what is written already has the old address, and was planned for
    /// the old interface.
    ///
    /// # Panics
    /// If the MTU is below 576.
    pub fn relink(&mut self, now: Instant, mac: Mac, mtu: u16, plan: PlanLimits) {
        assert!(mtu >= 576, "a stack has an MTU of at least 576");
        self.config.plan = plan;
        self.set_link(now, mac, mtu);
        self.dad.announce(now);
        self.relink_kernel();
    }
}
