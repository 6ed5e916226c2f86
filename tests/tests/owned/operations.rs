//! What the methods do.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::time::Duration;

use ringwire::opcode;
use ringwire::owned::{Bytes, BytesMut, Ring};
use ringwire_tests::net::{PEER_V4, PEER_V6, RING_V4, RING_V6, Veth};

use crate::{Bed, PORT, STEP, errno};

pub const CASES: &[(&str, fn())] = &[
    ("a_datagram_comes_with_its_sender_and_goes_back", datagram),
    ("a_datagram_that_is_too_long_is_said_to_be", long_datagram),
    ("a_stream_is_read_and_answered", stream),
    ("a_chain_connects_and_then_sends", chain),
    ("a_failed_link_cancels_what_is_behind_it", broken_chain),
    (
        "every_accepted_connection_has_a_completion",
        accept_multishot,
    ),
    ("a_poll_says_what_holds", poll),
    ("a_timeout_comes", timeout),
    ("a_ring_with_deferred_completions_is_waited_for", deferred),
    ("an_option_is_set_and_its_value_given_back", option),
    ("a_raw_entry_is_told_from_operations", raw),
];

fn datagram() {
    let mut bed = Bed::new();
    let socket = bed.socket(libc::SOCK_DGRAM);
    for (own, peer) in [(RING_V4, PEER_V4), (RING_V6, PEER_V6)] {
        let client = bed.veth.peer_socket(peer);
        client.send_to(b"datagram", (own, PORT)).expect("sent");
        let room = BytesMut::with_capacity(100);
        bed.ring.recv_from(1, socket, room).expect("room");
        let received = bed.next();
        assert_eq!((received.user_data, received.truncated), (1, false));
        assert_eq!(received.result.expect("a datagram"), 8);
        let from = received.address.expect("a sender");
        let local = client.local_addr().expect("an address");
        assert_eq!(
            (from.ip().to_canonical(), from.port()),
            (local.ip(), local.port())
        );
        let payload = received.payload.expect("what came");
        assert_eq!(&payload[..], b"datagram");
        // What was received into is sent as it is, and comes back.
        bed.ring.send_to(2, socket, payload, from).expect("room");
        let sent = bed.next();
        assert_eq!((sent.user_data, sent.result.expect("sent")), (2, 8));
        assert_eq!(sent.payload.as_deref(), Some(&b"datagram"[..]));
        let mut buffer = [0; 100];
        let (len, sender) = client.recv_from(&mut buffer).expect("an answer");
        let own: IpAddr = own.parse().expect("an address");
        assert_eq!(
            (&buffer[..len], sender),
            (&b"datagram"[..], SocketAddr::new(own, PORT))
        );
    }
}

fn long_datagram() {
    let mut bed = Bed::new();
    let socket = bed.socket(libc::SOCK_DGRAM);
    let client = bed.veth.peer_socket(PEER_V4);
    client.send_to(&[7; 50], (RING_V4, PORT)).expect("sent");
    let room = BytesMut::with_capacity(20);
    let capacity = room.capacity();
    bed.ring.recv_from(1, socket, room).expect("room");
    let received = bed.next();
    assert!(received.truncated);
    let room = received.payload.expect("what fitted");
    assert_eq!(&room[..], &vec![7; capacity][..]);
}

fn stream() {
    let mut bed = Bed::new();
    let (socket, mut peer) = bed.connection();
    peer.write_all(b"question").expect("the peer writes");
    let mut room = BytesMut::with_capacity(100);
    while room.len() < 8 {
        bed.ring.recv(1, socket, room, 0).expect("room");
        let payload = bed.next().payload.expect("what came");
        room = payload.into_bytes_mut().expect("the room");
    }
    assert_eq!(&room[..], b"question");
    let answer = Bytes::from_static(b"answer");
    let queued = bed.ring.send(2, socket, answer, libc::MSG_WAITALL);
    queued.expect("room");
    assert_eq!(bed.next().result.expect("sent"), 6);
    bed.ring
        .shutdown(STEP, socket, Shutdown::Write)
        .expect("room");
    bed.step();
    let reader = std::thread::spawn(move || {
        let mut answer = Vec::new();
        peer.read_to_end(&mut answer).expect("the peer reads");
        answer
    });
    // The peer closes when it has read all.
    bed.ring.recv(3, socket, room, 0).expect("room");
    assert_eq!(bed.next().result.expect("the end"), 0);
    assert_eq!(reader.join().expect("the peer's thread"), b"answer");
    bed.ring.close(STEP, socket).expect("room");
    bed.step();
    bed.ring.close(4, socket).expect("room");
    assert_eq!(errno(&bed.next()), Some(libc::EBADF));
}

fn chain() {
    let mut bed = Bed::new();
    let listener = bed.veth.peer_listener(PEER_V4);
    let to = listener.local_addr().expect("an address");
    let peer = std::thread::spawn(move || {
        let mut bytes = [0; 5];
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.read_exact(&mut bytes).expect("the peer reads");
        bytes
    });
    let queued = bed.ring.socket(STEP, libc::AF_INET, libc::SOCK_STREAM);
    queued.expect("room");
    let socket = bed.next().socket().expect("a socket");
    bed.ring.link().connect(1, socket, to).expect("room");
    bed.ring.send(2, socket, &b"hello"[..], 0).expect("room");
    for user_data in [1, 2] {
        let completed = bed.next();
        assert_eq!(completed.user_data, user_data);
        completed.result.expect("the chain succeeds");
    }
    bed.ring
        .recv(3, socket, BytesMut::with_capacity(1), 0)
        .expect("room");
    assert_eq!(bed.next().result.expect("the end"), 0);
    assert_eq!(&peer.join().expect("the peer's thread"), b"hello");
}

