//! What it costs to hear that memory is free: from the completion queue, by slot, with a later send, from the error
//! queue; after every send, and after every 32.

use ringwire::msg_zerocopy::{ErrorMessage, RangeArray};
use ringwire::{cqueue, opcode, slots, squeue};
use ringwire_bench::clock::{cpu_nanos, median};
use ringwire_bench::engines::Setup;
use ringwire_umem::AreaLayout;

use crate::rig::{Memory, PLACES, Rig, SOCKET, register_slot};
use crate::stream::Stream;

const BYTES: usize = 1000;
/// Sends that are submitted together, and then heard of.
const LIMITS: [usize; 2] = [1, 32];
/// Sends of a measurement.
const COUNT: usize = 8192;
/// `user_data` of what is no send.
const TAG: u64 = 1;
const TAKE: u64 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// A slot that is flushed at the end alone.
    Nothing,
    /// SEND_ZC: a notification each.
    Queue,
    /// A slot that is flushed at each limit.
    Slot,
    /// MSG_ZEROCOPY, with an array on the last send of each limit.
    Inline,
    /// MSG_ZEROCOPY, and a RECVMSG from the error queue behind each limit.
    ErrorQueue,
}

const WAYS: [(&str, Way); 5] = [
    ("none", Way::Nothing),
    ("queue", Way::Queue),
    ("slot", Way::Slot),
    ("inline", Way::Inline),
    ("error queue", Way::ErrorQueue),
];

/// What a SENDMSG or RECVMSG points at. It stays where it is.
struct Message {
    header: libc::msghdr,
    part: libc::iovec,
    ranges: RangeArray<16>,
    error: ErrorMessage,
}

struct Sender {
    rig: Box<dyn Rig>,
    places: Vec<*const u8>,
    way: Way,
    limit: usize,
    message: Box<Message>,
    next: usize,
    /// Sends that nobody has heard of.
    unheard: usize,
}

impl Sender {
    fn new(mut rig: Box<dyn Rig>, places: Vec<*const u8>, way: Way, limit: usize) -> Sender {
        register_slot(&mut *rig, TAG);
        let on = 1i32;
        let (level, option) = (libc::SOL_SOCKET as u32, libc::SO_ZEROCOPY as u32);
        let set = opcode::SetSockOpt::new(SOCKET, level, option, (&raw const on).cast(), 4);
        // SAFETY: the value lives until the completion.
        unsafe { rig.push(&set.build()) };
        rig.enter(1);
        rig.each(&mut |cqe| assert_eq!(cqe.result(), 0, "{cqe:?}"));
        // SAFETY: all zeroes is a valid msghdr.
        let header: libc::msghdr = unsafe { std::mem::zeroed() };
        let message = Box::new(Message {
            header,
            part: libc::iovec {
                iov_base: std::ptr::null_mut(),
                iov_len: BYTES,
            },
            ranges: RangeArray::new(),
            error: ErrorMessage::new(),
        });
        Sender {
            rig,
            places,
            way,
            limit,
            message,
            next: 0,
            unheard: 0,
        }
    }

    /// Sends so many; returns the sender's CPU nanoseconds.
    fn run(&mut self, count: usize) -> u64 {
        let (start, aside) = (cpu_nanos(), self.rig.aside());
        for _ in 0..count / self.limit {
            self.send();
            self.collect();
        }
        let nanos = cpu_nanos() - start - (self.rig.aside() - aside);
        self.finish();
        nanos
    }

    fn push(&mut self, entry: squeue::Entry) {
        // SAFETY: what the entries point at outlives the rings, and nobody writes to what is sent.
        unsafe { self.rig.push(&entry) };
    }

    /// Queues as many sends as the limit says.
    fn send(&mut self) {
        for index in 1..=self.limit {
            let entry = self.entry(index == self.limit);
            self.push(entry);
        }
        if self.way != Way::Nothing {
            self.unheard += self.limit;
        }
        let mut want = self.limit;
        if self.way == Way::ErrorQueue {
            self.take(libc::MSG_DONTWAIT);
            want += 1;
        }
        self.rig.enter(want);
    }

