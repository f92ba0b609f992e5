import ArgumentParser
import Foundation
import Torch
import XTunerCheckpoint
import XTunerConfiguration
import XTunerData
import XTunerGeneration
import XTunerInput
import XTunerLaunch
import XTunerModels
import XTunerRun
import XTunerSystem
import XTunerTokenizers

/// How a command fails: the one place that gives every error its exit code.
struct CommandFailure: Error, CustomStringConvertible {
  /// How the process ends.
  var exitCode: RunExitCode
  /// What is wrong, with the thing, the value and what would work.
  var message: String

  var description: String { message }

  /// A failure that a command finds itself.
  init(_ exitCode: RunExitCode, _ message: String) {
    self.exitCode = exitCode
    // Names and values out of files may hold anything, and be of any length.
    self.message = ReadableText.message(message)
  }

  /// The failure that an error of any module means.
  init(_ error: any Error) {
    switch error {
    case let failure as CommandFailure: self = failure
    case let error as TrainingError: self.init(error.exitCode, error.description)
    case let error as ConfigurationError: self.init(error.exitCode, error.listing)
    case let error as RankEnvironmentError: self.init(error.exitCode, error.description)
    case let error as CommunicationError: self.init(.communication, error.description)
    case let error as RunDirectoryError: self.init(error.exitCode, error.description)
    case let error as ValidationError: self.init(.usage, error.message)
    case let error as DataReadError: self.init(.data, error.description)
    case let error as TokenizingError: self.init(.data, error.description)
    case let error as LoaderError: self.init(.data, error.description)
    case let error as TokenCacheError: self.init(Self.exitCode(error.code), error.description)
    case let error as CheckpointError: self.init(Self.exitCode(error.code), error.description)
    case let error as TokenizerError: self.init(Self.exitCode(error.code), error.description)
    case let error as ChatTemplateError: self.init(.usage, error.description)
    case let error as ModelConfigurationError: self.init(.model, error.description)
    case let error as GenerationError: self.init(Self.exitCode(error.code), error.description)
    case let error as CocoaError: self.init(Self.exitCode(error.code), Self.text(error))
    default: self.init(.failure, SystemReason.text(error))
    }
  }

  private static func exitCode(_ code: TokenCacheError.Code) -> RunExitCode {
    switch code {
    case .diskFull, .fileSystem: .storage
    case .notFound, .unusable, .sourceChanged: .data
    }
  }

  private static func exitCode(_ code: CheckpointError.Code) -> RunExitCode {
    switch code {
    case .noSpace, .occupied, .unwritable: .storage
    case .inputOutput, .damaged, .missing, .mismatch: .model
    }
  }

  private static func exitCode(_ code: TokenizerError.Code) -> RunExitCode {
    code == .invalidArgument ? .usage : .model
  }

  private static func exitCode(_ code: GenerationError.Code) -> RunExitCode {
    switch code {
    case .invalidOption, .invalidPrompt: .usage
    case .missingTokenizer, .unsupported, .tokenizer: .model
    case .nonFinite: .nonFinite
    }
  }

  private static func exitCode(_ code: CocoaError.Code) -> RunExitCode {
    switch code {
    case .fileWriteNoPermission, .fileWriteOutOfSpace, .fileWriteUnknown,
      .fileWriteVolumeReadOnly, .fileNoSuchFile:
      .storage
    default: .failure
    }
  }

  private static func text(_ error: CocoaError) -> String {
    "\(error.filePath.map { "\($0): " } ?? "")\(SystemReason.text(error))"
  }
}
