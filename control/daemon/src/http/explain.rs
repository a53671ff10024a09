//! What would happen to a packet: the evaluator on the live generation, an earlier one or a file
//! that is not applied, and the dataplane's word on links, neighbours and foreign hooks.

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;
use sluice_channel::{FlowStatus, FlowTuple, HookOrigin, HookState, HookStatus};
use sluice_control_api::{Basis, CandidateQuery, Explained, FlowKnown, QueriedRoute};
use sluice_policy::explain::{self, Live, NextHopState, PortFacts, Query, RouteQuery, Routed};
use sluice_policy::model::Name;
use sluice_policy::{Instance, Policy, config};

use super::Answer;
use super::extract::{Body, Params};
use super::tables::state_name;
use crate::app::App;
use crate::error::ControlError;
use crate::flows::{remembered, told, tuple, tuple_of_route};
use crate::head::Head;

/// Which policy is asked.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExplainParams {
    /// The commit; left out, the live one.
    at: Option<u64>,
}

pub(super) async fn explain(
    State(app): State<App>,
    Params(params): Params<ExplainParams>,
    Body(query): Body<Query>,
) -> Answer<Explained> {
    let live = live(&app).await?;
    let view = app.view();
    let (policy, generation) = view.live()?;
    if let Some(at) = params.at.filter(|at| *at != generation) {
        let policy = app.policy_at(at).await?;
        let policy = &live.followed(&policy);
        let asked = Asked { policy, generation: at, basis: Basis::Commit, live: &live };
        return asked.answer(&query).map(Json);
    }
    let policy = &live.followed(policy);
    let asked = Asked { policy, generation, basis: Basis::Live, live: &live };
    asked.answer_with_flow(&app, query).await.map(Json)
}

/// What the dataplane knows of a packet's connection. Where a worker does not answer, that is not
/// known, and the rest of the explanation holds.
async fn known(
    app: &App,
    instance: &Name,
    tuple: FlowTuple,
) -> Result<(FlowKnown, Option<FlowStatus>), ControlError> {
    match app.flow(instance, tuple).await {
        Ok(None) => Ok((FlowKnown::NotThere, None)),
        Ok(flow) => Ok((FlowKnown::There, flow)),
        Err(ControlError::NoFlows(_)) => Ok((FlowKnown::NotAsked, None)),
        Err(error) => Err(error),
    }
}

/// All questions are asked of one generation, one state of links and neighbours.
pub(super) async fn many(
    State(app): State<App>,
    Body(queries): Body<Vec<Query>>,
) -> Answer<Vec<Explained>> {
    let live = live(&app).await?;
    let view = app.view();
    let (policy, generation) = view.live()?;
    let policy = &live.followed(policy);
    let asked = Asked { policy, generation, basis: Basis::Live, live: &live };
    let answers = queries.iter().enumerate().map(|(place, query)| {
        asked
            .answer(query)
            .map_err(|error| ControlError::Request(format!("question {place}: {error}")))
    });
    answers.collect::<Result<_, _>>().map(Json)
}

/// Where a packet would be routed; filters are not asked.
pub(super) async fn route(
    State(app): State<App>,
    Params(params): Params<ExplainParams>,
    Body(query): Body<RouteQuery>,
) -> Answer<QueriedRoute> {
    let live = live(&app).await?;
    let view = app.view();
    let (policy, generation) = view.live()?;
    let routed = match params.at.filter(|at| *at != generation) {
        Some(at) => explain::route(&live.followed(&*app.policy_at(at).await?), &live, &query),
        None => explain::route(&live.followed(policy), &live, &query),
    };
    let routed = routed.map_err(|error| ControlError::Request(error.to_string()))?;
    let (flow_state, flow) = match (params.at, tuple_of_route(&query)) {
        (None, Some(tuple)) => known(&app, &routed.instance, tuple).await?,
        _ => (FlowKnown::NotAsked, None),
    };
    let routed = Routed { generation: params.at.unwrap_or(generation), ..routed };
    Ok(Json(QueriedRoute { routed, flow_state, flow: flow.map(told) }))
}

/// How a file is named.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CandidateParams {
    /// Its name, for positions in the answer.
    file: Option<String>,
}

