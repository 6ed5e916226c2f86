//! The deliberate differences: what each side says where they differ, line by line. A difference that
//! goes away fails its test, and docs/DIFFERENCES.md names these cases and no others.

use std::collections::BTreeSet;

/// A case, and the lines of its transcripts that are not the same: the kernel's, and ringwire's.
pub struct Difference {
    pub name: &'static str,
    kernel: &'static [&'static str],
    ringwire: &'static [&'static str],
}

pub const DIFFERENCES: &[Difference] = &[
    Difference {
        name: "plain_descriptors",
        kernel: &["(1, Ok(()), 0)", "(2, Ok(()), 0)"],
        ringwire: &["(1, Err(-95), 0)", "(2, Err(-95), 0)"],
    },
    Difference {
        name: "operations_on_files",
        kernel: &["(1, Ok(()), 0)", "(2, Err(-9), 0)", "(3, Err(-9), 0)"],
        ringwire: &["(1, Err(-95), 0)", "(2, Err(-95), 0)", "(3, Err(-95), 0)"],
    },
    Difference {
        name: "requests_on_descriptors",
        kernel: &[
            "(1, 0, 0)",
            "(2, -2, 0)",
            "(\"by a descriptor\", Err(Some(2)))",
        ],
        ringwire: &[
            "(1, -9, 0)",
            "(2, -9, 0)",
            "(\"by a descriptor\", Err(Some(9)))",
        ],
    },
    Difference {
        name: "times_in_the_entry",
        kernel: &["(1, -22, 0)"],
        ringwire: &["(1, -62, 0)"],
    },
    Difference {
        name: "source_by_interface",
        kernel: &["(1, 4, 0)"],
        ringwire: &["(1, -19, 0)"],
    },
    Difference {
        name: "kinds_of_sockets",
        kernel: &["(0, 0, 0)", "(1, 0, 0)", "(2, 0, 0)", "(3, 0, 0)"],
        ringwire: &["(0, -97, 0)", "(1, -97, 0)", "(2, -94, 0)", "(3, -93, 0)"],
    },
    Difference {
        name: "options_are_read_at_every_level",
        kernel: &[
            "(2, -95, 0)",
            "((6, 1), [170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170])",
            "(3, -95, 0)",
            "((0, 2), [170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170])",
        ],
        ringwire: &[
            "(2, 4, 0)",
            "((6, 1), [0, 0, 0, 0, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170])",
            "(3, 4, 0)",
            "((0, 2), [64, 0, 0, 0, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170])",
        ],
    },
    Difference {
        name: "options_that_are_not_there",
        kernel: &[
            "(1, 0, 0)",
            "(2, 0, 0)",
            "(3, 0, 0)",
            "(4, 0, 0)",
            "(5, 0, 0)",
            "(6, 0, 0)",
            "(8, 0, 0)",
        ],
        ringwire: &[
            "(1, -92, 0)",
            "(2, -92, 0)",
            "(3, -92, 0)",
            "(4, -92, 0)",
            "(5, -92, 0)",
            "(6, -92, 0)",
            "(8, -92, 0)",
        ],
    },
    Difference {
        name: "control_messages_that_are_not_there",
        kernel: &["(1, 0, 0)"],
        ringwire: &["(1, -22, 0)"],
    },
    Difference {
        name: "loopback",
        kernel: &["(2, 0, 0)", "(4, 0, 0)"],
        ringwire: &["(2, -99, 0)", "(4, -101, 0)"],
    },
    Difference {
        name: "time_wait_and_bind",
        kernel: &["(4, -98, 0)"],
        ringwire: &["(4, 0, 0)"],
    },
    Difference {
        name: "time_passes_only_in_turns",
        kernel: &["(\"acknowledged without a turn\", true)"],
        ringwire: &["(\"acknowledged without a turn\", false)"],
    },
    Difference {
        name: "buffer_sizes_of_a_new_socket",
        kernel: &["(\"512 KiB and 1 MiB\", false)"],
        ringwire: &["(\"512 KiB and 1 MiB\", true)"],
    },
    Difference {
        name: "urgent_data",
        kernel: &["[120]"],
        ringwire: &["[33]"],
    },
    Difference {
        name: "names_of_sockets",
        kernel: &[
            "(2, -95, 0)",
            "(16, [0, 0, 0, 0, 0, 0, 0, 0])",
            "(3, -95, 0)",
            "(4, -95, 0)",
            "(4, [0, 0, 0, 0, 0, 0, 0, 0])",
            "(5, -95, 0)",
            "(16, [0, 0, 0, 0, 0, 0, 0, 0])",
            "(6, -95, 0)",
            "(16, [0, 0, 0, 0, 0, 0, 0, 0])",
            "(7, -95, 0)",
            "(28, [0, 0, 0, 0, 0, 0, 0, 0])",
            "(10, -95, 0)",
            "(11, -95, 0)",
            "(12, -95, 0)",
        ],
        ringwire: &[
            "(2, 0, 0)",
            "(16, [2, 0, 27, 88, 0, 0, 0, 0])",
            "(3, -107, 0)",
            "(4, 0, 0)",
            "(16, [2, 0, 27, 88, 0, 0, 0, 0])",
            "(5, 0, 0)",
            "(16, [2, 0, 27, 88, 10, 7, 0, 2])",
            "(6, 0, 0)",
            "(16, [10, 7, 0, 1])",
            "(7, 0, 0)",
            "(28, [10, 0, 0, 0, 0, 0, 0, 0])",
            "(10, -22, 0)",
            "(11, -22, 0)",
            "(12, -22, 0)",
        ],
    },
    Difference {
        name: "registered_memory_and_copies",
        kernel: &[
            "(1, -22, 0)",
            "(2, -22, 0)",
            "(3, -22, 0)",
            "(4, -22, 0)",
            "(5, -22, 0)",
            "(6, -22, 0)",
            "[100, 101, 102, 103, 104, 105, 106, 107]",
        ],
        ringwire: &[
            "(1, 8, 0)",
            "(2, -14, 0)",
            "(3, -14, 0)",
            "(4, -14, 0)",
            "(5, -14, 0)",
            "(6, 8, 0)",
            "[114, 101, 99, 101, 105, 118, 101, 100]",
        ],
    },
    Difference {
        name: "user_data_of_a_notification",
        kernel: &["(1, -22, 0)", "(2, 0, 0)"],
        ringwire: &["(1, 4, 2)", "(77, 0, 8)", "(2, 0, 0)"],
    },
    Difference {
        name: "descriptors_in_a_table",
        kernel: &[
            "(\"a socket's\", Ok(0))",
            "(\"end\", Ok(0))",
            "(\"in a slot\", Ok(1))",
        ],
        ringwire: &[
            "(\"a socket's\", Err(Some(9)))",
            "(\"end\", Err(Some(6)))",
            "(\"in a slot\", Err(Some(9)))",
        ],
    },
    Difference {
        name: "registrations_that_are_not_there",
        kernel: &["(\"a region\", Err(Some(14)))"],
        ringwire: &["(\"a region\", Err(Some(22)))"],
    },
    Difference {
        name: "limits_of_workers_at_first",
        kernel: &["(Ok(0), [true, true])"],
        ringwire: &["(Ok(0), [false, false])"],
    },
    Difference {
        name: "napi_ids_of_processors",
        kernel: &["(\"napi\", Err(Some(22)))"],
        ringwire: &["(\"napi\", Ok(0))"],
    },
    Difference {
        name: "entry_overwritten_while_in_use",
        kernel: &["(1, 16, 17)"],
        ringwire: &["(1, 16, 1)"],
    },
    Difference {
        name: "incremental_buffer_of_a_receive_in_parts",
        kernel: &[
            "(2, 6, 17)",
            "([104, 97, 108, 102, 98, 101, 104, 105, 110, 100], [0, 0, 0, 0, 0, 0])",
        ],
        ringwire: &[
            "(2, 6, 65553)",
            "([104, 97, 108, 102, 102, 117, 108, 108, 0, 0], [98, 101, 104, 105, 110, 100])",
        ],
    },
    Difference {
        name: "length_beyond_an_incremental_buffer",
        kernel: &["(1, 15, 17)", "(2, 1, 65537)"],
        ringwire: &["(1, 15, 1)", "(2, 8, 65537)"],
    },
    Difference {
        name: "bundles_of_datagrams",
        kernel: &["(1, 4, 1)"],
        ringwire: &["(1, 4, 3)", "(1, -105, 0)"],
    },
    Difference {
        name: "lent_buffer_groups",
        kernel: &["(\"lent\", Err(Some(22)))", "(\"gone\", Err(Some(2)))"],
        ringwire: &["(\"lent\", Ok(0))", "(\"gone\", Ok(0))"],
    },
    Difference {
        name: "groups_of_registered_memory",
        kernel: &[
            "(1, -22, 0)",
            "(2, -95, 0)",
            "(3, -22, 0)",
            "(4, -22, 0)",
            "(5, -22, 0)",
        ],
        // The completions have the entry's id, and the zero-copy send has a notification.
        ringwire: &[
            "(1, 8, 1)",
            "(2, 8, 65539)",
            "(2, 0, 65545)",
            "(3, -75, 131073)",
            "(4, -14, 196609)",
            "(5, -105, 0)",
        ],
    },
    Difference {
        name: "length_of_a_multishot_messages_iovec",
        kernel: &["(1, 20, 3)"],
        ringwire: &["(1, 21, 3)"],
    },
    Difference {
        name: "ranges_that_come_back_with_a_send",
        kernel: &["(2, -22, 0)"],
        ringwire: &["(2, 4, 0)"],
    },
];

