use super::*;

#[test]
fn each_cell_has_a_name_of_its_own() {
    let mut names: Vec<String> = all().into_iter().map(|it| it.name).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn targets_and_bases_name_contestants_that_take_part() {
    let cells = all();
    let takes_part = |cell: &Cell, name| cell.contestants.iter().any(|it| it.name == name);
    for cell in cells.iter().filter(|it| !it.contestants.is_empty()) {
        assert!(takes_part(cell, cell.base), "{}: {}", cell.name, cell.base);
        for target in &cell.targets {
            assert!(takes_part(cell, target.of), "{}: {}", cell.name, target.of);
            for against in &target.any {
                let other = against.cell.unwrap_or(&cell.name);
                let other = cells.iter().find(|it| it.name == other);
                let there = other.is_some_and(|it| takes_part(it, against.contestant));
                assert!(there, "{}: {}", cell.name, against.contestant);
            }
        }
    }
}

#[test]
fn a_cell_is_named_whole_or_by_its_first_parts() {
    let cells = all();
    let named = |word| cells.iter().filter(|it| it.is_named(word)).count();
    assert_eq!(named("W3-udp-one-spin"), 1);
    assert_eq!(named("W3-udp-one"), 2);
    assert_eq!(named("W3-udp-o"), 0);
}
