//! Peers that want what a host has: its chunks, its answers, its time.

use std::time::Duration;

use ringwire_tcp::{Options, Segment, SeqNumber};
use ringwire_umem::Pool;

use super::peer::{Peer, read};
use crate::tests::build;
use crate::tests::harness::{Host, OUR_V4, PEER_MAC, PEER_V4, Random, pattern};
use crate::{SocketError, SocketId};

const US: &str = "10.0.0.2:80";

/// Connections of one peer, and the sockets that have them.
struct Connections {
    host: Host,
    listener: SocketId,
    port: u16,
}

impl Connections {
    fn new(host: Host) -> Connections {
        let mut host = host;
        let listener = host.listener(US, 64);
        Connections {
            host,
            listener,
            port: 1000,
        }
    }

    /// A connection whose peer offers this window.
    fn open(&mut self, window: u16) -> (Peer, SocketId) {
        self.port += 1;
        let mut peer = Peer::new(&format!("10.0.0.9:{}", self.port), US);
        peer.window = window;
        let mss = Some(1460);
        peer.open(
            &mut self.host,
            Options {
                mss,
                ..Options::default()
            },
        );
        let last = peer.data(&[]);
        self.host.receive(&last);
        let server = self.host.accept(self.listener).unwrap();
        (peer, server)
    }

    /// Has an honest peer ask and be answered at once.
    fn serve(&mut self, peer: &mut Peer, server: SocketId, len: usize) {
        let question = pattern(len);
        self.host.receive(&peer.data(&question));
        assert!(self.host.read(server, len) == Ok(question), "the question");
        assert_eq!(self.host.write(server, &pattern(len)), Ok(len));
        let mut answer = Vec::new();
        for frame in self.host.sent() {
            let Some((_, to, segment, payload)) = read(&frame) else {
                continue;
            };
            if to == peer.from && segment.len > 0 {
                assert_eq!(segment.seq, peer.ack, "in order");
                peer.ack = segment.end();
                answer.extend(payload);
            }
        }
        assert!(answer == pattern(len), "the answer");
        self.host.receive(&peer.data(&[]));
    }
}

#[test]
fn a_flood_of_acknowledgements_draws_none() {
    let mut connections = Connections::new(Host::ready());
    let (peer, _) = connections.open(60_000);
    let ack = peer.frame(&peer.segment(0), &[]);
    for _ in 0..20_000 {
        assert_eq!(connections.host.answer(&ack), Vec::<Vec<u8>>::new());
    }
}

/// RFC 5961, section 7: half a second between two challenges.
#[test]
fn a_flood_of_wrong_acknowledgements_draws_two_answers_a_second() {
    let mut connections = Connections::new(Host::ready());
    let (peer, _) = connections.open(60_000);
    let mut answers = 0;
    for round in 0..10_000u32 {
        for ack in [peer.ack + 1 + round, peer.ack - 100_000 - round] {
            let wrong = Segment {
                ack: Some(ack),
                ..peer.segment(0)
            };
            let sent = connections.host.answer(&peer.frame(&wrong, &[]));
            answers += sent.iter().filter(|frame| read(frame).is_some()).count();
        }
        connections.host.pass(Duration::from_millis(1));
    }
    assert!((15..=21).contains(&answers), "{answers} in ten seconds");
}

/// Each says that a segment has left the network, and so lets another one go: but only of what there
/// is, and what was lost is sent again once.
#[test]
fn duplicate_acknowledgements_without_end_make_nobody_send_without_end() {
    let mut connections = Connections::new(Host::ready());
    let (peer, server) = connections.open(60_000);
    let queued = connections.host.write(server, &pattern(50_000)).unwrap();
    let ack = peer.frame(&peer.segment(0), &[]);
    let mut bytes = 0;
    for _ in 0..20_000 {
        for frame in connections.host.answer(&ack) {
            let (_, _, segment, _) = read(&frame).expect("a segment");
            assert!(!segment.end().after(peer.ack + queued as u32));
            bytes += segment.len as usize;
        }
    }
    assert!(bytes <= 2 * queued, "{bytes} bytes for {queued}");
}

/// They fill the pool of send chunks, which is then a full send buffer for everybody: what the others
/// say is heard and acknowledged, and they are answered as soon as the application lets go of one.
#[test]
fn peers_that_never_open_their_window_delay_the_others_and_lose_them_nothing() {
    let mut connections = Connections::new(Host::ready());
    let (mut honest, served) = connections.open(60_000);
    let mut hogs = Vec::new();
    for _ in 0..40 {
        let (_, server) = connections.open(0);
        let bytes = pattern(100_000);
        while connections.host.write(server, &bytes).is_ok() {}
        hogs.push(server);
    }
    let full = connections.host.write(served, b"x");
    assert_eq!(full, Err(SocketError::WouldBlock));
    for _ in 0..50 {
        let mut answers = connections.host.answer(&honest.data(&pattern(1400)));
        let heard = connections.host.read(served, 1400);
        assert!(heard == Ok(pattern(1400)));
        connections.host.pass(Duration::from_millis(50));
        answers.extend(connections.host.sent());
        let acks = |frame: &Vec<u8>| read(frame).is_some_and(|ack| ack.2.ack == Some(honest.seq));
        assert!(answers.iter().any(acks), "it is acknowledged");
        connections.host.meet_peer();
    }
    connections.host.reset_on_close(hogs[0]);
    connections.host.close(hogs[0]);
    connections.host.sent();
    connections.serve(&mut honest, served, 2000);
}

