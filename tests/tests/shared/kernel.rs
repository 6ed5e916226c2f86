//! What the kernel has on the same addresses is not harmed: while a ring starts, serves and ends, and when it dies.

use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};

use libtest_mimic::Trial;
use ringwire_tests::echo::Echo;
use ringwire_tests::example;
use ringwire_tests::net::{PATIENCE, PEER_V4, PEER_V6, RING_INTERFACE, RING_V4, RING_V6, Veth};
use ringwire_tests::stream::PORT;
use ringwire_xsk::{Interface, Rtnetlink};

use crate::beside;
use crate::load::{Load, Served, echoes, kernel_load};
use crate::sockets::{builder, until};

pub fn trials() -> Vec<Trial> {
    vec![
        beside("kernel::keeps_what_is_its_own", keeps),
        beside("kernel::answers_for_a_ring_that_was_killed", killed),
    ]
}

/// A UDP service of the kernel's, on the ring's addresses.
struct Service {
    server: UdpSocket,
    client: UdpSocket,
}

impl Service {
    fn new(veth: &Veth, ours: &str, peers: &str) -> Service {
        let ip: IpAddr = ours.parse().expect("an address");
        let server = UdpSocket::bind((ip, 0)).expect("a kernel's socket");
        server.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let client = veth.peer_socket(peers);
        client
            .connect(server.local_addr().expect("an address"))
            .expect("a peer");
        Service { server, client }
    }

    fn answers(&self) {
        let mut buffer = [0; 16];
        self.client.send(b"question").expect("the peer sends");
        let (len, from) = self.server.recv_from(&mut buffer).expect("a question");
        assert_eq!(&buffer[..len], b"question");
        self.server.send_to(b"answer", from).expect("it sends");
        let len = self.client.recv(&mut buffer).expect("an answer");
        assert_eq!(&buffer[..len], b"answer");
    }
}

fn answers_ping(ping: &mut Echo) {
    ping.ask();
    until("an answer to a ping", || ping.is_answered());
}

/// Connections, datagrams and pings of the kernel's, all the time.
fn keeps(veth: &Veth) {
    let loads = [RING_V4, RING_V6].map(|ip| kernel_load(veth, ip));
    let services = [(RING_V4, PEER_V4), (RING_V6, PEER_V6)];
    let services = services.map(|(ours, peers)| Service::new(veth, ours, peers));
    let mut ping = veth.in_peer(|| Echo::new(RING_V4));
    let mut go_on = || {
        for (_, load) in &loads {
            load.goes_on();
        }
        services.iter().for_each(Service::answers);
        answers_ping(&mut ping);
    };
    go_on();
    for _ in 0..2 {
        let served = Served::start(&builder());
        go_on();
        let ours = [RING_V4, RING_V6].map(|ip| Load::to(veth, ip));
        ours.iter().for_each(Load::goes_on);
        go_on();
        ours.into_iter().for_each(Load::end);
        served.end();
        go_on();
    }
    for (server, load) in loads {
        load.end();
        server.join().expect("the kernel's server");
    }
}

/// The echo example in a process of its own, which serves.
struct Process(Child);

impl Process {
    fn start() -> Process {
        let mut command = Command::new(example("echo"));
        command.args(["--interface", RING_INTERFACE, "--port", &PORT.to_string()]);
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("the echo example");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let process = Process(child);
        let listens = |line: io::Result<String>| line.expect("its output").starts_with("listening");
        assert!(output.lines().any(listens), "it does not listen");
        process
    }

    /// `kill -9`.
    fn kill(mut self) {
        self.0.kill().expect("it is killed");
        self.0.wait().expect("its end");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended, unless a test has failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn has_program() -> bool {
    let index = Interface::by_name(RING_INTERFACE)
        .expect("the interface")
        .index;
    let link = Rtnetlink::open(index).and_then(|mut rtnetlink| rtnetlink.link());
    !link.expect("the link").xdp.is_empty()
}

/// The kernel refuses connections and datagrams to the port, as it does for any that nobody has.
fn refused(veth: &Veth, ip: &str, peers: &str) {
    let ip: IpAddr = ip.parse().expect("an address");
    let to = SocketAddr::from((ip, PORT));
    let connection = veth.in_peer(|| TcpStream::connect_timeout(&to, PATIENCE));
    let error = connection.expect_err("nobody listens");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    let socket = veth.peer_socket(peers);
    socket.connect(to).expect("a peer");
    socket.send(b"anyone?").expect("the peer sends");
    let error = socket.recv(&mut [0; 16]).expect_err("nobody is there");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

fn serves(veth: &Veth) {
    for (ours, peers) in [(RING_V4, PEER_V4), (RING_V6, PEER_V6)] {
        echoes(&veth.peer_socket(peers), ours, b"hello");
        let load = Load::to(veth, ours);
        load.goes_on();
        load.end();
    }
}

fn killed(veth: &Veth) {
    let (server, kernels) = kernel_load(veth, RING_V4);
    let process = Process::start();
    serves(veth);
    assert!(has_program());
    let ours = Load::to(veth, RING_V4);
    ours.goes_on();
    process.kill();
    assert_eq!(ours.failure(), io::ErrorKind::ConnectionReset);
    until("the program is gone", || !has_program());
    refused(veth, RING_V4, PEER_V4);
    refused(veth, RING_V6, PEER_V6);
    kernels.goes_on();
    // Nothing is left that would be in the way.
    let process = Process::start();
    serves(veth);
    kernels.goes_on();
    process.kill();
    kernels.goes_on();
    kernels.end();
    server.join().expect("the kernel's server");
}
