//! What zero copy saves in memory, on one core, checksums off on both sides: requests that send and receive so
//! many bytes each, copied (SEND, and RECV into buffers of the application's), and not (SEND_ZC from slots,
//! whose headers go in front, or from an area, whose headers are a descriptor of their own; RECV with a lent
//! group). CPU time of one thread: the sender's, the receiver's, and nothing of the wire's. Nobody looks at
//! the bytes. Rounds of all ways alternate. The applications' memory is either in the cache or much larger,
//! as it is where each payload is another one.
//!
//!     zero_copy [ROUNDS]
//!     zero_copy PROTOCOL WAY BYTES COUNT    one way, so many times, without a clock: for an instruction counter

use ringwire_bench::clock::{cpu_nanos, median};
use ringwire_bench::engines::Protocol;
use ringwire_bench::sending::{Bed, CHUNK_BYTES, Cost, IDS, Way};

/// Requests in a measurement.
const REQUESTS: usize = 8192;
/// Payloads of each application's memory, by which it is 1 MiB or 64 MiB. They are used in turn.
const MEMORIES: [(&str, usize); 2] = [("near", 256), ("far", 16_384)];

const WAYS: [(&str, Way); 3] = [
    ("copy", Way::Copy),
    ("in-place", Way::InPlace),
    ("scatter", Way::Scatter),
];
/// Bytes of a request. A slot has 3968 at most, and a segment from one 12 fewer.
const SIZES: [usize; 5] = [600, 1000, 1400, 3900, 4000];
const LONGEST_SLOT: usize = 3900;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [protocol, way, bytes, count] = &words[..] {
        let protocol = Protocol::NAMED.iter().find(|it| it.0 == protocol);
        let way = WAYS.iter().find(|it| it.0 == way);
        let bytes = bytes.parse().expect("a number of bytes");
        let &(_, protocol) = protocol.expect("udp or tcp");
        let mut bed = Bed::new(protocol, way.expect("a way").1, bytes, IDS, [|| 0; 2]);
        bed.run(count.parse().expect("a number of requests"));
        return;
    }
    let rounds = words.first().and_then(|word| word.parse().ok());
    let rounds = rounds.unwrap_or(7);
    println!("CPU ns for a request, in memory, no checksums, without the wire; and how many times");
    println!(
        "as fast as copied. Sending: SEND, SEND_ZC with headers in front, with headers beside;"
    );
    println!("receiving: RECV into own buffers, lent; both together");
    for (name, places) in MEMORIES {
        println!(
            "the applications' memory is {name}: {} MiB",
            (places * CHUNK_BYTES) >> 20
        );
        for (name, protocol) in Protocol::NAMED {
            for bytes in SIZES {
                table((name, protocol), bytes, places, rounds);
            }
        }
    }
}

/// A part of the cost, by name.
type Part = (&'static str, fn(&Cost) -> f64);

fn table((name, protocol): (&str, Protocol), bytes: usize, places: usize, rounds: usize) {
    let ways = WAYS.iter().map(|way| way.1);
    let ways = ways.filter(|&way| way != Way::InPlace || bytes <= LONGEST_SLOT);
    let mut beds: Vec<Bed> = ways
        .map(|way| Bed::new(protocol, way, bytes, places, [cpu_nanos; 2]))
        .collect();
    let mut costs = vec![Vec::new(); beds.len()];
    for round in 0..rounds + 1 {
        for (bed, costs) in beds.iter_mut().zip(&mut costs) {
            let cost = bed.run(REQUESTS);
            // The first one warms up.
            if round > 0 {
                costs.push(cost);
            }
        }
    }
    let parts: [Part; 3] = [
        ("send", |cost| cost.send),
        ("receive", |cost| cost.receive),
        ("both", |cost| cost.send + cost.receive),
    ];
    for (part, of) in parts {
        print!("{name} {bytes:5} {part:8}");
        for (bed, own) in beds.iter().zip(&costs) {
            let nanos = median(own.iter().map(of).collect());
            let times = own.iter().zip(&costs[0]);
            let times = median(times.map(|(own, copied)| of(copied) / of(own)).collect());
            print!("  {:?} {nanos:5.0} ({times:.2})", bed.way());
        }
        println!();
    }
}
