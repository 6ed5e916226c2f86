//! Whatever the network loses, doubles, reorders and forges, the receiver gets the bytes that were sent.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::{
    Answer, Config, Connection, Disposition, Instant, Keep, Options, Segment, SeqNumber, State,
    TimeWait,
};

/// xorshift64*: enough randomness for a test.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 33) % end
    }

    fn chance(&mut self, of_thousand: u64) -> bool {
        self.below(1000) < of_thousand
    }
}

/// The byte that stands at an offset of a stream.
fn byte_at(stream: u8, offset: u64) -> u8 {
    let mixed = (offset + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(stream);
    (mixed >> 40) as u8
}

/// One end: the connection, and what its owner does for it.
struct End {
    stream: u8,
    connection: Connection,
    /// Our first data byte's number, and the peer's.
    send_first: SeqNumber,
    receive_first: SeqNumber,
    total: u64,
    queued: u64,
    /// Bytes that were kept out of order, by offset; and how many can be read, and were.
    kept: BTreeMap<u64, u8>,
    readable: u64,
    read: u64,
    ended: bool,
    closed: bool,
    waiting: Option<TimeWait>,
    piece: u32,
    /// The edge of the window that was offered last.
    edge: SeqNumber,
    /// When segments were sent last, by their first byte.
    sent_at: BTreeMap<u32, Instant>,
    /// Segments that took a short way, in and out.
    predicted: u64,
    /// Full segments that followed another, and short ones.
    followed: [u64; 2],
}

const CAPACITY: u32 = 20_000;
/// How long a segment is on its way at least.
const DELAY: Duration = Duration::from_millis(5);

impl End {
    /// Offset in the peer's stream.
    fn offset(&self, seq: SeqNumber) -> u64 {
        // Streams here are shorter than 2^31.
        u64::from(seq.since(self.receive_first))
    }

    fn on_segment(&mut self, now: Instant, segment: &Segment) -> Option<Segment> {
        if let Some(waiting) = &mut self.waiting {
            return match waiting.on_segment(now, segment, &Config::default()) {
                Answer::Ack(ack) => Some(ack),
                Answer::Ignore | Answer::Reopen(_) => None,
            };
        }
        let mut short = self.connection.clone();
        let disposition = self.connection.on_segment(now, segment);
        if short.on_predicted(now, segment) {
            let all = Disposition {
                keep: Some(Keep {
                    skip: 0,
                    len: segment.len,
                    seq: segment.seq,
                }),
                delivered: segment.len,
                ..Disposition::default()
            };
            assert_eq!(disposition, all);
            assert_same(&short, &self.connection);
            self.predicted += 1;
            assert_followed_alike(now, &short, segment);
        }
        self.carry_out(now, disposition);
        // A RST would be for somebody who forges.
        None
    }

    fn carry_out(&mut self, now: Instant, disposition: Disposition) {
        if let Some(keep) = disposition.keep {
            let first = self.offset(keep.seq);
            for offset in first..first + u64::from(keep.len) {
                // The payload is a function of the offset: what was kept is right if its place is.
                self.kept.insert(offset, byte_at(1 - self.stream, offset));
            }
        }
        for _ in 0..disposition.delivered {
            let byte = self.kept.remove(&self.readable);
            assert_eq!(
                byte,
                Some(byte_at(1 - self.stream, self.readable)),
                "a byte is missing"
            );
            self.readable += 1;
        }
        if disposition.delivered > 0 {
            let unread = (self.readable - self.read) as u32;
            self.connection
                .set_receive_room(CAPACITY.saturating_sub(unread));
        }
        self.ended |= disposition.finished;
        assert_eq!(disposition.failure, None, "nobody resets here");
        self.waiting = self.waiting.or(self.connection.time_wait(now));
        self.closed |= disposition.time_wait || disposition.closed;
    }

    /// There is no more memory for what came out of order.
    fn prune(&mut self) {
        self.connection.prune();
        self.kept.clear();
    }

    fn act(&mut self, now: Instant, random: &mut Random) {
        if self.connection.state().may_send() && self.queued < self.total {
            let len = (1 + random.below(5000)).min(self.total - self.queued);
            if self.connection.unacknowledged() < 60_000 {
                self.connection.push(len as u32, random.chance(100));
                self.queued += len;
            }
        }
        if self.queued == self.total && self.connection.state().may_send() {
            self.connection.close(now);
        }
        // A reader that sleeps now and then.
        if self.readable > self.read && random.chance(700) {
            self.read += 1 + random.below(self.readable - self.read);
            let unread = (self.readable - self.read) as u32;
            self.connection.read(CAPACITY.saturating_sub(unread));
        }
    }

    fn sent(&mut self, now: Instant) -> Vec<Segment> {
        let (first, piece) = (self.send_first, self.piece);
        let contiguous = &mut |seq: SeqNumber| piece - seq.since(first) % piece;
        let mut sent = Vec::new();
        while let Some(segment) = self.connection.poll_transmit(now, contiguous) {
            sent.push(segment);
            self.follow(now, &mut sent, contiguous);
            assert!(sent.len() < 1000, "it never stops sending");
        }
        for segment in &sent {
            self.watch_window(segment);
            self.watch_haste(now, segment);
        }
        self.watch_timers(now);
        self.watch_flight();
        sent
    }

    /// Has those sent that follow the last one by the short way: the long one would give out the same,
    /// and lead to the same.
    fn follow(
        &mut self,
        now: Instant,
        sent: &mut Vec<Segment>,
        contiguous: &mut dyn FnMut(SeqNumber) -> u32,
    ) {
        let first = *sent.last().expect("there is one");
        let mut long = self.connection.clone();
        let full = first.len == self.connection.send_mss();
        let alike = |count| {
            let starts = (0..count).map(|index| first.end() + index * first.len);
            let alike = |at: &_| match contiguous(*at) {
                there if full => there >= first.len,
                there => there == first.len,
            };
            starts.take_while(alike).count() as u32
        };
        let count = self.connection.poll_following(now, &first, 9, alike);
        for _ in 0..count {
            let segment = long.poll_transmit(now, contiguous).expect("the next one");
            let seq = sent.last().expect("there is one").end();
            let expected = Segment {
                seq,
                psh: false,
                cwr: false,
                ..first
            };
            assert_eq!(segment, expected);
            sent.push(segment);
        }
        if count > 0 {
            assert_same(&self.connection, &long);
        }
        self.followed[usize::from(!full)] += u64::from(count);
    }

    fn watch_window(&mut self, sent: &Segment) {
        let Some(ack) = sent.ack else { return };
        let scale = match sent.syn {
            true => 0,
            false => self.connection.receive.window.scale,
        };
        let edge = ack + (u32::from(sent.window) << scale);
        // The FIN takes a number that no window need offer.
        assert!(
            !(edge + u32::from(self.ended)).before(self.edge),
            "the window has shrunk"
        );
        self.edge = edge;
    }

    /// What is outstanding is recorded without a gap, and is in the network, sacked or lost; the
    /// congestion window is within its bounds.
    fn watch_flight(&self) {
        let Connection { send, flight, .. } = &self.connection;
        if matches!(
            self.connection.state(),
            State::SynSent | State::SynReceived | State::Closed
        ) {
            return;
        }
        let (mut next, mut counts) = (send.una, [0; 3]);
        for sent in flight.iter() {
            assert_eq!(sent.start, next, "a gap");
            assert!(!(sent.sacked && sent.lost), "{sent:?}");
            let kind = usize::from(sent.sacked) + 2 * usize::from(sent.lost);
            counts[kind] += sent.len();
            next = sent.end;
        }
        assert_eq!(next, send.next, "something is not recorded");
        let recorded = [flight.pipe(), flight.sacked_bytes(), flight.lost_bytes()];
        assert_eq!(counts, recorded);
        let window = self.connection.congestion.window();
        assert!((send.mss..=1 << 30).contains(&window), "{window}");
    }

    /// Where the peer says what has arrived, nothing goes again before it can have said so; but the last
    /// segment may, as a probe in place of a timeout.
    fn watch_haste(&mut self, now: Instant, segment: &Segment) {
        let connection = &self.connection;
        let measured = connection.handshake.sack && connection.rtt.srtt().is_some();
        if segment.len == 0 || !measured {
            return;
        }
        let before = self.sent_at.insert(segment.seq.0, now);
        let last =
            connection.recovery.tail.is_outstanding() && segment.end() == connection.send.next;
        assert!(
            last || before.is_none_or(|before| now - before >= 2 * DELAY),
            "sent again after {:?}",
            before.map(|before| now - before)
        );
    }

    /// With nothing to send and nothing outstanding, only an acknowledgement may be waited for.
    fn watch_timers(&self, now: Instant) {
        let standing = matches!(
            self.connection.state(),
            State::Established | State::CloseWait | State::FinWait2
        );
        // That a longer segment is tried later is no reason to hurry.
        let raise = self.connection.timers.raise_path;
        let deadline = self
            .connection
            .next_deadline()
            .filter(|&at| Some(at) != raise);
        if standing && self.connection.unacknowledged() == 0 {
            let latest = now + Config::default().delayed_ack;
            assert!(
                deadline.is_none_or(|at| at <= latest),
                "a timer was left over"
            );
        }
        assert!(
            !self.closed || deadline.is_none(),
            "a timer of nobody's was left"
        );
    }

    fn is_over(&self) -> bool {
        self.ended && self.read == self.readable && self.closed
    }
}

/// Both connections are in the same state, to the last variable.
fn assert_same(short: &Connection, long: &Connection) {
    assert_eq!(format!("{short:?}"), format!("{long:?}"));
}

/// Segments behind one that was predicted come to the same, whether they are taken one by one or together.
fn assert_followed_alike(now: Instant, after: &Connection, segment: &Segment) {
    const MOST: u32 = 4;
    let (mut one_by_one, mut next) = (after.clone(), *segment);
    for count in 1..=MOST.min(after.offered_room() / segment.len) {
        next.seq += segment.len;
        assert!(one_by_one.on_predicted(now, &next), "the next of {next:?}");
        let mut together = after.clone();
        together.on_following(now, segment, count);
        assert_same(&together, &one_by_one);
    }
}

struct Faults {
    loss: u64,
    duplication: u64,
    reordering: u64,
    forgery: u64,
    pruning: u64,
    /// A middlebox takes timestamps and window scales away.
    strips_options: bool,
}

struct World {
    now: Instant,
    random: Random,
    ends: [End; 2],
    wire: Vec<(Instant, usize, Segment)>,
    faults: Faults,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let now = Instant::from_nanos(1_000_000_000);
        let config = Config {
            mss: 600 + random.below(1000) as u16,
            receive_buffer: CAPACITY,
            ..Config::default()
        };
        // Close to the wrap, so that it is crossed.
        let iss = |random: &mut Random| SeqNumber(0u32.wrapping_sub(random.below(20_000) as u32));
        let (first, second) = (iss(&mut random), iss(&mut random));
        let mut active = Connection::active(config, first, 7);
        let mut syn = active.poll_transmit(now, &mut |_| 0).expect("a SYN");
        let strips_options = random.chance(300);
        if strips_options {
            syn = stripped(syn);
        }
        let passive = Connection::passive(now, config, second, 9, &syn);
        let total = |random: &mut Random| random.below(200_000);
        let mut end = |stream, connection, send_first: SeqNumber, receive_first: SeqNumber| End {
            stream,
            connection,
            send_first: send_first + 1,
            receive_first: receive_first + 1,
            total: total(&mut random),
            queued: 0,
            kept: BTreeMap::new(),
            readable: 0,
            read: 0,
            ended: false,
            closed: false,
            waiting: None,
            edge: receive_first + 1,
            sent_at: BTreeMap::new(),
            predicted: 0,
            followed: [0; 2],
            piece: 200 + random.below(3000) as u32,
        };
        let ends = [
            end(0, active, first, second),
            end(1, passive, second, first),
        ];
        let faults = Faults {
            loss: random.below(200),
            duplication: random.below(100),
            reordering: random.below(300),
            forgery: random.below(50),
            pruning: random.below(50),
            strips_options,
        };
        World {
            now,
            random,
            ends,
            wire: Vec::new(),
            faults,
        }
    }

    fn send(&mut self, from: usize) {
        for segment in self.ends[from].sent(self.now) {
            let beyond =
                segment.len > 0 && (segment.text() + segment.len).after(self.ends[1 - from].edge);
            assert!(!beyond, "more than was ever offered");
            self.transmit(from, segment);
        }
    }

    fn transmit(&mut self, from: usize, segment: Segment) {
        let segment = match self.faults.strips_options {
            true => stripped(segment),
            false => segment,
        };
        let copies = 1 + u32::from(self.random.chance(self.faults.duplication));
        for _ in 0..copies {
            if self.random.chance(self.faults.loss) {
                continue;
            }
            let mut delay = DELAY;
            if self.random.chance(self.faults.reordering) {
                delay += Duration::from_nanos(self.random.below(20_000_000));
            }
            let at = self.now + delay;
            self.wire.push((at, 1 - from, segment));
        }
        if self.random.chance(self.faults.forgery) {
            self.forge(1 - from, segment);
        }
    }

    /// What somebody sends who knows the addresses and guesses well: a RST and a SYN in the window but
    /// not in their place, and data with an acknowledgement of what was never sent.
    fn forge(&mut self, to: usize, like: Segment) {
        let end = &mut self.ends[to];
        // Before a connection knows its peer, any SYN will do.
        if end.connection.state() == State::SynSent {
            return;
        }
        let near = self.random.below(u64::from(CAPACITY)) as u32;
        let bare = Segment {
            seq: end.connection.receive_next() + 1 + near,
            len: 0,
            fin: false,
            syn: false,
            ..like
        };
        let forged = match self.random.below(3) {
            0 => Segment { rst: true, ..bare },
            1 => Segment {
                syn: true,
                ack: None,
                ..bare
            },
            _ => Segment {
                seq: end.connection.receive_next(),
                ack: like.ack.map(|ack| ack + (1 << 20)),
                len: 100,
                ..bare
            },
        };
        if let Some(answer) = end.on_segment(self.now, &forged) {
            self.transmit(to, answer);
        }
    }

    fn deliver(&mut self) {
        let mut due: VecDeque<_> = VecDeque::new();
        let now = self.now;
        self.wire.retain(|&(at, to, segment)| {
            if at <= now {
                due.push_back((at, to, segment));
            }
            at > now
        });
        due.make_contiguous().sort_by_key(|&(at, ..)| at);
        for (_, to, segment) in due {
            let end = &mut self.ends[to];
            if let Some(answer) = end.on_segment(now, &segment) {
                self.transmit(to, answer);
            } else if self.random.chance(self.faults.pruning) {
                end.prune();
            }
        }
    }

    fn run(&mut self) {
        let end = self.now + Duration::from_secs(3600 * 4);
        for _ in 0..2_000_000 {
            self.deliver();
            for index in 0..2 {
                let (now, random) = (self.now, &mut self.random);
                self.ends[index].act(now, random);
                if self.ends[index]
                    .connection
                    .next_deadline()
                    .is_some_and(|at| at <= now)
                {
                    let disposition = self.ends[index].connection.on_timer(now);
                    self.ends[index].carry_out(now, disposition);
                }
                self.send(index);
            }
            if self.ends.iter().all(End::is_over) {
                return;
            }
            let next = self
                .ends
                .iter()
                .filter_map(|end| end.connection.next_deadline());
            let wire = self.wire.iter().map(|&(at, ..)| at);
            let busy = self.ends.iter().any(|end| end.readable > end.read);
            let idle = busy.then(|| self.now + Duration::from_millis(10));
            let next = next
                .chain(wire)
                .chain(idle)
                .min()
                .expect("stuck: nothing will happen");
            assert!(next < end, "stuck: hours have passed");
            self.now = next.max(self.now + Duration::from_nanos(1));
        }
        panic!("stuck: it never ends");
    }
}

