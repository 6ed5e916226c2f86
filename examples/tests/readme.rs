//! The program in the README is a program of this package.

const README: &str = include_str!("../../README.md");
const PROGRAM: &str = include_str!("../readme/main.rs");

#[test]
fn the_program_in_the_readme_is_the_one_that_is_compiled() {
    let mut blocks = README.split("```rust\n").skip(1);
    let block = blocks.next().expect("the README has a ```rust block");
    let (text, _) = block.split_once("```").expect("the block ends");
    assert_eq!(
        text, PROGRAM,
        "README.md and examples/readme/main.rs differ"
    );
    assert!(blocks.next().is_none(), "the README has one program only");
}
