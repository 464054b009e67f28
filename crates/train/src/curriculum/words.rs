//! Words for the gaps of templates. Of each list the last fifth is held out.

pub(super) const NAMES: &[&str] = &[
    "Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Hugo", "Ida", "Jonas", "Karin",
    "Leo", "Maria", "Nils", "Olga", "Paul", "Rosa", "Simon", "Tara", "Victor", "Wanda", "Yusuf",
    "Zoe", "Amir", "Bella", "Carlos", "Dina", "Erik", "Fatima", "Georg", "Hanna", "Ivan", "Julia",
    "Kofi", "Lena", "Marco", "Nadia", "Oscar", "Priya", "Ralf", "Sofia", "Tom", "Uma", "Viola",
    "Walter", "Xenia", "Yara", "Zeno", "Arthur", "Beatrix",
];

pub(super) const CITIES: &[&str] = &[
    "Lisbon", "Oslo", "Vienna", "Cairo", "Lima", "Kyoto", "Dublin", "Prague", "Athens", "Nairobi",
    "Boston", "Quito", "Riga", "Seville", "Turin", "Utrecht", "Warsaw", "Zagreb", "Bergen", "Cork",
    "Delhi", "Essen", "Geneva", "Havana", "Izmir",
];

pub(super) const JOBS: &[&str] = &[
    "baker",
    "teacher",
    "doctor",
    "painter",
    "farmer",
    "pilot",
    "nurse",
    "carpenter",
    "lawyer",
    "singer",
    "gardener",
    "sailor",
    "tailor",
    "writer",
    "plumber",
    "chemist",
    "dentist",
    "builder",
    "potter",
    "weaver",
];

pub(super) const THINGS: &[&str] = &[
    "apples", "books", "coins", "stamps", "marbles", "pens", "eggs", "cards", "shells", "buttons",
    "candles", "cups", "nails", "bricks", "tickets", "letters", "stones", "boxes", "lamps", "keys",
    "bottles", "flowers", "plates", "spoons", "ribbons",
];

pub(super) const ANIMALS: &[&str] = &[
    "cat", "dog", "horse", "parrot", "rabbit", "goat", "turtle", "hamster", "sheep", "duck",
    "pony", "goose", "donkey", "finch", "ferret",
];

pub(super) const COLOURS: &[&str] =
    &["red", "blue", "green", "yellow", "black", "white", "brown", "grey", "orange", "purple"];

pub(super) const FOODS: &[&str] = &[
    "soup",
    "bread",
    "rice",
    "cheese",
    "pasta",
    "salad",
    "pancakes",
    "fish",
    "beans",
    "noodles",
    "curry",
    "pie",
    "dumplings",
    "porridge",
    "stew",
];

pub(super) const HOBBIES: &[&str] = &[
    "chess", "swimming", "drawing", "cycling", "singing", "hiking", "sewing", "fishing", "dancing",
    "climbing", "skating", "rowing", "knitting", "running", "juggling",
];

pub(super) const FILES: &[&str] = &[
    "list.txt",
    "plan.txt",
    "todo.md",
    "report.txt",
    "ideas.md",
    "letter.txt",
    "draft.md",
    "names.txt",
    "budget.csv",
    "diary.txt",
    "recipe.md",
    "journal.txt",
    "travel.md",
    "notes-a.txt",
    "scores.csv",
];

pub(super) const TASKS: &[&str] = &[
    "buy milk",
    "call the bank",
    "water the plants",
    "pay the rent",
    "feed the cat",
    "send the parcel",
    "book a table",
    "clean the kitchen",
    "return the books",
    "charge the phone",
    "mend the bicycle",
    "order new shoes",
    "paint the fence",
    "visit grandmother",
    "sweep the yard",
];

/// Words with what is the opposite of each.
pub(super) const OPPOSITES: &[(&str, &str)] = &[
    ("hot", "cold"),
    ("big", "small"),
    ("fast", "slow"),
    ("high", "low"),
    ("long", "short"),
    ("light", "dark"),
    ("old", "new"),
    ("full", "empty"),
    ("hard", "soft"),
    ("wet", "dry"),
    ("early", "late"),
    ("open", "closed"),
    ("strong", "weak"),
    ("rich", "poor"),
    ("loud", "quiet"),
];

/// Things with the colour that everybody knows of them.
pub(super) const COLOURED: &[(&str, &str)] = &[
    ("snow", "white"),
    ("grass", "green"),
    ("blood", "red"),
    ("coal", "black"),
    ("the sky", "blue"),
    ("a lemon", "yellow"),
    ("milk", "white"),
    ("a carrot", "orange"),
    ("a frog", "green"),
    ("the sea", "blue"),
    ("a tomato", "red"),
    ("chocolate", "brown"),
    ("a raven", "black"),
    ("a banana", "yellow"),
    ("a pea", "green"),
];

/// What made-up words are made of.
pub(super) const BEGINS: [&str; 18] =
    ["b", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "z", "br", "st"];

pub(super) const VOWELS: [&str; 8] = ["a", "e", "i", "o", "u", "ai", "ou", "ee"];

pub(super) const ENDS: [&str; 8] = ["l", "m", "n", "r", "t", "k", "nd", "lm"];

pub(super) const VERBS: [&str; 16] = [
    "buy", "call", "clean", "paint", "sell", "move", "wash", "count", "carry", "hide", "open",
    "close", "fetch", "mend", "bring", "measure",
];
