//! What `sluice show flows` asks for, `sluice flow`, and `sluice diff --flows` of what runs.

use std::fmt::Write as _;

use sluice_control_api::{
    Candidate, CompareLiveFlows, FlowsKilled, LiveFlowChange, LiveFlowChanges,
};

use crate::args::{self, Origin, ShowFlows, WhichFlows};
use crate::check;
use crate::client::{Client, with_query};
use crate::command::print;
use crate::failed::Failed;
use crate::questions::fate;
use crate::render;

type Query = Vec<(&'static str, Option<String>)>;

fn query(which: &WhichFlows) -> Query {
    let WhichFlows { instance, src, dst, proto, port, state } = which;
    vec![
        ("instance", instance.clone()),
        ("src", src.map(|prefix| prefix.to_string())),
        ("dst", dst.map(|prefix| prefix.to_string())),
        ("proto", proto.map(|number| number.to_string())),
        ("port", port.map(|port| port.to_string())),
        ("state", state.map(|state| state.name().to_owned())),
    ]
}

/// What `sluice show flows` asks for.
pub(crate) fn path(shown: &ShowFlows) -> String {
    let mut query = query(&shown.which);
    query.push(("sort", shown.sort.map(|sort| sort.name().to_owned())));
    query.push(("limit", Some(shown.limit.to_string())));
    with_query("/v1/flows", &query)
}

/// `sluice flow`.
pub(crate) async fn run(
    client: &Client,
    command: args::Flow,
    json: bool,
) -> Result<String, Failed> {
    let args::Flow::Kill { which, all } = command;
    if which == WhichFlows::default() && !all {
        return Err(Failed::Usage(
            "say which flows: --src, --dst, --proto, --port, --state or --instance; --all means \
             every one"
                .into(),
        ));
    }
    let mut query = query(&which);
    query.push(("all", all.then(|| "true".into())));
    let answer = client.delete(&with_query("/v1/flows", &query)).await?;
    print::<FlowsKilled>(answer, json, |done| {
        let flows = if done.killed == 1 { "flow" } else { "flows" };
        let rest = if done.complete { "" } else { "; there was no time for all: say it again" };
        format!("{} {flows} ended{rest}\n", done.killed)
    })
}

/// `sluice diff --flows` of what runs.
pub(crate) async fn compare(
    client: &Client,
    from: &Origin,
    to: Option<u64>,
    json: bool,
) -> Result<String, Failed> {
    let mut wanted = CompareLiveFlows { to, ..CompareLiveFlows::default() };
    match from {
        Origin::Generation(generation) => wanted.from = Some(*generation),
        Origin::File(file) => {
            let (bytes, file) = check::bytes(file)?;
            let yaml = String::from_utf8(bytes)
                .map_err(|error| Failed::Usage(format!("{file}: not UTF-8: {error}")))?;
            wanted.candidate = Some(Candidate { file, yaml });
        }
    }
    let answer = client.post("/v1/flows/compare", &wanted).await?;
    print::<LiveFlowChanges>(answer, json, changes)
}

fn changes(all: &LiveFlowChanges) -> String {
    let mut text = String::new();
    for LiveFlowChange { flow, reply, before, after } in &all.changes {
        let answers = if *reply { ", answers" } else { "" };
        let name = render::flow(flow);
        let _ = writeln!(text, "{name}{answers}: {} -> {}", fate(before), fate(after));
    }
    if all.changed > all.changes.len() as u64 {
        let _ = writeln!(text, "… and {} more", all.changed - all.changes.len() as u64);
    }
    let rest = if all.complete { "" } else { "; there are more flows than one comparison takes" };
    let _ = writeln!(
        text,
        "{} live flows; directions that would fare otherwise: {}{rest}",
        all.compared, all.changed
    );
    text
}
