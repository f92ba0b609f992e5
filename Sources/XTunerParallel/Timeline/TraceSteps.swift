/// The optimizer steps of which a timeline is made, counted from 1.
public struct TraceSteps: Sendable, Hashable, CustomStringConvertible {
  /// First and last step.
  public let steps: ClosedRange<Int>

  /// The steps of a range, which starts at 1 or later.
  public init(_ steps: ClosedRange<Int>) {
    precondition(steps.lowerBound >= 1, "steps count from 1, the first is \(steps.lowerBound)")
    self.steps = steps
  }

  /// Reads one step, such as `10`, or a range with both ends, such as `10..12`.
  public init(_ text: String) throws(TraceStepsError) {
    let parts = text.split(separator: "..", maxSplits: 1, omittingEmptySubsequences: false)
    var numbers: [Int] = []
    for part in parts {
      guard !part.isEmpty, part.utf8.allSatisfy({ (48...57).contains($0) }) else {
        throw TraceStepsError(
          text, "must be a step such as 10 or a range of steps such as 10..12")
      }
      guard let number = Int(part) else {
        throw TraceStepsError(text, "has a number with too many digits; steps are below 2^63")
      }
      guard number > 0 else {
        throw TraceStepsError(text, "must not be below 1, because steps are counted from 1")
      }
      numbers.append(number)
    }
    let (first, last) = (numbers[0], numbers[numbers.count - 1])
    guard first <= last else {
      throw TraceStepsError(text, "must not end before it begins; \(last)..\(first) would work")
    }
    steps = first...last
  }

  /// Whether a timeline is made of `step`.
  public func contains(_ step: Int) -> Bool { steps.contains(step) }

  /// The text that reads as these steps.
  public var description: String {
    steps.count == 1 ? "\(steps.lowerBound)" : "\(steps.lowerBound)..\(steps.upperBound)"
  }
}

/// A text that names no steps; the caller says which option it stands at.
public struct TraceStepsError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The text.
  public let text: String
  /// What is wrong with it, and what would work.
  public let reason: String

  init(_ text: String, _ reason: String) {
    self.text = text
    self.reason = reason
  }

  /// The reason and the text.
  public var description: String { "\(reason), is \"\(text)\"" }
}
