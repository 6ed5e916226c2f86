//! The options of sockets of both protocols: SOL_SOCKET, IPPROTO_IP and IPPROTO_IPV6 (Linux
//! `net/core/sock.c`, `net/ipv4/ip_sockglue.c`, `net/ipv6/ipv6_sockglue.c`).

use std::num::NonZeroU8;

use ringwire_abi::errno::Errno;
use ringwire_stack::{Family, Linger, Protocol, SocketId};

use super::command::Value;
use super::{Engine, errno};

/// The bits of a traffic class that belong to the network (RFC 3168): an application cannot set them
/// for a stream.
const ECN_MASK: u8 = 3;
/// What reading the hop limits gives where none is set.
const DEFAULT_HOP_LIMIT: u8 = 64;

impl Engine {
    pub(super) fn socket_option(&mut self, socket: SocketId, name: i32) -> Result<Vec<u8>, Errno> {
        let options = self.stack.options(socket).map_err(errno)?;
        let family = self.stack.family(socket).ok_or(Errno::EBADF)?;
        let stream = socket.protocol() == Protocol::Tcp;
        let value = match name {
            libc::SO_ERROR => self
                .stack
                .take_error(socket)
                .map_or(0, |it| errno(it).raw()),
            libc::SO_TYPE if stream => libc::SOCK_STREAM,
            libc::SO_TYPE => libc::SOCK_DGRAM,
            libc::SO_PROTOCOL if stream => libc::IPPROTO_TCP,
            libc::SO_PROTOCOL => libc::IPPROTO_UDP,
            libc::SO_DOMAIN => match family {
                Family::V4 => libc::AF_INET,
                Family::V6 => libc::AF_INET6,
            },
            libc::SO_ACCEPTCONN => self.stack.is_listening(socket).into(),
            libc::SO_REUSEADDR => options.reuse_address.into(),
            libc::SO_REUSEPORT => options.reuse_port.into(),
            libc::SO_KEEPALIVE => self.stack.keep_alive(socket).map_err(errno)?.into(),
            libc::SO_RCVBUF => options.receive_buffer_bytes() as i32,
            libc::SO_SNDBUF => options.send_buffer_bytes() as i32,
            libc::SO_RCVLOWAT => options.receive_low_bytes() as i32,
            libc::SO_ZEROCOPY => options.zero_copy.into(),
            libc::SO_LINGER => {
                let linger = [options.linger.on.into(), options.linger.seconds];
                return Ok(linger.map(i32::to_ne_bytes).concat());
            }
            _ => return Err(Errno::ENOPROTOOPT),
        };
        Ok(value.to_ne_bytes().to_vec())
    }

    pub(super) fn set_socket_option(
        &mut self,
        socket: SocketId,
        name: i32,
        value: Value,
    ) -> Result<(), Errno> {
        let int = value.int()?;
        let mut options = self.stack.options(socket).map_err(errno)?;
        match name {
            libc::SO_REUSEADDR => options.reuse_address = int != 0,
            libc::SO_REUSEPORT => options.reuse_port = int != 0,
            libc::SO_KEEPALIVE => {
                let (now, on) = (self.now, int != 0);
                return self.stack.set_keep_alive(now, socket, on).map_err(errno);
            }
            // Compared unsigned: a negative size is the largest.
            libc::SO_RCVBUF => options.ask_receive_buffer(int as u32),
            libc::SO_SNDBUF => options.ask_send_buffer(int as u32),
            libc::SO_RCVLOWAT => {
                let bytes = u32::try_from(int).unwrap_or(i32::MAX as u32);
                options.ask_receive_low(socket.protocol(), bytes);
            }
            libc::SO_ZEROCOPY => {
                let on = matches!(int, 0 | 1).then_some(int == 1);
                options.zero_copy = on.ok_or(Errno::EINVAL)?;
            }
            libc::SO_LINGER => {
                let seconds = value.read::<8>()?;
                let seconds = i32::from_ne_bytes([seconds[4], seconds[5], seconds[6], seconds[7]]);
                options.linger = match int {
                    // The time that was set before stays.
                    0 => Linger {
                        on: false,
                        ..options.linger
                    },
                    _ => Linger { on: true, seconds },
                };
            }
            _ => return Err(Errno::ENOPROTOOPT),
        }
        self.stack.set_options(socket, options).map_err(errno)
    }

