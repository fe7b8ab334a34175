//! Lower layers of an image that a real BuildKit daemon hands out while it still works at the upper ones.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod daemon;

use daemon::Test;
use fs_err as fs;
use kcompose_core::llb::proto::pb;
use kcompose_core::llb::{Exec, Meta, Output};
use kcompose_engine::Event;
use kcompose_engine::event::State;

/// A step that takes no time, and one on top of it that takes seconds; both run anew in each test.
fn lower_and_upper(test: &mut Test, seconds: u32) -> (Output, Output) {
    let root = test.shell();
    let script = format!("echo {} > /lower", kcompose_engine::random_id());
    let lower = Exec::new(root, ["/bin/sh", "-c", &script]);
    let lower = test.graph.exec(&lower, Meta::named("lower"))[0];
    let script = format!("sleep {seconds}; echo > /upper");
    let upper = Exec::new(lower, ["/bin/sh", "-c", &script]);
    (lower, test.graph.exec(&upper, Meta::named("upper"))[0])
}

/// Whether the layer of the lower step came while the upper one ran.
async fn came_ahead(test: &mut Test, seconds: u32) -> bool {
    let (lower, upper) = lower_and_upper(test, seconds);
    let mut request = test.request(upper);
    request.lower = vec![test.graph.input(lower)];
    let (result, events) = test.build(&request).await;
    let layers = result.unwrap().image.layers;
    assert_eq!(layers.len(), 3);
    let ended = events.iter().find_map(|event| match event {
        Event::Vertex(vertex) if vertex.name == "upper" => match vertex.state {
            State::Done(_, ended) => Some(ended),
            _ => None,
        },
        _ => None,
    });
    let came = |layer: usize| {
        let hex = layers[layer].digest.strip_prefix("sha256:").unwrap();
        let blob = test.path("layers").join("blobs/sha256").join(hex);
        let time = fs::metadata(blob).unwrap().modified().unwrap();
        time.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64()
    };
    let ended = ended.expect("the step has run");
    assert!(came(2) > ended);
    came(0) < ended && came(1) < ended
}

#[tokio::test(flavor = "multi_thread")]
async fn lower_layers_come_while_an_upper_step_runs() {
    kcompose_testing::needs!(BuildKit, Program("busybox"));
    let mut test = Test::new().await;
    // Layers stand back while all processors are taken, which other tests may see to.
    let mut came = false;
    for seconds in [3, 12, 48] {
        came = came || came_ahead(&mut test, seconds).await;
    }
    assert!(came);
    // Nobody looks at the layers of a part that fails: what is built is the image.
    let (_, upper) = lower_and_upper(&mut test, 1);
    let mut request = test.request(upper);
    request.lower = vec![pb::Input::default()];
    let (result, _) = test.build(&request).await;
    assert_eq!(result.unwrap().image.layers.len(), 3);
}
