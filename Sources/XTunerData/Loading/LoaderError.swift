/// A problem of packing, ordering or loading samples.
public struct LoaderError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The kinds of problem, for programs and metrics.
  public enum Code: String, Sendable {
    case emptyData, sampleTooLong, invalidOption, dataChanged, tooManySamples, mostlyMasked
  }

  /// What went wrong.
  public let code: Code
  /// The thing, the value and what would work.
  public let message: String

  /// Makes an error of `code` with a message for people.
  public init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  /// The message.
  public var description: String { message }
}
