//! `hostname`, `timezone`, `locale` and `keyboard`: settings of the system as a whole.

use kcompose_core::model::{Fragment, Keyboard};
use kcompose_core::source::Spanned;

use crate::schema::{ArgumentSpec, NodeSpec, Properties, PropertySpec, Section};
use crate::syntax::Node;
use crate::values::{HOST_NAME, LOCALE, TIME_ZONE, XKB_NAMES};

pub(super) const HOSTNAME: Section<Fragment> = Section {
    spec: NodeSpec {
        name: "hostname",
        doc: "The static host name of every machine. Without it each machine makes a name of the flavor's name and its own id. \
              An operator's name wins: see [runtime systemd](../runtime-systemd.md#the-host-name) and \
              [runtime immucore](../runtime-immucore.md#the-host-name).",
        arguments: &[ArgumentSpec::one(
            "NAME",
            &HOST_NAME,
            "The name, with or without its domain.",
        )],
        aliases: &["host", "host-name"],
        example: "hostname \"gateway-7\"",
        ..NodeSpec::EMPTY
    },
    lower: |node, fragment| push(node.argument(0), node, &mut fragment.system.host_names),
};

pub(super) const TIMEZONE: Section<Fragment> = Section {
    spec: NodeSpec {
        name: "timezone",
        doc: "The time zone of the system; UTC without it. The hardware clock is in UTC in any case.",
        arguments: &[ArgumentSpec::one(
            "ZONE",
            &TIME_ZONE,
            "Its name in the IANA database.",
        )],
        aliases: &["localtime", "time-zone", "tz"],
        example: "timezone \"Europe/Berlin\"",
        ..NodeSpec::EMPTY
    },
    lower: |node, fragment| push(node.argument(0), node, &mut fragment.system.time_zones),
};

pub(super) const LOCALE_NODE: Section<Fragment> = Section {
    spec: NodeSpec {
        name: "locale",
        doc: "The locales that the image has, the default one first; C.UTF-8 without it, which needs no files.",
        arguments: &[ArgumentSpec::many(
            "LOCALE",
            &LOCALE,
            "A locale; the first one becomes `LANG`.",
        )],
        aliases: &["lang", "language", "locales"],
        example: "locale \"de_DE.UTF-8\" \"en_US.UTF-8\"",
        ..NodeSpec::EMPTY
    },
    lower: |node, fragment| {
        let locales = Spanned::new(node.all_arguments(), node.span);
        if !locales.value.is_empty() {
            fragment.system.locales.push(locales);
        }
    },
};

pub(super) const KEYBOARD: Section<Fragment> = Section {
    spec: NodeSpec {
        name: "keyboard",
        doc: "The keyboard of the console, in the words of xkeyboard-config(7); a US one without it.",
        arguments: &[ArgumentSpec::one(
            "LAYOUT",
            &XKB_NAMES,
            "The layout, such as `de`; several are joined by commas.",
        )],
        properties: Properties::Known(&[
            PropertySpec::optional(
                "variant",
                &XKB_NAMES,
                "A variant of the layout, such as `nodeadkeys`; one for each layout.",
            ),
            PropertySpec::optional(
                "model",
                &XKB_NAMES,
                "The model of the keyboard; `pc105` when absent.",
            ),
            PropertySpec::optional("options", &XKB_NAMES, "Options, such as `ctrl:nocaps`."),
        ]),
        aliases: &["kbd", "keymap", "vconsole", "xkb"],
        example: "keyboard \"de\" variant=\"nodeadkeys\"",
        ..NodeSpec::EMPTY
    },
    lower: |node, fragment| fragment.system.keyboards.extend(keyboard(node)),
};

fn push<T>(value: Option<Spanned<T>>, node: &Node, list: &mut Vec<Spanned<T>>) {
    list.extend(value.map(|value| Spanned::new(value.value, node.span)));
}

fn keyboard(node: &Node) -> Option<Spanned<Keyboard>> {
    let keyboard = Keyboard {
        layout: node.argument(0)?,
        variant: node.value("variant"),
        model: node.value("model"),
        options: node.value("options"),
    };
    Some(Spanned::new(keyboard, node.span))
}
