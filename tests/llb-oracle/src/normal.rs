//! One form for two definitions of the same build.

use std::collections::BTreeMap;
use std::fmt::Write;

use bollard_buildkit_proto::pb;
use bollard_buildkit_proto::pb::file_action::Action;
use bollard_buildkit_proto::pb::op::Op as Kind;
use prost::Message;

/// All operations that the result rests on, inputs first, as text without digests.
pub(crate) fn form(bytes: &[u8]) -> String {
    let definition = pb::Definition::decode(bytes).unwrap();
    let ops: BTreeMap<String, pb::Op> = definition
        .def
        .iter()
        .map(|bytes| (digest(bytes), pb::Op::decode(bytes.as_slice()).unwrap()))
        .collect();
    let terminal = pb::Op::decode(definition.def.last().unwrap().as_slice()).unwrap();
    let mut writer = Writer {
        ops: &ops,
        numbers: BTreeMap::new(),
        text: String::new(),
    };
    let result = writer.input(&terminal.inputs[0]);
    writeln!(writer.text, "result {result}").unwrap();
    writer.text
}

fn digest(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    let hex: String = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}

struct Writer<'a> {
    ops: &'a BTreeMap<String, pb::Op>,
    numbers: BTreeMap<String, usize>,
    text: String,
}

impl Writer<'_> {
    /// The number of an operation, which is written first if it is new, and the output.
    fn input(&mut self, input: &pb::Input) -> String {
        let op = self
            .ops
            .get(&input.digest)
            .unwrap_or_else(|| panic!("{} is not defined", input.digest));
        if !self.numbers.contains_key(&input.digest) {
            self.operation(op);
            self.numbers.insert(input.digest.clone(), self.numbers.len());
        }
        let number = self.numbers[&input.digest];
        // The one result of a row of file actions has any number in the oracle.
        let index = if matches!(op.op, Some(Kind::File(_))) {
            0
        } else {
            input.index
        };
        format!("#{number}.{index}")
    }

    fn operation(&mut self, op: &pb::Op) {
        let mut op = op.clone();
        let order = order(&op);
        let inputs: Vec<String> = order.iter().map(|input| self.input(input)).collect();
        renumber(&mut op, &order);
        op.inputs.clear();
        op.platform = None;
        blind(&mut op);
        writeln!(self.text, "of {}: {:#?}", inputs.join(" "), op.op).unwrap();
    }
}

/// The inputs in the order in which the operation uses them, each once.
fn order(op: &pb::Op) -> Vec<pb::Input> {
    let mut order = Vec::new();
    for number in used(&mut op.clone()) {
        let input = usize::try_from(*number)
            .ok()
            .and_then(|number| op.inputs.get(number));
        if let Some(input) = input.filter(|input| !order.contains(*input)) {
            order.push(input.clone());
        }
    }
    order
}

/// Every place in an operation that names an input by number.
fn used(op: &mut pb::Op) -> Vec<&mut i64> {
    match &mut op.op {
        Some(Kind::Exec(exec)) => exec.mounts.iter_mut().map(|mount| &mut mount.input).collect(),
        Some(Kind::File(file)) => file
            .actions
            .iter_mut()
            .flat_map(|action| [&mut action.input, &mut action.secondary_input])
            .collect(),
        _ => Vec::new(),
    }
}

fn renumber(op: &mut pb::Op, order: &[pb::Input]) {
    let inputs = op.inputs.clone();
    for number in used(op) {
        let Ok(old) = usize::try_from(*number) else {
            continue;
        };
        let new = match inputs.get(old) {
            Some(input) => order.iter().position(|known| known == input).unwrap(),
            // The result of an action; those are counted behind the inputs.
            None => old - inputs.len() + order.len(),
        };
        *number = i64::try_from(new).unwrap();
    }
}

/// Takes out what the oracle cannot say.
fn blind(op: &mut pb::Op) {
    let Some(Kind::File(file)) = &mut op.op else {
        return;
    };
    let last = file.actions.len() - 1;
    for (at, action) in file.actions.iter_mut().enumerate() {
        action.output = if at == last { 0 } else { -1 };
        match &mut action.action {
            Some(Action::Mkdir(directory)) => directory.mode = 0,
            Some(Action::Mkfile(file)) => file.mode = 0,
            Some(Action::Copy(_) | Action::Rm(_) | Action::Symlink(_)) | None => {}
        }
    }
}
