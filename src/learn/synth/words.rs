//! What stands on packs: invented names and the usual small print.

const FIRST: [&str; 32] = [
    "Amo", "Be", "Cefa", "Cor", "Dol", "Dexa", "Eri", "Flu", "Fena", "Gaba", "Halo", "Ibu", "Iso", "Keto", "Lora",
    "Lami", "Meto", "Mira", "Napro", "Nebi", "Ome", "Oxa", "Para", "Pre", "Qui", "Rami", "Simva", "Sero", "Tra",
    "Vera", "Xylo", "Zolpi",
];
const MIDDLE: [&str; 20] = [
    "ba", "ci", "da", "fe", "ga", "ki", "lo", "ma", "ni", "pra", "re", "so", "ta", "vu", "xa", "zi", "flo", "tri",
    "mo", "su",
];
const LAST: [&str; 24] = [
    "cin", "dol", "don", "fen", "gan", "lax", "lin", "lol", "max", "mide", "mil", "nex", "pam", "pine", "pril", "ran",
    "sartan", "stat", "tin", "tor", "vir", "xan", "zide", "zol",
];

/// So many different names there are.
pub(super) const NAMES: u64 = (FIRST.len() * MIDDLE.len() * LAST.len()) as u64;

/// The name of a number below [`NAMES`].
pub(super) fn name(number: u64) -> String {
    let number = (number % NAMES) as usize;
    let (first, rest) = (number % FIRST.len(), number / FIRST.len());
    format!("{}{}{}", FIRST[first], MIDDLE[rest % MIDDLE.len()], LAST[rest / MIDDLE.len() % LAST.len()])
}

/// What the name stands for, in small letters below it.
pub(super) const SUBSTANCES: [&str; 20] = [
    "hydrochloride",
    "sodium",
    "potassium",
    "maleate",
    "calcium",
    "besilate",
    "tartrate",
    "citrate",
    "phosphate",
    "mesilate",
    "succinate",
    "acetate",
    "fumarate",
    "sulfate",
    "nitrate",
    "monohydrate",
    "trihydrate",
    "disodium",
    "bromide",
    "valerate",
];

/// What is in it.
pub(super) const CONTENTS: [&str; 14] = [
    "10 tablets",
    "14 capsules",
    "20 tablets",
    "28 tablets",
    "30 film-coated tablets",
    "30 capsules",
    "50 tablets",
    "56 tablets",
    "60 hard capsules",
    "84 tablets",
    "90 tablets",
    "98 tablets",
    "100 tablets",
    "12 sachets",
];

/// Lines that are on every pack somewhere.
pub(super) const PRINT: [&str; 18] = [
    "For oral use",
    "Read the leaflet before use",
    "Keep out of the reach of children",
    "Store below 25 degrees",
    "Prescription only",
    "Swallow whole with water",
    "Contains lactose",
    "Film-coated tablets",
    "Each tablet contains",
    "Store in the original package",
    "Do not use after the date on the pack",
    "Batch and expiry: see the flap",
    "Protect from light and moisture",
    "Marketing authorisation holder",
    "Use as directed by a physician",
    "Once daily",
    "Medicinal product",
    "Return what is not used to a pharmacy",
];

/// Invented makers.
pub(super) const MAKERS: [&str; 12] = [
    "Nordpharm",
    "Helvia",
    "Alpenmed",
    "Curatis",
    "Medilux",
    "Salvora",
    "Pharmex",
    "Vitalab",
    "Orbis",
    "Genera",
    "Aurea",
    "Lumen",
];
