//! A BPF map by its descriptor alone, whoever made it (bpf(2)): libbpf-rs has handles only of maps that it loads.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use libbpf_rs::libbpf_sys;
use libbpf_rs::{Error, MapFlags, MapInfo, Result};

/// A map whose keys and values have known sizes.
#[derive(Debug)]
pub(crate) struct MapFd {
    fd: OwnedFd,
    key_bytes: usize,
    value_bytes: usize,
}

impl MapFd {
    /// Asks the kernel for the map's sizes, so that no call reads or writes beyond what it is given.
    pub(crate) fn new(fd: OwnedFd) -> Result<MapFd> {
        let info = MapInfo::new(fd.as_fd())?.info;
        Ok(MapFd {
            fd,
            key_bytes: info.key_size as usize,
            value_bytes: info.value_size as usize,
        })
    }

    pub(crate) fn update(&self, key: &[u8], value: &[u8], flags: MapFlags) -> Result<()> {
        self.fits(key, Some(value))?;
        // SAFETY: key and value are readable for the map's sizes, which `fits` compared.
        let status = unsafe {
            libbpf_sys::bpf_map_update_elem(
                self.fd.as_raw_fd(),
                key.as_ptr().cast(),
                value.as_ptr().cast(),
                flags.bits(),
            )
        };
        done(status)
    }

    pub(crate) fn delete(&self, key: &[u8]) -> Result<()> {
        self.fits(key, None)?;
        // SAFETY: the key is readable for the map's size, which `fits` compared.
        let status =
            unsafe { libbpf_sys::bpf_map_delete_elem(self.fd.as_raw_fd(), key.as_ptr().cast()) };
        done(status)
    }

    /// The values of one entry of a per-CPU map of 64-bit values, one for each CPU that there can be.
    pub(crate) fn lookup_percpu(&self, key: &[u8]) -> Result<Vec<u64>> {
        self.fits(key, Some(&[0; 8]))?;
        // SAFETY: the function reads a file of the kernel's.
        let cpus = unsafe { libbpf_sys::libbpf_num_possible_cpus() };
        let cpus = usize::try_from(cpus).map_err(|_| Error::from_raw_os_error(-cpus))?;
        let mut values = vec![0; cpus];
        // SAFETY: the key is readable for the map's size, and the kernel writes 8 bytes for each possible CPU.
        let status = unsafe {
            libbpf_sys::bpf_map_lookup_elem(
                self.fd.as_raw_fd(),
                key.as_ptr().cast(),
                values.as_mut_ptr().cast(),
            )
        };
        done(status).map(|()| values)
    }

    fn fits(&self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        let value_fits = value.is_none_or(|value| value.len() == self.value_bytes);
        match key.len() == self.key_bytes && value_fits {
            true => Ok(()),
            false => Err(Error::from_raw_os_error(libc::EINVAL)),
        }
    }
}

impl AsFd for MapFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn done(status: i32) -> Result<()> {
    match status {
        0 => Ok(()),
        errno => Err(Error::from_raw_os_error(-errno)),
    }
}
