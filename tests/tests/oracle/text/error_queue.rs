//! Who waits for the error queue, and what else happens to the socket meanwhile.

use super::msg_zerocopy::{Errors, NO_WAIT, zero_copy};
use super::*;

pub const CASES: &[Case] = &[
    case("error_queue_when_the_socket_is_shut_down", shut_down),
    case("error_queue_of_a_socket_that_is_shut_down", was_shut_down),
    case("error_queue_and_data_that_comes", data_comes),
    case("error_queue_and_the_end_of_a_connection", end_comes),
    case("error_queue_and_a_reset", reset_comes),
    case("error_queue_and_a_refused_port", refused),
    case(
        "error_queue_multishot_where_nothing_comes",
        multishot_of_the_end,
    ),
    case("error_queue_of_a_listener", of_a_listener),
    case(
        "error_queue_of_an_unconnected_stream",
        of_an_unconnected_stream,
    ),
    case("error_queue_in_a_worker", in_a_worker),
    case("error_queue_and_drain", and_drain),
    case("error_queue_silently", silently),
    case(
        "error_queue_and_polls_of_a_connection",
        polls_of_a_connection,
    ),
    case(
        "error_queue_and_multishot_polls_of_a_connection",
        multishot_polls_of_a_connection,
    ),
    case("error_queue_with_other_flags", other_flags),
    case("error_queue_into_bundles", into_bundles),
    case("msg_zerocopy_of_provided_buffers", of_provided_buffers),
    case("msg_zerocopy_in_a_chain", in_a_chain),
    case("msg_zerocopy_of_what_waits_for_all", waits_for_all),
    case("msg_zerocopy_of_a_write", of_a_write),
];

fn waiting(bench: &mut Bench, slot: u32, user_data: u64) -> Box<Errors> {
    let mut errors = Errors::new();
    bench.push(errors.entry(slot, libc::MSG_ERRQUEUE), user_data);
    bench.submit();
    errors
}

fn shut_down(bench: &mut Bench) {
    bench.numbered();
    let errors = waiting(bench, 0, 1);
    // Nothing that a receive would hear of.
    bench.run(shutdown_entry(0, libc::SHUT_WR), 2);
    bench.run(opcode::Nop::new().build(), 3);
    bench.push(shutdown_entry(0, libc::SHUT_RD), 4);
    bench.wait_for_each(2);
    drop(errors);
}

fn was_shut_down(bench: &mut Bench) {
    bench.numbered();
    bench.run(zero_copy(0, b"numbered"), 1);
    bench.at_peer();
    bench.run(shutdown_entry(0, libc::SHUT_RDWR), 2);
    bench.errors(0, 3);
    bench.errors(0, 4);
    let mut errors = Errors::new();
    bench.run(errors.entry(0, libc::MSG_ERRQUEUE), 5);
}

fn data_comes(bench: &mut Bench) {
    bench.numbered();
    let errors = waiting(bench, 0, 1);
    bench.peer_sends(b"data");
    bench.until_readable();
    bench.run(opcode::Nop::new().build(), 2);
    bench.push(zero_copy(0, b"numbered"), 3);
    bench.wait_for_each(2);
    bench.at_peer();
    bench.say_errors(&errors);
}

fn end_comes(bench: &mut Bench) {
    let stream = bench.connected();
    bench.number_sends(1);
    let _errors = waiting(bench, 1, 1);
    drop(stream);
    bench.push(poll_entry(1, libc::POLLIN), 2);
    bench.wait_for_each(2);
    let mut errors = Errors::new();
    bench.run(errors.entry(1, libc::MSG_ERRQUEUE), 3);
    bench.push(errors.entry(1, libc::MSG_ERRQUEUE).flags(link()), 4);
    bench.push(opcode::Nop::new().build(), 5);
    bench.wait_for_each(2);
}

fn reset_comes(bench: &mut Bench) {
    let stream = bench.connected();
    bench.number_sends(1);
    let _errors = waiting(bench, 1, 1);
    reset(stream);
    bench.wait(1);
    bench.errors(1, 2);
    let mut errors = Errors::new();
    bench.run(errors.entry(1, libc::MSG_ERRQUEUE), 3);
}