fn broken_chain() {
    let mut bed = Bed::new();
    let socket = bed.socket(libc::SOCK_DGRAM);
    // A datagram socket does not listen.
    bed.ring.link().listen(1, socket, 1).expect("room");
    bed.ring
        .send(2, socket, b"payload".to_vec(), 0)
        .expect("room");
    assert_eq!(errno(&bed.next()), Some(libc::EOPNOTSUPP));
    let cancelled = bed.next();
    assert_eq!(errno(&cancelled), Some(libc::ECANCELED));
    assert_eq!(cancelled.payload.as_deref(), Some(&b"payload"[..]));
    // Only the next operation is linked.
    bed.ring.nop(3).expect("room");
    bed.next().result.expect("nothing stands before it");
}

fn accept_multishot() {
    let mut bed = Bed::new();
    let listener = bed.socket(libc::SOCK_STREAM);
    bed.ring.listen(STEP, listener, 4).expect("room");
    bed.step();
    let accept = bed.ring.accept_multishot(1, listener).expect("room");
    let peer = bed.veth.peer_thread(|| {
        let connect = || std::net::TcpStream::connect((RING_V6, PORT)).expect("a connection");
        [connect(), connect()]
    });
    let mut sockets = Vec::new();
    for _ in 0..2 {
        let accepted = bed.next();
        assert!(accepted.more);
        sockets.push(accepted.socket().expect("a connection"));
    }
    assert_ne!(sockets[0], sockets[1]);
    peer.join().expect("the peer's thread");
    bed.ring.cancel(2, accept).expect("room");
    assert_eq!(bed.next().result.expect("it is cancelled"), 0);
    let last = bed.next();
    assert_eq!((last.more, errno(&last)), (false, Some(libc::ECANCELED)));
    assert_eq!(bed.ring.in_flight(), 0);
}

fn poll() {
    let mut bed = Bed::new();
    let socket = bed.socket(libc::SOCK_DGRAM);
    let (readable, writable) = (libc::POLLIN as u32, libc::POLLOUT as u32);
    bed.ring.poll(1, socket, readable | writable).expect("room");
    assert_eq!(bed.next().result.expect("events"), writable);
    bed.ring.poll(2, socket, readable).expect("room");
    bed.ring.submit().expect("a turn");
    assert!(bed.ring.completion().is_none());
    let client = bed.veth.peer_socket(PEER_V4);
    client.send_to(b"x", (RING_V4, PORT)).expect("sent");
    assert_eq!(bed.next().result.expect("events"), readable);
}

fn timeout() {
    let mut bed = Bed::new();
    bed.ring.timeout(1, Duration::from_millis(1)).expect("room");
    assert_eq!(errno(&bed.next()), Some(libc::ETIME));
}

fn deferred() {
    let veth = Veth::new(1, 1500, false);
    let mut builder = crate::builder();
    builder.setup_single_issuer().setup_defer_taskrun();
    let ring = veth.in_ring(|| Ring::new(&builder, 8, 8));
    let mut ring = ring.expect("a ring");
    ring.socket(1, libc::AF_INET, libc::SOCK_DGRAM)
        .expect("room");
    let socket = ring.wait().expect("a turn").socket();
    let socket = socket.expect("a socket");
    let room = BytesMut::with_capacity(100);
    ring.recv(2, socket, room, 0).expect("room");
    ring.cancel_all(3, socket).expect("room");
    ring.submit().expect("a turn");
    let cancel = ring.wait().expect("a turn");
    assert_eq!((cancel.user_data, cancel.result.expect("found")), (3, 1));
    let cancelled = ring.wait().expect("a turn");
    assert_eq!(errno(&cancelled), Some(libc::ECANCELED));
}

fn option() {
    let mut bed = Bed::new();
    let socket = bed.socket(libc::SOCK_STREAM);
    let value = 1i32.to_ne_bytes();
    let (level, name) = (libc::IPPROTO_TCP, libc::TCP_NODELAY);
    let queued = bed.ring.set_option(1, socket, level, name, value.to_vec());
    queued.expect("room");
    let set = bed.next();
    assert_eq!(set.payload.as_deref(), Some(&value[..]));
    assert_eq!(set.result.expect("the option is set"), 0);
}

fn raw() {
    let mut bed = Bed::new();
    let operation = bed.ring.timeout(5, Duration::from_secs(600)).expect("room");
    // Of all operations the first has place 0 and generation 0: the same number, and no confusion.
    // SAFETY: the entry names no memory.
    unsafe { bed.ring.push(0, opcode::Nop::new().build()) }.expect("room");
    let completed = bed.next();
    assert_eq!(
        (completed.user_data, completed.result.expect("done")),
        (0, 0)
    );
    assert_eq!(bed.ring.in_flight(), 1);
    bed.ring.cancel(6, operation).expect("room");
    assert_eq!(bed.next().user_data, 6);
    assert_eq!(errno(&bed.next()), Some(libc::ECANCELED));
}
