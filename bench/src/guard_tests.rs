use super::*;

const DUMP: &str = "\
version: 1
desc: Timerange: Basic block 0 - 1000
desc: Trigger: Client Request: 2048: tcp send: 1400

events: Ir
fn=(1) main
3 4096000
totals: 4545000
";

/// A record of one operation.
fn record(instructions: f64) -> Record {
    Record {
        environment: Environment([("rustc".into(), "1.88.0".into())].into()),
        instructions: [("nop".into(), instructions)].into(),
    }
}

#[test]
fn a_dump_says_what_one_operation_took() {
    assert_eq!(dumped(DUMP), Some(("tcp send: 1400".into(), 2219.2)));
}

#[test]
fn the_dump_at_the_programs_end_is_of_no_operation() {
    let last = DUMP.replace(
        "Client Request: 2048: tcp send: 1400",
        "Program termination",
    );
    assert_eq!(dumped(&last), None);
}

#[test]
fn a_count_may_differ_by_three_percent_either_way() {
    let record = record(1000.0);
    for now in [970.5, 1000.0, 1029.5] {
        assert_eq!(record.holds("nop", now), Ok(()));
    }
    for (now, percent) in [(969.0, "-3.10 %"), (1031.0, "+3.10 %")] {
        let told = record.holds("nop", now).expect_err("another count");
        assert!(told.contains(percent), "{told}");
    }
}

#[test]
fn what_is_not_in_the_record_does_not_hold() {
    assert!(record(1000.0).holds("send", 1000.0).is_err());
}

#[test]
fn environments_differ_by_name() {
    let (old, mut now) = (record(1.0).environment, record(1.0).environment);
    assert_eq!(old.differences(&now), Vec::<String>::new());
    now.0.insert("rustc".into(), "1.89.0".into());
    now.0.insert("libc".into(), "2.36".into());
    assert_eq!(
        old.differences(&now),
        [
            "rustc: the record's 1.88.0, here 1.89.0",
            "libc: the record's none, here 2.36"
        ]
    );
}

#[test]
fn what_is_written_is_read_again() {
    let record = record(1000.5);
    let again = Record::parse(&record.text()).expect("a record");
    assert_eq!(again.environment, record.environment);
    assert_eq!(again.instructions, record.instructions);
}

#[test]
fn a_record_with_a_count_that_is_no_number_is_none() {
    let text = record(1000.5).text().replace("1000.5", "\"many\"");
    assert!(Record::parse(&text).is_none());
}

#[test]
fn the_environment_that_a_program_prints_is_read() {
    let printed = "libc: 2.36\nrustc: 1.88.0 (6b00bc388), LLVM 20.1.5\n";
    let items = [
        ("libc", "2.36"),
        ("rustc", "1.88.0 (6b00bc388), LLVM 20.1.5"),
    ];
    let items = items.map(|(name, value)| (name.into(), value.into()));
    assert_eq!(Environment::parse(printed), Environment(items.into()));
}