fn refused(bench: &mut Bench) {
    bench.bound();
    // Nobody is there.
    bench.run(connect_entry(0, &v4(PEER_V4, 9)), 1);
    let _errors = waiting(bench, 0, 2);
    bench.push(send(b"refused"), 3);
    bench.wait_for_each(2);
    let name = (libc::SOL_SOCKET, libc::SO_ERROR);
    bench.get_int(0, name, 4);
}

fn multishot_of_the_end(bench: &mut Bench) {
    bench.files();
    bench.stream_socket(libc::AF_INET, 0, 1);
    bench.buffer_ring(0);
    bench.provide(1, 200);
    let header = Errors::with_room(64).header;
    let errors = opcode::RecvMsgMulti::new(types::Fixed(0), &header, GROUP);
    let errors = errors.flags(libc::MSG_ERRQUEUE as u32).build();
    bench.push(errors, 2);
    bench.submit();
    // One that waits in vain, and is behind it.
    let mut other = Errors::new();
    bench.run(other.entry(0, libc::MSG_ERRQUEUE), 3);
    bench.cancel(2);
    bench.wait(2);
}

fn of_a_listener(bench: &mut Bench) {
    bench.listener(4);
    bench.errors(0, 1);
    let _errors = waiting(bench, 0, 2);
    let _stream = bench.peer_connects();
    bench.run(accept_entry(0, Some(1)), 3);
    bench.cancel(2);
    bench.wait(2);
}

fn of_an_unconnected_stream(bench: &mut Bench) {
    bench.files();
    bench.stream_socket(libc::AF_INET, 0, 1);
    bench.errors(0, 2);
    let mut errors = Errors::new();
    bench.run(errors.entry(0, libc::MSG_ERRQUEUE), 3);
}

fn in_a_worker(bench: &mut Bench) {
    bench.numbered();
    let mut errors = Errors::new();
    bench.run(zero_copy(0, b"numbered").flags(squeue::Flags::ASYNC), 1);
    bench.at_peer();
    bench.run(
        errors
            .entry(0, libc::MSG_ERRQUEUE)
            .flags(squeue::Flags::ASYNC),
        2,
    );
    bench.say_errors(&errors);
    let no_wait = errors.entry(0, NO_WAIT).flags(squeue::Flags::ASYNC);
    bench.run(no_wait, 3);
}

fn and_drain(bench: &mut Bench) {
    bench.numbered();
    let errors = waiting(bench, 0, 1);
    bench.push(opcode::Nop::new().build().flags(squeue::Flags::IO_DRAIN), 2);
    bench.submit();
    bench.cancel(1);
    bench.wait_for_each(3);
    drop(errors);
}

fn silently(bench: &mut Bench) {
    bench.numbered();
    let skip = squeue::Flags::SKIP_SUCCESS;
    bench.push(zero_copy(0, b"numbered").flags(skip), 1);
    bench.submit();
    bench.at_peer();
    let mut errors = Errors::new();
    bench.push(errors.entry(0, NO_WAIT).flags(skip), 2);
    bench.run(opcode::Nop::new().build(), 3);
    bench.say_errors(&errors);
    bench.run(errors.entry(0, NO_WAIT).flags(skip), 4);
}

fn polls_of_a_connection(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.number_sends(1);
    bench.run(zero_copy(1, b"numbered"), 1);
    bench.peer_reads(&mut stream, 8);
    bench.run(poll_entry(1, libc::POLLIN), 2);
    drop(stream);
    bench.errors(1, 3);
    bench.run(poll_entry(1, libc::POLLIN), 4);
}

fn multishot_polls_of_a_connection(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.number_sends(1);
    let poll = opcode::PollAdd::new(types::Fixed(1), libc::POLLIN as u32);
    bench.push(poll.multi(true).build(), 1);
    bench.submit();
    bench.push(zero_copy(1, b"numbered"), 2);
    bench.wait_for_each(2);
    bench.peer_reads(&mut stream, 8);
    stream.write_all(b"data").unwrap();
    bench.wait(1);
    drop(stream);
    bench.wait(1);
    bench.cancel(1);
    bench.wait(2);
}