impl Difference {
    /// Checks that the transcripts differ as written here, and nowhere else.
    pub fn check(&self, kernel: &[String], ringwire: &[String]) {
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        for line in 0..kernel.len().max(ringwire.len()) {
            let (at_kernel, at_ringwire) = (kernel.get(line), ringwire.get(line));
            if at_kernel != at_ringwire {
                theirs.extend(at_kernel.map(String::as_str));
                ours.extend(at_ringwire.map(String::as_str));
            }
        }
        assert!(!theirs.is_empty() || !ours.is_empty(), "no difference");
        assert!(
            theirs == self.kernel && ours == self.ringwire,
            "the kernel's lines: {theirs:#?}\nringwire's: {ours:#?}\nof {kernel:#?}\nand {ringwire:#?}"
        );
    }
}

/// The names in the page's column of cases are those of the list.
pub fn page_names_them() {
    let page = include_str!("../../../docs/DIFFERENCES.md");
    let named: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| {
            line.strip_prefix('|')?
                .strip_suffix('|')?
                .rsplit('|')
                .next()
        })
        .filter_map(|cell| cell.trim().strip_prefix('`')?.strip_suffix('`'))
        .collect();
    let listed: BTreeSet<&str> = DIFFERENCES
        .iter()
        .map(|difference| difference.name)
        .collect();
    assert_eq!(named, listed);
}

/// Every name on the page of what is compared is a case's.
pub fn page_of_cases_names_cases(cases: &BTreeSet<&str>) {
    let page = include_str!("../../../docs/ORACLE.md");
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let names = rows.flat_map(|row| {
        row.rsplit('|')
            .nth(1)
            .unwrap_or_default()
            .split('`')
            .skip(1)
            .step_by(2)
    });
    let mut count = 0;
    for name in names {
        assert!(cases.contains(name), "{name} is no case");
        count += 1;
    }
    assert!(count > 0, "no names on the page");
}
