import Foundation
import XTunerModels
import XTunerTokenizers
import XTunerConfiguration

/// `config.json` with faults: what is taken can be written and read again.
struct ModelConfigReader: MutatedReader {
  static let name = "config"
  private let texts: [JSONValue]

  init(folder: String) throws {
    texts = try ModelPreset.all.map {
      try JSONValue(parsing: try $0.configuration.configurationText())
    }
  }

  func runCase(_ random: inout Random) throws {
    let text = random.mutated(random.pick(texts)).text()
    let configuration = try ModelConfiguration(parsing: Array(text.utf8), file: "config.json")
    _ = configuration.facts.parameterCount
    let written = try configuration.configurationText()
    let again = try ModelConfiguration(parsing: Array(written.utf8), file: "config.json")
    guard again.facts.parameterCount == configuration.facts.parameterCount else {
      throw MutationFailure("reads \(again) of what it wrote")
    }
  }
}

/// `tokenizer.json` with faults: what is taken encodes and decodes.
struct TokenizerReader: MutatedReader {
  static let name = "tokenizer"
  private let folder: String
  private let documents: [JSONValue]

  init(folder: String) throws {
    try makeFolder(folder)
    self.folder = folder
    let features = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appending(path: "../../XTunerTokenizersTests/Fixtures/features").standardized.path
    documents = try FileManager.default.contentsOfDirectory(atPath: features).sorted().map {
      try JSONValue(parsing: String(decoding: try readFile("\(features)/\($0)"), as: UTF8.self))
    }
  }

  func runCase(_ random: inout Random) throws {
    let path = "\(folder)/tokenizer.json"
    let text = random.mutated(withoutMostOfTheVocabulary(random.pick(documents), &random)).text()
    try writeFile(
      random.happens(oneIn: 6) ? random.mutated(Array(text.utf8)) : Array(text.utf8), to: path)
    let tokenizer = try Tokenizer(path: path)
    for text in [
      "", "Hello, world", " \n\u{E9}e\u{301}\u{1F600} 123", "aaaaaaaaaaaaaaaaaaaaaaaaa!",
    ] {
      let ids = try tokenizer.encode(text, addSpecialTokens: true)
      _ = try tokenizer.decode(ids)
      if let id = ids.first(where: { $0 < 0 || $0 >= tokenizer.vocabularySize }) {
        throw MutationFailure("the id \(id) is outside the vocabulary")
      }
    }
  }

  /// Faults should hit what is not vocabulary, half of the time.
  private func withoutMostOfTheVocabulary(_ value: JSONValue, _ random: inout Random) -> JSONValue {
    guard random.happens(oneIn: 2), case .object(var document) = value,
      case .object(var model)? = document["model"], case .object(let vocabulary)? = model["vocab"]
    else { return value }
    model["vocab"] = .object(JSONObject(Array(vocabulary.entries.prefix(9))))
    model["merges"] = .array([])
    document["model"] = .object(model)
    return .object(document)
  }
}

/// Tiktoken rank files with faults.
struct TiktokenReader: MutatedReader {
  static let name = "tiktoken"
  private let folder: String
  private let ranks: [UInt8]
  private let configuration: JSONValue

  init(folder: String) throws {
    try makeFolder(folder)
    self.folder = folder
    let source = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appending(path: "../../XTunerTokenizersTests/Fixtures/kimi_k2").standardized.path
    ranks = try readFile("\(source)/tiktoken.model")
    configuration = try JSONValue(
      parsing: String(decoding: try readFile("\(source)/tokenizer_config.json"), as: UTF8.self))
  }

  func runCase(_ random: inout Random) throws {
    let isInRanks = random.happens(oneIn: 2)
    try writeFile(isInRanks ? random.mutated(ranks) : ranks, to: "\(folder)/tiktoken.model")
    let text = isInRanks ? configuration.text() : random.mutated(configuration).text()
    try writeFile(Array(text.utf8), to: "\(folder)/tokenizer_config.json")
    let tokenizer = try Tokenizer(path: folder)
    _ = try tokenizer.decode(try tokenizer.encode("Hello, world \u{E9} 123"))
  }
}

/// Run configurations with faults: what is taken reads back from its own YAML as the same.
struct ConfigurationReader: MutatedReader {
  static let name = "configuration"
  private let texts: [[UInt8]]

  init(folder: String) throws {
    let minimal = "model: {path: m}\ndata: {train: a.jsonl}\ntraining: {steps: 7}\n"
    let whole = try RunConfiguration.parse(minimal, file: "run.yaml").yaml()
    texts = [Array(minimal.utf8), Array(whole.utf8)]
  }

  func runCase(_ random: inout Random) throws {
    let text = String(decoding: random.mutated(random.pick(texts)), as: UTF8.self)
    let configuration = try RunConfiguration.parse(text, file: "run.yaml")
    let again = try RunConfiguration.parse(configuration.yaml(), file: "run.yaml")
    guard again == configuration else {
      throw MutationFailure("reads another configuration of what it wrote: \(configuration.yaml())")
    }
  }
}

/// Conversations with faults, through every template.
struct ConversationReader: MutatedReader {
  static let name = "conversation"
  private let conversation: JSONValue

  init(folder: String) throws {
    conversation = [
      ["role": "system", "content": "s"], ["role": "user", "content": "a"],
      [
        "role": "assistant", "content": "", "reasoning_content": "r",
        "tool_calls": [["id": "c", "function": ["name": "f", "arguments": ["x": 1.5]]]],
      ],
      ["role": "tool", "tool_call_id": "c", "content": "2"], ["role": "assistant", "content": "b"],
    ]
  }

  func runCase(_ random: inout Random) throws {
    let value = random.mutated(conversation)
    let messages = try JSONDecoder().decode(
      [ChatMessage].self, from: Data(value.text(style: .compact).utf8))
    let template = try ChatTemplate.named(random.pick(ChatTemplate.names))
    let segments = try template.segments(messages)
    let text = try template.render(messages)
    guard !text.isEmpty || segments.isEmpty else {
      throw MutationFailure("\(segments) is rendered to nothing")
    }
  }
}
