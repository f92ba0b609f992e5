import Foundation
import Testing

@testable import XTunerCommands

/// `xtuner config check --form-only`, which the front program answers by itself.
@Suite struct FormCheckTests {
  private struct Unexpected: Error {}

  private let folder = FileManager.default.temporaryDirectory
    .appendingPathComponent("xtuner-form-\(UUID().uuidString)")

  /// The outcome for a file of this text; nil where the engine has to be asked.
  private func outcome(_ yaml: String, _ words: String...) throws -> (CommandLineOutcome?, String) {
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let file = folder.appendingPathComponent("run.yaml")
    try Data(yaml.utf8).write(to: file)
    let line = ["config", "check", file.path] + words
    guard case .run(.configCheck(let command)) = CommandLineOutcome.parse(line) else {
      throw Unexpected()
    }
    return (command.formOutcome(), file.path)
  }

  private let whole = """
    model: {path: nowhere}
    data: {train: nothing.jsonl}
    training: {steps: 7}
    """

  @Test func aGoodFormHasNoProblemsWhateverItsFilesAre() throws {
    let (found, file) = try outcome(whole, "--form-only")
    guard case .text(let text) = found else { throw Unexpected() }
    #expect(text == "\(file): no problems\n")
  }

  @Test func problemsAreCountedAndListedWithTheirLines() throws {
    let yaml = whole.replacing("steps: 7", with: "steps: 0, stepz: 1")
    let (found, file) = try outcome(yaml, "--form-only", "--set", "run.threads=-1")
    guard case .failure(let text) = found else { throw Unexpected() }
    #expect(text.hasPrefix("error: 3 problems\n\(file):3: training.steps: must be"), "\(text)")
    #expect(text.contains("--set run.threads=-1: run.threads: must be"), "\(text)")
  }

  @Test func oneProblemStandsOnTheFirstLine() throws {
    let (found, file) = try outcome(whole + "\nrun: {threads: -1}", "--form-only")
    guard case .failure(let text) = found else { throw Unexpected() }
    #expect(text.hasPrefix("error: \(file):4: run.threads: must be"), "\(text)")
  }

  @Test func filesAndJSONAreForTheEngine() throws {
    #expect(try outcome(whole).0.map { "\($0)" } == nil)
    #expect(try outcome(whole, "--form-only", "--json").0.map { "\($0)" } == nil)
  }
}
