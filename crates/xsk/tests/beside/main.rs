//! Beside the kernel, on its own addresses: ports that it keeps for ringwire, and errors that it shows.

#[path = "../support/mod.rs"]
#[allow(dead_code)] // Of what the tests share, this one needs little.
mod support;

mod icmp;
mod pair;
mod ports;
mod tcp;
mod udp;

use libtest_mimic::{Arguments, Trial};

use support::trial;

macro_rules! trials {
    ($($module:ident: $($name:ident),* $(,)?;)*) => {
        vec![$($(trial(stringify!($name), $module::$name),)*)*]
    };
}

fn main() {
    let trials: Vec<Trial> = trials! {
        ports:
            a_port_is_taken_in_both_directions,
            a_port_is_free_at_once_when_the_reservation_is_dropped,
            the_ipv6_wildcard_takes_ipv4_too_unless_told_not_to,
            an_address_of_the_link_is_reserved_on_it,
            a_port_is_shared_with_reuse_port_on_both_sides_only,
            a_datagram_port_is_shared_with_reuse_address_on_both_sides_only,
            a_port_in_time_wait_is_had_with_reuse_address_only,
            who_listens_first_has_the_port_that_two_reuse,
            port_0_is_a_port_that_nobody_else_gets,
            what_the_kernel_refuses_comes_with_its_errno;
        tcp:
            a_segment_that_the_kernel_gets_is_not_answered_once_it_listens,
            a_connection_attempt_is_neither_refused_nor_accepted,
            nor_without_capabilities,
            a_program_on_the_host_gets_no_answer;
        udp:
            fragments_arrive_whole_with_source_and_destination,
            an_address_of_the_link_comes_with_its_scope,
            the_longest_datagram_arrives_whole,
            a_broadcast_arrives_with_its_destination,
            an_ipv4_datagram_is_one_on_an_ipv6_port,
            what_the_host_sends_to_itself_does_not_arrive,
            a_datagram_longer_than_the_buffer_is_an_error_and_the_next_is_whole;
        icmp:
            the_error_about_another_programs_datagram_is_seen_and_not_taken,
            the_error_about_a_frame_that_the_kernel_did_not_make_is_seen,
            echoes_are_not_errors,
            an_error_with_a_wrong_checksum_is_passed_over,
            an_icmpv6_error_with_a_wrong_checksum_is_the_kernels_to_drop,
            a_ping_has_the_kernel_find_the_neighbour,
            opening_takes_the_interface_and_a_capability;
    };
    let mut arguments = Arguments::from_args();
    // One at a time: a port stays taken while a child that another test starts has not got to its exec.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials).exit();
}
