//! Error numbers.

use std::fmt;
use std::num::NonZeroI32;

/// An error number: positive inside, negative in a completion.
#[derive(Copy, Clone, Eq, PartialEq, Hash)]
pub struct Errno(NonZeroI32);

/// The largest number that a completion's `res` can carry as an error (`MAX_ERRNO`, Linux
/// `include/linux/err.h`).
const MAX_ERRNO: i32 = 4095;

impl Errno {
    /// The error with this positive number, as in `libc::EINVAL` or `io::Error::raw_os_error`; `None`
    /// outside 1 to 4095.
    pub const fn new(raw: i32) -> Option<Self> {
        match NonZeroI32::new(raw) {
            Some(number) if raw > 0 && raw <= MAX_ERRNO => Some(Self(number)),
            _ => None,
        }
    }

    /// The positive number.
    pub const fn raw(self) -> i32 {
        self.0.get()
    }

    /// The value of a completion's `res` that reports this error: the negated number.
    pub const fn res(self) -> i32 {
        -self.0.get()
    }
}

macro_rules! errnos {
    ($($name:ident),+ $(,)?) => {
        impl Errno {
            $(
                #[doc = concat!("`", stringify!($name), "`")]
                pub const $name: Self = match Self::new(libc::$name) {
                    Some(errno) => errno,
                    None => panic!("an error number lies in 1 to 4095"),
                };
            )+

            /// The symbolic name, if the number is one of this type's constants.
            pub const fn name(self) -> Option<&'static str> {
                match self.raw() {
                    $(libc::$name => Some(stringify!($name)),)+
                    _ => None,
                }
            }
        }
    };
}

errnos! {
    E2BIG, EACCES, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EAGAIN, EALREADY, EBADF, EBADFD, EBADR,
    EBUSY, ECANCELED, ECONNABORTED, ECONNREFUSED, ECONNRESET, EDESTADDRREQ, EEXIST, EFAULT,
    EHOSTDOWN, EHOSTUNREACH, EINPROGRESS, EINTR, EINVAL, EISCONN, EMFILE, EMSGSIZE, ENETDOWN, ENETUNREACH,
    ENFILE, ENOBUFS, ENODEV, ENOENT, ENOMEM, ENONET, ENOPROTOOPT, ENOSPC, ENOTCONN, ENOTSOCK, ENXIO, EOPNOTSUPP,
    EOVERFLOW, EOWNERDEAD, EPERM, EPIPE, EPROTO, EPROTONOSUPPORT, EPROTOTYPE, ESOCKTNOSUPPORT, ESPIPE,
    ETIME, ETIMEDOUT,
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "errno {}", self.raw()),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Errno {}

impl From<Errno> for std::io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.raw())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constant_carries_the_platforms_number_and_its_name() {
        assert_eq!(Errno::EINVAL.raw(), 22);
        assert_eq!(Errno::EINVAL.res(), -22);
        assert_eq!(Errno::EINVAL.to_string(), "EINVAL");
        assert_eq!(format!("{:?}", Errno::ENOBUFS), "ENOBUFS");
    }

    #[test]
    fn a_number_without_a_constant_prints_as_a_number() {
        assert_eq!(Errno::new(libc::ECHILD).unwrap().to_string(), "errno 10");
    }

    #[test]
    fn only_numbers_that_a_completion_can_carry_are_errors() {
        assert_eq!(Errno::new(0), None);
        assert_eq!(Errno::new(-22), None);
        assert_eq!(Errno::new(4096), None);
        assert_eq!(Errno::new(22), Some(Errno::EINVAL));
        assert!(Errno::new(4095).is_some());
    }

    #[test]
    fn converts_to_the_same_os_error() {
        let error = std::io::Error::from(Errno::ENXIO);
        assert_eq!(error.raw_os_error(), Some(libc::ENXIO));
    }
}
