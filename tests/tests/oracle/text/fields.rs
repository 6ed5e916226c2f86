//! Every field of an entry, set where an operation does not expect it.

use super::*;

pub const CASES: &[Case] = &[
    case("fields_of_nop", nop),
    case("fields_of_socket", socket_fields),
    case("fields_of_bind", bind),
    case("fields_of_listen", listen),
    case("fields_of_accept", accept),
    case("fields_of_connect", connect),
    case("fields_of_send", send_fields),
    case("fields_of_sendmsg", sendmsg),
    case("fields_of_recv", recv_fields),
    case("fields_of_a_multishot_recv", recv_multi),
    case("fields_of_recvmsg", recvmsg),
    case("fields_of_shutdown", shutdown),
    case("fields_of_close", close),
    case("fields_of_timeout", timeout),
    case("fields_of_cancel", cancel),
    case("fields_of_poll", poll),
    case("fields_of_provide_buffers", provide),
    case("fields_of_remove_buffers", remove),
    case("fields_of_a_socket_command", command),
];

/// The fields behind opcode, flags, fd and user_data: name, offset, bytes.
const FIELDS: [(&str, usize, usize); 11] = [
    ("ioprio", 2, 2),
    ("off", 8, 8),
    ("addr", 16, 8),
    ("len", 24, 4),
    ("op_flags", 28, 4),
    ("buf_index", 40, 2),
    ("personality", 42, 2),
    ("file_index", 44, 4),
    ("addr3", 48, 8),
    ("pad2", 56, 8),
    // The kernel splits it for some operations.
    ("addr_len", 46, 2),
];

/// What becomes of an entry with one field after the other set. What passes the checks must fail for
/// another reason, or do no harm.
fn sweep(bench: &mut Bench, entry: &squeue::Entry) {
    sweep_all_but(bench, entry, "");
}

fn sweep_all_but(bench: &mut Bench, entry: &squeue::Entry, but: &str) {
    let (res, _) = bench.result(entry.clone());
    bench.say(("unchanged", res));
    for (name, offset, bytes) in FIELDS.into_iter().filter(|field| field.0 != but) {
        // An address stays in the first page, or is the kernel's.
        for bit in [0, 8 * bytes - 1] {
            let value = (1u64 << bit).to_le_bytes();
            let entry = raw(entry.clone(), |entry| {
                entry[offset..offset + bytes].copy_from_slice(&value[..bytes]);
            });
            let (res, flags) = bench.result(entry);
            bench.say((name, bit, res, flags));
        }
    }
}

/// A slot that there is none of.
const NONE: types::Fixed = types::Fixed(99);

fn nop(bench: &mut Bench) {
    sweep(bench, &opcode::Nop::new().build());
}

fn socket_fields(bench: &mut Bench) {
    // An unknown domain, for whatever passes the checks.
    sweep(
        bench,
        &opcode::Socket::new(999, libc::SOCK_DGRAM, 0).build(),
    );
}

fn bind(bench: &mut Bench) {
    let address = any_v4(PORT);
    sweep(
        bench,
        &opcode::Bind::new(NONE, std::ptr::from_ref(&address).cast(), 16).build(),
    );
}

fn listen(bench: &mut Bench) {
    sweep(bench, &opcode::Listen::new(NONE, 1).build());
}

fn accept(bench: &mut Bench) {
    let entry = opcode::Accept::new(NONE, std::ptr::null_mut(), std::ptr::null_mut());
    sweep(bench, &entry.build());
}

fn connect(bench: &mut Bench) {
    let address = any_v4(PORT);
    sweep(
        bench,
        &opcode::Connect::new(NONE, std::ptr::from_ref(&address).cast(), 16).build(),
    );
}

fn send_fields(bench: &mut Bench) {
    sweep(bench, &opcode::Send::new(NONE, std::ptr::null(), 0).build());
}

fn sendmsg(bench: &mut Bench) {
    // SAFETY: all zeroes is a valid msghdr.
    let header: libc::msghdr = unsafe { std::mem::zeroed() };
    sweep(
        bench,
        &opcode::SendMsg::new(NONE, &raw const header).build(),
    );
}

fn recv_fields(bench: &mut Bench) {
    sweep(
        bench,
        &opcode::Recv::new(NONE, std::ptr::null_mut(), 0).build(),
    );
}

fn recv_multi(bench: &mut Bench) {
    sweep(bench, &opcode::RecvMulti::new(NONE, GROUP).build());
}

fn recvmsg(bench: &mut Bench) {
    // SAFETY: all zeroes is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    sweep(bench, &opcode::RecvMsg::new(NONE, &raw mut header).build());
}

fn shutdown(bench: &mut Bench) {
    sweep(bench, &opcode::Shutdown::new(NONE, libc::SHUT_WR).build());
}

fn close(bench: &mut Bench) {
    bench.files();
    sweep(bench, &close_entry(0));
}

fn timeout(bench: &mut Bench) {
    let short = types::Timespec::from(Duration::from_millis(1));
    sweep(bench, &opcode::Timeout::new(&short).build());
}

fn cancel(bench: &mut Bench) {
    sweep(bench, &opcode::AsyncCancel::new(12345).build());
}

fn poll(bench: &mut Bench) {
    sweep(
        bench,
        &opcode::PollAdd::new(NONE, libc::POLLIN as u32).build(),
    );
}

fn provide(bench: &mut Bench) {
    let memory = bench.buffers.as_mut_ptr();
    let entry = opcode::ProvideBuffers::new(memory, 16, 2, GROUP, 0).build();
    sweep_all_but(bench, &entry, "addr");
}

fn remove(bench: &mut Bench) {
    sweep(bench, &opcode::RemoveBuffers::new(2, GROUP).build());
}

fn command(bench: &mut Bench) {
    sweep(bench, &command_entry(99, QUEUED_IN));
}
