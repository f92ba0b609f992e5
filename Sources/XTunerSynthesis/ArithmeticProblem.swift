import XTunerText

/// A word problem about whole numbers, with its worked answer.
public struct ArithmeticProblem: Sendable, Hashable {
  /// What is computed.
  public enum Kind: String, Sendable, CaseIterable {
    case add
    case subtract
    case multiply
    case addSubtract = "add_subtract"
    case multiplyAdd = "multiply_add"
    case multiplySubtract = "multiply_subtract"
  }

  /// The sets that a problem can belong to; a problem is in exactly one, by its own hash.
  public enum Split: String, Sendable, CaseIterable {
    /// For training.
    case train
    /// Held out: a question that is in no training set.
    case unseenText = "unseen_text"
    /// Held out: numbers that no training problem of the kind has.
    case unseenNumbers = "unseen_numbers"
  }

  /// What is computed.
  public let kind: Kind
  /// The question, such as `Anna has 8 stamps. She buys 9 more. ...`.
  public let question: String
  /// The steps and the result, such as `8 + 9 = 17. The answer is 17.`.
  public let answer: String
  /// The set it belongs to.
  public let split: Split

  /// Different problems of one split: a function of the seed alone.
  public static func make(seed: UInt64, count: Int, split: Split) -> [ArithmeticProblem] {
    var random = SplitMix(seed: seed)
    var seen: Set<ExactText> = []
    var problems: [ArithmeticProblem] = []
    problems.reserveCapacity(count)
    while problems.count < count {
      let problem = draw(from: &random)
      guard problem.split == split, seen.insert(problem.question).inserted else { continue }
      problems.append(problem)
    }
    return problems
  }

  static func draw(from random: inout SplitMix) -> ArithmeticProblem {
    let kind = random.pick(kinds)
    let (a, b, c) = numbers(of: kind, &random)
    let template = random.pick(templates(of: kind))
    let person = random.pick(people)
    var other = person.name
    while other == person.name { other = random.pick(people).name }
    let thing = random.pick(things)
    let container = random.pick(containers)
    let values = [
      "{n}": person.name, "{p}": person.pronoun, "{m}": other, "{t}": thing, "{x}": container,
      "{a}": String(a), "{b}": String(b), "{c}": String(c),
    ]
    let question = fill(template, values)
    return ArithmeticProblem(
      kind: kind, question: question, answer: answer(kind, a, b, c),
      split: split(question: question, key: "\(kind.rawValue) \(a) \(b) \(c)", kind: kind))
  }

  /// Multiplication has 64 facts to learn, so its numbers are not held out.
  private static func split(question: String, key: String, kind: Kind) -> Split {
    if kind != .multiply && fnv1a(key) % 16 == 0 { return .unseenNumbers }
    return fnv1a(question) % 16 == 0 ? .unseenText : .train
  }

  private static func numbers(
    of kind: Kind, _ random: inout SplitMix
  ) -> (a: Int, b: Int, c: Int) {
    switch kind {
    case .add:
      return (random.between(2, 15), random.between(2, 15), 0)
    case .subtract:
      let a = random.between(5, 30)
      return (a, random.between(2, min(a - 1, 15)), 0)
    case .multiply:
      return (random.between(2, 9), random.between(2, 9), 0)
    case .addSubtract:
      let (a, b) = (random.between(2, 15), random.between(2, 15))
      return (a, b, random.between(2, min(a + b - 1, 15)))
    case .multiplyAdd:
      return (random.between(2, 5), random.between(2, 5), random.between(2, 15))
    case .multiplySubtract:
      let (a, b) = (random.between(2, 5), random.between(2, 5))
      return (a, b, random.between(2, min(a * b - 1, 15)))
    }
  }

  private static func answer(_ kind: Kind, _ a: Int, _ b: Int, _ c: Int) -> String {
    func worked(_ steps: String, _ result: Int) -> String { "\(steps) The answer is \(result)." }
    switch kind {
    case .add: return worked("\(a) + \(b) = \(a + b).", a + b)
    case .subtract: return worked("\(a) - \(b) = \(a - b).", a - b)
    case .multiply: return worked("\(a) * \(b) = \(a * b).", a * b)
    case .addSubtract:
      return worked("\(a) + \(b) = \(a + b). \(a + b) - \(c) = \(a + b - c).", a + b - c)
    case .multiplyAdd:
      return worked("\(a) * \(b) = \(a * b). \(a * b) + \(c) = \(a * b + c).", a * b + c)
    case .multiplySubtract:
      return worked("\(a) * \(b) = \(a * b). \(a * b) - \(c) = \(a * b - c).", a * b - c)
    }
  }

  private static func fill(_ template: String, _ values: [String: String]) -> String {  // own names
    var text = ""
    var rest = template[...]
    while let open = rest.firstIndex(of: "{") {
      text += rest[..<open]
      let end = rest.index(open, offsetBy: 3)
      text += values[String(rest[open..<end])] ?? ""
      rest = rest[end...]
    }
    return text + rest
  }
}

/// FNV-1a, 64 bits, over the UTF-8 bytes.
func fnv1a(_ text: String) -> UInt64 {
  text.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01b3 }
}

/// SplitMix64 with draws that do not depend on the standard library's algorithms.
struct SplitMix {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state = state &+ 0x9e37_79b9_7f4a_7c15
    var mixed = (state ^ (state >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }

  mutating func below(_ count: Int) -> Int { Int((next() >> 33) % UInt64(count)) }

  mutating func between(_ low: Int, _ high: Int) -> Int { low + below(high - low + 1) }

  mutating func pick<Element>(_ items: [Element]) -> Element { items[below(items.count)] }
}
