//! Making a ring: what the kernel's set-up takes, and what a NIC needs.

mod build;
mod check;

use std::io;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use io_uring::{cqueue, squeue};
use ringwire_abi::flags::*;
#[cfg(doc)]
use ringwire_stack::MAX_ADDRESSES;
use ringwire_stack::{Cidr, DadConfig, RxChecksum, Stack, multicast_mac, solicited_node};
use ringwire_umem::{AreaLayout, Layout, Ledger, Umem, UmemError};
use ringwire_xsk::{AttachMode, BindMode, Features, Interface, Mode, Privileges, Program, Socket};

#[cfg(doc)]
use crate::IoUring;
use crate::device::Device;
use crate::engine::LinkState;
use crate::host_kernel::HostKernel;
use crate::offload::TxChecksum;
use crate::report::Report;
use crate::ring::now;
use crate::setup_error::SetupError;

/// Bytes of a chunk of UMEM.
pub const CHUNK_BYTES: u32 = 4096;
pub(crate) const FILL_RING: u32 = 2048;
/// RX chunks of each queue: a full fill ring, and as many again for what sockets have queued.
const RX_CHUNKS_PER_QUEUE: u32 = 2 * FILL_RING;
/// One eighth of the RX chunks is never the application's.
const RESERVE_SHARE: u32 = 8;
const SEND_CHUNKS: u32 = 4096;
/// Chunks for segments without payload, and those sent again: no send can use them up.
const HEADER_CHUNKS: u32 = 512;

/// The smallest MTU, in bytes, of an interface whose ring has an IPv4 address.
pub const LEAST_MTU_V4: u32 = 576;
/// The smallest MTU, in bytes, of an interface whose ring has an IPv6 address (RFC 8200, section 5).
pub const LEAST_MTU_V6: u32 = 1280;

/// What a ring is made with: the kernel's set-up flags as in the `io-uring` crate, and the NIC.
#[derive(Clone, Debug)]
pub struct Builder<S = squeue::Entry, C = cqueue::Entry>
where
    S: squeue::EntryMarker,
    C: cqueue::EntryMarker,
{
    entries: PhantomData<(S, C)>,
    setup_flags: u32,
    cq_entries: u32,
    sq_thread_idle: u32,
    sq_thread_cpu: Option<u32>,
    interface: Option<String>,
    queues: Option<Vec<u32>>,
    addresses: Vec<Cidr>,
    gateways: Vec<IpAddr>,
    rx_chunks: Option<u32>,
    send_chunks: u32,
    areas: Vec<AreaLayout>,
    scatter_from: Option<u32>,
    rx_checksum: RxChecksum,
    tx_checksum: TxChecksum,
    attach: AttachMode,
    bind: BindMode,
    privileges: Privileges,
    detect_duplicates: bool,
    spin: Duration,
}

impl<S: squeue::EntryMarker, C: cqueue::EntryMarker> Default for Builder<S, C> {
    fn default() -> Self {
        Builder {
            entries: PhantomData,
            setup_flags: S::BUILD_FLAGS | C::BUILD_FLAGS,
            cq_entries: 0,
            sq_thread_idle: 0,
            sq_thread_cpu: None,
            interface: None,
            queues: None,
            addresses: Vec::new(),
            gateways: Vec::new(),
            rx_chunks: None,
            send_chunks: SEND_CHUNKS,
            areas: Vec::new(),
            scatter_from: None,
            rx_checksum: RxChecksum::default(),
            tx_checksum: TxChecksum::default(),
            attach: AttachMode::default(),
            bind: BindMode::default(),
            privileges: Privileges::default(),
            detect_duplicates: true,
            spin: Duration::ZERO,
        }
    }
}

impl<S: squeue::EntryMarker> Builder<S, cqueue::Entry32> {
    /// Completions of 16 and 32 bytes in one queue, whose size counts slots of 16 bytes
    /// (`IORING_SETUP_CQE_MIXED`). [`CompletionQueue`](crate::CompletionQueue) makes one type of them.
    pub fn setup_cqe_mixed(&mut self) -> &mut Self {
        self.setup_flags &= !IORING_SETUP_CQE32;
        self.flag(IORING_SETUP_CQE_MIXED)
    }
}

