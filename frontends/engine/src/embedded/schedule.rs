//! Runs what has to run, several vertices at a time, inputs before what uses them.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kcompose_core::llb::proto::pb;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::graph::{Graph, Op, Output};
use super::layers::{Layers, made_on};
use super::make::make;
use super::monitor::Monitor;
use super::next_launcher::NextLauncher;
use super::plan::{Plan, Task, plan};
use super::problem::Problem;
use super::run::Work;
use super::store::{Build, Claim, TreeId};
use super::unmounting::Unmounting;
use super::{Embedded, StepNetwork, cachekey::Key};
use crate::background::{GRACE, processors};
use crate::bridge::{Job, Solved};
use crate::error::{EngineError, place};
use crate::event::{Events, State};
use crate::fetch::Download;

/// Solves a job. What was damaged on the disk is made anew, once.
pub(super) async fn solve(
    engine: &Embedded,
    job: &Job,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Solved, EngineError> {
    let missing = engine.capabilities.missing(job.definition.capabilities());
    if !missing.is_empty() {
        return Err(EngineError::Capability {
            address: "this process (the embedded engine)".to_owned(),
            missing: missing.into_iter().map(str::to_owned).collect(),
        });
    }
    let graph = Graph::decode(&job.definition)?;
    check_network(&graph, engine.settings.network)?;
    match attempt(engine, &graph, job, events, cancel).await {
        Outcome::Healed => match attempt(engine, &graph, job, events, cancel).await {
            Outcome::Ended(result) => result,
            Outcome::Healed => Err(EngineError::Failed {
                reason: "the trees of the embedded engine are damaged again and again".to_owned(),
                log: Vec::new(),
                place: None,
            }),
        },
        Outcome::Ended(result) => result,
    }
}

/// Refuses a graph with a step that wants a network which the engine may not give it.
fn check_network(graph: &Graph, network: StepNetwork) -> Result<(), EngineError> {
    let wants_one = |op: &Op| matches!(op, Op::Exec(exec) if exec.network != pb::NetMode::None as i32);
    let vertex = graph.vertices.iter().find(|vertex| wants_one(&vertex.op));
    match vertex.filter(|_| network == StepNetwork::Refused) {
        Some(vertex) => Err(EngineError::Entitlement {
            name: vertex.name.clone(),
            place: place(vertex.span),
        }),
        None => Ok(()),
    }
}

/// How an attempt ended.
enum Outcome {
    Ended(Result<Solved, EngineError>),
    /// It failed, and what it was made from was damaged and is taken out.
    Healed,
}

async fn attempt(
    engine: &Embedded,
    graph: &Graph,
    job: &Job,
    events: &Events,
    cancel: &CancellationToken,
) -> Outcome {
    let begun = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(EngineError::Cancelled),
        begun = begin(engine, graph, job, events) => begun,
    };
    let (work, plan) = match begun {
        Ok(begun) => begun,
        Err(error) => return Outcome::Ended(Err(error)),
    };
    let began = Instant::now();
    let mut scheduler = Scheduler::new(engine, &work, plan);
    let outcome = scheduler.finish().await;
    work.cancel.cancel();
    let error = match outcome {
        Ok(solved) => {
            let made = std::mem::take(&mut scheduler.made);
            drop(scheduler);
            settle(engine, work, made, began.elapsed());
            return Outcome::Ended(Ok(solved));
        }
        Err(error) => error,
    };
    let used = scheduler.used();
    let running = std::mem::take(&mut scheduler.running);
    drop(scheduler);
    let is_cancelled = matches!(error, EngineError::Cancelled);
    let looked = Arc::clone(&work);
    let healed = async { !is_cancelled && heal(looked, used).await };
    let (healed, ()) = tokio::join!(healed, tidy(work, running));
    if healed {
        Outcome::Healed
    } else {
        Outcome::Ended(Err(error))
    }
}

/// Whether trees that a failed build used were damaged, and are gone now.
///
/// A failure is not held up by this: trees that take longer than [`GRACE`] to look at count as sound.
async fn heal(work: Arc<Work>, used: BTreeSet<TreeId>) -> bool {
    let background = work.job.background.clone();
    let stop = background.token().clone();
    let healed = background.blocking(move || work.build.trees().heal(&work.build, &used, &stop));
    // That they cannot be looked at says nothing about why the build failed.
    matches!(timeout(GRACE, healed).await, Ok(Ok(Ok(true))))
}

