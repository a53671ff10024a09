//! Changes and their history: apply, route, roll back, confirm, compare.

use sluice_control_api::{Applied, Commit, Diff};

use crate::args::{self, Apply, Origin};
use crate::client::{Client, with_query};
use crate::command::print;
use crate::failed::Failed;
use crate::{check, render};

type Query = Vec<(&'static str, Option<String>)>;

/// What goes with every change, as a query.
pub(crate) fn query(how: &args::Commit) -> Query {
    let seconds = how.confirm.map(|time| time.as_secs().to_string());
    vec![("message", how.message.clone()), ("confirm", seconds)]
}

fn flag(set: bool) -> Option<String> {
    set.then(|| "true".into())
}

/// `sluice apply`.
pub(crate) async fn apply(client: &Client, options: &Apply, json: bool) -> Result<String, Failed> {
    let (text, name) = check::bytes(&options.file)?;
    let mut query = query(&options.how);
    query.extend([
        ("file", Some(name)),
        ("path", check::absolute(&options.file)),
        ("dry_run", flag(options.dry_run)),
        ("generation", options.generation.map(|generation| generation.to_string())),
    ]);
    let answer = client.post_text(&with_query("/v1/apply", &query), text).await?;
    print::<Applied>(answer, json, render::applied)
}

/// `sluice rollback`.
pub(crate) async fn rollback(
    client: &Client,
    to: u64,
    dry_run: bool,
    how: &args::Commit,
    json: bool,
) -> Result<String, Failed> {
    let mut query = query(how);
    query.extend([("generation", Some(to.to_string())), ("dry_run", flag(dry_run))]);
    let answer = client.post_text(&with_query("/v1/rollback", &query), Vec::new()).await?;
    print::<Applied>(answer, json, render::applied)
}

/// `sluice confirm`.
pub(crate) async fn confirm(client: &Client, json: bool) -> Result<String, Failed> {
    let answer = client.post_text("/v1/confirm", Vec::new()).await?;
    print::<Commit>(answer, json, render::confirmed)
}

/// `sluice commits`.
pub(crate) async fn list(client: &Client, limit: u64, json: bool) -> Result<String, Failed> {
    let path = with_query("/v1/commits", &[("limit", Some(limit.to_string()))]);
    print::<Vec<Commit>>(client.get(&path).await?, json, |commits| render::commits(commits))
}

/// `sluice diff`.
pub(crate) async fn diff(
    client: &Client,
    from: &Origin,
    to: Option<u64>,
    json: bool,
) -> Result<String, Failed> {
    let answer = match (from, to) {
        (Origin::Generation(from), to) => {
            let query = [
                ("from", Some(from.to_string())),
                ("to", to.map(|generation| generation.to_string())),
            ];
            client.get(&with_query("/v1/diff", &query)).await?
        }
        (Origin::File(file), None) => {
            let (text, name) = check::bytes(file)?;
            client.post_text(&with_query("/v1/diff", &[("file", Some(name))]), text).await?
        }
        (Origin::File(file), Some(to)) => {
            return Err(Failed::Usage(format!(
                "a file is compared with what is live: `sluice diff {}`, without {to}",
                file.display()
            )));
        }
    };
    print::<Diff>(answer, json, render::diff)
}