impl<C: cqueue::EntryMarker> Builder<squeue::Entry128, C> {
    /// Submissions of 64 and 128 bytes in one queue, whose size counts slots of 64 bytes
    /// (`IORING_SETUP_SQE_MIXED`): only the operations with 128 bytes take as much.
    pub fn setup_sqe_mixed(&mut self) -> &mut Self {
        self.setup_flags &= !IORING_SETUP_SQE128;
        self.flag(IORING_SETUP_SQE_MIXED)
    }
}

impl<S: squeue::EntryMarker, C: cqueue::EntryMarker> Builder<S, C> {
    /// The interface to serve. Required.
    pub fn interface(&mut self, name: &str) -> &mut Self {
        self.interface = Some(name.to_owned());
        self
    }

    /// The NIC queues to serve; all of them by default. A queue that is left out keeps its packets
    /// in the kernel, and which queue a flow arrives on is the NIC's choice.
    pub fn queues(&mut self, queues: &[u32]) -> &mut Self {
        self.queues = Some(queues.to_vec());
        self
    }

    /// An address for the ring alone, that neither the kernel nor another host has. Repeatable, up
    /// to [`MAX_ADDRESSES`](ringwire_stack::MAX_ADDRESSES).
    ///
    /// Without any, the ring shares the interface's addresses with the kernel, and follows them as they come
    /// and go. It has the ports that its sockets use, each held by a kernel socket for as long, so that a
    /// conflict is `EADDRINUSE` both ways; routes and neighbours are the kernel's. Who submits must be in the network
    /// namespace that the ring was built in: there those sockets are.
    pub fn address(&mut self, cidr: Cidr) -> &mut Self {
        self.addresses.push(cidr);
        self
    }

    /// The router for destinations off the link, one for each family; for addresses of the ring's own.
    pub fn gateway(&mut self, gateway: IpAddr) -> &mut Self {
        self.gateways.push(gateway);
        self
    }

    /// Chunks of 4096 bytes to receive into, in all; 4096 for each queue by default.
    pub fn rx_chunks(&mut self, chunks: u32) -> &mut Self {
        self.rx_chunks = Some(chunks);
        self
    }

    /// Chunks of 4096 bytes to send from; 4096 by default.
    pub fn send_chunks(&mut self, chunks: u32) -> &mut Self {
        self.send_chunks = chunks;
        self
    }

    /// A registered area of UMEM, to be taken with [`IoUring::take_area`]: what is sent of it by a
    /// zero-copy operation is described to the NIC where it lies. Repeatable.
    ///
    /// Each packet takes a second descriptor, for its headers: where [`Report::scatter`] says that packets may
    /// not have several, payloads are copied, unless they are in [slots](Self::registered_slots).
    pub fn registered_area(&mut self, bytes: usize) -> &mut Self {
        self.areas.push(AreaLayout::Plain(bytes));
        self
    }

    /// Bytes from which on a payload without room for headers in front of it, as in a
    /// [registered area](Self::registered_area), goes out beside its headers, in a descriptor of its own, rather
    /// than copied behind them. By default what was measured: 0 with zero copy, and 4096 where the kernel copies
    /// what it is given, for which a second descriptor is dearer than the copy of a shorter payload.
    pub fn scatter_from(&mut self, bytes: u32) -> &mut Self {
        self.scatter_from = Some(bytes);
        self
    }

    /// A registered area of `count` slots for payloads of `payload_bytes`, to be taken with
    /// [`IoUring::take_slots`]. In front of each is room for headers, so that a packet with a slot's payload
    /// is one descriptor: what every driver can send. A slot is best as long as one packet's payload; it has
    /// 3968 bytes at most. Areas of both kinds are numbered together.
    pub fn registered_slots(&mut self, count: u32, payload_bytes: u32) -> &mut Self {
        self.areas.push(AreaLayout::Slots {
            count,
            payload_bytes,
        });
        self
    }

    /// What to do about UDP and TCP checksums on receive; they are verified by default.
    pub fn rx_checksum(&mut self, policy: RxChecksum) -> &mut Self {
        self.rx_checksum = policy;
        self
    }

    /// Who writes UDP and TCP checksums; ringwire itself by default.
    pub fn tx_checksum(&mut self, policy: TxChecksum) -> &mut Self {
        self.tx_checksum = policy;
        self
    }