/// Ends the steps of a failed build, and deletes its drafts.
///
/// What takes longer than [`GRACE`] goes on in the background, and the next build sweeps what that leaves.
async fn tidy(work: Arc<Work>, mut running: JoinSet<Ran>) {
    let (sender, tidied) = oneshot::channel::<()>();
    let background = work.job.background.clone();
    background.spawn(async move {
        // Steps end before their folders go.
        while running.join_next().await.is_some() {}
        work.next_launcher.dismiss().await;
        work.unmounting.wait().await;
        // Deletes the build's folder, unless a thread still uses it, which then does.
        let background = work.job.background.clone();
        let _ = background.blocking(move || drop(work)).await;
        drop(sender);
    });
    // It ends, or is late; both are fine.
    let _ = timeout(GRACE, tidied).await;
}

async fn begin(
    engine: &Embedded,
    graph: &Graph,
    job: &Job,
    events: &Events,
) -> Result<(Arc<Work>, Plan), EngineError> {
    let trees = engine.trees();
    let monitor = Monitor::new(graph, events);
    let (graph, job) = (graph.clone(), job.clone());
    let (store, reach) = (engine.settings.store.clone(), engine.settings.reach);
    let limits = engine.settings.steps;
    let cancel = job.background.token().child_token();
    let background = job.background.clone();
    let begun = background.blocking(move || {
        let failed = |error| EngineError::io("write", trees.root(), error);
        trees.open().map_err(failed)?;
        let build = Build::begin(&trees).map_err(failed)?;
        let plan = plan(&graph, &job, &build).map_err(|(vertex, problem)| {
            monitor.state(vertex, State::Failed(problem.reason()));
            problem.at(&graph.vertices[vertex], Vec::new())
        })?;
        let work = Work {
            wanted: graph.wanted(),
            graph,
            build,
            monitor,
            job,
            store,
            reach,
            limits,
            download: Download::default(),
            cancel,
            next_launcher: NextLauncher::default(),
            unmounting: Unmounting::default(),
        };
        Ok((Arc::new(work), plan))
    });
    begun.await.map_err(|error| EngineError::Failed {
        reason: error.to_string(),
        log: Vec::new(),
        place: None,
    })?
}

/// What is made in less time than this is not waited for until the disk has it: making it again, should the machine start
/// anew, takes no longer. A build that works for longer tells the disk to keep what those before it made, too.
const WORTH_KEEPING: Duration = Duration::from_secs(2);

/// Finishes the bookkeeping of a successful build in the background, while its outputs are already being written.
fn settle(engine: &Embedded, work: Arc<Work>, made: BTreeSet<TreeId>, took: Duration) {
    let limit = engine.settings.limit;
    let runtime = tokio::runtime::Handle::current();
    let background = work.job.background.clone();
    let stop = background.token().clone();
    let settled = background.blocking(move || {
        let trees = work.build.trees();
        for id in made.iter().filter(|id| trees.layer(id).is_none()) {
            // Without it, a change that leaves sizes and times alone is not noticed: no reason to fail.
            let _ = trees.note_contents(id, &stop);
        }
        if took >= WORTH_KEEPING && !stop.is_cancelled() {
            // Until the disk has it, it counts in this boot only.
            let _ = work.build.settle();
        }
        let is_large = || trees.summary().is_ok_and(|summary| summary.size > limit);
        if !made.is_empty() && !stop.is_cancelled() && is_large() {
            let _ = trees.prune(limit);
        }
        runtime.block_on(async {
            work.next_launcher.dismiss().await;
            work.unmounting.wait().await;
        });
    });
    // The build waits for all of its background work.
    drop(settled);
}

/// A vertex that may run, the one with the longest way to the result first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ready {
    way: usize,
    /// Of equals the one that is named first.
    order: std::cmp::Reverse<usize>,
}

/// What a vertex that ran has made.
#[derive(Debug)]
struct Ran {
    vertex: usize,
    result: Result<(Arc<Claim>, bool), Problem>,
}

