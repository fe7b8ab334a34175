//! How steps end.

use std::time::{Duration, Instant};

use kcompose_sandbox::{Ending, Problem};
use tokio_util::sync::CancellationToken;

use crate::Scenario;
use crate::common::{Fixture, Outcome, output, try_step, try_until, wait_for};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("an_ending_is_told", an_ending_is_told),
    (
        "a_program_that_is_not_there_is_named",
        a_program_that_is_not_there_is_named,
    ),
    (
        "a_sandbox_that_cannot_be_is_explained",
        a_sandbox_that_cannot_be_is_explained,
    ),
    ("a_step_that_hangs_is_ended", a_step_that_hangs_is_ended),
    (
        "a_step_stands_behind_others_when_asked_to",
        a_step_stands_behind_others_when_asked_to,
    ),
    (
        "a_step_that_writes_on_and_on_is_ended",
        a_step_that_writes_on_and_on_is_ended,
    ),
    ("a_cancelled_step_may_tidy_up", a_cancelled_step_may_tidy_up),
    ("a_dropped_step_is_gone", a_dropped_step_is_gone),
    ("zombies_are_reaped", zombies_are_reaped),
    ("steps_run_side_by_side", steps_run_side_by_side),
];

fn an_ending_is_told() {
    let fixture = Fixture::new();
    let outcome = try_step(&fixture.script("echo out; echo err >&2; exit 7"));
    let expected = Outcome {
        ending: Ending::Exited(7),
        left: Vec::new(),
        stdout: "out\n".into(),
        stderr: "err\n".into(),
    };
    assert_eq!(outcome.expect("it starts"), expected);
    fixture.renew();
    let outcome = try_step(&fixture.script("kill -SEGV $$"));
    assert_eq!(outcome.expect("it starts").ending, Ending::Signalled(11));
}

fn a_program_that_is_not_there_is_named() {
    let fixture = Fixture::new();
    let problem = try_step(&fixture.command(&["nonsense", "x"])).expect_err("there is no such program");
    assert!(matches!(problem, Problem::Program { .. }), "{problem:?}");
    assert_eq!(problem.to_string(), "running `nonsense`: not found on PATH");
    fixture.renew();
    let problem = try_step(&fixture.command(&["/etc/passwd"])).expect_err("that is no program");
    assert_eq!(
        problem.to_string(),
        "running `/etc/passwd`: Permission denied (os error 13)"
    );
}

fn a_sandbox_that_cannot_be_is_explained() {
    let fixture = Fixture::new();
    let mut step = fixture.command(&["true"]);
    step.root.lower.push(fixture.path("missing"));
    let problem = try_step(&step).expect_err("a tree is missing").to_string();
    assert!(
        problem.contains("/missing: ") && problem.contains("No such file"),
        "{problem}"
    );
    step.root.lower.pop();
    step.directory = "relative".into();
    let problem = try_step(&step).expect_err("the path starts nowhere").to_string();
    assert_eq!(
        problem,
        "the sandbox cannot use the path `relative`, because it is not absolute"
    );
}

fn a_step_that_hangs_is_ended() {
    let fixture = Fixture::new();
    let mut step = fixture.script("trap '' TERM; echo on; sleep 1000 & sleep 1000; sleep 1000");
    step.limits.timeout = Some(Duration::from_millis(300));
    step.limits.grace = Some(Duration::from_millis(200));
    let start = Instant::now();
    let outcome = try_step(&step).expect("it starts");
    assert_eq!((outcome.ending, &*outcome.stdout), (Ending::TimedOut, "on\n"));
    let took = start.elapsed();
    assert!(
        took > Duration::from_millis(450) && took < Duration::from_secs(10),
        "{took:?}"
    );
}

fn a_step_stands_behind_others_when_asked_to() {
    for nice in [0, 10] {
        let fixture = Fixture::new();
        let mut step = fixture.script("cat /proc/self/stat; cat /proc/self/autogroup 2> /dev/null");
        step.limits.nice = nice;
        let outcome = try_step(&step).expect("it starts");
        let mut said = outcome.stdout.lines();
        // The field `nice` of proc_pid_stat(5).
        let field = said.next().and_then(|line| line.split(' ').nth(18));
        assert_eq!(field, Some(&*nice.to_string()));
        // `/autogroup-4711 nice 10`, where the kernel has such groups.
        let group = said.next().map(|line| line.rsplit(' ').next());
        assert!(group.is_none_or(|of| of == Some(&*nice.to_string())), "{group:?}");
    }
}

fn a_step_that_writes_on_and_on_is_ended() {
    let fixture = Fixture::new();
    let mut step = fixture.command(&["yes"]);
    step.limits.output = Some(100_001);
    let outcome = try_step(&step).expect("it starts");
    assert_eq!(
        (outcome.ending, outcome.stdout.len()),
        (Ending::OutputLimit, 100_001)
    );
}

fn a_cancelled_step_may_tidy_up() {
    let fixture = Fixture::new();
    let step = fixture.script("trap 'echo tidy; exit 0' TERM; echo on; sleep 1000 & wait");
    let outcome = wait_for(async {
        let cancel = CancellationToken::new();
        let later = cancel.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            later.cancel();
        });
        try_until(&step, &cancel).await
    });
    let outcome = outcome.expect("it starts");
    assert_eq!(
        (outcome.ending, &*outcome.stdout),
        (Ending::Cancelled, "on\ntidy\n")
    );
}

fn a_dropped_step_is_gone() {
    let fixture = Fixture::new();
    let step = fixture.script("sleep 4711.25 & setsid sleep 4711.25 & sleep 4711.25");
    let cancel = CancellationToken::new();
    let dropped =
        wait_for(async { tokio::time::timeout(Duration::from_millis(300), try_until(&step, &cancel)).await });
    assert!(dropped.is_err());
    crate::containment::expect_gone("4711.25");
}

fn zombies_are_reaped() {
    let fixture = Fixture::new();
    let script = "for i in 1 2 3 4 5; do (true &) ; done; sleep 0.2; ps | wc -l";
    // Its header, the first process, the shell, ps, and wc.
    assert_eq!(output(&fixture.script(script)), "5\n");
}

fn steps_run_side_by_side() {
    let fixtures: Vec<Fixture> = (0..8).map(|_| Fixture::new()).collect();
    let outputs = wait_for(async {
        let mut tasks = tokio::task::JoinSet::new();
        for (number, fixture) in fixtures.iter().enumerate() {
            let step = fixture.script(&format!("echo {number}"));
            tasks.spawn(async move { try_until(&step, &CancellationToken::new()).await });
        }
        tasks.join_all().await
    });
    let mut outputs: Vec<String> = outputs
        .into_iter()
        .map(|outcome| outcome.expect("it starts").stdout)
        .collect();
    outputs.sort();
    assert_eq!(outputs.concat(), "0\n1\n2\n3\n4\n5\n6\n7\n");
}
