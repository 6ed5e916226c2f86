//! The echo example's other server (`--zero-copy`), which sends back from where the NIC wrote.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;

use ringwire::Mode;
use ringwire_tests::net::{PEER_V4, RING_V4};
use ringwire_tests::stream::converse;

use crate::Check;
use crate::bed::{Bed, PORT, SLOT_BYTES, near_builder, server};
use crate::bulk::{BYTES, LONG, stream};
use crate::datagrams::ask;
use crate::forward::Server;

pub const CHECKS: &[Check] = &[("what the NIC wrote is sent back from there", echo)];

fn echo(bed: &Bed) {
    let stop = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&stop);
    let (ready, is_ready) = channel();
    let serve = move || {
        let mut server = Server::new(&near_builder(), 256, PORT).expect("a server");
        let report = server.ring.report().expect("a report");
        assert_eq!(report.mode, Mode::ZeroCopy, "{report}");
        ready.send(()).expect("somebody waits");
        server.run(&until).expect("a server that serves");
        let stack = server.ring.counters().expect("counters").stack;
        let copied = stack.lend_copied_from_heap + stack.lend_copied_for_room + server.tally.copied;
        println!("forwarded {:?}", server.tally);
        // Small segments of the stream are put together, and what follows within a frame has no room for headers.
        assert!(
            20 * copied <= stack.tx_in_place,
            "{copied} packets were copied: {stack:?}"
        );
        server.tally.bytes
    };
    let serving = bed.wire.in_ring(|| std::thread::spawn(serve));
    is_ready.recv().expect("a server");
    ask(&bed.client(PEER_V4, RING_V4), SLOT_BYTES);
    let peer = bed.wire.in_peer(|| TcpStream::connect(server(false)));
    let back = converse(peer.expect("a connection"), stream(1), LONG);
    assert!(back == stream(1), "the kernel got other bytes");
    stop.store(true, Ordering::Relaxed);
    let bytes = serving.join().expect("the server's thread");
    assert!(bytes >= BYTES as u64, "{bytes} bytes");
}