/// A question about a file that is not applied: what would happen if it were, now.
pub(super) async fn candidate(
    State(app): State<App>,
    Params(params): Params<CandidateParams>,
    Body(CandidateQuery { query, yaml }): Body<CandidateQuery>,
) -> Answer<Explained> {
    let live = live(&app).await?;
    let view = app.view();
    let (_, generation) = view.live()?;
    let file = params.file.unwrap_or_else(|| "configuration".into());
    let policy = compile(view.head.clone(), file, yaml).await?;
    let policy = &live.followed(&policy);
    let asked = Asked { policy, generation, basis: Basis::Candidate, live: &live };
    asked.answer_with_flow(&app, query).await.map(Json)
}

/// What would run if a file were applied.
pub(super) async fn compile(
    running: Head,
    file: String,
    yaml: String,
) -> Result<Policy, ControlError> {
    // A large file takes a while, and this thread has other requests to answer.
    let compiled = tokio::task::spawn_blocking(move || {
        let configuration = config::read(yaml.as_bytes(), &file).map_err(ControlError::Config)?;
        let delta = running.towards(&configuration.state);
        running.policy.apply(&delta).map_err(|errors| {
            ControlError::Policy(errors.iter().map(ToString::to_string).collect())
        })
    });
    compiled.await.map_err(|_| ControlError::Stopping)?
}

/// What questions are asked of.
struct Asked<'a> {
    policy: &'a Policy,
    generation: u64,
    basis: Basis,
    live: &'a Live,
}

impl Asked<'_> {
    fn answer(&self, query: &Query) -> Result<Explained, ControlError> {
        let mut explanation = explain::explain(self.policy, self.live, query)
            .map_err(|error| ControlError::Request(error.to_string()))?;
        // What a commit is called goes before how many steps its policy took to compile.
        explanation.generation = self.generation;
        Ok(Explained {
            explanation,
            basis: self.basis,
            flow_state: FlowKnown::NotAsked,
            flow: None,
        })
    }
}

impl Asked<'_> {
    /// The same, of the packet as one of its connection, if the dataplane has that.
    async fn answer_with_flow(
        &self,
        app: &App,
        mut query: Query,
    ) -> Result<Explained, ControlError> {
        let mut explained = self.answer(&query)?;
        let instance = &explained.explanation.instance;
        let tuple = tuple(&query);
        let (flow_state, found) = known(app, instance, tuple).await?;
        let tracks = self.policy.instance_named(instance).is_some_and(Instance::tracks);
        // Where no filter looks at states, it is no news that a packet is a first one.
        if flow_state == FlowKnown::There || flow_state == FlowKnown::NotThere && tracks {
            query.flow = remembered(found.as_ref(), &tuple);
            explained = self.answer(&query)?;
        }
        Ok(Explained { flow_state, flow: found.map(told), ..explained })
    }
}

/// What the dataplane says of links, neighbours and foreign hooks.
pub(super) async fn live(app: &App) -> Result<Live, ControlError> {
    let ports = links(app).await?.ports;
    let neighbours = app.neighbours().await?.into_iter().map(|neighbour| {
        let state = state_name(neighbour.state).to_owned();
        let key = (neighbour.interface, neighbour.address);
        (key, NextHopState { state, mac: neighbour.mac })
    });
    let neighbours = neighbours.collect();
    let mut live = Live { ports, neighbours, ..Live::default() };
    for HookStatus { hook, origin, state, .. } in app.hooks().await?.hooks {
        match (origin, state == HookState::Running) {
            // The policy that is asked knows those that are part of the desired state.
            (HookOrigin::Configured, false) => {
                live.taken_out.insert(hook.name);
            }
            // One that captures decides nothing.
            (HookOrigin::Configured, true) | (HookOrigin::Capture, _) | (_, false) => {}
            (_, true) => live.hooks.push(hook),
        }
    }
    Ok(live)
}

/// The links alone.
pub(super) async fn links(app: &App) -> Result<Live, ControlError> {
    let ports =
        app.ports().await?.into_iter().map(|port| {
            (port.name, PortFacts { mac: port.mac, link: port.link, error: port.error })
        });
    Ok(Live { ports: ports.collect(), ..Live::default() })
}
