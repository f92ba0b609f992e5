import Foundation
import Testing
import XTunerData
import XTunerTokenizers

@testable import XTunerEngine
@testable import XTunerLaunch
@testable import XTunerRun
@testable import XTunerConfiguration
@testable import XTunerTrainer

/// Which chat template a run follows, and what its export carries along.
@Suite struct ChatTemplateRunTests {
  private static let chats = (0..<23).map { index in
    #"{"messages": [{"role": "user", "content": "\#(index)?"}, {"role": "assistant", "#
      + #""content": "It is \#(index * index)."}]}"#
  }.joined(separator: "\n")

  /// A model folder, as a run from random weights exports it, with chats to go on with.
  private func base() throws -> (tiny: TinyRun, folder: String) {
    let tiny = try TinyRun()
    try tiny.train(run: "base", ["training.steps=3"])
    try tiny.write(Self.chats, to: "chats.jsonl")
    return (tiny, "\(tiny.folder)/base/export")
  }

  private func tuning(_ tiny: TinyRun, _ folder: String, _ more: [String] = []) -> [String] {
    [
      "model.architecture=null", "model.path=\(folder)", "tokenizer.path=\(folder)",
      "data.train=\(tiny.folder)/chats.jsonl", "data.validation_split=null",
      "evaluation.every_steps=null", "training.steps=3",
    ] + more
  }

  private func bytes(_ path: String) throws -> Data {
    try Data(contentsOf: URL(fileURLWithPath: path))
  }

  @Test func theFoldersTemplateIsFollowedAndItsFilesTravelAlong() throws {
    let (tiny, folder) = try base()
    defer { tiny.remove() }
    let jinja = try #require(try ChatTemplate.named("qwen3-2507").jinjaTemplate) + "{# theirs #}"
    let files = [
      "chat_template.jinja": jinja, "LICENSE": "as you like\n", "notes.txt": "n",
      "generation_config.json": "{ \"temperature\": 0.7,  \"eos_token_id\": 0 }",
    ]
    for (name, text) in files { try tiny.write(text, to: "base/export/\(name)") }
    try tiny.write("{}", to: "base/export/pytorch_model.bin")
    let configuration = try tiny.configuration(run: "tuned", tuning(tiny, folder))
    let data = try PreparedData(configuration, model: nil)
    #expect(data.template?.name == "qwen3-2507")
    #expect(
      data.notes.contains {
        $0.hasPrefix("chat template qwen3-2507: told from \(folder)/chat_template.jinja by ")
      })
    let source = data.training[0].samples
    let (tokens, _) = source.tokensAndLabels(at: 0)
    #expect(try !data.tokenizer.decode(tokens).contains("<think>"))

    let outcome = try tiny.train(run: "tuned", tuning(tiny, folder))
    let export = try #require(outcome.exportPath)
    for name in ["chat_template.jinja", "LICENSE", "notes.txt"] {
      #expect(try bytes("\(export)/\(name)") == bytes("\(folder)/\(name)"), "\(name)")
    }
    // <|im_end|>, which the answers end with, comes to what the folder had.
    let generation = try JSONValue(
      parsing: String(contentsOfFile: "\(export)/generation_config.json", encoding: .utf8))
    let end = try #require(data.tokenizer.id(of: "<|im_end|>"))
    #expect(generation == ["temperature": 0.7, "eos_token_id": [.integer(Int(end)), 0]])
    #expect(!FileManager.default.fileExists(atPath: "\(export)/pytorch_model.bin"))

