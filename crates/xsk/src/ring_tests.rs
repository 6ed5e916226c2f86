use super::*;

#[test]
fn entries_come_out_in_order_also_across_the_index_wrap() {
    let (mut producer, mut consumer) = pair::<u64>(8);
    let start = u32::MAX - 20;
    producer.shared.producer().store(start, Ordering::Relaxed);
    producer.shared.consumer().store(start, Ordering::Relaxed);
    (producer.head, producer.seen, consumer.tail, consumer.seen) = (start, start, start, start);
    for round in 0..10u64 {
        for entry in 0..7 {
            producer.push(round * 7 + entry).unwrap();
        }
        producer.publish();
        for entry in 0..7 {
            assert_eq!(consumer.pop(), Some(round * 7 + entry));
        }
        assert_eq!(consumer.pop(), None);
        consumer.release();
    }
}

#[test]
fn a_full_ring_gives_the_entry_back_until_slots_are_released() {
    let (mut producer, mut consumer) = pair::<u64>(2);
    producer.push(1).unwrap();
    producer.push(2).unwrap();
    assert_eq!(producer.push(3), Err(3));
    producer.publish();
    assert_eq!(consumer.pop(), Some(1));
    assert_eq!(producer.push(3), Err(3), "popped is not released");
    consumer.release();
    assert_eq!(producer.push(3), Ok(()));
}

#[test]
fn what_is_looked_at_ahead_is_there_and_stays() {
    let (mut producer, mut consumer) = pair::<u64>(4);
    for entry in 1..=3 {
        producer.push(entry).unwrap();
    }
    producer.publish();
    assert_eq!(
        consumer.peek(0),
        None,
        "nobody has looked how many there are"
    );
    assert_eq!(consumer.pop(), Some(1));
    assert_eq!((consumer.peek(0), consumer.peek(1)), (Some(2), Some(3)));
    assert_eq!((consumer.peek(2), consumer.peek(u32::MAX)), (None, None));
    assert_eq!((consumer.pop(), consumer.pop()), (Some(2), Some(3)));
}

#[test]
fn nothing_is_seen_before_it_is_published() {
    let (mut producer, mut consumer) = pair::<u64>(4);
    producer.push(1).unwrap();
    assert_eq!((consumer.available(), producer.len()), (0, 0));
    producer.publish();
    assert_eq!((consumer.available(), producer.len()), (1, 1));
}

#[test]
fn an_index_that_cannot_be_is_not_believed() {
    let (mut producer, mut consumer) = pair::<u64>(4);
    producer.shared.producer().store(5, Ordering::Relaxed);
    assert_eq!(
        (consumer.available(), consumer.pop()),
        (0, None),
        "more entries than the ring has"
    );
    producer
        .shared
        .producer()
        .store(u32::MAX, Ordering::Relaxed);
    assert_eq!(consumer.pop(), None, "behind the consumer");
    producer.shared.consumer().store(1, Ordering::Relaxed);
    assert_eq!(
        (producer.free(), producer.push(1)),
        (0, Err(1)),
        "consumed before it was produced"
    );
}

#[test]
fn the_wake_up_flag_is_the_consumers() {
    let (producer, consumer) = pair::<u64>(4);
    assert!(!producer.needs_wakeup());
    consumer.set_needs_wakeup(true);
    assert!(producer.needs_wakeup());
}

#[test]
fn two_threads_hand_every_entry_over_once() {
    const COUNT: u64 = if cfg!(miri) { 500 } else { 100_000 };
    let (mut producer, mut consumer) = pair::<u64>(64);
    let sender = std::thread::spawn(move || {
        let mut next = 0;
        while next < COUNT {
            while next < COUNT && producer.push(next).is_ok() {
                next += 1;
            }
            producer.publish();
            std::thread::yield_now();
        }
    });
    let mut expected = 0;
    while expected < COUNT {
        while let Some(entry) = consumer.pop() {
            assert_eq!(entry, expected);
            expected += 1;
        }
        consumer.release();
        std::thread::yield_now();
    }
    sender.join().unwrap();
}
