use ringwire_xsk::Error;

use super::*;

/// One that says so much of its queues.
fn interface(rx_queues: u32, tx_queues: u32) -> Interface {
    let mut interface = Interface::by_name("lo").unwrap();
    interface.rx_queues = rx_queues;
    interface.tx_queues = tx_queues;
    interface
}

fn check(interface: &Interface, groups: &[&[u32]]) -> Result<Vec<Vec<u32>>, SetupError> {
    let mut groups: Vec<Vec<u32>> = groups.iter().map(|group| group.to_vec()).collect();
    check_groups(interface, &mut groups).map(|()| groups)
}

#[test]
fn a_groups_queues_are_put_in_order_each_once() {
    let groups = check(&interface(4, 4), &[&[3, 1, 3], &[0]]);
    assert_eq!(groups.unwrap(), [vec![1, 3], vec![0]]);
}

#[test]
fn no_group_and_an_empty_one_are_refused() {
    let none: &[&[u32]] = &[];
    for groups in [none, &[&[0], &[]]] {
        let refused = check(&interface(4, 4), groups);
        assert!(matches!(refused, Err(SetupError::NoQueues)), "{groups:?}");
    }
}

#[test]
fn a_queue_is_one_groups() {
    let refused = check(&interface(4, 4), &[&[0, 1], &[2, 1]]);
    assert!(matches!(refused, Err(SetupError::QueueInTwoGroups(1))));
}

#[test]
fn a_queue_that_is_not_there_is_refused() {
    let refused = check(&interface(2, 4), &[&[0], &[2]]);
    let Err(SetupError::Xsk(error @ Error::NoSuchQueue { queue: 2, .. })) = refused else {
        panic!("{refused:?}");
    };
    assert!(error.to_string().contains("only 0 to 1"), "{error}");
}

#[test]
fn a_queue_that_cannot_send_is_refused_with_the_cure() {
    let refused = check(&interface(2, 1), &[&[0, 1]]);
    let Err(SetupError::Xsk(error @ Error::NoTxQueue { queue: 1, .. })) = refused else {
        panic!("{refused:?}");
    };
    assert!(
        error.to_string().contains("`ethtool -L lo combined N`"),
        "{error}"
    );
}
