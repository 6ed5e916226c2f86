use super::*;

fn layout() -> Layout {
    Layout {
        chunk_bytes: 4096,
        rx_chunks: 8,
        header_chunks: 2,
        send_chunks: 4,
        lend_reserve_chunks: 1,
        areas: vec![AreaLayout::Plain(1)],
    }
}

/// The kernel answers EINVAL to aligned chunks above a page, also on huge pages (`xdp_umem_reg`, net/xdp/xdp_umem.c).
#[test]
fn chunks_are_of_a_size_that_the_kernel_takes() {
    for chunk_bytes in [2048, 4096] {
        let layout = Layout {
            chunk_bytes,
            ..layout()
        };
        assert_eq!(layout.check(), Ok(15));
    }
    for chunk_bytes in [0, 1024, 3000, 4095, 8192, 1 << 21] {
        let layout = Layout {
            chunk_bytes,
            ..layout()
        };
        assert_eq!(layout.check(), Err(LayoutError::ChunkBytes(chunk_bytes)));
    }
}

#[test]
fn a_pool_that_must_not_be_empty_is_refused() {
    for (rx_chunks, send_chunks) in [(0, 4), (8, 0)] {
        let layout = Layout {
            rx_chunks,
            send_chunks,
            ..layout()
        };
        assert_eq!(layout.check(), Err(LayoutError::EmptyPool));
    }
}

#[test]
fn a_lend_reserve_leaves_something_to_receive_with() {
    let layout = Layout {
        lend_reserve_chunks: 8,
        ..layout()
    };
    let refused = LayoutError::Reserve { reserve: 8, rx: 8 };
    assert_eq!(layout.check(), Err(refused));
}
