import Foundation

extension ParallelLayout {
  /// A degree that cannot be used.
  public struct Problem: Sendable, Hashable {
    /// The option of the configuration, such as `parallel.expert`.
    public var key: String
    /// What it must be, with the numbers it depends on, and what it is.
    public var reason: String

    /// A problem with an option.
    public init(key: String, reason: String) {
      self.key = key
      self.reason = reason
    }
  }

  /// Everything that keeps the layout from being used with a model.
  ///
  /// - Parameters:
  ///   - expertCount: Routed experts of a layer; nil for a model without experts.
  ///   - expertSize: Width of an expert; nil for a model without experts.
  ///   - headCount: Query heads.
  ///   - keyValueHeadCount: Key and value heads.
  /// - Returns: All problems, in the order of the options; empty for a layout that can be used.
  public func problems(
    expertCount: Int?, expertSize: Int?, headCount: Int, keyValueHeadCount: Int
  ) -> [Problem] {
    let degrees = [
      ("replicate", replicate), ("expert", expert), ("expert_tensor", expertTensor),
      ("sequence", sequence),
    ]
    let tooSmall = degrees.filter { $0.1 < 1 }.map { key, value in
      Problem(key: "parallel.\(key)", reason: "must be at least 1, is \(value)")
    }
    guard tooSmall.isEmpty else { return tooSmall }
    return worldProblems()
      + expertProblems(expertCount: expertCount, expertSize: expertSize)
      + sequenceProblems(headCount: headCount, keyValueHeadCount: keyValueHeadCount)
  }

  private func worldProblems() -> [Problem] {
    guard replicate * shard != worldSize else { return [] }
    return [
      Problem(
        key: "parallel.replicate",
        reason: "must divide the number of processes (\(worldSize)), is \(replicate)")
    ]
  }

  private func expertProblems(expertCount: Int?, expertSize: Int?) -> [Problem] {
    var problems: [Problem] = []
    func check(_ key: String, _ value: Int, divides size: Int?, _ what: String) {
      if let size {
        guard size % value != 0 else { return }
        problems.append(
          Problem(
            key: "parallel.\(key)", reason: "must divide the model's \(what) (\(size)), is \(value)"
          ))
      } else if value != 1 {
        problems.append(
          Problem(
            key: "parallel.\(key)", reason: "must be 1 for a model without experts, is \(value)"))
      }
    }
    check("expert", expert, divides: expertCount, "expert count")
    check("expert_tensor", expertTensor, divides: expertSize, "expert width")
    // A wrong replicate leaves no shard to divide; its own problem says so.
    guard replicate * shard == worldSize, shard % (expert * expertTensor) != 0 else {
      return problems
    }
    let product = expertTensor == 1 ? "" : "times expert_tensor "
    let value = expertTensor == 1 ? "\(expert)" : "\(expert) x \(expertTensor)"
    problems.append(
      Problem(
        key: expert == 1 ? "parallel.expert_tensor" : "parallel.expert",
        reason: expert == 1
          ? "must divide \(shardDescription), is \(expertTensor)"
          : "\(product)must divide \(shardDescription), is \(value)"))
    return problems
  }

  private func sequenceProblems(headCount: Int, keyValueHeadCount: Int) -> [Problem] {
    var reasons: [String] = []
    if replicate * shard == worldSize, shard % sequence != 0 {
      reasons.append("must divide \(shardDescription), is \(sequence)")
    }
    if headCount % sequence != 0 {
      reasons.append("must divide the model's attention heads (\(headCount)), is \(sequence)")
    } else if keyValueHeadCount % sequence != 0 && sequence % keyValueHeadCount != 0 {
      reasons.append(
        """
        must divide the model's key-value heads (\(keyValueHeadCount)) or be a multiple of them, \
        is \(sequence)
        """)
    }
    return reasons.map { Problem(key: "parallel.sequence", reason: $0) }
  }

  /// The ranks that experts and sequences are divided over, in the words of the options.
  private var shardDescription: String {
    replicate == 1
      ? "the number of processes (\(worldSize))"
      : "the processes of one replica (\(worldSize) / \(replicate) = \(shard))"
  }
}

// MARK: - Layouts that would work

extension ParallelLayout {
  /// The usable layouts of the same world that are most like this one.
  ///
  /// - Parameters:
  ///   - layout: What was asked for.
  ///   - expertCount: Routed experts of a layer; nil for a model without experts.
  ///   - expertSize: Width of an expert; nil for a model without experts.
  ///   - headCount: Query heads.
  ///   - keyValueHeadCount: Key and value heads.
  ///   - limit: Layouts at most.
  /// - Returns: Nearest first; at least one, since every model fits a layout whose degrees are 1.
  public static func nearest(
    to layout: ParallelLayout, expertCount: Int?, expertSize: Int?, headCount: Int,
    keyValueHeadCount: Int, limit: Int = 3
  ) -> [ParallelLayout] {
    nearest(to: layout, limit: limit) {
      $0.problems(
        expertCount: expertCount, expertSize: expertSize, headCount: headCount,
        keyValueHeadCount: keyValueHeadCount
      ).isEmpty
    }
  }

  /// The layouts of the same world for which `isUsable` is true, those most like `layout` first.
  public static func nearest(
    to layout: ParallelLayout, limit: Int = 3, where isUsable: (ParallelLayout) -> Bool
  ) -> [ParallelLayout] {
    let usable = all(worldSize: layout.worldSize).filter(isUsable)
    // Order of enumeration decides between equals, so that a message is always the same.
    let ranked = usable.enumerated().sorted { left, right in
      let distances = (layout.distance(to: left.element), layout.distance(to: right.element))
      return distances.0 == distances.1
        ? left.offset < right.offset : distances.0 < distances.1
    }
    return ranked.prefix(limit).map(\.element)
  }

  /// Every layout of a world that divides evenly, whatever the model.
  public static func all(worldSize: Int) -> [ParallelLayout] {
    var layouts: [ParallelLayout] = []
    for replicate in divisors(of: worldSize) {
      let shard = worldSize / replicate
      for expert in divisors(of: shard) {
        for expertTensor in divisors(of: shard / expert) {
          layouts += divisors(of: shard).map { sequence in
            ParallelLayout(
              worldSize: worldSize, replicate: replicate, expert: expert,
              expertTensor: expertTensor, sequence: sequence)
          }
        }
      }
    }
    return layouts
  }

  /// The degrees as the section of a configuration: `{replicate: 1, expert: 2, ...}`.
  public var settings: String {
    "{replicate: \(replicate), expert: \(expert), expert_tensor: \(expertTensor), "
      + "sequence: \(sequence)}"
  }

  /// How many doublings or halvings away another layout is.
  private func distance(to other: ParallelLayout) -> Double {
    let axes = [\ParallelLayout.replicate, \.expert, \.expertTensor, \.sequence]
    return axes.reduce(0) { sum, axis in
      sum + abs(log2(Double(max(self[keyPath: axis], 1))) - log2(Double(other[keyPath: axis])))
    }
  }

  private static func divisors(of number: Int) -> [Int] {
    guard number > 0 else { return [] }
    return (1...number).filter { number % $0 == 0 }
  }
}
