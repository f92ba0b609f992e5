import Foundation
import Testing
import XTunerTokenizers

@testable import XTunerEngine
@testable import XTunerLaunch
@testable import XTunerRun
@testable import XTunerConfiguration
@testable import XTunerTrainer

/// The dry run of `xtuner config check`.
@Suite struct ConfigurationCheckTests {
  private static func withRun(_ body: (TinyRun) throws -> Void) throws {
    let run = try TinyRun()
    defer { run.remove() }
    try body(run)
  }

  private func check(_ run: TinyRun, _ overrides: [String] = []) throws -> [String] {
    ConfigurationCheck(try run.configuration(run: "r", overrides)).problems.map(\.description)
  }

  @Test func aRunThatWouldStartHasNoProblems() throws {
    try Self.withRun { run in
      let check = ConfigurationCheck(try run.configuration(run: "r"))
      #expect(check.problems == [])
      #expect(check.findings.map(\.label) == ["model", "tokenizer", "data.train"])
      #expect(check.findings.last?.value == "data: 1 file, 97 records of format text")
      #expect(!FileManager.default.fileExists(atPath: "\(run.folder)/r"))
      #expect(!FileManager.default.fileExists(atPath: "\(run.folder)/cache"))
    }
  }

  @Test func everythingThatIsMissingIsReportedWithItsLine() throws {
    try Self.withRun { run in
      let said = try check(
        run, ["tokenizer.path=nowhere/t", "data.train=org/set", "run.directory=/dev/null/r"])
      #expect(said.count == 3, "\(said)")
      #expect(said[0].hasPrefix("--set tokenizer.path=nowhere/t: tokenizer.path: nowhere/t: there"))
      #expect(said[1].hasPrefix("--set data.train=org/set: data.train[0].path: "))
      #expect(said[2].contains("run.directory: must be a folder, but /dev/null is a file"))
      let data = try check(run, ["data.train=org/set"])
      #expect(data.count == 1, "\(data)")
      #expect(data[0].contains("data.train[0].path: "))
      #expect(data[0].contains("`hf download org/set --repo-type dataset --local-dir data/set`"))
    }
  }

  @Test func aRecordThatCannotBeReadIsNamed() throws {
    try Self.withRun { run in
      try run.write(#"{"text": "a"}"# + "\n" + #"{"text": 5}"# + "\n", to: "bad.jsonl")
      let said = try check(run, ["data.train=\(run.folder)/bad.jsonl"])
      #expect(said.count == 1, "\(said)")
      #expect(said[0].contains("bad.jsonl:2"), "\(said)")
      #expect(try check(run, ["data.train=\(run.folder)/bad.jsonl", "data.on_error=skip"]) == [])
    }
  }

  @Test func theTokenizerMustFitTheVocabulary() throws {
    try Self.withRun { run in
      let count = try Tokenizer(path: "\(run.folder)/tokenizer").vocabularySize
      let said = try check(run, ["model.architecture.vocab_size=\(count - 7)"])
      #expect(
        said.contains { $0.contains("tokenizer.path: the tokenizer's largest id is \(count - 1)") },
        "\(said)")
    }
  }

  @Test func degreesThatDivideNothingAreRefused() throws {
    try Self.withRun { run in
      let said = try check(run, ["parallel.sequence=3"])
      #expect(said.count == 1 && said[0].contains("parallel.sequence"), "\(said)")
    }
  }

  @Test func weightsMustBeThoseOfTheModel() throws {
    try Self.withRun { run in
      try run.train(run: "base", ["training.steps=1", "schedule.warmup_steps=0"])
      let folder = "\(run.folder)/base/export"
      let model = ["model.architecture=null", "model.path=\(folder)"]
      #expect(try check(run, model) == [])
      let said = try check(run, model + ["model.overrides.hidden_size=32"])
      #expect(said.count == 1, "\(said)")
      #expect(said[0].contains("model.path: \(folder): does not fit config.json"), "\(said)")
    }
  }

  @Test func conversationsAreToldFromTexts() throws {
    try Self.withRun { run in
      #expect(!(try run.configuration(run: "r").trainsOnConversations))
      let answer =
        #"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}"#
      try run.write(answer, to: "chat.jsonl")
      let chats = try run.configuration(run: "r", ["data.train=\(run.folder)/chat.jsonl"])
      #expect(chats.trainsOnConversations)
    }
  }
}
