//! The TCP engine alone.

use std::time::Duration;

use ringwire_stack::Instant;
use ringwire_tcp::{
    Algorithm, Connection, Ecn, Options, SackBlocks, Segment, SeqNumber, Timestamps,
};

use super::Input;

/// The TCP engine as a sequence of events: segments whose numbers lie near those that matter, time,
/// and what a user does.
///
/// # Panics
/// If the engine breaks a promise: a number goes back, a range lies outside of its segment, it never
/// stops sending.
pub fn tcp_engine(data: &[u8]) {
    let mut input = Input(data);
    let mut now = Instant::from_nanos(1_000_000_000);
    let config = ringwire_tcp::Config {
        mss: 100 + u16::from(input.byte()) * 8,
        receive_buffer: 1 + u32::from(input.byte()) * 1000,
        ..Default::default()
    };
    let iss = SeqNumber(input.word());
    let begin = input.byte() % 3;
    let mut connection = if begin == 0 {
        Connection::active(config, iss, 1)
    } else {
        let syn = Segment {
            syn: true,
            ..segment(&mut input, SeqNumber(7), SeqNumber(0))
        };
        match begin {
            1 => Connection::passive(now, config, iss, 1, &syn),
            _ => Connection::from_cookie(now, config, iss, 1, &syn),
        }
    };
    let mut queued = 0u32;
    while !input.is_empty() {
        let (una, next) = (connection.send_una(), connection.receive_next());
        engine_event(&mut connection, &mut input, &mut now, &mut queued);
        let _ = connection.info(now);
        let piece = 1 + u32::from(input.byte());
        let mut sent = 0;
        while let Some(segment) = connection.poll_transmit(now, &mut |_| piece * 16) {
            sent += 1;
            assert!(sent < 100_000, "it never stops sending");
            assert!(
                segment.len <= u32::from(config.mss),
                "a segment over the MSS"
            );
        }
        if connection.state() != ringwire_tcp::State::Closed {
            let established = connection.state() != ringwire_tcp::State::SynSent;
            assert!(!connection.send_una().before(una), "SND.UNA went back");
            assert!(
                !established
                    || una == iss
                    || !connection.receive_next().before(next)
                    || next == SeqNumber(0),
                "RCV.NXT went back"
            );
        }
    }
}

/// One event of [`tcp_engine`]; `queued` bytes are not acknowledged.
fn engine_event(
    connection: &mut Connection,
    input: &mut Input<'_>,
    now: &mut Instant,
    queued: &mut u32,
) {
    let (una, next) = (connection.send_una(), connection.receive_next());
    match input.byte() % 8 {
        0..=3 => {
            let segment = segment(input, next, una);
            let disposition = connection.on_segment(*now, &segment);
            if let Some(keep) = disposition.keep {
                assert!(keep.skip + keep.len <= segment.len, "kept more than came");
            }
            assert!(
                disposition.acked <= *queued,
                "acknowledged more than was queued"
            );
            *queued -= disposition.acked;
        }
        4 => {
            *now = *now + Duration::from_micros(input.word().into());
            if connection.next_deadline().is_some_and(|at| at <= *now) {
                let _ = connection.on_timer(*now);
            }
        }
        5 if connection.state().may_send() && *queued < 1 << 20 => {
            let len = input.word() % 10_000;
            connection.push(len, input.byte().is_multiple_of(2));
            *queued += len;
        }
        6 => connection.read(input.word() % 100_000),
        7 => match input.byte() % 8 {
            0 => connection.close(*now),
            1 => connection.orphan(*now),
            2 => drop(connection.abort()),
            3 => connection.prune(),
            4 => choose(connection, *now, input),
            5 => {
                let quoted = una + input.word() % 10_000 - 100;
                let _ = connection.on_packet_too_big(*now, quoted, input.short());
            }
            6 => connection.refuse_payload(),
            _ => connection.set_receive_room(input.word() % 100_000),
        },
        _ => {}
    }
}

/// Changes the options of a socket.
fn choose(connection: &mut Connection, now: Instant, input: &mut Input<'_>) {
    let mut options = connection.options();
    let on = input.byte();
    let bit = |bit: u8| on & 1 << bit != 0;
    options.no_delay = bit(0);
    options.cork = bit(1);
    options.quick_ack = bit(2);
    options.keep_alive.enabled = bit(3);
    options.keep_alive.idle = Duration::from_micros(input.word().into());
    options.user_timeout = bit(4).then(|| Duration::from_micros(input.word().into()));
    options.algorithm = Algorithm::ALL[usize::from(bit(5))];
    connection.set_options(now, options);
}

fn segment(input: &mut Input<'_>, seq: SeqNumber, ack: SeqNumber) -> Segment {
    let near = |input: &mut Input<'_>, number: SeqNumber| match input.byte() {
        byte @ 0..=99 => number + u32::from(byte) * 10,
        byte @ 100..=199 => number - u32::from(byte - 100),
        _ => SeqNumber(input.word()),
    };
    let flags = input.byte();
    let options = input.byte();
    Segment {
        seq: near(input, seq),
        ack: (flags & 1 == 0).then(|| near(input, ack)),
        window: input.word() as u16,
        syn: flags & 6 == 6,
        fin: flags & 24 == 24,
        rst: flags & 96 == 96,
        psh: flags & 128 != 0,
        len: input.word() % 70_000,
        options: Options {
            mss: (options & 1 != 0).then(|| input.word() as u16),
            window_scale: (options & 2 != 0).then(|| input.byte()),
            timestamps: (options & 4 != 0).then(|| Timestamps {
                value: input.word(),
                echo: input.word(),
            }),
            sack_permitted: options & 8 != 0,
            sack: sack(input, usize::from(options >> 4) % 5, ack),
        },
        ece: options & 0x80 != 0,
        cwr: flags & 0x40 != 0,
        ecn: [Ecn::Incapable, Ecn::Capable, Ecn::Congested][usize::from(options) % 3],
    }
}

/// Blocks near what is outstanding.
fn sack(input: &mut Input<'_>, count: usize, una: SeqNumber) -> SackBlocks {
    let mut blocks = SackBlocks::default();
    for _ in 0..count {
        let start = una + input.word() % 100_000 - 1000;
        blocks.push(start, start + input.word() % 10_000 - 100);
    }
    blocks
}