/// Whoever has chunks gets the next ones by its acknowledgements: that must not be all there are.
#[test]
fn a_connection_that_begins_late_is_not_starved_by_busy_ones() {
    let host = Host::ready_with(|setup| setup.layout.send_chunks = 1000);
    let mut connections = Connections::new(host);
    let mut busy: Vec<_> = (0..40).map(|_| connections.open(60_000)).collect();
    let (mut late, served) = connections.open(60_000);
    let bytes = pattern(100_000);
    for round in 0..220 {
        for (_, server) in &busy {
            while connections.host.write(*server, &bytes).is_ok() {}
        }
        for frame in connections.host.sent() {
            let Some((_, to, segment, _)) = read(&frame) else {
                continue;
            };
            let (peer, server) = busy.iter_mut().find(|(peer, _)| peer.from == to).unwrap();
            peer.ack = segment.end();
            connections.host.receive(&peer.data(&[]));
            while connections.host.write(*server, &bytes).is_ok() {}
        }
        // The first comers give what they took beyond their share back as it is acknowledged.
        if round >= 200 {
            connections.serve(&mut late, served, 2000);
        }
    }
}

#[test]
fn a_window_of_a_few_bytes_gets_every_byte_and_no_more_than_fits() {
    for window in [1, 2, 7, 100] {
        let mut connections = Connections::new(Host::ready());
        let (mut peer, server) = connections.open(window);
        let bytes = pattern(1000);
        assert_eq!(connections.host.write(server, &bytes), Ok(1000));
        let mut received = Vec::new();
        let mut segments = 0;
        while received.len() < 1000 {
            for frame in connections.host.sent() {
                let Some((_, _, segment, payload)) = read(&frame) else {
                    continue;
                };
                assert!(segment.len <= window.into(), "over a window of {window}");
                if segment.seq == peer.ack && segment.len > 0 {
                    received.extend(payload);
                    peer.ack = segment.end();
                    segments += 1;
                }
            }
            let ack = peer.data(&[]);
            connections.host.receive(&ack);
            connections.host.pass(Duration::from_millis(10));
        }
        assert!(received == bytes);
        assert!(segments <= 2 * 1000 / usize::from(window) + 2, "{segments}");
    }
}

/// One byte in a frame of its own, with a gap before it: as many as the pool has chunks, and more.
#[test]
fn single_bytes_with_gaps_do_not_starve_the_others() {
    let mut connections = Connections::new(Host::ready());
    let (mut honest, served) = connections.open(60_000);
    let layout = connections.host.ledger.umem().layout().clone();
    let mut hogs = Vec::new();
    for _ in 0..10 {
        hogs.push(connections.open(60_000).0);
    }
    for round in 0..100u32 {
        for hog in &hogs {
            let byte = Segment {
                seq: hog.seq + 1 + 2 * round,
                ..hog.segment(1)
            };
            let frame = hog.frame(&byte, b"!");
            connections.host.answer(&frame);
        }
        connections.serve(&mut honest, served, 1400);
        let free = connections.host.free(Pool::Rx);
        assert!(free >= layout.lend_reserve_chunks - 1, "{free} are free");
        check_heap(&connections.host);
    }
}

/// Payload on the heap: at most as many bytes as the RX chunks have.
fn check_heap(host: &Host) {
    let layout = host.ledger.umem().layout();
    let most = layout.rx_chunks as usize * layout.chunk_bytes as usize;
    let sizes = host.stack.tcp.sizes();
    assert!(sizes.heap_bytes <= most, "{sizes:?}");
}

/// In order, one byte each, on connections that nobody reads.
#[test]
fn single_bytes_that_nobody_reads_do_not_starve_the_others() {
    let mut connections = Connections::new(Host::ready_with(|setup| {
        setup.layout.rx_chunks = 64;
        setup.layout.lend_reserve_chunks = 16;
    }));
    let (mut honest, served) = connections.open(60_000);
    let mut hogs = Vec::new();
    for _ in 0..20 {
        hogs.push(connections.open(60_000).0);
    }
    for round in 0..3000usize {
        for hog in &mut hogs {
            let frame = hog.data(&[round as u8]);
            connections.host.answer(&frame);
        }
        if round % 10 == 0 {
            connections.serve(&mut honest, served, 1400);
        }
        let free = connections.host.free(Pool::Rx);
        assert!(free >= 15, "{free} are free");
        check_heap(&connections.host);
    }
    assert!(connections.host.stack.counters().tcp_compacted > 0);
}

