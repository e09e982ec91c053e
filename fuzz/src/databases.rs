//! Addresses of databases, as a flag has them: the password in one is written nowhere.

use clap::Parser as _;
use piccolo_server::config::{Address, Cli, GroupDatabase};

use crate::input::Input;

/// No message, and nothing that the fuzzer is likely to write.
const SECRET: &str = "Gk7Qz3Xw";

pub(crate) fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let group = input.one(&["", "g=", "a=b=", "="]);
    let scheme = input.one(&[
        "mysql://",
        "mariadb://",
        "mysql:",
        "sqlite://",
        "postgres://",
    ]);
    // With one of these the password would be somewhere else than where it is told to be.
    let user = text(&mut input, 16).replace(['/', '?', '#', '@', ':', '\\'], "");
    let around = [text(&mut input, 8), text(&mut input, 8)];
    let rest = input.text();
    tells_nothing(&format!("{group}{scheme}{user}:{SECRET}@{rest}"));
    tells_nothing(&format!(
        "{group}{scheme}{user}:{}{SECRET}{}@{rest}",
        around[0], around[1]
    ));
    let any = format!("{group}{scheme}{rest}");
    if let Ok(database) = any.parse::<GroupDatabase>() {
        is_its_text(&database, &any);
    }
}

fn text(input: &mut Input<'_>, most: usize) -> String {
    let length = usize::from(input.byte()) % most;
    String::from_utf8_lossy(input.take(length)).into_owned()
}

/// Neither what is made of it nor an error, of the parser or of the command line, has the password in it. A
/// file's name is no secret.
fn tells_nothing(url: &str) {
    let shown = match url.parse::<GroupDatabase>() {
        Ok(GroupDatabase {
            address: Address::Sqlite(_),
            ..
        }) => return,
        Ok(database) => format!("{} {database:?}", database.address),
        Err(error) => format!("{error} {error:?}"),
    };
    assert!(!shown.contains(SECRET), "{url:?}: {shown}");
    let cli = Cli::try_parse_from(["piccolo-server", "--database", url]);
    let shown = match cli {
        Ok(cli) => format!("{:?}", cli.serve.data),
        Err(error) => format!("{error} {}", error.render().ansi()),
    };
    assert!(!shown.contains(SECRET), "{url:?}: {shown}");
}

fn is_its_text(database: &GroupDatabase, text: &str) {
    if let Some(group) = &database.group {
        assert!(text.starts_with(group.as_str()), "{text:?}");
    }
    match &database.address {
        Address::Sqlite(file) => {
            let file = file.to_string_lossy();
            assert!(!file.is_empty() && text.ends_with(&*file), "{text:?}");
        }
        Address::MySql(options) => {
            assert!(options.get_database().is_some(), "{text:?}");
        }
    }
}