struct Scheduler<'a> {
    work: &'a Arc<Work>,
    tasks: Vec<Task>,
    keys: Vec<Key>,
    results: BTreeMap<usize, Arc<Claim>>,
    /// Inputs that a vertex still waits for.
    waiting: Vec<usize>,
    users: Vec<Vec<usize>>,
    ways: Vec<usize>,
    /// What has to run and has not ended, by how much has to run after it.
    unfinished: BTreeSet<(usize, usize)>,
    ready: BinaryHeap<Ready>,
    sources: BinaryHeap<Ready>,
    running: JoinSet<Ran>,
    running_sources: usize,
    running_steps: usize,
    steps: usize,
    layers: Layers,
    made: BTreeSet<TreeId>,
}

/// The nice value of a step that is not waited for first.
const BEHIND: u64 = 10;

/// Sources wait for the network or the disk, not for a processor.
const SOURCES: usize = 8;

impl<'a> Scheduler<'a> {
    fn new(engine: &Embedded, work: &'a Arc<Work>, plan: Plan) -> Self {
        let graph = &work.graph;
        let mut users = vec![Vec::new(); graph.vertices.len()];
        let mut waiting = vec![0; graph.vertices.len()];
        for (at, vertex) in graph.vertices.iter().enumerate() {
            if matches!(plan.tasks[at], Task::Run | Task::RunAnyway) {
                let inputs: BTreeSet<usize> = vertex.inputs.iter().map(|input| input.vertex).collect();
                waiting[at] = inputs.len();
                inputs.into_iter().for_each(|input| users[input].push(at));
            }
        }
        let ways = ways(graph, &users);
        let unfinished = (0..graph.vertices.len())
            .filter(|at| matches!(plan.tasks[*at], Task::Run | Task::RunAnyway))
            .filter(|at| matches!(graph.vertices[*at].op, Op::Exec(_)))
            .map(|at| (ways[at], at))
            .collect();
        let layers = Layers::new(Arc::clone(work), processors());
        Scheduler {
            work,
            tasks: plan.tasks,
            keys: plan.keys,
            results: BTreeMap::new(),
            waiting,
            users,
            ways,
            unfinished,
            ready: BinaryHeap::new(),
            sources: BinaryHeap::new(),
            running: JoinSet::new(),
            running_sources: 0,
            running_steps: 0,
            steps: engine.steps(),
            layers,
            made: BTreeSet::new(),
        }
    }

    async fn finish(&mut self) -> Result<Solved, EngineError> {
        self.run_all().await?;
        self.solved().await
    }

    /// The trees that results consist of.
    fn used(&self) -> BTreeSet<TreeId> {
        let trees = self.results.values().flat_map(|claim| claim.values().flatten());
        trees.cloned().collect()
    }

    async fn run_all(&mut self) -> Result<(), EngineError> {
        let free: Vec<usize> = (0..self.tasks.len())
            .filter(|at| self.waiting[*at] == 0 && matches!(self.tasks[*at], Task::Run | Task::RunAnyway))
            .collect();
        // Where no step runs, there is no time to begin early.
        if !self.unfinished.is_empty() {
            self.layers.hand_out_early();
            let limits = self.work.limits.of_step(self.work.build.trees().root());
            self.work.next_launcher.expect(self.unfinished.len(), &limits);
        }
        free.into_iter().for_each(|vertex| self.enqueue(vertex));
        for at in 0..self.tasks.len() {
            match self.tasks[at].clone() {
                Task::None => self.work.monitor.state(at, State::Cached),
                Task::Kept(claim) => {
                    self.work.monitor.state(at, State::Cached);
                    self.done(at, claim);
                }
                Task::Run | Task::RunAnyway => {}
            }
        }
        loop {
            self.start();
            if let (true, Some(result)) = (self.layers.hands_out(), self.work.graph.result) {
                let (trees, _) = self.lowest(result);
                self.layers.hand_out(&trees);
            }
            let ran = tokio::select! {
                biased;
                () = self.work.cancel.cancelled() => return Err(EngineError::Cancelled),
                ran = self.running.join_next() => ran,
            };
            match ran {
                None => return Ok(()),
                Some(Ok(ran)) => self.ran(ran)?,
                Some(Err(error)) => {
                    return Err(EngineError::Failed {
                        reason: error.to_string(),
                        log: Vec::new(),
                        place: None,
                    });
                }
            }
        }
    }

    fn enqueue(&mut self, vertex: usize) {
        let ready = Ready {
            way: self.ways[vertex],
            order: std::cmp::Reverse(vertex),
        };
        if self.work.graph.vertices[vertex].is_source() {
            self.sources.push(ready);
        } else {
            self.ready.push(ready);
        }
    }