/// Pieces of one stream in any order, long and short, again and again, some with other bytes in them:
/// as many bytes are read as there are, each from one of the pieces that had it.
#[test]
fn overlapping_garbage_is_read_as_one_stream() {
    const LEN: usize = 20_000;
    let mut random = Random(8);
    for round in 0..40 {
        let honest = round % 2 == 0;
        let mut connections = Connections::new(Host::ready());
        let (peer, server) = connections.open(60_000);
        let host = &mut connections.host;
        let truth = pattern(LEN);
        let lie: Vec<u8> = truth.iter().map(|byte| !byte).collect();
        let mut received = Vec::new();
        while received.len() < LEN {
            let ahead = random.below(8000) as i64 - 2000;
            let start = (received.len() as i64 + ahead).clamp(0, LEN as i64 - 1) as usize;
            // The next byte comes often enough.
            let start = if random.below(4) == 0 {
                received.len()
            } else {
                start
            };
            let end = LEN.min(start + 1 + random.below(1460));
            let source = if honest || random.below(2) == 0 {
                &truth
            } else {
                &lie
            };
            let segment = Segment {
                seq: peer.seq + start as u32,
                ..peer.segment(end - start)
            };
            host.answer(&peer.frame(&segment, &source[start..end]));
            match host.read(server, usize::MAX) {
                Ok(bytes) => received.extend(bytes),
                Err(error) => assert_eq!(error, SocketError::WouldBlock),
            }
        }
        assert_eq!(received.len(), LEN);
        let said = |at: usize| received[at] == truth[at] || !honest && received[at] == lie[at];
        assert!((0..LEN).all(said));
    }
}

/// Data for which no window was ever offered, far ahead and far behind.
#[test]
fn data_far_outside_of_the_window_is_not_kept() {
    let mut connections = Connections::new(Host::ready());
    let (peer, server) = connections.open(60_000);
    let free = connections.host.free(Pool::Rx);
    for distance in [
        262_145,
        1 << 20,
        1 << 30,
        (1 << 31) - 1,
        1 << 31,
        u32::MAX - 1460,
    ] {
        let stray = Segment {
            seq: SeqNumber(peer.seq.0.wrapping_add(distance)),
            ..peer.segment(1460)
        };
        connections.host.answer(&peer.frame(&stray, &pattern(1460)));
        assert_eq!(connections.host.free(Pool::Rx), free, "at {distance}");
    }
    assert_eq!(
        connections.host.read(server, 1),
        Err(SocketError::WouldBlock)
    );
}

/// Selective acknowledgements of what never came, of what was never sent, and of nothing: what was
/// claimed falsely is sent again all the same (RFC 2018, section 8), and the connection stands.
#[test]
fn selective_acknowledgements_that_lie_lose_nothing() {
    for seed in 1..=20 {
        let mut random = Random(seed);
        let mut host = Host::ready();
        let listener = host.listener(US, 4);
        let mut peer = Peer::new("10.0.0.9:5000", US);
        let options = Options {
            mss: Some(1460),
            sack_permitted: true,
            ..Options::default()
        };
        peer.open(&mut host, options);
        host.receive(&peer.data(&[]));
        let server = host.accept(listener).unwrap();
        let bytes = pattern(60_000);
        assert_eq!(host.write(server, &bytes), Ok(bytes.len()));
        // Nothing that is sent now arrives.
        for _ in 0..200 {
            let mut lie = peer.segment(0);
            for _ in 0..random.below(4) {
                let start = peer.ack + random.below(70_000) as u32 - 5000;
                let end = start + random.below(20_000) as u32 - 2000;
                lie.options.sack.push(start, end);
            }
            host.answer(&peer.frame(&lie, &[]));
            host.pass(Duration::from_millis(random.below(20) as u64));
        }
        let mut received = Vec::new();
        let begun = host.now;
        while received.len() < bytes.len() {
            for frame in host.sent() {
                let Some((_, _, segment, payload)) = read(&frame) else {
                    continue;
                };
                if segment.seq == peer.ack && segment.len > 0 {
                    peer.ack = segment.end();
                    received.extend(payload);
                }
            }
            host.receive(&peer.data(&[]));
            host.pass(Duration::from_millis(10));
            host.receive(&build::arp_request(PEER_MAC, PEER_V4, OUR_V4));
            assert!(
                host.now - begun < Duration::from_secs(120),
                "{}",
                received.len()
            );
        }
        assert!(received == bytes);
    }
}