    /// Where the XDP program may run; in the driver if that can be had, by default.
    pub fn attach_mode(&mut self, mode: AttachMode) -> &mut Self {
        self.attach = mode;
        self
    }

    /// Whether packets may be copied into UMEM; without copies if that can be had, by default.
    pub fn bind_mode(&mut self, mode: BindMode) -> &mut Self {
        self.bind = mode;
        self
    }

    /// Whose privileges [`build`](Self::build) takes: the process's own by default, or those of the parent that
    /// `ringwire run` is ([`Privileges::from_env`]).
    pub fn privileges(&mut self, privileges: Privileges) -> &mut Self {
        self.privileges = privileges;
        self
    }

    /// Whether to make sure that no other host has our addresses (RFC 5227, RFC 4862), which takes
    /// [`build`](Self::build) four to seven seconds for IPv4 and one to two for IPv6; on by default.
    pub fn detect_duplicates(&mut self, detect: bool) -> &mut Self {
        self.detect_duplicates = detect;
        self
    }

    /// How long a wait looks for packets before it sleeps; not at all by default.
    pub fn spin(&mut self, budget: Duration) -> &mut Self {
        self.spin = budget;
        self
    }

    /// The completion queue's size, if not twice the submission queue's.
    pub fn setup_cqsize(&mut self, entries: u32) -> &mut Self {
        self.cq_entries = entries;
        self.flag(IORING_SETUP_CQSIZE)
    }

    /// A thread of the ring's own takes the submissions and the turns. After `idle` milliseconds without
    /// anything to do (0: a second) it sleeps until a packet comes, a timer is due, or a submit wakes
    /// it. It takes a processor for itself while it is awake.
    pub fn setup_sqpoll(&mut self, idle: u32) -> &mut Self {
        self.sq_thread_idle = idle;
        self.flag(IORING_SETUP_SQPOLL)
    }

    /// Where the polling thread runs; `EINVAL` for a processor that there is not.
    pub fn setup_sqpoll_cpu(&mut self, cpu: u32) -> &mut Self {
        self.sq_thread_cpu = Some(cpu);
        self.flag(IORING_SETUP_SQ_AFF)
    }

    /// Sizes above the maximum become the maximum.
    pub fn setup_clamp(&mut self) -> &mut Self {
        self.flag(IORING_SETUP_CLAMP)
    }

    /// The ring takes no submissions until
    /// [`register_enable_rings`](crate::Submitter::register_enable_rings): an enter gets `EBADFD`.
    pub fn setup_r_disabled(&mut self) -> &mut Self {
        self.flag(IORING_SETUP_R_DISABLED)
    }

    /// A bad entry does not stop the batch behind it.
    pub fn setup_submit_all(&mut self) -> &mut Self {
        self.flag(IORING_SETUP_SUBMIT_ALL)
    }

    /// Completions appear only when the application enters: so it is here in any case.
    pub fn setup_coop_taskrun(&mut self) -> &mut Self {
        self.flag(IORING_SETUP_COOP_TASKRUN)
    }

    /// The submission queue says when completions wait for an enter that asks for them
    /// ([`SubmissionQueue::taskrun`](crate::SubmissionQueue::taskrun)).
    pub fn setup_taskrun_flag(&mut self) -> &mut Self {
        self.flag(IORING_SETUP_TASKRUN_FLAG)
    }

    /// What waited completes only when the application asks for completions: by a wait, or an enter
    /// with `IORING_ENTER_GETEVENTS`. Packets move with every enter.
    pub fn setup_defer_taskrun(&mut self) -> &mut Self {
        self.flag(IORING_SETUP_DEFER_TASKRUN)
    }

    /// Only the thread that builds the ring, or enables it, may submit and register; others get
    /// `EEXIST`.
    pub fn setup_single_issuer(&mut self) -> &mut Self {
        self.flag(IORING_SETUP_SINGLE_ISSUER)
    }

    /// Accepted: there is no index array.
    pub fn setup_no_sqarray(&mut self) -> &mut Self {
        self.flag(IORING_SETUP_NO_SQARRAY)
    }

    fn flag(&mut self, flag: u32) -> &mut Self {
        self.setup_flags |= flag;
        self
    }

    /// Bytes of UMEM that a ring over so many queues takes.
    ///
    /// # Errors
    /// [`SetupError::Umem`] if there can be no such UMEM.
    pub fn umem_bytes(&self, queues: u32) -> Result<usize, SetupError> {
        let chunks = self.layout(queues).check().map_err(UmemError::from)?;
        Ok(chunks as usize * CHUNK_BYTES as usize)
    }

