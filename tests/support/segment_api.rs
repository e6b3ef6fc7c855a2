//! A mock of Segment's Tracking API that answers by a script.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

/// What the mock does with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Do {
    Take,
    Answer(u16),
    /// 429 with `Retry-After`, in seconds.
    Later(u64),
    /// No answer comes for 30 s; nothing is taken.
    Stall,
    /// Half of an answer that says 200; the events are taken.
    Half,
    /// The connection closes, nothing is taken.
    Reset,
    /// The events are taken, the answer is lost.
    LoseAnswer,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// In lower case.
    pub head: String,
    pub body: Value,
    pub bytes: usize,
    pub taken: bool,
    /// When it was whole,
    pub came: Instant,
    /// and when its answer went.
    pub answered: Option<Instant>,
}

pub struct Mock {
    pub url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Mock {
    /// `script`: what is done with the n-th request.
    pub fn start(script: impl Fn(usize, &Value) -> Do + Send + Sync + 'static) -> Mock {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let requests = Arc::new(Mutex::new(vec![]));
        let (all, script) = (requests.clone(), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (all, script) = (all.clone(), script.clone());
                std::thread::spawn(move || serve(stream, &all, &*script));
            }
        });
        Mock { url, requests }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no panic").clone()
    }

    /// The events that were taken, in order.
    pub fn taken(&self) -> Vec<Value> {
        let taken = self.requests().into_iter().filter(|r| r.taken);
        taken.flat_map(|r| r.body["batch"].as_array().expect("a batch").clone()).collect()
    }

    /// Of each message the first that was taken, as Segment does it, in order.
    pub fn deduped(&self) -> Vec<Value> {
        let mut seen = std::collections::HashSet::new();
        self.taken()
            .into_iter()
            .filter(|e| seen.insert(e["messageId"].as_str().expect("an id").to_string()))
            .collect()
    }
}

fn serve(stream: TcpStream, all: &Mutex<Vec<Request>>, script: &dyn Fn(usize, &Value) -> Do) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let head = head.to_lowercase();
        let length = head.lines().find_map(|l| l.strip_prefix("content-length: "))?.parse().ok()?;
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        let (n, what) = {
            let mut all = all.lock().expect("no panic");
            let what = script(all.len(), &body);
            let taken = matches!(what, Do::Take | Do::LoseAnswer | Do::Half);
            all.push(Request { head, body, bytes: length, taken, came: Instant::now(), answered: None });
            (all.len() - 1, what)
        };
        let answer = match what {
            Do::Take => "HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"success\":true}".to_string(),
            Do::Later(seconds) => {
                format!("HTTP/1.1 429 Slow\r\nRetry-After: {seconds}\r\nContent-Length: 0\r\n\r\n")
            }
            Do::Half => "HTTP/1.1 200 OK\r\nContent-Le".to_string(),
            Do::Stall => {
                std::thread::sleep(Duration::from_secs(30));
                return None;
            }
            Do::Answer(status) => format!("HTTP/1.1 {status} No\r\nContent-Length: 4\r\n\r\nnope"),
            Do::Reset | Do::LoseAnswer => return None,
        };
        all.lock().expect("no panic")[n].answered = Some(Instant::now());
        writer.write_all(answer.as_bytes()).ok()?;
        if what == Do::Half {
            return None;
        }
    }
}
