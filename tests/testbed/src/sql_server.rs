//! A MariaDB or MySQL server of the tests' own.

mod galera;
mod product;

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

pub use self::{galera::Galera, product::Product};
use crate::{
    cache, exec::run, network::Host, process::Process, rights::is_root, run::Run, wait::wait_until,
};

/// Ends the server with the program that started it, and removes its files.
const KEEP: &str = include_str!("sql_server/keep.sh");

const PORT: u16 = 3306;
const START: Duration = Duration::from_secs(30);

/// A database server on a loopback port with data of its own. Dropping it kills it and removes the
/// data; so does the end of the program that started it, however it comes about.
///
/// It needs no privilege: the server runs as the user of the test.
#[derive(Debug)]
pub struct SqlServer {
    product: Product,
    directory: PathBuf,
    port: u16,
    settings: Vec<String>,
    /// Whom it runs as where root starts it.
    user: &'static str,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    keeper: Child,
    server: Pid,
}

impl SqlServer {
    /// Starts a server with small buffers.
    ///
    /// # Errors
    ///
    /// When it is not installed or does not start.
    pub fn start(product: Product) -> Result<Self> {
        Self::start_with(product, &["--innodb-buffer-pool-size=32M"])
    }

    /// Starts a server with these settings of its program.
    ///
    /// # Errors
    ///
    /// When it is not installed or does not start.
    pub fn start_with(product: Product, settings: &[&str]) -> Result<Self> {
        let mut server = Self::make(product)?;
        server.set(settings.iter().map(|&setting| setting.to_owned()));
        server.resume()?;
        Ok(server)
    }

    /// One that was not started yet, without settings.
    fn make(product: Product) -> Result<Self> {
        let template = cache::directory(&product.template()?, |directory| {
            product.install(&directory.join("data"))
        })?;
        let directory = claim_directory()?;
        let data = directory.join("data");
        run(Command::new("cp")
            .args(["-r", "--reflink=auto", "--sparse=always"])
            .args([template.join("data").as_path(), data.as_path()]))?;
        // A server removes the temporary tables of others when it starts.
        fs::create_dir_all(directory.join("tmp")).context("making a directory for them")?;
        Ok(Self {
            product,
            directory,
            port: free_port()?,
            settings: Vec::new(),
            user: "root",
            running: None,
        })
    }

    /// The settings of its next start.
    fn set(&mut self, settings: impl IntoIterator<Item = String>) {
        self.settings = settings.into_iter().collect();
    }

    /// Runs it as this user, who gets its files, where root starts it.
    fn run_as(&mut self, user: &'static str) -> Result<()> {
        self.user = user;
        if is_root() {
            let mut own = Command::new("chown");
            run(own.args(["-R", user]).arg(&self.directory))?;
        }
        Ok(())
    }

    /// Makes an empty database and gives its URL.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn create(&self, database: &str) -> Result<String> {
        self.execute(&format!("CREATE DATABASE {database}"))?;
        Ok(self.url(database))
    }

    /// The URL of a database, whether or not it is there.
    pub fn url(&self, database: &str) -> String {
        format!("mysql://root@127.0.0.1:{}/{database}", self.port)
    }

    /// The loopback port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the server, while it runs.
    pub fn id(&self) -> Option<u32> {
        let running = self.running.as_ref()?;
        u32::try_from(running.server.as_raw_nonzero().get()).ok()
    }

    /// Executes SQL; gives what a query answers, a line for each row, with tabs between columns.
    ///
    /// # Errors
    ///
    /// When the server refuses it.
    pub fn execute(&self, sql: &str) -> Result<String> {
        run(&mut self.client(sql))
    }

    /// A client that executes SQL when it is started, as root and in no database.
    pub fn client(&self, sql: &str) -> Command {
        let mut client = Command::new(self.product.client());
        client
            .args(["--no-defaults", "--user=root", "--host=127.0.0.1"])
            .args(["--batch", "--raw", "--skip-column-names"])
            .arg(format!("--port={}", self.port))
            .arg(format!("--execute={sql}"));
        client
    }

    /// What it is.
    pub fn product(&self) -> &Product {
        &self.product
    }

    /// The directory of its data.
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Restarts it with these settings.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn restart_with(&mut self, settings: &[&str]) -> Result<()> {
        self.kill();
        self.set(settings.iter().map(|&setting| setting.to_owned()));
        self.resume()
    }

    /// Kills the server as a crash would. Its data stays.
    pub fn kill(&mut self) {
        if let Some(running) = &mut self.running
            && let Some(stdin) = &mut running.keeper.stdin
        {
            // Should that fail, the keeper is gone, and the server with it.
            let _ = stdin.write_all(b"keep\n");
        }
        self.running = None;
    }

    /// Freezes it: its connections stay open and do not answer.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Resumes it after [`SqlServer::freeze`].
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Starts it again after [`SqlServer::kill`], on the same port with the same data.
    ///
    /// # Errors
    ///
    /// When it does not start; the end of its log comes along.
    pub fn resume(&mut self) -> Result<()> {
        self.resume_within(START)
    }

    fn resume_within(&mut self, deadline: Duration) -> Result<()> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .context("opening the database server's log")?;
        let mut command = Command::new("sh");
        command
            .env("TMPDIR", self.directory.join("tmp"))
            .args(["-c", KEEP, "keep"])
            .arg(&self.directory)
            .arg(self.product.program())
            .args(self.arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // An interrupt at the terminal is the test's to handle.
            .process_group(0);
        let mut keeper = command
            .spawn()
            .context("starting the database server's keeper")?;
        let server = first_line(&mut keeper)?;
        self.running = Some(Running { keeper, server });
        let port = self.port;
        wait_until("the database server to listen", deadline, || {
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port))
                .is_ok()
                .then_some(()))
        })
        .with_context(|| format!("its log ends:\n{}", self.log_tail()))
    }

    fn arguments(&self) -> Vec<String> {
        let path = |name: &str| self.directory.join(name).display().to_string();
        let mut arguments = vec![
            "--no-defaults".to_owned(),
            format!("--datadir={}", path("data")),
            format!("--socket={}", path("socket")),
            format!("--pid-file={}", path("pid")),
            format!("--port={}", self.port),
            "--bind-address=127.0.0.1".to_owned(),
            "--skip-name-resolve".to_owned(),
        ];
        arguments.extend(self.product.settings());
        if is_root() {
            arguments.push(format!("--user={}", self.user));
        }
        arguments.extend(self.settings.iter().cloned());
        arguments
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let running = self
            .running
            .as_ref()
            .context("the database server does not run")?;
        kill_process(running.server, signal)
            .with_context(|| format!("sending {signal:?} to the database server"))
    }

    fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// What its log says of what went wrong, and of data that is copied.
    fn complaints(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let is_one = |line: &&str| {
            ["ERROR", "SST", "rsync"]
                .iter()
                .any(|word| line.contains(word))
        };
        log.lines().filter(is_one).collect::<Vec<_>>().join("\n")
    }

    fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let last = lines.len().saturating_sub(15);
        lines.get(last..).unwrap_or_default().join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The keeper kills the server when its standard input ends.
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

