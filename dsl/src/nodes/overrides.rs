//! `override`: values that win over what other nodes say.

use kcompose_core::model::Fragment;

use crate::schema::{Children, NodeSpec, Section};
use crate::syntax::Node;

pub(super) const NODE: Section<Fragment> = Section {
    spec: NodeSpec {
        name: "override",
        doc: "Nodes whose values win: where another document says something else for the same setting, this is taken and it \
              is no conflict. What nobody else says is simply added.",
        children: Children::Sections,
        example: "override {\n    kernel \"linux-image-amd64\"\n}",
        ..NodeSpec::EMPTY
    },
    lower,
};

fn lower(node: &Node, fragment: &mut Fragment) {
    let overriding = fragment.overriding.get_or_insert_with(|| {
        Box::new(Fragment {
            span: node.span,
            ..Fragment::default()
        })
    });
    super::lower_nodes(node.children(), overriding);
}
