use super::*;
use crate::oracle::Kernel;

/// No interface has this index.
const NO_INTERFACE: u32 = i32::MAX as u32;

const GOOD: ZcrxReg = ZcrxReg {
    if_idx: NO_INTERFACE,
    if_rxq: 0,
    rq_entries: 64,
    flags: 0,
    area_ptr: 0,
    region_ptr: 0,
    offsets: ZcrxOffsets {
        head: 0,
        tail: 0,
        rqes: 0,
        resv2: 0,
        resv: [0; 2],
    },
    zcrx_id: 0,
    resv2: 0,
    resv: [0; 3],
};

/// Two pages, as memory for a refill ring.
#[repr(C, align(4096))]
struct Pages([u8; 8192]);

fn region(pages: &Pages) -> RegionDesc {
    RegionDesc {
        user_addr: &raw const pages.0 as u64,
        size: 8192,
        flags: IORING_MEM_REGION_TYPE_USER,
        ..RegionDesc::default()
    }
}

/// What the checks here come to, in the order in which the kernel makes its own.
fn ours(reg: &ZcrxReg, region: &RegionDesc, clamp: bool) -> Result<(), Errno> {
    region.check(reg.check(clamp)?)
}

#[test]
fn the_kernel_refuses_the_same_registrations_with_the_same_error() {
    let Some(kernel) = Kernel::new() else { return };
    let pages = Pages([0; 8192]);
    let good = region(&pages);
    // The kernel gets as far as the interface, which there is not.
    match kernel.register_zcrx(GOOD, good, false) {
        Errno::ENODEV => {}
        error => return println!("skipped: the kernel has no zero-copy receive for us: {error:?}"),
    }
    let regs = [
        GOOD,
        ZcrxReg {
            rq_entries: 0,
            ..GOOD
        },
        ZcrxReg {
            rq_entries: 1,
            ..GOOD
        },
        ZcrxReg {
            rq_entries: 65,
            ..GOOD
        },
        ZcrxReg {
            rq_entries: 300,
            ..GOOD
        },
        ZcrxReg {
            rq_entries: 600,
            ..GOOD
        },
        ZcrxReg {
            rq_entries: 32768,
            ..GOOD
        },
        ZcrxReg {
            rq_entries: 32769,
            ..GOOD
        },
        ZcrxReg {
            rq_entries: u32::MAX,
            ..GOOD
        },
        ZcrxReg {
            if_rxq: u32::MAX,
            ..GOOD
        },
        ZcrxReg { flags: 4, ..GOOD },
        ZcrxReg { zcrx_id: 1, ..GOOD },
        ZcrxReg { resv2: 1, ..GOOD },
        ZcrxReg {
            resv: [0, 0, 1],
            ..GOOD
        },
    ];
    let regions = [
        good,
        RegionDesc { size: 0, ..good },
        RegionDesc { size: 4096, ..good },
        RegionDesc { size: 4097, ..good },
        RegionDesc {
            size: u64::MAX - 4095,
            ..good
        },
        RegionDesc {
            size: 1 << 50,
            ..good
        },
        RegionDesc {
            user_addr: 0,
            ..good
        },
        RegionDesc {
            user_addr: good.user_addr + 8,
            ..good
        },
        RegionDesc { flags: 0, ..good },
        RegionDesc { flags: 2, ..good },
        RegionDesc { flags: 3, ..good },
        RegionDesc { id: 1, ..good },
        RegionDesc {
            mmap_offset: 1,
            ..good
        },
        RegionDesc {
            resv: [0, 0, 0, 1],
            ..good
        },
    ];
    for reg in regs {
        for region in regions {
            for clamp in [false, true] {
                let expected = ours(&reg, &region, clamp).err().unwrap_or(Errno::ENODEV);
                let kernel = kernel.register_zcrx(reg, region, clamp);
                assert_eq!(expected, kernel, "{reg:?} {region:?} clamp {clamp}");
            }
        }
    }
}

#[test]
fn entries_are_rounded_up_to_a_power_of_two() {
    let entries = |rq_entries, clamp| ZcrxReg { rq_entries, ..GOOD }.check(clamp);
    assert_eq!(entries(1, false), Ok(1));
    assert_eq!(entries(65, false), Ok(128));
    assert_eq!(entries(32768, false), Ok(32768));
    assert_eq!(entries(32769, false), Err(Errno::EINVAL));
    assert_eq!(entries(32769, true), Ok(32768));
}

#[test]
fn no_device_is_a_flag_that_is_known() {
    let reg = ZcrxReg {
        flags: ZCRX_REG_NODEV,
        ..GOOD
    };
    assert_eq!(reg.check(false), Ok(64));
}

#[test]
fn a_region_of_the_kernels_own_is_not_to_be_had() {
    let region = RegionDesc {
        size: 8192,
        ..RegionDesc::default()
    };
    assert_eq!(region.check(64), Err(Errno::EOPNOTSUPP));
}

#[test]
fn the_area_is_left_to_the_ring() {
    let none = ZcrxAreaReg::default();
    assert_eq!(none.check(), Ok(()));
    for area in [
        ZcrxAreaReg { addr: 4096, ..none },
        ZcrxAreaReg { len: 4096, ..none },
        ZcrxAreaReg {
            rq_area_token: 1,
            ..none
        },
        ZcrxAreaReg { flags: 1, ..none },
        ZcrxAreaReg {
            dmabuf_fd: 1,
            ..none
        },
        ZcrxAreaReg {
            resv2: [0, 1],
            ..none
        },
    ] {
        assert_eq!(area.check(), Err(Errno::EINVAL), "{area:?}");
    }
}
