//! `sluice route query`, `sluice source`, and the files of questions: `sluice test` and `sluice diff
//! --flows`.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::json;
use sluice_control_api::{Candidate, CompareFlows, Explained, FlowChange, FlowWay, QueriedRoute};
use sluice_policy::Policy;
use sluice_policy::assertion::{Assertion, Question};
use sluice_policy::config;
use sluice_policy::explain::{self, Live, RouteQuery, Routed, Verdict};
use sluice_policy::model::State;

use crate::args::{Origin, RouteQuestion, Service, Source, Test};
use crate::client::{Client, with_query};
use crate::command::{pretty, print};
use crate::failed::Failed;
use crate::style::{BAD, GOOD, paint};
use crate::{check, output, render};

fn route_query(service: &Service, dst: std::net::IpAddr) -> RouteQuery {
    RouteQuery {
        instance: service.instance.as_deref().map(Into::into),
        input: None,
        src: None,
        dst,
        protocol: service.proto,
        src_port: service.sport.unwrap_or(0),
        dst_port: service.dport.unwrap_or(0),
    }
}

/// `sluice route query`.
pub(crate) async fn route(
    client: &Client,
    asked: &RouteQuestion,
    json: bool,
) -> Result<String, Failed> {
    let query = RouteQuery {
        input: asked.input.as_deref().map(Into::into),
        src: asked.src,
        ..route_query(&asked.service, asked.dst)
    };
    let at = asked.at.map(|generation| generation.to_string());
    let answer = client.post(&with_query("/v1/routes/query", &[("at", at)]), &query).await?;
    print::<QueriedRoute>(answer, json, |QueriedRoute { routed: route, flow_state, flow }| {
        let mut text = routed(route);
        if let Some(flow) = render::known_flow(*flow_state, flow.as_ref()) {
            let _ = writeln!(text, "{:<12} {flow}", "flow:");
        }
        text
    })
}

/// `sluice source`: the address alone, for scripts.
pub(crate) async fn source(client: &Client, asked: &Source, json: bool) -> Result<String, Failed> {
    let query = route_query(&asked.service, asked.dst);
    let answer: serde_json::Value = client.post("/v1/routes/query", &query).await?;
    let routed: Routed = serde_json::from_value(answer.clone()).map_err(Failed::Answer)?;
    let Some(source) = routed.source else {
        let why = routed.way.steps.last().map_or("", |step| &step.text);
        return Err(Failed::Nowhere { dst: asked.dst, why: why.to_owned() });
    };
    if !routed.source_agrees {
        eprintln!(
            "sluice: policy sends what bears {source} by {}, which does not have that address: \
             answers may not find back",
            routed.way.egress.as_deref().unwrap_or("no interface")
        );
    }
    Ok(if json { pretty(&answer) } else { format!("{source}\n") })
}

fn routed(routed: &Routed) -> String {
    let Routed { generation, instance, ingress, source, way, path_mtu, .. } = routed;
    let mut text = String::new();
    let mut line = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = writeln!(text, "{:<12} {value}", format!("{key}:"));
        }
    };
    for step in &way.steps {
        line(&step.stage, Some(step.text.clone()));
    }
    line("instance", Some(instance.to_string()));
    line("comes in by", ingress.as_ref().map(ToString::to_string));
    line("leaves by", way.egress.as_ref().map(ToString::to_string));
    line("next hop", way.next_hop.map(|address| address.to_string()));
    let neighbour = way.next_hop_state.as_ref().map(|state| match state.mac {
        Some(mac) => format!("{}, {mac}", state.state),
        None => state.state.clone(),
    });
    line("neighbour", neighbour);
    let mtu = way.mtu.map(|mtu| match path_mtu {
        Some(path) if *path != mtu => format!("{mtu}, {path} on the way through this router"),
        _ => mtu.to_string(),
    });
    line("mtu", mtu);
    let agrees =
        if routed.source_agrees { "" } else { " (its interface is not the one it leaves by)" };
    line("source", source.map(|source| format!("{source}{agrees}")));
    let verdict = match &way.verdict {
        Verdict::Accept => "routed".to_owned(),
        Verdict::Drop { reason } => format!("dropped, {reason}"),
        Verdict::Reject { reason } => format!("dropped, {reason}; the sender is told"),
        Verdict::Local => "for the router itself".to_owned(),
        Verdict::Unknown { hook, .. } => format!("not known: hook `{hook}` decides"),
    };
    line("verdict", Some(format!("{verdict} (generation {generation})")));
    text
}

/// What came of an assertion: nothing, if it holds.
struct Outcome<'a> {
    assertion: &'a Assertion,
    differences: Vec<String>,
}

/// `sluice test`.
pub(crate) async fn test(client: &Client, asked: &Test, json: bool) -> Result<String, Failed> {
    let (bytes, name) = check::bytes(&asked.file)?;
    let assertions = config::read_assertions(&bytes, &name).map_err(Failed::Config)?;
    let outcomes = match &asked.config {
        Some(file) => of_file(file, &assertions)?,
        None => of_appliance(client, &assertions).await?,
    };
    let failed = outcomes.iter().filter(|outcome| !outcome.differences.is_empty()).count();
    let report = if json { json_report(&outcomes) } else { report(&outcomes) };
    match failed {
        0 => Ok(report),
        _ => {
            output::write(&report)?;
            Err(Failed::Tests { failed, of: outcomes.len() })
        }
    }
}

