//! The probe itself: the program attached, every queue bound, a frame sent by each, and its answer looked for.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ringwire::{AttachMode, BindMode, CHUNK_BYTES};
use ringwire_umem::{Layout, Ledger, Pool, Umem};
use ringwire_xsk::{Desc, Interface, Link, Privileges, Program, QueueConfig, Rings, Socket};

use super::super::machine::Machine;
use super::{Seen, SeenQueue, arp};

/// As the library's: a driver may take a queue with small rings and not with large ones.
const RING: u32 = 2048;
/// How long a link that attaching has reset is waited for.
const CARRIER: Duration = Duration::from_secs(5);
/// How long completions and answers are waited for.
const PATIENCE: Duration = Duration::from_secs(1);
const GLANCE: Duration = Duration::from_millis(1);

/// A queue that is bound.
struct Queue {
    socket: Socket,
    rings: Rings,
    completed: bool,
    answers: u32,
}

/// Sends by each queue and looks what comes back. The program goes when this returns.
pub(super) fn probe(machine: &Machine, target: Option<Ipv4Addr>) -> Result<Seen, Box<dyn Error>> {
    let interface = Interface::by_name(&machine.link.name)?;
    let program = Program::attach(&interface, AttachMode::Auto)?;
    await_carrier(interface.index)?;
    let wanted = machine.queues();
    let mut ledger = Ledger::new(Umem::new(layout(wanted.len() as u32))?);
    // As long as this lives: what is for no address at all is the answer to the probe (RFC 5227, section 2.1.1).
    program.own_address(IpAddr::V4(Ipv4Addr::UNSPECIFIED))?;
    let mut queues: Vec<Queue> = Vec::new();
    let mut seen = Vec::new();
    for &queue in &wanted {
        let bound = open(&interface, queue, &queues, &mut ledger, &program);
        seen.push(SeenQueue {
            queue,
            bound: bound
                .as_ref()
                .map(|new| new.socket.mode())
                .map_err(ToString::to_string),
            completed: false,
            answers: 0,
        });
        queues.extend(bound);
    }
    let before = Link::by_index(interface.index)?.tx_packets;
    let frame = match target {
        Some(target) => arp::question(interface.mac, target),
        None => arp::blank(interface.mac),
    };
    send(&mut queues, &mut ledger, &frame)?;
    let deadline = Instant::now() + PATIENCE;
    let done = |queues: &[Queue]| {
        let answers: u32 = queues.iter().map(|queue| queue.answers).sum();
        let answered = target.is_none() || answers as usize >= queues.len();
        answered && queues.iter().all(|queue| queue.completed)
    };
    while !done(&queues) && Instant::now() < deadline {
        sleep(GLANCE);
        for (index, queue) in queues.iter_mut().enumerate() {
            queue.look(index as u16, &mut ledger, |frame| {
                target.is_some_and(|target| arp::is_answer(frame, interface.mac, target))
            })?;
        }
    }
    for queue in &queues {
        let seen = seen
            .iter_mut()
            .find(|seen| seen.queue == queue.socket.queue());
        let seen = seen.expect("each was seen");
        (seen.completed, seen.answers) = (queue.completed, queue.answers);
    }
    let counted = Link::by_index(interface.index)?
        .tx_packets
        .saturating_sub(before);
    Ok(Seen {
        attached: program.mode(),
        native_refused: program.native_refused().map(ToString::to_string),
        queues: seen,
        counted,
        target,
    })
}

fn layout(queues: u32) -> Layout {
    Layout {
        chunk_bytes: CHUNK_BYTES,
        rx_chunks: queues.saturating_mul(RING),
        header_chunks: 1,
        send_chunks: queues,
        lend_reserve_chunks: 0,
        areas: Vec::new(),
    }
}

/// Some drivers reset the link when a program is attached. One that stays away is the doctor's to say.
fn await_carrier(index: u32) -> Result<(), Box<dyn Error>> {
    let deadline = Instant::now() + CARRIER;
    while !Link::by_index(index)?.carrier && Instant::now() < deadline {
        sleep(GLANCE);
    }
    Ok(())
}

fn open(
    interface: &Interface,
    queue: u32,
    others: &[Queue],
    ledger: &mut Ledger,
    program: &Program,
) -> Result<Queue, ringwire_xsk::Error> {
    let umem = ledger.umem().clone();
    let index = others.len() as u16;
    let fill: Vec<u64> = (0..RING)
        .map_while(|_| ledger.alloc(Pool::Rx))
        .collect::<Vec<_>>()
        .into_iter()
        .map(|frame| ledger.post_fill(frame, index))
        .collect();
    let (socket, rings) = Socket::open(&QueueConfig {
        ifindex: interface.index,
        ifname: &interface.name,
        queue,
        umem: &umem,
        shared_with: others.first().map(|first| &first.socket),
        rx_entries: RING,
        tx_entries: RING,
        fill_entries: RING,
        completion_entries: RING,
        fill: &fill,
        mode: BindMode::Auto,
        scatter: true,
        tx_checksum: false,
        privileges: Privileges::default(),
    })?;
    program.set_queue(queue, &socket)?;
    Ok(Queue {
        socket,
        rings,
        completed: false,
        answers: 0,
    })
}

fn send(queues: &mut [Queue], ledger: &mut Ledger, frame: &[u8]) -> Result<(), Box<dyn Error>> {
    for queue in queues {
        let mut chunk = ledger.alloc(Pool::Send).ok_or("a chunk for each queue")?;
        ledger.bytes_mut(&mut chunk)[..frame.len()].copy_from_slice(frame);
        let addr = ledger.post_tx(&chunk, 0, frame.len() as u32);
        ledger.release(chunk);
        let desc = Desc {
            addr,
            len: frame.len() as u32,
            options: 0,
        };
        queue
            .rings
            .tx
            .push(desc)
            .map_err(|_| "an empty TX ring is full")?;
        queue.rings.tx.publish();
    }
    Ok(())
}

impl Queue {
    /// Kicks, and takes what has come.
    fn look(
        &mut self,
        index: u16,
        ledger: &mut Ledger,
        is_answer: impl Fn(&[u8]) -> bool,
    ) -> Result<(), Box<dyn Error>> {
        if !self.completed {
            // A socket that cannot send says so by no completion.
            let _ = self.socket.kick_tx();
        }
        if self.rings.fill.needs_wakeup() {
            let _ = self.socket.kick_rx();
        }
        while let Some(addr) = self.rings.completion.pop() {
            ledger.tx_done(index, addr)?;
            self.completed = true;
        }
        self.rings.completion.release();
        while let Some(desc) = self.rings.rx.pop() {
            let piece = ledger.claim(index, desc.addr, desc.len)?;
            self.answers += u32::from(is_answer(ledger.piece(&piece)));
            ledger.release(piece.frame);
        }
        self.rings.rx.release();
        Ok(())
    }
}
