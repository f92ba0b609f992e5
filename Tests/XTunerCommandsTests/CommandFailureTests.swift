import ArgumentParser
import Foundation
import Testing
import Torch
import XTunerCheckpoint
import XTunerCommands
import XTunerData
import XTunerTokenizers
import XTunerConfiguration
import XTunerRun

@testable import xtuner_engine

@Suite struct CommandFailureTests {
  @Test(arguments: [
    (CheckpointError(.noSpace, path: "p", "r") as any Error & Sendable, RunExitCode.storage),
    (CheckpointError(.occupied, path: "p", "r"), .storage),
    (CheckpointError(.damaged, path: "p", "r"), .model),
    (CheckpointError(.missing, path: "p", "r"), .model),
    (TokenCacheError(.diskFull, "m"), .storage), (TokenCacheError(.notFound, "m"), .data),
    (LoaderError(.emptyData, "m"), .data), (TokenizingError(.overlongSample, "m"), .data),
    (TokenizerError(.unreadable, "m"), .model), (TokenizerError(.invalidArgument, "m"), .usage),
    (TrainingError(.nonFinite, "m"), .nonFinite),
    (RunDirectoryError(code: .inUse, path: "p", reason: "r"), .storage),
    (ConfigurationError(file: "f", problems: []), .usage),
    (CocoaError(.fileWriteOutOfSpace), .storage), (CancellationError(), .failure),
  ])
  func errorsHaveTheirExitCode(error: any Error & Sendable, code: RunExitCode) {
    #expect(CommandFailure(error).exitCode == code)
  }

  @Test func theMessageKeepsTheThingAndTheReason() {
    let failure = CommandFailure(CheckpointError(.damaged, path: "a/b", "is cut"))
    #expect(failure.message == "a/b: is cut")
  }

  @Test func namesOutOfFilesCannotSteerTheTerminalNorFillIt() {
    let name = "a\u{1B}[31m" + String(repeating: "x", count: 1_000_003)
    let message = CommandFailure(CheckpointError(.damaged, path: "p", "tensor \(name) is cut"))
      .message
    #expect(message.hasPrefix("p: tensor a\\u{1B}[31mxxx"), "\(message.prefix(50))")
    #expect(message.hasSuffix("xxx is cut") && message.count < 2100)
  }

  @Test(arguments: [CocoaError.Code.fileReadUnknown, .fileWriteUnknown, .fileNoSuchFile])
  func errorsOfFoundationAreToldInWords(code: CocoaError.Code) {
    let error = CocoaError(code, userInfo: [NSFilePathErrorKey: "a/b"])
    let message = CommandFailure(error).message
    #expect(message.hasPrefix("a/b: ") && !message.contains("Cocoa"), "\(message)")
  }

  @Test func severalConfigurationProblemsAreCounted() {
    let problems = (2...4).map {
      ConfigurationError.Problem(location: "f:\($0)", keyPath: "a.b", reason: "r")
    }
    let failure = CommandFailure(ConfigurationError(file: "f", problems: problems))
    #expect(failure.message == "3 problems\nf:2: a.b: r\nf:3: a.b: r\nf:4: a.b: r")
  }

  @Test func codesOfLowerModulesAreThoseOfTheRun() {
    #expect(TensorFailure.exitCode == RunExitCode.tensorOperation.rawValue)
    #expect(CommunicationError.exitCode == RunExitCode.communication.rawValue)
  }

  @Test func theRootHelpListsEveryExitCode() {
    let page = XTunerCommand.configuration.discussion
    for code in RunExitCode.allCases {
      #expect(page.contains(" \(code.rawValue)  "), "\(code.rawValue)")
    }
  }
}