impl Drop for SqlServer {
    fn drop(&mut self) {
        self.running = None;
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl SqlServer {
    /// Starts a MariaDB on a host of the bed, reachable from its network, as part of the run.
    /// Returns the URL of a new database.
    ///
    /// # Errors
    ///
    /// When MariaDB is not installed or does not start.
    pub fn serve(run_of: &Run, host: &Host) -> Result<(Process, String)> {
        Self::serve_with(run_of, host, &[])
    }

    /// The same with these settings of its program.
    ///
    /// # Errors
    ///
    /// When MariaDB is not installed or does not come up.
    pub fn serve_with(run_of: &Run, host: &Host, settings: &[String]) -> Result<(Process, String)> {
        let product = Product::MariaDb;
        let template = cache::directory(&product.template()?, |directory| {
            product.install(&directory.join("data"))
        })?;
        let directory = run_of.make_directory(&host.name)?;
        run(Command::new("cp")
            .args(["-r", "--sparse=always"])
            .args([template.join("data"), directory.join("data")]))?;
        let scratch = directory.join("tmp");
        fs::create_dir_all(&scratch).context("making a directory for temporary tables")?;
        let first = directory.join("first.sql");
        let sql = "CREATE DATABASE piccolo;\nCREATE USER piccolo@'%' IDENTIFIED BY 'of-the-bed';\n\
                   GRANT ALL ON piccolo.* TO piccolo@'%';\n";
        fs::write(&first, sql).context("writing the database's first statements")?;
        let at = |name: &str| directory.join(name).display().to_string();
        let mut arguments = vec![
            "--no-defaults".to_owned(),
            format!("--datadir={}", at("data")),
            format!("--socket={}", at("socket")),
            format!("--pid-file={}", at("pid")),
            format!("--init-file={}", first.display()),
            format!("--tmpdir={}", scratch.display()),
            "--bind-address=0.0.0.0".to_owned(),
            "--skip-name-resolve".to_owned(),
            "--innodb-buffer-pool-size=32M".to_owned(),
            "--user=root".to_owned(),
        ];
        arguments.extend_from_slice(settings);
        let (program, address) = (Path::new("mariadbd"), SocketAddr::new(host.address, PORT));
        let mut process = Process::start(run_of, &host.netns, &host.name, program, arguments)?;
        let turn = Duration::from_secs(1);
        process.wait_ready(START, || Ok(host.netns.connect(address, turn).is_ok()))?;
        let url = format!("mysql://piccolo:of-the-bed@{address}/piccolo");
        Ok((process, url))
    }
}

fn first_line(keeper: &mut Child) -> Result<Pid> {
    let output = keeper.stdout.take().context("the keeper has no output")?;
    let mut line = String::new();
    BufReader::new(output)
        .read_line(&mut line)
        .context("reading the database server's process id")?;
    let id = line.trim().parse().ok().and_then(Pid::from_raw);
    id.with_context(|| format!("{line:?} is no process id"))
}

/// Not in /tmp, which often lives in memory.
fn claim_directory() -> Result<PathBuf> {
    let process = std::process::id();
    for counter in 0..1000 {
        let directory = PathBuf::from(format!("/var/tmp/piccolo-database-{process}x{counter}"));
        match fs::create_dir(&directory) {
            Ok(()) => return Ok(directory),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error).with_context(|| format!("making {}", directory.display()));
            }
        }
    }
    anyhow::bail!("no free name for a database's directory in /var/tmp")
}

/// Another program may take it in between; that is unlikely enough for a test.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a port")?;
    Ok(listener.local_addr().context("looking for a port")?.port())
}