    fn start(&mut self) {
        while self.running_sources < SOURCES
            && let Some(ready) = self.sources.pop()
        {
            self.running_sources += 1;
            self.spawn(ready.order.0);
        }
        while self.running_steps < self.steps
            && let Some(ready) = self.ready.pop()
        {
            self.running_steps += 1;
            self.spawn(ready.order.0);
        }
    }

    fn spawn(&mut self, vertex: usize) {
        let inputs = self.work.graph.vertices[vertex]
            .inputs
            .iter()
            .map(|input| self.trees(*input))
            .collect();
        let (work, key) = (Arc::clone(self.work), self.keys[vertex].clone());
        let anyway = self.tasks[vertex] == Task::RunAnyway;
        let nice = self.nice(vertex);
        self.running.spawn(async move {
            let result = make(&work, vertex, &key, anyway, nice, inputs).await;
            Ran { vertex, result }
        });
    }

    /// How far a step stands behind those that the result waits for the longest.
    ///
    /// Of the two processors of a small machine, one is busy for seconds with what the result needs late, such as the indexes
    /// of the kernel's modules; packages that are unpacked meanwhile would get half of what they can use.
    fn nice(&self, vertex: usize) -> u64 {
        let longest = self.unfinished.last().map_or(0, |(way, _)| *way);
        if self.ways[vertex] < longest { BEHIND } else { 0 }
    }

    /// The trees of an output that is there.
    fn trees(&self, output: Output) -> Vec<TreeId> {
        let claim = self.results.get(&output.vertex);
        claim
            .and_then(|claim| claim.get(&output.index))
            .cloned()
            .unwrap_or_default()
    }

    /// The lowest trees of an output as far as they are there, and whether those are all.
    fn lowest(&self, output: Output) -> (Vec<TreeId>, bool) {
        if self.results.contains_key(&output.vertex) {
            return (self.trees(output), true);
        }
        let mut trees = Vec::new();
        for below in made_on(&self.work.graph, output) {
            let (more, are_all) = self.lowest(below);
            trees.extend(more);
            if !are_all {
                break;
            }
        }
        (trees, false)
    }

    fn ran(&mut self, ran: Ran) -> Result<(), EngineError> {
        let vertex = ran.vertex;
        if self.work.graph.vertices[vertex].is_source() {
            self.running_sources -= 1;
        } else {
            self.running_steps -= 1;
        }
        match ran.result {
            Ok((claim, is_new)) => {
                if is_new {
                    self.made.extend(claim.values().flatten().cloned());
                }
                self.done(vertex, claim);
                Ok(())
            }
            Err(problem) => {
                if !matches!(problem, Problem::Cancelled) {
                    self.work.monitor.state(vertex, State::Failed(problem.reason()));
                }
                let log = self.work.monitor.tail(vertex);
                Err(problem.at(&self.work.graph.vertices[vertex], log))
            }
        }
    }

    fn done(&mut self, vertex: usize, claim: Arc<Claim>) {
        self.unfinished.remove(&(self.ways[vertex], vertex));
        self.layers.begin(vertex, &claim);
        self.results.insert(vertex, claim);
        for user in self.users[vertex].clone() {
            self.waiting[user] -= 1;
            if self.waiting[user] == 0 {
                self.enqueue(user);
            }
        }
    }

    async fn solved(&mut self) -> Result<Solved, EngineError> {
        if !self.work.job.wants_layers {
            return Ok(Solved::default());
        }
        let trees = self
            .work
            .graph
            .result
            .map(|result| self.trees(result))
            .unwrap_or_default();
        let layers = tokio::select! {
            biased;
            () = self.work.cancel.cancelled() => return Err(EngineError::Cancelled),
            layers = self.layers.of(&trees) => layers,
        };
        layers.map(|layers| Solved {
            layers,
            ..Solved::default()
        })
    }
}

/// For each vertex how much has to run after it on the longest way to the result.
fn ways(graph: &Graph, users: &[Vec<usize>]) -> Vec<usize> {
    let mut ways = vec![0; graph.vertices.len()];
    // Users come behind what they use.
    for at in (0..graph.vertices.len()).rev() {
        let own = if matches!(graph.vertices[at].op, Op::Exec(_)) {
            4
        } else {
            1
        };
        ways[at] = own + users[at].iter().map(|user| ways[*user]).max().unwrap_or(0);
    }
    ways
}
