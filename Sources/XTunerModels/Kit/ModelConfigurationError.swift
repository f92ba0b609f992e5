/// A model configuration that cannot be used, with everything that is wrong with it.
public struct ModelConfigurationError: Error, Sendable, Hashable, CustomStringConvertible {
  /// One thing that is wrong.
  public struct Problem: Sendable, Hashable {
    /// The key it concerns, such as `rope_scaling.factor`; empty where it is the whole file.
    public var key: String
    /// What is wrong, with the value found and what would work.
    public var reason: String

    /// A problem with a key.
    public init(key: String, reason: String) {
      self.key = key
      self.reason = reason
    }
  }

  /// The file the configuration was read from, or `model` where it was made in code.
  public var file: String
  /// Everything that is wrong.
  public var problems: [Problem]

  /// An error about a file.
  public init(file: String, problems: [Problem]) {
    self.file = file
    self.problems = problems
  }

  /// One line a problem.
  public var description: String {
    problems.map { $0.key.isEmpty ? "\(file): \($0.reason)" : "\(file): \($0.key): \($0.reason)" }
      .joined(separator: "\n")
  }
}
