public import XTunerRun

/// Variables of a launcher that do not say which rank a process is.
public struct RankEnvironmentError: Error, Sendable, Hashable, CustomStringConvertible {
  /// One variable that is missing or unusable.
  public struct Problem: Sendable, Hashable {
    /// Its name.
    public var variable: String
    /// What is wrong, with its value where it has one.
    public var reason: String

    /// A problem with a variable.
    public init(variable: String, reason: String) {
      self.variable = variable
      self.reason = reason
    }

    /// A variable that is not set.
    static func missing(_ variable: String) -> Problem {
      Problem(variable: variable, reason: "is not set")
    }
  }

  /// Whose variables they are.
  public var launcher: RankEnvironment.Launcher
  /// Every variable that is wrong.
  public var problems: [Problem]

  /// An error about the variables of a launcher.
  public init(launcher: RankEnvironment.Launcher, problems: [Problem]) {
    self.launcher = launcher
    self.problems = problems
  }

  /// How the process ends.
  public var exitCode: RunExitCode { .usage }

  /// All problems in one line, and what would work.
  public var description: String {
    let list = problems.map { "\($0.variable) \($0.reason)" }.joined(separator: "; ")
    switch launcher {
    case .slurm:
      return """
        the variables of Slurm do not say which rank this is: \(list); start the ranks with srun, \
        or unset SLURM_PROCID to train in one process
        """
    case .torchrun, .local, .single:
      return """
        the variables of torchrun do not say which rank this is: \(list); start the ranks with \
        torchrun or with xtuner train --nproc, or unset these variables to train in one process: \
        \(RankEnvironment.torchrunVariables.joined(separator: ", "))
        """
    }
  }
}

/// Reads environment variables and collects what is wrong with them.
struct EnvironmentReader {
  private let environment: [String: String]
  private(set) var problems: [RankEnvironmentError.Problem] = []

  init(_ environment: [String: String]) {
    self.environment = environment
  }

  subscript(name: String) -> String? { environment[name] }

  /// The text of the first variable that is set; a problem with the first name where none is.
  mutating func text(_ names: String...) -> String? {
    if let name = names.first(where: { environment[$0] != nil }) { return environment[name] }
    if let name = names.first { problems.append(.missing(name)) }
    return nil
  }

  /// A number that must be there.
  mutating func integer(_ name: String, in range: ClosedRange<Int>) -> Int? {
    guard environment[name] != nil else {
      problems.append(.missing(name))
      return nil
    }
    return optionalInteger(name, in: range)
  }

  /// A number that may be missing.
  mutating func optionalInteger(_ name: String, in range: ClosedRange<Int>) -> Int? {
    guard let text = environment[name] else { return nil }
    guard let value = Int(text), range.contains(value) else {
      let limit = range.upperBound >= Int.max - 1 ? "of at least" : "from \(range.lowerBound) to"
      let bound = range.upperBound >= Int.max - 1 ? range.lowerBound : range.upperBound
      reject(name, "must be a whole number \(limit) \(bound), is \(text)")
      return nil
    }
    return value
  }

  /// `True` or `False` as Python writes them, or 1 and 0; false where it is not set.
  mutating func flag(_ name: String) -> Bool {
    switch environment[name]?.lowercased() {
    case nil, "false", "0": return false
    case "true", "1": return true
    case let text?:
      reject(name, "must be True or False, is \(text)")
      return false
    }
  }

  mutating func reject(_ name: String, _ reason: String) {
    problems.append(.init(variable: name, reason: reason))
  }
}
