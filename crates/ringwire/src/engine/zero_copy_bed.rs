//! An engine with registered memory on no network, for the tests of zero-copy sends.

use std::time::Duration;

use io_uring::{opcode, squeue, types};
use ringwire_abi::register::{IORING_REGISTER_BUFFERS2, RsrcRegister};
use ringwire_stack::Instant;
use ringwire_umem::{Area, AreaLayout};

use super::bed::Bed;

/// Bytes of a slot.
pub(super) const SLOT: usize = 1000;
/// A group that has no neighbour to be found first.
pub(super) static GROUP: libc::sockaddr_in = name([239, 1, 2, 3], 9);

pub(super) static OWN: libc::sockaddr_in = name([10, 0, 0, 1], 80);
const fn name(ip: [u8; 4], port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(ip),
        },
        sin_zero: [0; 8],
    }
}

pub(super) fn at(name: &'static libc::sockaddr_in) -> *const libc::sockaddr {
    std::ptr::from_ref(name).cast()
}

pub(super) fn socket(slot: u32, kind: i32) -> squeue::Entry {
    let slot = types::DestinationSlot::try_from_slot_target(slot).unwrap();
    let socket = opcode::Socket::new(libc::AF_INET, kind, 0);
    socket.file_index(Some(slot)).build()
}

/// An engine with slots, a row, and a UDP socket in slot 0.
pub(super) fn bed(setup_flags: u32) -> (Bed, Vec<Area>) {
    let slots = AreaLayout::Slots {
        count: 4,
        payload_bytes: SLOT as u32,
    };
    let areas = vec![slots, AreaLayout::Plain(1 << 16)];
    let mut bed = Bed::with_areas(setup_flags, areas);
    bed.add_slots(4);
    assert_eq!(bed.run(socket(0, libc::SOCK_DGRAM)), [(0, 0, 0)]);
    bed.turn();
    bed.discard();
    let umem = bed.engine.ledger.umem();
    let memory = umem.take_slots(0).unwrap();
    (bed, memory)
}

impl Bed {
    pub(super) fn turn(&mut self) {
        self.engine.turn(Instant::ZERO);
    }

    /// Has the NIC send what it was given, unseen.
    pub(super) fn discard(&mut self) {
        let sent = self.sent();
        self.report_sent(&sent);
        self.turn();
        assert_eq!(self.completions(), []);
    }
}

/// Registers bytes as the only buffer, with a tag.
pub(super) fn register_buffer(bed: &mut Bed, bytes: &[u8], tag: u64) {
    let iovec = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let register = RsrcRegister {
        nr: 1,
        data: &raw const iovec as u64,
        tags: &raw const tag as u64,
        ..RsrcRegister::default()
    };
    let size = size_of_val(&register) as u32;
    bed.register(IORING_REGISTER_BUFFERS2, register, size)
        .unwrap();
}

/// Has the socket in a slot send and receive little at a time.
fn narrow(bed: &mut Bed, slot: u32) {
    let socket = bed.engine.files.lookup(slot).unwrap();
    let mut options = bed.engine.stack.options(socket).unwrap();
    options.ask_send_buffer(4096);
    options.ask_receive_buffer(4096);
    bed.engine.stack.set_options(socket, options).unwrap();
}

/// A connection of an engine with itself, from slot 1 to slot 3.
pub(super) fn connection() -> (Bed, Area) {
    let (mut bed, _) = bed(0);
    let row = bed.engine.ledger.umem().take_area(1).unwrap();
    let slot = types::DestinationSlot::try_from_slot_target(3).unwrap();
    let accept = opcode::Accept::new(types::Fixed(2), std::ptr::null_mut(), std::ptr::null_mut());
    let connect = opcode::Connect::new(types::Fixed(1), at(&OWN), 16).build();
    for (entry, made) in [
        (socket(2, libc::SOCK_STREAM), Some(2)),
        (
            opcode::Bind::new(types::Fixed(2), at(&OWN), 16).build(),
            None,
        ),
        (opcode::Listen::new(types::Fixed(2), 4).build(), None),
        (socket(1, libc::SOCK_STREAM), Some(1)),
        (connect, None),
        (accept.file_index(Some(slot)).build(), None),
    ] {
        bed.push(entry);
        bed.engine.submit(Instant::ZERO, 1);
        let mut now = Instant::ZERO;
        for _ in 0..5 {
            now = now + Duration::from_millis(1);
            bed.engine.turn(now);
        }
        assert_eq!(bed.completions(), [(0, 0, 0)]);
        if let Some(slot) = made {
            narrow(&mut bed, slot);
        }
    }
    (bed, row)
}

/// Takes turns, some milliseconds of them.
pub(super) fn pass(bed: &mut Bed, from: u64) {
    for at in from..from + 50 {
        bed.engine.turn(Instant::ZERO + Duration::from_millis(at));
    }
}

/// Takes turns until there are so many completions, and then gives what should not come the time to.
pub(super) fn pass_until(bed: &mut Bed, count: usize) -> Vec<(u64, i32, u32)> {
    const END: u64 = 30_000;
    let mut completions = Vec::new();
    for from in (200..END).step_by(50) {
        pass(bed, from);
        completions.extend(bed.completions());
        if completions.len() >= count {
            break;
        }
    }
    pass(bed, END);
    completions.extend(bed.completions());
    completions
}
