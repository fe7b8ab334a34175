//! `use`: another document, or a block of the library.

use kcompose_core::model::{Fragment, Use};
use kcompose_core::source::Spanned;

use crate::schema::{ArgumentSpec, NodeSpec, Properties, Section};
use crate::syntax::Node;
use crate::values::{PARAMETER_VALUE, USE_TARGET, scalar};

pub(super) const NODE: Section<Fragment> = Section {
    spec: NodeSpec {
        name: "use",
        doc: "Adds what another document says: a block of the library, or a document of one's own. A document that is used \
              twice counts once. Below the folder of the flavor, symbolic links may lead to files of that folder. Outside of \
              it, a path begins with `../`, the file's name ends in `.kdl`, and no link is followed.",
        arguments: &[ArgumentSpec::one(
            "DOCUMENT",
            &USE_TARGET,
            "A block's name, or a path that begins with `./` or `../`.",
        )],
        properties: Properties::Any("The parameters that the document declares, as name=value."),
        example: "use \"cloud-init\"",
        ..NodeSpec::EMPTY
    },
    lower,
};

fn lower(node: &Node, fragment: &mut Fragment) {
    let target = node
        .argument::<String>(0)
        .filter(|target| (USE_TARGET.check)(&target.value).is_ok());
    let Some(target) = target else { return };
    let parameters = node.properties.iter().filter_map(|property| {
        let value = scalar(&property.value.value).filter(|text| (PARAMETER_VALUE.check)(text).is_ok())?;
        Some((property.name.value.clone(), Spanned::new(value, property.span)))
    });
    fragment.uses.push(Spanned::new(
        Use {
            target,
            parameters: parameters.collect(),
        },
        node.span,
    ));
}
