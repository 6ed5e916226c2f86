//! The submitter's methods: of the same names and types on both rings.

use super::super::Probe;
use super::register::*;
use super::*;
use io_uring::register::{Restriction, SKIP_FILE};

pub const CASES: &[Case] = &[
    case("methods_of_files", files),
    case("methods_of_buffers", buffers),
    case("methods_of_buffer_clones", clones),
    case("methods_of_buffer_rings", buffer_rings),
    case("methods_of_eventfds", eventfds),
    case("methods_of_the_probe", probe),
    case("methods_of_restrictions", restrictions).with(|builder| {
        builder.setup_r_disabled();
    }),
    case("methods_of_sync_cancel", sync_cancel),
    case("methods_of_napi", napi),
    case("methods_of_workers_and_credentials", workers),
];

impl Bench {
    /// Calls a method, and writes down what it says.
    fn call<T: std::fmt::Debug>(
        &mut self,
        what: &str,
        call: impl FnOnce(&super::super::Submitter<'_>) -> std::io::Result<T>,
    ) {
        let result = call(&self.ring.submitter()).map_err(|error| error.raw_os_error());
        self.say((what, result));
    }
}

fn files(bench: &mut Bench) {
    bench.call("update none", |ring| ring.register_files_update(0, &[-1]));
    bench.call("files", |ring| ring.register_files(&[-1, -1, -1]));
    bench.call("again", |ring| ring.register_files_sparse(3));
    for user_data in 0..3 {
        bench.run(socket(libc::AF_INET, user_data), user_data.into());
    }
    bench.call("update", |ring| {
        ring.register_files_update(1, &[SKIP_FILE, -1])
    });
    bench.run(close_entry(1), 11);
    bench.run(close_entry(2), 12);
    bench.call("beyond", |ring| ring.register_files_update(2, &[-1, -1]));
    bench.call("end", |ring| ring.unregister_files());
    bench.call("end again", |ring| ring.unregister_files());
    bench.call("sparse", |ring| ring.register_files_sparse(1));
}

fn pages(count: usize) -> Vec<libc::iovec> {
    let memory = vec![0u8; count * 4096].leak();
    let page = |index| iovec(memory[index * 4096..].as_ptr() as u64, 4096);
    (0..count).map(page).collect()
}

fn buffers(bench: &mut Bench) {
    let buffers = pages(3);
    // SAFETY: the pages are leaked.
    bench.call("buffers", |ring| unsafe { ring.register_buffers(&buffers) });
    bench.call("sparse", |ring| ring.register_buffers_sparse(3));
    bench.call("end", |ring| ring.unregister_buffers());
    // SAFETY: as above.
    bench.call("tagged", |ring| unsafe {
        ring.register_buffers2(&buffers, &[51, 52])
    });
    // SAFETY: as above.
    bench.call("replace", |ring| unsafe {
        ring.register_buffers_update(1, &buffers, Some(&[61]))
    });
    bench.wait(1);
    // SAFETY: as above.
    bench.call("beyond", |ring| unsafe {
        ring.register_buffers_update(1, &buffers, None)
    });
    bench.call("end", |ring| ring.unregister_buffers());
    bench.wait(2);
    bench.call("end again", |ring| ring.unregister_buffers());
    bench.call("sparse", |ring| ring.register_buffers_sparse(3));
}

fn clones(bench: &mut Bench) {
    let buffers = pages(2);
    let ring = bench.ring.as_raw_fd();
    bench.call("of none", |submitter| {
        submitter.register_buffers_clone(ring)
    });
    // SAFETY: the pages are leaked.
    bench.call("buffers", |ring| unsafe { ring.register_buffers(&buffers) });
    bench.call("of some", |submitter| {
        submitter.register_buffers_clone(ring)
    });
    let flags = types::CloneBuffersFlags::DST_REPLACE;
    bench.call("behind", |submitter| {
        submitter.register_buffers_clone_offset(ring, 1, 2, 1, flags)
    });
    // SAFETY: the pages are leaked.
    bench.call("the third", |ring| unsafe {
        ring.register_buffers_update(2, &buffers[..1], None)
    });
}

fn buffer_rings(bench: &mut Bench) {
    // SAFETY: the memory is the ring's own.
    bench.call("lent", |ring| unsafe {
        ring.register_buf_ring_with_flags(0, 8, 1, 1)
    });
    // SAFETY: nothing is registered.
    bench.call("nowhere", |ring| unsafe {
        ring.register_buf_ring_with_flags(0, 8, 2, 0)
    });
    bench.call("end", |ring| ring.unregister_buf_ring(1));
    bench.call("end again", |ring| ring.unregister_buf_ring(1));
}

fn eventfds(bench: &mut Bench) {
    // SAFETY: no pointers are passed.
    let eventfd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    bench.call("none", |ring| ring.unregister_eventfd());
    bench.call("not one", |ring| ring.register_eventfd(-1));
    bench.call("one", |ring| ring.register_eventfd(eventfd));
    bench.call("two", |ring| ring.register_eventfd_async(eventfd));
    bench.call("end", |ring| ring.unregister_eventfd());
    bench.call("async", |ring| ring.register_eventfd_async(eventfd));
}

fn probe(bench: &mut Bench) {
    let mut probe = Probe::new();
    bench.say(probe.is_supported(opcode::Nop::CODE));
    bench.call("probe", |ring| ring.register_probe(&mut probe));
    let codes = [
        opcode::Nop::CODE,
        opcode::Socket::CODE,
        opcode::Send::CODE,
        opcode::RecvMsg::CODE,
        opcode::AsyncCancel::CODE,
        opcode::ProvideBuffers::CODE,
        opcode::FilesUpdate::CODE,
        255,
    ];
    bench.say(codes.map(|code| probe.is_supported(code)));
}

fn restrictions(bench: &mut Bench) {
    let mut allowed = [
        Restriction::sqe_op(opcode::Nop::CODE),
        Restriction::sqe_flags_allowed(squeue::Flags::IO_LINK.bits()),
        Restriction::register_op(8),
    ];
    bench.call("restrict", |ring| ring.register_restrictions(&mut allowed));
    bench.call("again", |ring| ring.register_restrictions(&mut allowed));
    bench.call("enable", |ring| ring.register_enable_rings());
    bench.call("enable again", |ring| ring.register_enable_rings());
    bench.run(opcode::Nop::new().build(), 1);
    bench.run(opcode::AsyncCancel::new(1).build(), 2);
    bench.call("probe", |ring| ring.register_probe(&mut Probe::new()));
    bench.call("files", |ring| ring.register_files_sparse(1));
}

fn sync_cancel(bench: &mut Bench) {
    bench.bound();
    let mut buffer = vec![0; 64];
    bench.push(recv(&mut buffer), 1);
    bench.push(recv(&mut buffer), 1);
    bench.push(recv(&mut buffer), 2);
    bench.submit();
    let cancel = types::CancelBuilder::user_data;
    bench.call("nothing", |ring| ring.register_sync_cancel(None, cancel(9)));
    let time = types::Timespec::new().sec(1);
    bench.call("both", |ring| {
        ring.register_sync_cancel(Some(time), cancel(1).all())
    });
    bench.wait(2);
    let slot = types::CancelBuilder::fd(types::Fixed(0));
    bench.call("a slot", |ring| ring.register_sync_cancel(None, slot));
    bench.wait(1);
    let empty = types::CancelBuilder::fd(types::Fixed(1));
    bench.call("an empty slot", |ring| {
        ring.register_sync_cancel(None, empty)
    });
    let any = types::CancelBuilder::any();
    bench.call("anything", |ring| ring.register_sync_cancel(None, any));
}

fn napi(bench: &mut Bench) {
    let set = types::Napi::new()
        .set_busy_poll_timeout(50)
        .set_prefer_busy_poll(true);
    let said = |napi: types::Napi| (napi.busy_poll_timeout(), napi.prefer_busy_poll());
    let mut napi = set.set_tracking(types::NapiTracking::Static);
    bench.call("no tracking", |ring| ring.register_napi_add_id(100_000));
    bench.call("static", |ring| ring.register_napi(&mut napi));
    bench.say(said(napi));
    bench.call("add", |ring| ring.register_napi_add_id(100_000));
    bench.call("add again", |ring| ring.register_napi_add_id(100_000));
    bench.call("delete", |ring| ring.register_napi_del_id(100_000));
    bench.call("delete again", |ring| ring.register_napi_del_id(100_000));
    bench.call("end", |ring| ring.unregister_napi(&mut napi));
    bench.say(said(napi));
}

fn workers(bench: &mut Bench) {
    // SAFETY: all zeroes is a valid set.
    let mut cpus: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the number is in the set.
    unsafe { libc::CPU_SET(0, &mut cpus) };
    bench.call("processors", |ring| ring.register_iowq_aff(&cpus));
    bench.call("end", |ring| ring.unregister_iowq_aff());
    let (mut first, mut second) = ([3, 4], [0, 0]);
    bench.call("limits", |ring| ring.register_iowq_max_workers(&mut first));
    bench.call("limits again", |ring| {
        ring.register_iowq_max_workers(&mut second)
    });
    bench.say(second);
    bench.call("credentials", |ring| ring.register_personality());
    bench.call("end", |ring| ring.unregister_personality(1));
    bench.call("end again", |ring| ring.unregister_personality(1));
}