/// Asks the running appliance.
async fn of_appliance<'a>(
    client: &Client,
    assertions: &'a [Assertion],
) -> Result<Vec<Outcome<'a>>, Failed> {
    let received = assertions.iter().filter_map(|assertion| match &assertion.question {
        Question::Received(query) => Some(query),
        Question::Own(_) => None,
    });
    let received: Vec<_> = received.collect();
    let answer = client.post("/v1/explain/many", &received).await?;
    let explained: Vec<Explained> = serde_json::from_value(answer).map_err(Failed::Answer)?;
    let mut explained = explained.into_iter();
    let mut outcomes = Vec::new();
    for assertion in assertions {
        let differences = match &assertion.question {
            Question::Received(_) => match explained.next() {
                Some(answer) => assertion.expected.differences(&answer.explanation.way),
                None => vec!["the control process gave no answer".to_owned()],
            },
            Question::Own(query) => {
                let answer = client.post("/v1/routes/query", query).await?;
                let routed: Routed = serde_json::from_value(answer).map_err(Failed::Answer)?;
                assertion.expected.differences_of_own(&routed)
            }
        };
        outcomes.push(Outcome { assertion, differences });
    }
    Ok(outcomes)
}

/// Asks a configuration, by the same evaluator; its links count as up.
fn of_file<'a>(file: &Path, assertions: &'a [Assertion]) -> Result<Vec<Outcome<'a>>, Failed> {
    let configuration = check::read(file)?;
    let delta = State::default().difference(&configuration.state);
    let policy = Policy::empty()
        .apply(&delta)
        .map_err(|errors| Failed::Usage(errors.iter().map(ToString::to_string).collect()))?;
    let live = Live::default();
    let outcomes = assertions.iter().map(|assertion| {
        let expected = &assertion.expected;
        let differences = match &assertion.question {
            Question::Received(query) => explain::explain(&policy, &live, query)
                .map(|explanation| expected.differences(&explanation.way)),
            Question::Own(query) => explain::route(&policy, &live, query)
                .map(|routed| expected.differences_of_own(&routed)),
        };
        let differences = differences.unwrap_or_else(|error| vec![error.to_string()]);
        Outcome { assertion, differences }
    });
    Ok(outcomes.collect())
}

fn report(outcomes: &[Outcome<'_>]) -> String {
    let mut text = String::new();
    let mut failed = 0;
    for Outcome { assertion, differences } in outcomes {
        let (style, word) = match differences.is_empty() {
            true => (GOOD, "ok    "),
            false => (BAD, "FAILED"),
        };
        let Assertion { name, position, .. } = assertion;
        let _ = write!(text, "{}  {name}", paint(style, word));
        if !differences.is_empty() {
            failed += 1;
            let _ = write!(text, "  ({}:{})", position.file, position.line);
        }
        text.push('\n');
        for difference in differences {
            let _ = writeln!(text, "        {difference}");
        }
    }
    let _ = writeln!(text, "{} tests, {failed} failed", outcomes.len());
    text
}

fn json_report(outcomes: &[Outcome<'_>]) -> String {
    let outcomes = outcomes.iter().map(|Outcome { assertion, differences }| {
        json!({
            "name": assertion.name,
            "ok": differences.is_empty(),
            "differences": differences,
            "position": assertion.position,
        })
    });
    pretty(&outcomes.collect::<Vec<_>>())
}

/// `sluice diff --flows`.
pub(crate) async fn compare_flows(
    client: &Client,
    flows: &Path,
    from: &Origin,
    to: Option<u64>,
    json: bool,
) -> Result<String, Failed> {
    let (bytes, name) = check::bytes(flows)?;
    let flows = config::read_flows(&bytes, &name).map_err(Failed::Config)?;
    let (names, queries): (Vec<_>, Vec<_>) = flows.into_iter().unzip();
    let count = queries.len();
    let mut wanted = CompareFlows { queries, to, ..CompareFlows::default() };
    match from {
        Origin::Generation(generation) => wanted.from = Some(*generation),
        Origin::File(file) => {
            let (bytes, file) = check::bytes(file)?;
            let yaml = String::from_utf8(bytes)
                .map_err(|error| Failed::Usage(format!("{file}: not UTF-8: {error}")))?;
            wanted.candidate = Some(Candidate { file, yaml });
        }
    }
    let answer = client.post("/v1/explain/compare", &wanted).await?;
    print::<Vec<FlowChange>>(answer, json, |changes| {
        let mut text = String::new();
        for FlowChange { place, before, after } in changes {
            let name = names.get(*place).map_or("", String::as_str);
            let _ = writeln!(text, "{name}: {} -> {}", fate(before), fate(after));
        }
        let _ = writeln!(text, "{count} flows, {} would fare otherwise", changes.len());
        text
    })
}

pub(crate) fn fate(way: &FlowWay) -> Cow<'static, str> {
    let by = way.rule.as_ref().map_or_else(String::new, |rule| format!(" by rule {rule}"));
    match &way.verdict {
        Verdict::Accept => {
            let egress = way.egress.as_deref().unwrap_or("nothing");
            let hop = way.next_hop.map_or_else(String::new, |hop| format!(" to {hop}"));
            format!("out by {egress}{hop}").into()
        }
        Verdict::Drop { reason } => format!("dropped, {reason}{by}").into(),
        Verdict::Reject { reason } => format!("rejected, {reason}{by}").into(),
        Verdict::Local => "for the router itself".into(),
        Verdict::Unknown { hook, .. } => format!("not known: hook `{hook}` decides").into(),
    }
}