    fn layout(&self, queues: u32) -> Layout {
        let rx_chunks = self
            .rx_chunks
            .unwrap_or(queues.saturating_mul(RX_CHUNKS_PER_QUEUE));
        Layout {
            chunk_bytes: CHUNK_BYTES,
            rx_chunks,
            header_chunks: HEADER_CHUNKS,
            send_chunks: self.send_chunks,
            lend_reserve_chunks: rx_chunks / RESERVE_SHARE,
            areas: self.areas.clone(),
        }
    }

    /// What opens a ring's sockets, now and whenever they are needed anew.
    fn device(&self, interface: &Interface, queues: &[u32], umem: &Arc<Umem>) -> Device {
        let addresses = self.addresses.iter().map(|cidr| cidr.address);
        let groups = addresses.filter_map(|address| match address {
            IpAddr::V6(address) => Some(multicast_mac(solicited_node(address).into())),
            IpAddr::V4(_) => None,
        });
        Device {
            name: interface.name.clone(),
            queues: queues.to_vec(),
            umem: Arc::clone(umem),
            bind: self.bind,
            tx_checksum: self.tx_checksum,
            privileges: self.privileges.clone(),
            scatter_from: self.scatter_from,
            least_mtu: self.least_mtu(),
            groups: groups.collect(),
        }
    }

    fn report(
        &self,
        interface: &Interface,
        queues: Vec<u32>,
        umem: &Umem,
        program: &Program,
        sockets: &[Socket],
    ) -> Report {
        let mut report = Report {
            interface: interface.name.clone(),
            driver: interface.driver.clone(),
            queues,
            mtu: ip_mtu(interface),
            addresses: self.address_mode(),
            attached: program.mode(),
            native_refused: program.native_refused().map(ToString::to_string),
            mode: Mode::Copy,
            zero_copy_refused: None,
            scatter: false,
            scatter_refused: None,
            scatter_from: 0,
            features: Features::default(),
            umem_bytes: umem.len_bytes(),
            huge_pages: umem.huge_pages(),
            rx_checksum: self.rx_checksum,
            tx_checksum: TxChecksum::Software,
            tx_checksum_refused: None,
            link: LinkState::Up,
            serving: true,
            lost: None,
        };
        report.describe(interface, sockets, self.scatter_from);
        report
    }

    fn stack(
        &self,
        interface: &Interface,
        ledger: &Ledger,
        report: &Report,
        kernel: Option<HostKernel>,
    ) -> Result<Stack, SetupError> {
        let addresses = kernel.as_ref().map(HostKernel::addresses);
        let config = ringwire_stack::Config {
            mac: interface.mac,
            mtu: ip_mtu(interface),
            plan: report.plan_limits(),
            queues: report.queues.len() as u16,
            addresses: addresses.unwrap_or(&self.addresses).to_vec(),
            gateways: self.gateways.clone(),
            rx_checksum: self.rx_checksum,
            tx_checksum: report.tx_checksum.policy(),
            dad: if self.detect_duplicates {
                DadConfig::default()
            } else {
                DadConfig::OFF
            },
        };
        let random = random_numbers()?;
        Ok(match kernel {
            None => Stack::new(now(), config, ledger, random),
            Some(kernel) => Stack::beside(now(), config, Box::new(kernel), ledger, random),
        })
    }
}

/// An IP packet's length field has 16 bits, whatever the link can carry.
pub(crate) fn ip_mtu(interface: &Interface) -> u16 {
    u16::try_from(interface.mtu).unwrap_or(u16::MAX)
}

/// Ports, sequence numbers and hash seeds that nobody outside can guess.
fn random_numbers() -> Result<[u64; 3], SetupError> {
    let mut bytes = [0; 24];
    let read = std::fs::File::open("/dev/urandom")
        .and_then(|mut file| io::Read::read_exact(&mut file, &mut bytes));
    read.map_err(|source| SetupError::Io {
        doing: "reading /dev/urandom",
        source,
    })?;
    let (numbers, _) = bytes.as_chunks::<8>();
    Ok([0, 1, 2].map(|index| u64::from_ne_bytes(numbers[index])))
}
