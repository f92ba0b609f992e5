/// A problem of turning records into token ids.
public struct TokenizingError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The kinds of problem, for programs and metrics.
  public enum Code: String, Sendable {
    case tokenOutsideVocabulary, overlongSample, noTemplate, renderingFailed, mostlyMasked,
      noSamples, invalidOption, encodingFailed, missingMarks
  }

  /// What went wrong.
  public let code: Code
  /// The file and line, the value and what would work.
  public let message: String

  /// Makes an error of `code` with a message for people.
  public init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  /// The message.
  public var description: String { message }
}
