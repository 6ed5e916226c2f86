//! The options of IPPROTO_TCP (Linux `net/ipv4/tcp.c`, `do_tcp_setsockopt` and `do_tcp_getsockopt`).

use std::time::Duration;

use ringwire_abi::errno::Errno;
use ringwire_stack::{Algorithm, SocketId, State};

use super::command::Value;
use super::{Engine, tcp_info};

/// Bytes of an algorithm's name, the last always zero (`TCP_CA_NAME_MAX`).
const NAME_BYTES: usize = 16;
/// The largest keepalive times in seconds, and counts of probes and SYNs (`MAX_TCP_KEEPIDLE` and its
/// like).
const MAX_SECONDS: i32 = 32_767;
const MAX_COUNT: i32 = 127;
/// The least and largest segments that can be asked for (`TCP_MIN_MSS`, `MAX_TCP_WINDOW`).
const MIN_SEGMENT: i32 = 88;
const MAX_SEGMENT: i32 = 32_767;
/// What a segment is where nothing is known of the peer (`TCP_MSS_DEFAULT`).
const DEFAULT_SEGMENT: i32 = 536;

impl Engine {
    /// Reads an option; the kernel's command cannot.
    pub(super) fn tcp_option(&mut self, socket: SocketId, name: i32) -> Result<Vec<u8>, Errno> {
        let options = self.stack.tcp_options(socket).ok_or(Errno::EBADF)?;
        let keep_alive = options.keep_alive;
        let value = match name {
            libc::TCP_NODELAY => options.no_delay.into(),
            libc::TCP_CORK => options.cork.into(),
            libc::TCP_QUICKACK => options.quick_ack.into(),
            libc::TCP_MAXSEG => self.segment_bytes(socket, options.max_segment),
            libc::TCP_KEEPIDLE => keep_alive.idle.as_secs() as i32,
            libc::TCP_KEEPINTVL => keep_alive.interval.as_secs() as i32,
            libc::TCP_KEEPCNT => keep_alive.count.into(),
            libc::TCP_SYNCNT => options.syn_retries.into(),
            libc::TCP_USER_TIMEOUT => options.user_timeout.map_or(0, |it| it.as_millis() as i32),
            libc::TCP_CONGESTION => {
                let mut padded = options.algorithm.name().as_bytes().to_vec();
                padded.resize(NAME_BYTES, 0);
                return Ok(padded);
            }
            libc::TCP_INFO => {
                let state = self.stack.tcp_state(socket).unwrap_or(State::Closed);
                let backlog = self.stack.tcp_backlog(socket);
                let info = self.stack.tcp_info(self.now, socket);
                return Ok(tcp_info::encode(state, backlog, info.as_ref()));
            }
            _ => return Err(Errno::ENOPROTOOPT),
        };
        Ok(value.to_ne_bytes().to_vec())
    }

    /// What was asked for, as long as there is no connection, and then what was agreed on.
    fn segment_bytes(&self, socket: SocketId, asked: Option<u16>) -> i32 {
        match self.stack.tcp_info(self.now, socket) {
            Some(connection) => connection.send_mss as i32,
            None => asked.map_or(DEFAULT_SEGMENT, i32::from),
        }
    }

    pub(super) fn set_tcp_option(
        &mut self,
        socket: SocketId,
        name: i32,
        value: Value,
    ) -> Result<(), Errno> {
        let mut options = self.stack.tcp_options(socket).ok_or(Errno::EBADF)?;
        if name == libc::TCP_CONGESTION {
            options.algorithm = algorithm(value)?;
            self.stack.tcp_set_options(self.now, socket, options);
            return Ok(());
        }
        let int = value.int()?;
        let within = |least: i32, most: i32| match int {
            int if (least..=most).contains(&int) => Ok(int),
            _ => Err(Errno::EINVAL),
        };
        let seconds = || within(1, MAX_SECONDS).map(|it| Duration::from_secs(it as u64));
        match name {
            libc::TCP_NODELAY => options.no_delay = int != 0,
            libc::TCP_CORK => options.cork = int != 0,
            // An even number but 0 is for once only, which is over at once (`tcp_sock_set_quickack`).
            libc::TCP_QUICKACK => options.quick_ack = int & 1 != 0,
            libc::TCP_MAXSEG if int == 0 => options.max_segment = None,
            libc::TCP_MAXSEG => {
                options.max_segment = Some(within(MIN_SEGMENT, MAX_SEGMENT)? as u16);
            }
            libc::TCP_KEEPIDLE => options.keep_alive.idle = seconds()?,
            libc::TCP_KEEPINTVL => options.keep_alive.interval = seconds()?,
            libc::TCP_KEEPCNT => options.keep_alive.count = within(1, MAX_COUNT)? as u8,
            libc::TCP_SYNCNT => options.syn_retries = within(1, MAX_COUNT)? as u8,
            libc::TCP_USER_TIMEOUT => {
                let millis = within(0, i32::MAX)? as u64;
                options.user_timeout = (millis > 0).then(|| Duration::from_millis(millis));
            }
            _ => return Err(Errno::ENOPROTOOPT),
        }
        self.stack.tcp_set_options(self.now, socket, options);
        Ok(())
    }
}

/// An algorithm by its name, which ends with the value, or with a zero.
fn algorithm(value: Value) -> Result<Algorithm, Errno> {
    if value.len == 0 {
        return Err(Errno::EINVAL);
    }
    let bytes = value.prefix(NAME_BYTES - 1)?;
    let name = bytes.split(|&byte| byte == 0).next().unwrap_or(&[]);
    Algorithm::ALL
        .into_iter()
        .find(|algorithm| algorithm.name().as_bytes() == name)
        .ok_or(Errno::ENOENT)
}