    // Nothing is left to change for a run that goes on from there.
    let again = try tiny.train(run: "again", tuning(tiny, export))
    let second = try #require(again.exportPath)
    for name in ["chat_template.jinja", "LICENSE", "generation_config.json"] {
      #expect(try bytes("\(second)/\(name)") == bytes("\(export)/\(name)"), "\(name)")
    }
  }

  @Test func aNamedTemplateTakesThePlaceOfTheFolders() throws {
    let (tiny, folder) = try base()
    defer { tiny.remove() }
    let old = try #require(try ChatTemplate.named("qwen3-2507").jinjaTemplate)
    try FileManager.default.removeItem(atPath: "\(folder)/chat_template.jinja")
    let settings = try JSONValue(
      parsing: String(contentsOfFile: "\(folder)/tokenizer_config.json", encoding: .utf8))
    var object = try #require(settings.objectValue)
    object["chat_template"] = .string(old)
    try tiny.write(JSONValue.object(object).text(), to: "base/export/tokenizer_config.json")
    let outcome = try tiny.train(
      run: "tuned", tuning(tiny, folder, ["data.template=qwen3"]))
    let export = try #require(outcome.exportPath)
    let written = try #require(try ChatTemplate.named("qwen3").jinjaTemplate)
    #expect(try bytes("\(export)/chat_template.jinja") == Data(written.utf8))
    #expect(
      try !String(contentsOfFile: "\(export)/tokenizer_config.json", encoding: .utf8)
        .contains("chat_template"))
  }

  @Test func aFolderOfAnUnknownFamilyIsRefusedForConversationsOnly() throws {
    let (tiny, folder) = try base()
    defer { tiny.remove() }
    try tiny.write("[INST]", to: "base/export/chat_template.jinja")
    let error = #expect(throws: (any Error).self) {
      try tiny.train(run: "tuned", tuning(tiny, folder))
    }
    #expect(
      "\(error!)".contains(
        "\(folder)/chat_template.jinja is of no family known here; name one of chatml, "))
    let text = tuning(tiny, folder) + ["data.train=\(tiny.folder)/data.jsonl"]
    let outcome = try tiny.train(run: "text", text)
    let export = try #require(outcome.exportPath)
    #expect(try bytes("\(export)/chat_template.jinja") == Data("[INST]".utf8))
  }

  @Test(arguments: [
    ("generation_config.json", "{", "generation_config.json: is not JSON: line 1"),
    ("generation_config.json", "{\"eos_token_id\": \"x\"}", "eos_token_id must be a token id"),
    ("chat_template.jinja", "\u{FFFD}", "is of no family known here"),
  ])
  func aDamagedFileStopsARunBeforeItTrains(name: String, text: String, fault: String) throws {
    let (tiny, folder) = try base()
    defer { tiny.remove() }
    try tiny.write(text, to: "base/export/\(name)")
    let error = #expect(throws: (any Error).self) {
      try tiny.train(run: "tuned", tuning(tiny, folder))
    }
    #expect("\(error!)".contains(fault), "\(error!)")
    #expect(!FileManager.default.fileExists(atPath: "\(tiny.folder)/tuned/metrics.jsonl"))
  }

  @Test func aRunOfGPTOSSKeepsTheDateOfItsStart() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    try tiny.write(Self.chats, to: "chats.jsonl")
    var trainer = try BytePairTrainer(
      vocabularySize: 300,
      specialTokens: [
        "<|endoftext|>", "<|startoftext|>", "<|start|>", "<|message|>", "<|channel|>", "<|end|>",
        "<|return|>", "<|call|>", "<|constrain|>",
      ])
    trainer.add("You are ChatGPT, a large language model trained by OpenAI.")
    try trainer.train().save(to: "\(tiny.folder)/harmony")
    let options = [
      "tokenizer.path=\(tiny.folder)/harmony", "data.template=gpt-oss",
      "data.train=\(tiny.folder)/chats.jsonl", "data.sequence_length=512",
      "data.validation_split=null", "evaluation.every_steps=null",
      "model.architecture.max_position_embeddings=512", "checkpoint.every_steps=1",
      "export.at_end=false",
    ]
    try tiny.train(run: "a", options + ["training.steps=3", "data.current_date=2020-01-02"])
    // On any later day, the day of the start counts: with today's date the data would be another.
    let outcome = try tiny.train(run: "a", options + ["training.steps=4"])
    #expect(outcome.step == 4)
    let other = #expect(throws: (any Error).self) {
      try tiny.train(run: "a", options + ["training.steps=5", "data.current_date=2020-01-03"])
    }
    #expect("\(other!)".contains("data"))
  }

  @Test func dateAndEffortReachTheTextAndAreRefusedElsewhere() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let template = try tiny.configuration(
      run: "a",
      ["data.template=gpt-oss", "data.current_date=2020-02-29", "data.reasoning_effort=high"]
    ).chatTemplate().template
    let text = try #require(try template?.render([ChatMessage(role: "user", content: "q")]))
    #expect(text.contains("Current date: 2020-02-29\n\nReasoning: high\n"))
    let error = #expect(throws: ConfigurationError.self) {
      try tiny.configuration(run: "a", ["data.template=qwen3", "data.reasoning_effort=low"])
        .chatTemplate()
    }
    #expect(error?.problems.first?.keyPath == "data.reasoning_effort")
    for date in ["2021-02-29", "2020-13-01", "today", "2020-1-1"] {
      #expect(throws: ConfigurationError.self) {
        try tiny.configuration(run: "a", ["data.current_date=\(date)"])
      }
    }
  }

  @Test func keysThatNothingReadsAreTold() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    try tiny.write(
      Self.chats.replacingOccurrences(of: "{\"messages\"", with: "{\"mask\": 1, \"messages\""),
      to: "chats.jsonl")
    let data = try PreparedData(
      try tiny.configuration(run: "a", ["data.train=\(tiny.folder)/chats.jsonl"]), model: nil)
    #expect(data.notes.contains { $0.hasSuffix("nothing reads these keys of its records: mask") })
  }
}