    /// `room`: IPv4's options are written as one byte where there is no room for an `int`.
    pub(super) fn ip_option(
        &mut self,
        socket: SocketId,
        level: i32,
        name: i32,
        room: usize,
    ) -> Result<Vec<u8>, Errno> {
        let options = self.stack.options(socket).map_err(errno)?;
        let family = self.stack.family(socket).ok_or(Errno::EBADF)?;
        let value = match (level, name) {
            (libc::SOL_IP, libc::IP_TOS) => options.type_of_service,
            (libc::SOL_IP, libc::IP_TTL) => options
                .time_to_live
                .map_or(DEFAULT_HOP_LIMIT, NonZeroU8::get),
            (libc::SOL_IPV6, libc::IPV6_TCLASS) if family == Family::V6 => options.traffic_class,
            (libc::SOL_IPV6, libc::IPV6_UNICAST_HOPS) if family == Family::V6 => {
                options.hop_limit.unwrap_or(DEFAULT_HOP_LIMIT)
            }
            _ => return Err(Errno::ENOPROTOOPT),
        };
        if level == libc::SOL_IP && room < size_of::<i32>() {
            return Ok(vec![value]);
        }
        Ok(i32::from(value).to_ne_bytes().to_vec())
    }

    pub(super) fn set_ip_option(
        &mut self,
        socket: SocketId,
        level: i32,
        name: i32,
        value: Value,
    ) -> Result<(), Errno> {
        let mut options = self.stack.options(socket).map_err(errno)?;
        let family = self.stack.family(socket).ok_or(Errno::EBADF)?;
        let stream = socket.protocol() == Protocol::Tcp;
        let masked = |class: u8, before: u8| match stream {
            true => class & !ECN_MASK | before & ECN_MASK,
            false => class,
        };
        match (level, name) {
            (libc::SOL_IP, libc::IP_TOS) => {
                options.type_of_service = masked(short_int(value)? as u8, options.type_of_service);
            }
            (libc::SOL_IP, libc::IP_TTL) => {
                let int = short_int(value)?;
                options.time_to_live = match int {
                    _ if value.len == 0 => return Err(Errno::EINVAL),
                    -1 => None,
                    int => Some(byte(int).and_then(NonZeroU8::new).ok_or(Errno::EINVAL)?),
                };
            }
            (libc::SOL_IPV6, libc::IPV6_TCLASS) if family == Family::V6 => {
                let class = match long_int(value)? {
                    // RFC 3542, section 6.5: the default.
                    -1 => 0,
                    int => byte(int).ok_or(Errno::EINVAL)?,
                };
                options.traffic_class = masked(class, options.traffic_class);
            }
            (libc::SOL_IPV6, libc::IPV6_UNICAST_HOPS) if family == Family::V6 => {
                options.hop_limit = match long_int(value)? {
                    -1 => None,
                    int => Some(byte(int).ok_or(Errno::EINVAL)?),
                };
            }
            _ => return Err(Errno::ENOPROTOOPT),
        }
        self.stack.set_options(socket, options).map_err(errno)
    }
}

fn byte(int: i32) -> Option<u8> {
    int.try_into().ok()
}

/// An IPv4 option's value: an `int`, one byte where it is shorter, and 0 for nothing.
fn short_int(value: Value) -> Result<i32, Errno> {
    match value.len {
        0 => Ok(0),
        1..=3 => value.read::<1>().map(|[byte]| byte.into()),
        _ => value.int(),
    }
}

/// An IPv6 option's value: an `int`; no address at all is a 0.
fn long_int(value: Value) -> Result<i32, Errno> {
    match value.is_null() && value.len >= size_of::<i32>() {
        true => Ok(0),
        false => value.int(),
    }
}