fn stripped(segment: Segment) -> Segment {
    Segment {
        options: Options {
            mss: segment.options.mss,
            ..Options::default()
        },
        ..segment
    }
}

/// Says which seed it was, if it fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}", self.0);
        }
    }
}

/// 300 of them, or those from the first to the second number in `TCP_SEEDS`.
fn seeds() -> std::ops::RangeInclusive<u64> {
    let Ok(range) = std::env::var("TCP_SEEDS") else {
        return 1..=300;
    };
    let mut numbers = range
        .split(' ')
        .map(|number| number.parse().expect("two numbers"));
    let mut next = || numbers.next().expect("two numbers");
    next()..=next()
}

#[test]
fn any_loss_duplication_reordering_and_forgery_delivers_the_same_bytes() {
    let (mut predicted, mut followed) = (0, [0, 0]);
    for seed in seeds() {
        let _seed = Seed(seed);
        let mut world = World::new(seed);
        world.run();
        predicted += world.ends.iter().map(|end| end.predicted).sum::<u64>();
        for end in &world.ends {
            followed = [0, 1].map(|kind| followed[kind] + end.followed[kind]);
        }
        for (end, other) in [(0, 1), (1, 0)] {
            let (sent, got) = (world.ends[other].total, world.ends[end].read);
            assert_eq!(sent, got, "bytes of end {other}");
        }
    }
    assert!(predicted > 0, "nothing took the short way in");
    assert!(
        followed.iter().all(|&it| it > 0),
        "nothing took the short way out: {followed:?}"
    );
}
