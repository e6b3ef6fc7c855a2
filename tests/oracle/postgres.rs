//! A Postgres of its own for a test, in a folder that goes with it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use ::postgres::{Client, NoTls};

use crate::support::PATIENCE;

/// A running server; ended when dropped.
pub struct Postgres {
    folder: tempfile::TempDir,
    bin: PathBuf,
    port: u16,
}

/// Where `initdb` and its kin of Postgres 15 are: on Debian not on the path. Other versions answer differently here and there.
fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    for version in std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten() {
        folders.push(version.path().join("bin"));
    }
    let is_15 = |folder: &PathBuf| {
        let version = Command::new(folder.join("initdb")).arg("--version").output();
        version.is_ok_and(|o| String::from_utf8_lossy(&o.stdout).contains(" 15."))
    };
    folders.into_iter().find(|f| f.join("initdb").is_file() && f.join("pg_ctl").is_file() && is_15(f))
}

impl Postgres {
    /// Starts one, if Postgres is installed; if not, says so, and in CI fails.
    pub fn start() -> Option<Postgres> {
        let Some(bin) = find() else {
            let why = "the answers are compared with its";
            assert!(std::env::var_os("DELTAMILL_REQUIRE").is_none(), "Postgres 15 is required: {why}");
            eprintln!("skipped, Postgres 15 is not installed: {why}");
            return None;
        };
        let folder = tempfile::tempdir().expect("a folder");
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        let postgres = Postgres { folder, bin, port };
        if postgres.as_root() {
            // It refuses to run as root.
            let chown = Command::new("chown").arg("postgres").arg(postgres.folder.path()).status();
            assert!(chown.is_ok_and(|s| s.success()), "the folder is given to the user postgres");
        }
        postgres.run(
            "initdb",
            &["-A", "trust", "-U", "postgres", "--locale=C", "--lc-ctype=C.UTF-8", "-E", "UTF8", "--no-sync"],
        );
        let options = format!("-p {port} -h 127.0.0.1 -k '' -c fsync=off -c timezone=UTC -c jit=off");
        postgres.run("pg_ctl", &["-w", "-o", &options, "-l", &postgres.path("log"), "start"]);
        Some(postgres)
    }

    fn as_root(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_string_lossy().into_owned()
    }

    fn command(&self, program: &str) -> Command {
        let program: &Path = &self.bin.join(program);
        let mut command = match self.as_root() {
            true => {
                let mut command = Command::new("runuser");
                command.args(["-u", "postgres", "--"]).arg(program);
                command
            }
            false => Command::new(program),
        };
        command.current_dir(self.folder.path()).args(["-D", &self.path("data")]).stdout(Stdio::null());
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let status = self.command(program).args(arguments).status();
        assert!(status.is_ok_and(|s| s.success()), "{program} succeeds");
    }

    /// A connection.
    pub fn client(&self) -> Client {
        let address = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", self.port);
        let start = Instant::now();
        loop {
            match Client::connect(&address, NoTls) {
                Ok(client) => return client,
                Err(e) => assert!(start.elapsed() < PATIENCE, "Postgres takes connections: {e}"),
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.command("pg_ctl").args(["-m", "immediate", "stop"]).status();
    }
}
