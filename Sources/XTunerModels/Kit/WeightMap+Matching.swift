import XTunerText

/// Comparison of a checkpoint's tensors with those a model needs.
extension WeightMap {
  /// What keeps a checkpoint from being this model.
  public struct Mismatch: Sendable, Hashable {
    /// A tensor whose sizes are not the model's.
    public struct Shape: Sendable, Hashable {
      /// The tensor's name.
      public var name: String
      /// The model's sizes.
      public var expected: [Int]
      /// The file's sizes.
      public var found: [Int]
    }

    /// Tensors the model needs that are not there.
    public var missing: [String] = []
    /// Tensors that are there and that the model has no place for.
    public var unexpected: [String] = []
    /// Tensors of other sizes than the model's.
    public var shapes: [Shape] = []

    /// Whether the checkpoint is this model.
    public var isEmpty: Bool { missing.isEmpty && unexpected.isEmpty && shapes.isEmpty }

    /// One line a kind of problem, with up to five names of each.
    public var messages: [String] {
      let list = { (names: [String]) in
        let rest = names.count > 5 ? " and \(names.count - 5) more" : ""
        return "\(names.prefix(5).joined(separator: ", "))\(rest)"
      }
      var messages: [String] = []
      if !missing.isEmpty { messages.append("missing: \(list(missing))") }
      if !unexpected.isEmpty { messages.append("not part of this model: \(list(unexpected))") }
      if !shapes.isEmpty {
        let texts = shapes.map { "\($0.name) is \($0.found), must be \($0.expected)" }
        messages.append("wrong shape: \(list(texts))")
      }
      return messages
    }
  }

  /// Compares a checkpoint's names and shapes with the model's.
  ///
  /// The name of a tied head may be absent or present.
  public func mismatch(with tensors: some Sequence<(name: String, shape: [Int])>) -> Mismatch {
    var remaining: [ExactText: [Int]] = [:]
    for tensor in tensors { remaining[tensor.name] = tensor.shape }
    var mismatch = Mismatch()
    for entry in entries {
      guard let shape = remaining.removeValue(forKey: ExactText(entry.name)) else {
        mismatch.missing.append(entry.name)
        continue
      }
      if shape != entry.shape {
        mismatch.shapes.append(.init(name: entry.name, expected: entry.shape, found: shape))
      }
    }
    mismatch.unexpected = remaining.keys.sorted().map(\.text).filter { $0 != tiedHeadName }
    return mismatch
  }
}
