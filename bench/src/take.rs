//! What connections take of the heap, beside the UMEM. The counting allocator must be installed.

use ringwire_stack::{Linger, SocketId, Stack};

use crate::count;
use crate::hosts::{Bytes, Pair, SEGMENT_BYTES};

/// Bytes of heap that one of each takes, as asked of the allocator.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// A connection that stands and has carried nothing, at the end that connected.
    pub client: f64,
    /// The same at the end that accepted.
    pub server: f64,
    /// The same two once a request and an answer of 64 KiB went through, and were read.
    pub used_client: f64,
    pub used_server: f64,
    /// Heap blocks of a connection that was used: malloc(3) adds 8 bytes to each.
    pub blocks: f64,
    /// A half-open connection in a listener's SYN queue.
    pub half_open: f64,
    /// A connection in TIME-WAIT.
    pub time_wait: f64,
}

impl Taken {
    /// Makes so many connections, uses and closes them.
    ///
    /// # Panics
    /// If a connection is not made, or what it wrote does not arrive.
    pub fn measure(connections: usize) -> Taken {
        let mut pair = Pair::new();
        let half_open = half_open(&mut pair);
        let mut pair = Pair::new();
        let empty = [count::bytes(1), count::bytes(2)];
        let empty_blocks = count::blocks(1);
        pair.connect(connections);
        let each = |bytes: isize, before: isize| (bytes - before) as f64 / connections as f64;
        let [client, server] = [1, 2].map(|end| each(count::bytes(end), empty[end - 1]));
        for index in 0..connections {
            ask_and_answer(&mut pair, index + 1);
        }
        let [used_client, used_server] = [1, 2].map(|end| each(count::bytes(end), empty[end - 1]));
        let blocks = each(count::blocks(1), empty_blocks);
        Taken {
            client,
            server,
            used_client,
            used_server,
            blocks,
            half_open,
            time_wait: time_wait(connections),
        }
    }

    /// The figures for people.
    pub fn lines(&self) -> Vec<String> {
        vec![
            format!(
                "an idle connection: {:.0} (connected), {:.0} (accepted)",
                self.client, self.server
            ),
            format!(
                "the same after 64 KiB each way: {:.0}, {:.0}; in {:.1} blocks",
                self.used_client, self.used_server, self.blocks
            ),
            format!("an entry of a SYN queue: {:.0}", self.half_open),
            format!("a connection in TIME-WAIT: {:.0}", self.time_wait),
        ]
    }
}

fn half_open(pair: &mut Pair) -> f64 {
    const SYNS: usize = 1000;
    let before = count::bytes(2);
    pair.begin(SYNS);
    pair.half_exchange();
    (count::bytes(2) - before) as f64 / SYNS as f64
}

fn ask_and_answer(pair: &mut Pair, index: usize) {
    let (client, server) = (pair.clients[index], pair.servers[index]);
    let (source, mut sink) = (vec![7; 45 * SEGMENT_BYTES], vec![0; 256 << 10]);
    let mut arrived = 0;
    assert_eq!(pair.a.write(client, &source, Bytes::Copied), source.len());
    assert_eq!(pair.b.write(server, &source, Bytes::Copied), source.len());
    while arrived < 2 * source.len() {
        pair.exchange();
        arrived += pair.a.read_ready(&mut sink, Bytes::Copied)
            + pair.b.read_ready(&mut sink, Bytes::Copied);
        // Acknowledgements that were held back.
        pair.pass(50_000_000);
    }
    pair.exchange();
}

fn reset_on_close(stack: &mut Stack, id: SocketId) {
    let mut options = stack.options(id).expect("a socket");
    options.linger = Linger {
        on: true,
        seconds: 0,
    };
    stack.set_options(id, options).expect("a socket");
}

/// Bytes of the first host's heap once every connection was closed, by the first host first or by a
/// reset; and how many are in TIME-WAIT.
fn closed(pair: &mut Pair, reset: bool) -> (isize, usize) {
    let clients = std::mem::take(&mut pair.clients);
    let servers = std::mem::take(&mut pair.servers);
    for (client, server) in clients.into_iter().zip(servers) {
        if reset {
            reset_on_close(&mut pair.a.stack, client);
        }
        pair.a.close(pair.now, client);
        pair.exchange();
        pair.b.close(pair.now, server);
        pair.exchange();
    }
    (count::bytes(1), pair.a.stack.tcp_time_waits())
}

/// What stays of connections that were closed, beside what stays of as many that were reset.
fn time_wait(connections: usize) -> f64 {
    let stays = |reset: bool| {
        let empty = count::bytes(1);
        let mut pair = Pair::new();
        pair.connect(connections - 1);
        let (bytes, waiting) = closed(&mut pair, reset);
        assert_eq!(waiting, if reset { 0 } else { connections });
        bytes - empty
    };
    (stays(false) - stays(true)) as f64 / connections as f64
}
