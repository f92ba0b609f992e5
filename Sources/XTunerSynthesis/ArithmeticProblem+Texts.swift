/// The words that problems are made of. Their order is part of what a seed means.
///
/// Placeholders: {n} name, {p} pronoun, {m} another name, {t} things, {x} containers, {a} {b} {c}
/// numbers.
extension ArithmeticProblem {
  static let kinds: [Kind] = [
    .add, .add, .add, .subtract, .subtract, .subtract, .multiply, .multiply, .addSubtract,
    .addSubtract, .multiplyAdd, .multiplySubtract,
  ]

  static let people: [(name: String, pronoun: String)] = [
    ("Anna", "She"), ("Ben", "He"), ("Chloe", "She"), ("David", "He"), ("Emma", "She"),
    ("Felix", "He"), ("Grace", "She"), ("Hugo", "He"), ("Iris", "She"), ("Jack", "He"),
    ("Kate", "She"), ("Leo", "He"), ("Maria", "She"), ("Noah", "He"), ("Olga", "She"),
    ("Paul", "He"), ("Rosa", "She"), ("Sam", "He"), ("Tina", "She"), ("Victor", "He"),
  ]

  static let things = [
    "apples", "pears", "plums", "nuts", "books", "coins", "stamps", "marbles", "shells", "cards",
    "pencils", "stickers", "beads", "buttons", "eggs", "roses",
  ]

  static let containers = ["bags", "boxes", "baskets", "jars", "trays"]

  static func templates(of kind: Kind) -> [String] {
    switch kind {
    case .add:
      [
        "{n} has {a} {t}. {p} buys {b} more. How many {t} does {n} have now?",
        "{n} has {a} {t} and {m} has {b} {t}. How many {t} do they have together?",
        "There are {a} {t} on the table. {n} adds {b} {t}. How many {t} are on the table?",
        "{n} finds {a} {t} on Monday and {b} {t} on Tuesday. How many {t} is that in all?",
      ]
    case .subtract:
      [
        "{n} has {a} {t}. {p} gives {b} to {m}. How many {t} does {n} have left?",
        "{n} had {a} {t} but lost {b} of them. How many {t} are left?",
        "There are {a} {t} in a box. {n} takes {b} {t}. How many {t} are still in the box?",
        "{n} has {a} {t} and {m} has {b} {t}. How many more {t} does {n} have than {m}?",
      ]
    case .multiply:
      [
        "{n} has {a} {x} with {b} {t} in each. How many {t} does {n} have?",
        "There are {a} {x}. Each holds {b} {t}. How many {t} are there in all?",
        "{n} buys {b} {t} every day for {a} days. How many {t} does {n} buy?",
      ]
    case .addSubtract:
      [
        "{n} has {a} {t}. {p} buys {b} more and gives {c} to {m}. How many {t} does {n} have now?",
        "There are {a} {t} in a box. {n} adds {b} and takes {c} out. How many {t} are in the box?",
      ]
    case .multiplyAdd:
      ["{n} has {a} {x} with {b} {t} in each and {c} more {t}. How many {t} is that?"]
    case .multiplySubtract:
      ["{n} has {a} {x} with {b} {t} in each. {p} gives {c} {t} to {m}. How many {t} are left?"]
    }
  }
}