fn other_flags(bench: &mut Bench) {
    bench.numbered();
    let mut buffer = [0xaa; 16];
    for flags in [
        libc::MSG_PEEK,
        libc::MSG_TRUNC,
        libc::MSG_OOB,
        libc::MSG_PEEK | libc::MSG_TRUNC | libc::MSG_WAITALL,
    ] {
        bench.run(zero_copy(0, b"numbered"), 1);
        bench.at_peer();
        let mut errors = Errors::new();
        let part = libc::iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: 16,
        };
        errors.header.msg_iov = std::ptr::from_ref(&part).cast_mut();
        errors.header.msg_iovlen = 1;
        bench.run(errors.entry(0, NO_WAIT | flags), 2);
        bench.say_errors(&errors);
        bench.run(errors.entry(0, NO_WAIT), 3);
    }
    bench.say(buffer);
}

fn into_bundles(bench: &mut Bench) {
    bench.numbered();
    bench.buffer_ring(0);
    bench.run(recv_group(0, 0, BUNDLE, NO_WAIT), 1);
    bench.provide(1, 100);
    bench.provide(2, 100);
    bench.run(recv_group(0, 0, BUNDLE, NO_WAIT), 2);
    bench.run(zero_copy(0, b"numbered"), 3);
    bench.at_peer();
    bench.run(recv_group(0, 0, BUNDLE, NO_WAIT), 4);
    bench.run(zero_copy(0, b"numbered"), 5);
    bench.at_peer();
    bench.run(recv_group(0, 0, BUNDLE | MULTISHOT, libc::MSG_ERRQUEUE), 6);
}

fn of_provided_buffers(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.number_sends(1);
    bench.buffer_ring(0);
    let numbered = |entry| {
        raw(entry, |bytes| {
            bytes[28..32].copy_from_slice(&libc::MSG_ZEROCOPY.to_ne_bytes());
        })
    };
    for bid in 0..4 {
        bench.provide(bid, 10);
    }
    bench.run(numbered(send_group(0, 0)), 1);
    bench.peer_reads(&mut stream, 10);
    bench.errors(1, 2);
    // The first pick has two, the second one the rest.
    bench.push(numbered(send_group(20, BUNDLE)), 3);
    bench.wait(2);
    bench.peer_reads(&mut stream, 30);
    let mut errors = Errors::new();
    bench.run(errors.entry(1, libc::MSG_ERRQUEUE), 4);
    bench.say_errors(&errors);
    bench.errors(1, 5);
    bench.run(numbered(send_group(0, 0)), 6);
    bench.errors(1, 7);
}

fn in_a_chain(bench: &mut Bench) {
    bench.numbered();
    let mut errors = Errors::new();
    bench.push(zero_copy(0, b"one").flags(link()), 1);
    bench.push(zero_copy(0, b"two").flags(link()), 2);
    bench.push(opcode::Nop::new().build(), 3);
    bench.wait(3);
    bench.at_peer();
    bench.at_peer();
    bench.run(errors.entry(0, NO_WAIT), 4);
    bench.say_errors(&errors);
    bench.push(bad().flags(link()), 5);
    bench.push(zero_copy(0, b"not sent"), 6);
    bench.wait(2);
    bench.errors(0, 7);
    bench.run(zero_copy(0, b"next"), 8);
    bench.at_peer();
    bench.errors(0, 9);
}

fn waits_for_all(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.number_sends(1);
    let bytes = counted(1000);
    bench.run(
        send_on(1, &bytes, libc::MSG_ZEROCOPY | libc::MSG_WAITALL),
        1,
    );
    bench.peer_reads(&mut stream, 1000);
    let mut errors = Errors::new();
    bench.run(errors.entry(1, libc::MSG_ERRQUEUE), 2);
    bench.say_errors(&errors);
    bench.run(shutdown_entry(1, libc::SHUT_WR), 3);
    bench.run(zero_copy(1, b"not sent"), 4);
    bench.errors(1, 5);
}

fn of_a_write(bench: &mut Bench) {
    bench.numbered();
    let write = opcode::Write::new(types::Fixed(0), b"written".as_ptr(), 7);
    bench.run(write.build(), 1);
    bench.at_peer();
    bench.errors(0, 2);
}
