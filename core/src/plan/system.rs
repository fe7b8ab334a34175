//! Time zone, locales, keyboard and trusted certificates as actions.
//!
//! What takes seconds is a step of its own below the flavor's files, so that another file does not run it again.

use crate::model::{Certificate, Flavor, System, XkbNames};
use crate::source::{Span, Spanned};
use crate::step::{Action, Keyboard, Locale, Locales, TimeZone, Trust, TrustedCertificate};

/// A step that programs of the root are needed for: its name, what it does, and the node that asks for it.
pub(super) struct Setting {
    pub(super) name: &'static str,
    pub(super) action: Action,
    pub(super) span: Span,
}

/// The steps of a flavor, in order.
pub(super) fn steps(flavor: &Flavor) -> Vec<Setting> {
    let system = &flavor.system;
    let locales = system.locales.iter().find(|locale| !locale.value.is_built_in());
    let locales = locales.map(|first| Setting {
        name: "make the locales",
        action: Action::Locales(self::locales(system)),
        span: first.span,
    });
    let keyboard = system.keyboard.as_ref().map(|keyboard| Setting {
        name: "set the keyboard",
        action: Action::Keyboard(self::keyboard(&keyboard.value)),
        span: keyboard.span,
    });
    let trust = flavor.certificates.first().map(|first| Setting {
        name: "trust the certificates",
        action: Action::Trust(trust(&flavor.certificates)),
        span: first.span,
    });
    [locales, keyboard, trust].into_iter().flatten().collect()
}

/// What is done at once, together with the flavor's files.
pub(super) fn actions(system: &System) -> Vec<Action> {
    let zone = system.time_zone.as_ref().map(|zone| {
        Action::TimeZone(TimeZone {
            name: zone.value.to_string(),
            origin: TIME_ZONE.to_owned(),
        })
    });
    let all_built_in = system.locales.iter().all(|locale| locale.value.is_built_in());
    let locales = (all_built_in && !system.locales.is_empty()).then(|| Action::Locales(locales(system)));
    zone.into_iter().chain(locales).collect()
}

/// Where each setting is said, by the names that programs know.
pub(super) fn origins(flavor: &Flavor) -> impl Iterator<Item = (String, Span)> {
    let system = &flavor.system;
    let zone = system
        .time_zone
        .iter()
        .map(|zone| (TIME_ZONE.to_owned(), zone.span));
    let keyboard = system
        .keyboard
        .iter()
        .map(|keyboard| (KEYBOARD.to_owned(), keyboard.span));
    let locales = system
        .locales
        .iter()
        .map(|locale| (locale_origin(locale), locale.span));
    let certificates = flavor.certificates.iter();
    let certificates =
        certificates.map(|certificate| (certificate_origin(&certificate.value), certificate.span));
    zone.chain(keyboard).chain(locales).chain(certificates)
}

const TIME_ZONE: &str = "timezone";
const KEYBOARD: &str = "keyboard";

fn locale_origin(locale: &Spanned<crate::model::Locale>) -> String {
    format!("locale:{}", locale.value)
}

fn certificate_origin(certificate: &Certificate) -> String {
    format!("certificate:{}", certificate.name)
}

fn trust(certificates: &[Spanned<Certificate>]) -> Trust {
    let trusted = certificates.iter().map(|certificate| TrustedCertificate {
        name: certificate.value.name.clone(),
        pem: certificate.value.pem.clone(),
        origin: certificate_origin(&certificate.value),
    });
    Trust {
        certificates: trusted.collect(),
    }
}

fn locales(system: &System) -> Locales {
    let make = system.locales.iter().filter(|locale| !locale.value.is_built_in());
    Locales {
        default: system
            .locales
            .first()
            .map(|first| first.value.to_string())
            .unwrap_or_default(),
        make: make
            .map(|locale| Locale {
                name: locale.value.to_string(),
                character_set: locale.value.character_set().to_owned(),
                source: locale.value.source(),
                origin: locale_origin(locale),
            })
            .collect(),
    }
}

fn keyboard(keyboard: &crate::model::Keyboard) -> Keyboard {
    let text = |names: &Option<Spanned<XkbNames>>| names.as_ref().map(|names| names.value.to_string());
    Keyboard {
        layout: keyboard.layout.value.to_string(),
        variant: text(&keyboard.variant).unwrap_or_default(),
        model: text(&keyboard.model).unwrap_or_else(|| "pc105".to_owned()),
        options: text(&keyboard.options).unwrap_or_default(),
        origin: KEYBOARD.to_owned(),
    }
}
