public import XTunerConfiguration

/// How the process ends: the codes that scripts and schedulers can rely on.
public enum RunExitCode: Int32, Sendable, CaseIterable {
  /// Everything that was asked for is done.
  case success = 0
  /// A failure that no other code describes.
  case failure = 1
  /// The command line or the configuration cannot be used.
  case usage = 2
  /// Training data is missing, broken or empty.
  case data = 3
  /// A model folder, tokenizer or checkpoint is missing, broken or does not fit.
  case model = 4
  /// Loss, gradients or weights are not finite.
  case nonFinite = 5
  /// A tensor operation failed, such as for want of memory.
  case tensorOperation = 6
  /// The run directory or another file cannot be written: no space, no permission, or in use.
  case storage = 7
  /// A rank was lost, timed out or could not be reached.
  case communication = 8
  /// Stopped by a signal after a checkpoint was written; the same command resumes the run.
  ///
  /// 75 is EX_TEMPFAIL of sysexits.h: try again.
  case stopped = 75
  /// Interrupted a second time, at once and without a checkpoint: 128 + SIGINT.
  case interrupted = 130

  /// One sentence for the documentation and `--help`.
  public var meaning: String {
    switch self {
    case .success: "Everything that was asked for is done."
    case .failure: "A failure that no other code describes."
    case .usage: "The command line or the configuration cannot be used."
    case .data: "Training data is missing, broken or empty."
    case .model:
      "A model folder, tokenizer or checkpoint is missing, broken or does not fit."
    case .nonFinite: "Loss, gradients or weights are not finite."
    case .tensorOperation: "A tensor operation failed, such as for want of memory."
    case .storage:
      """
      A file cannot be written: no space, no permission, or the folder is in use or holds something \
      else.
      """
    case .communication:
      "A rank was lost, timed out or could not be reached; or another one failed, and how is said."
    case .stopped:
      "Stopped by a signal after a checkpoint was written; the same command resumes the run."
    case .interrupted: "Interrupted a second time: stopped at once, without a checkpoint."
    }
  }

  /// Every code with its meaning as a Markdown table.
  public static func markdown() -> String {
    let rows = allCases.map { "| \($0.rawValue) | \($0.meaning) |\n" }
    return "| code | meaning |\n| ---: | --- |\n" + rows.joined()
  }
}

extension ConfigurationError {
  /// How a process ends that cannot use its configuration.
  public var exitCode: RunExitCode { .usage }
}

extension RunDirectoryError {
  /// How a process ends that cannot use its run directory.
  public var exitCode: RunExitCode { .storage }
}

/// A run that cannot go on, with the exit code that says why.
public struct TrainingError: Error, Sendable, CustomStringConvertible {
  /// How the process ends.
  public var exitCode: RunExitCode
  /// What went wrong, with the value and what would work.
  public var description: String

  /// An error from its parts.
  public init(_ exitCode: RunExitCode, _ description: String) {
    self.exitCode = exitCode
    self.description = description
  }
}

/// The version of the program.
public enum XTunerVersion {
  /// As in CHANGELOG.md.
  public static let current = "0.1.0"
}

extension ConfigurationReference {
  /// The reference page `docs/configuration.md`.
  public static func markdown() -> String {
    options()
      + "\n## Exit codes\n\nHow `xtuner train` ends, for scripts and schedulers.\n\n"
      + RunExitCode.markdown()
  }
}
