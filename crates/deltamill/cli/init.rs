//! `deltamill init`: a folder of SQL files to begin with.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::json;

use super::{Failure, output};

/// The flags of `init`.
#[derive(Args)]
pub(crate) struct Init {
    /// The folder; it must not be there, or be empty.
    dir: PathBuf,
    /// What is in it. segment: Segment's libraries in and out; topic-to-track, users-to-identify, orders-to-track: a
    /// topic as calls to Segment; audience: who comes and goes, into a topic and to Segment; topics-to-calls: several
    /// topics as calls of all kinds; dead-letters: what was refused, corrected and sent again.
    #[arg(long, value_parser = PossibleValuesParser::new(TEMPLATES.map(|t| t.name)), default_value = "segment")]
    template: String,
}

/// A project to begin with.
struct Template {
    name: &'static str,
    /// File names and texts.
    files: &'static [(&'static str, &'static str)],
    /// The topics that it reads and writes.
    topics: &'static [&'static str],
    /// How to see it work.
    first: &'static str,
}

macro_rules! files {
    ($dir:literal: $($file:literal),*) => {
        &[$(($file, include_str!(concat!("../templates/", $dir, "/", $file)))),*]
    };
}

const KAFKA: (&str, &str) = ("kafka.sql", include_str!("../templates/kafka.sql"));
const SEGMENT: (&str, &str) = ("segment.sql", include_str!("../templates/segment.sql"));

const TEMPLATES: [Template; 7] = [
    Template {
        name: "segment",
        files: files!("segment": "events.sql", "customers.sql"),
        topics: &[],
        first: "deltamill send --track 'Signed Up' --user u1",
    },
    Template {
        name: "topic-to-track",
        files: files!("topic-to-track": "tracks.sql"),
        topics: &["app_events"],
        first: r#"echo '{"user":"u1","name":"button_clicked","details":{"button":"buy"}}' | deltamill topic produce app_events --lines"#,
    },
    Template {
        name: "users-to-identify",
        files: files!("users-to-identify": "traits.sql"),
        topics: &["users"],
        first: r#"echo '{"key":"u1","payload":{"email":"a@example.com","plan":"pro"}}' | deltamill topic produce users"#,
    },
    Template {
        name: "orders-to-track",
        files: files!("orders-to-track": "orders.sql"),
        topics: &["orders", "refunds"],
        first: r#"echo '{"id":"o1","customer":"u1","lines":[{"sku":"a","price":9.5,"quantity":2}]}' | deltamill topic produce orders --lines"#,
    },
    Template {
        name: "audience",
        files: files!("audience": "buyers.sql", "newsletter.sql"),
        topics: &["buyers", "newsletter"],
        first: "deltamill send --track 'Order Completed' --user u1; deltamill topic consume buyers --follow",
    },
    Template {
        name: "topics-to-calls",
        files: files!("topics-to-calls": "calls.sql"),
        topics: &["accounts", "profiles", "clicks"],
        first: r#"echo '{"account":"a1","name":"Acme","owner":"u1"}' | deltamill topic produce accounts --lines"#,
    },
    Template {
        name: "dead-letters",
        files: files!("dead-letters": "calls.sql", "corrected.sql"),
        topics: &["signups", "dead_letters"],
        first: r#"echo '{"device":"d1","name":"Signed Up"}' | deltamill topic produce signups --lines"#,
    },
];

impl Init {
    pub fn run(self, json: bool) -> Result<(), Failure> {
        let template = TEMPLATES.iter().find(|t| t.name == self.template);
        let template = template.ok_or_else(|| Failure::new(2, "there is no such template"))?;
        let shown = self.dir.display().to_string();
        let failed = |e: std::io::Error| Failure::new(1, format!("{shown}: {e}"));
        if self.dir.exists() && std::fs::read_dir(&self.dir).map_err(failed)?.next().is_some() {
            return Err(Failure::new(2, format!("{shown} is there and is not empty")));
        }
        std::fs::create_dir_all(&self.dir).map_err(failed)?;
        let kafka = (!template.topics.is_empty()).then_some(KAFKA);
        for (name, text) in kafka.iter().chain([&SEGMENT]).chain(template.files) {
            std::fs::write(self.dir.join(name), text).map_err(failed)?;
        }
        let mut serve = "deltamill serve".to_string();
        if kafka.is_some() {
            serve.push_str(" --kafka-listen 127.0.0.1:9092");
        }
        template.topics.iter().for_each(|topic| serve.push_str(&format!(" --kafka-topic {topic}")));
        serve.push_str(&format!(" --apply {shown}"));
        if json {
            let fields = [
                ("dir", json!(shown)),
                ("template", json!(template.name)),
                ("topics", json!(template.topics)),
                ("serve", json!(serve)),
                ("first", json!(template.first)),
            ];
            println!("{}", output::json_line("init", &fields));
        } else {
            println!(
                "{shown} is there. Start it:\n\n  {serve}\n\nand in another terminal:\n\n  {}",
                template.first
            );
            println!("  deltamill sql -c 'SELECT type, event, user_id, body FROM sent'");
        }
        Ok(())
    }
}