    fn entry(&mut self, last: bool) -> squeue::Entry {
        let (first, len) = (self.places[self.next], BYTES as u32);
        self.next = (self.next + 1) % PLACES;
        let zero_copy = libc::MSG_ZEROCOPY | libc::MSG_WAITALL;
        match self.way {
            Way::Queue => opcode::SendZc::new(SOCKET, first, len)
                .flags(libc::MSG_WAITALL)
                .build(),
            Way::Nothing | Way::Slot => slots::SendZc::new(SOCKET, 0, first, len)
                .flags(libc::MSG_WAITALL)
                .flush(last && self.way == Way::Slot)
                .build(),
            Way::Inline if last => {
                let message = &mut *self.message;
                message.part.iov_base = first.cast_mut().cast();
                message.header.msg_iov = &raw mut message.part;
                message.header.msg_iovlen = 1;
                message.ranges.attach(&mut message.header);
                opcode::SendMsg::new(SOCKET, &raw const message.header)
                    .flags(zero_copy as u32)
                    .build()
            }
            Way::Inline | Way::ErrorQueue => opcode::Send::new(SOCKET, first, len)
                .flags(zero_copy)
                .build(),
        }
    }

    /// Queues a RECVMSG from the error queue.
    fn take(&mut self, flags: i32) {
        let message = &mut *self.message;
        message.header.msg_iovlen = 0;
        message.error.attach(&mut message.header);
        let flags = (libc::MSG_ERRQUEUE | flags) as u32;
        let take = opcode::RecvMsg::new(SOCKET, &raw mut message.header).flags(flags);
        self.push(take.build().user_data(TAKE));
    }

    /// Looks at the completions that are there.
    fn collect(&mut self) {
        let (way, limit, message) = (self.way, self.limit, &self.message);
        let mut heard = 0;
        self.rig
            .each(&mut |cqe| match (cqe.user_data(), cqe.result()) {
                (TAG, _) if way == Way::Nothing => {}
                (TAG, _) => heard += limit,
                (TAKE, 0) => {
                    let range = message.error.range(&message.header);
                    let range = range.expect("a range of sends");
                    heard += (range.hi.wrapping_sub(range.lo) + 1) as usize;
                }
                (TAKE, res) => assert_eq!(res, -libc::EAGAIN),
                _ if cqueue::notif(cqe.flags()) => heard += 1,
                (_, res) => assert_eq!(res, BYTES as i32, "{cqe:?}"),
            });
        if way == Way::Inline {
            let ranges = self.message.ranges.taken(&self.message.header);
            let numbers = ranges.iter().map(|it| it.hi.wrapping_sub(it.lo) + 1);
            heard += numbers.sum::<u32>() as usize;
        }
        self.unheard -= heard;
    }

    /// Hears of all that was sent.
    fn finish(&mut self) {
        let waits = matches!(self.way, Way::Inline | Way::ErrorQueue);
        while self.unheard > 0 {
            if waits {
                self.take(0);
            }
            // What came with the last send was looked at.
            self.message.header.msg_controllen *= usize::from(waits);
            self.rig.enter(1);
            let way = std::mem::replace(&mut self.way, Way::ErrorQueue);
            self.collect();
            self.way = way;
        }
        if self.way == Way::Nothing {
            self.push(slots::flush(0, 1, 0).user_data(TAG));
            self.rig.enter(2);
            self.rig.each(&mut |cqe| assert_eq!(cqe.user_data(), TAG));
        }
    }
}

fn datagrams() -> (Box<dyn Rig>, Vec<*const u8>) {
    let memory = Memory::new(BYTES);
    let places = memory.places.clone();
    (Box::new(memory), places)
}

fn stream() -> (Box<dyn Rig>, Vec<*const u8>) {
    let stream = Stream::new(&Setup {
        areas: vec![AreaLayout::Plain(PLACES * BYTES)],
        ..Setup::default()
    });
    let places = stream.area.chunks(BYTES).map(<[u8]>::as_ptr).collect();
    (Box::new(stream), places)
}

pub fn table(rounds: usize) {
    println!(
        "notifications of sends of {BYTES} bytes, in memory, no checksums: the sender's CPU ns for a send, and how many times that of none"
    );
    for (name, make) in [
        ("udp", datagrams as fn() -> (Box<dyn Rig>, Vec<*const u8>)),
        ("tcp", stream),
    ] {
        for limit in LIMITS {
            let mut senders = WAYS.map(|(_, way)| {
                let (rig, places) = make();
                Sender::new(rig, places, way, limit)
            });
            let mut times = vec![Vec::new(); WAYS.len()];
            for round in 0..rounds + 1 {
                for (sender, times) in senders.iter_mut().zip(&mut times) {
                    let nanos = sender.run(COUNT) as f64 / COUNT as f64;
                    // The first one warms up.
                    if round > 0 {
                        times.push(nanos);
                    }
                }
            }
            print!("{name} limit {limit:2}");
            for ((name, _), own) in WAYS.iter().zip(&times) {
                let ratios = own.iter().zip(&times[0]).map(|(own, none)| own / none);
                let nanos = median(own.clone());
                print!("  {name} {nanos:.0} ({:.2})", median(ratios.collect()));
            }
            println!();
        }
    }
}
