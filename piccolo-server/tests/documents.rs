//! The references under `docs/` say what the program says.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test by it"
)]

use std::process::Command;

fn says(command: &str) -> String {
    let program = env!("CARGO_BIN_EXE_piccolo-server");
    let output = Command::new(program).arg(command).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_references_are_up_to_date() {
    for (command, file) in [
        ("metrics-doc", "metrics.md"),
        ("settings-doc", "settings.md"),
    ] {
        let path = format!("{}/../docs/{file}", env!("CARGO_MANIFEST_DIR"));
        assert!(
            std::fs::read_to_string(path)
                .unwrap()
                .contains(says(command).trim_end()),
            "docs/{file} is stale: run `cargo xtask docs`"
        );
    }
}
