//! Does one task, given as JSON; started by `cargo xtask bench`.

use std::io::{self, BufWriter};

use anyhow::{Context as _, Result};
use measure::Task;

fn main() -> Result<()> {
    let task = std::env::args()
        .nth(1)
        .context("no task: this program is started by `cargo xtask bench`")?;
    let task: Task = serde_json::from_str(&task).context("the task is not understood")?;
    task.run(&mut BufWriter::new(io::stdout().lock()))
}
