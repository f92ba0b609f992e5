import Foundation
import Testing

@testable import XTunerTokenizers

/// Every key that the readers accept is used, or ignored for a reason that the page gives.
@Suite struct TokenizerKeyTests {
  private typealias Object = [String: any Sendable]

  private static let pattern: Object = ["String": "x"]
  private static let byteLevel: Object = [
    "type": "ByteLevel", "add_prefix_space": false, "use_regex": false,
  ]
  private static let token: Object = [
    "id": 257, "content": "<x>", "special": true, "normalized": false, "single_word": false,
    "lstrip": false, "rstrip": false,
  ]

  /// A sound part for each place of the table.
  private static let parts: [String: Object] = [
    "added token": token,
    "normalizer NFC": ["type": "NFC"], "normalizer NFD": ["type": "NFD"],
    "normalizer NFKC": ["type": "NFKC"], "normalizer NFKD": ["type": "NFKD"],
    "normalizer Lowercase": ["type": "Lowercase"],
    "normalizer Prepend": ["type": "Prepend", "prepend": "x"],
    "normalizer Strip": ["type": "Strip", "strip_left": true, "strip_right": true],
    "normalizer Replace": ["type": "Replace", "pattern": pattern, "content": "y"],
    "normalizer Sequence": ["type": "Sequence", "normalizers": [["type": "NFC"]]],
    "pattern": pattern,
    "pre_tokenizer Split": [
      "type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false,
    ],
    "pre_tokenizer Digits": ["type": "Digits", "individual_digits": true],
    "pre_tokenizer ByteLevel": byteLevel,
    "pre_tokenizer Sequence": ["type": "Sequence", "pretokenizers": [byteLevel]],
    "post_processor ByteLevel": ["type": "ByteLevel"],
    "post_processor TemplateProcessing": [
      "type": "TemplateProcessing",
      "single": [["SpecialToken": ["id": "x"]], ["Sequence": ["id": "A"]]],
      "special_tokens": ["x": ["ids": [3]]],
    ],
    "post_processor Sequence": ["type": "Sequence", "processors": [Object]()],
    "decoder ByteLevel": ["type": "ByteLevel"], "decoder ByteFallback": ["type": "ByteFallback"],
    "decoder Fuse": ["type": "Fuse"],
    "decoder Replace": ["type": "Replace", "pattern": pattern, "content": "y"],
    "decoder Strip": ["type": "Strip", "content": "x", "start": 1, "stop": 0],
    "decoder Sequence": ["type": "Sequence", "decoders": [["type": "ByteLevel"]]],
  ]

  /// A tokenizer with `part` at its place, and `configuration` beside it.
  private static func read(
    _ place: String, _ part: Object, configuration: Object? = nil
  ) throws -> Tokenizer {
    var vocabulary = Object()
    for byte in 0..<256 { vocabulary[ByteAlphabet.encode([UInt8(byte)])] = byte }
    vocabulary["ab"] = 256
    let model: Object = ["type": "BPE", "vocab": vocabulary, "merges": ["a b"]]
    var root: Object = [
      "version": "1.0", "pre_tokenizer": byteLevel, "decoder": ["type": "ByteLevel"] as Object,
      "model": model,
    ]
    func sequence(_ first: Object) -> Object {
      ["type": "Sequence", "pretokenizers": [first, byteLevel]]
    }
    switch place.split(separator: " ")[0] {
    case "tokenizer.json": root.merge(part) { $1 }
    case "added": root["added_tokens"] = [part]
    case "model": root["model"] = model.merging(part) { $1 }
    case "pattern":
      root["pre_tokenizer"] = sequence(["type": "Split", "behavior": "Isolated", "pattern": part])
    case "pre_tokenizer" where part["type"] as? String == "Split",
      "pre_tokenizer" where part["type"] as? String == "Digits":
      root["pre_tokenizer"] = sequence(part)
    case let key: root[String(key)] = part
    }
    return try Tokenizer(
      tokenizerJSON: Array(try JSONSerialization.data(withJSONObject: root)),
      configurationJSON: configuration.map {
        Array(try JSONSerialization.data(withJSONObject: $0))
      }, name: "some.json")
  }

  @Test func everyPlaceOfATokenizerFileIsInTheTable() {
    let places = Set(TokenizerKeys.table.map(\.place))
    #expect(places.count == TokenizerKeys.table.count)
    #expect(
      places
        == Set(Self.parts.keys).union(["tokenizer.json", "model BPE", "tokenizer_config.json"]))
    for keys in TokenizerKeys.table {
      #expect(Set(keys.all).count == keys.all.count, "\(keys.place)")
      #expect(keys.ignored.allSatisfy { !$0.reason.isEmpty })
    }
  }

  @Test func whatIsUsedIsReadAndWhatIsIgnoredIsNot() throws {
    // No key is a list of lists.
    let nonsense: [[Int]] = [[]]
    for keys in TokenizerKeys.table where keys.place != "tokenizer_config.json" {
      let part = Self.parts[keys.place] ?? [:]
      #expect(throws: Never.self, "\(keys.place)") { try Self.read(keys.place, part) }
      for key in keys.used {
        #expect(throws: TokenizerError.self, "\(keys.place): \(key)") {
          try Self.read(keys.place, part.merging([key: nonsense]) { $1 })
        }
      }
      for (key, _) in keys.ignored {
        #expect(throws: Never.self, "\(keys.place): \(key)") {
          try Self.read(keys.place, part.merging([key: nonsense]) { $1 })
        }
      }
      let error = #expect(throws: TokenizerError.self, "\(keys.place)") {
        try Self.read(keys.place, part.merging(["surprise": 1]) { $1 })
      }
      #expect(error?.key.hasSuffix("surprise") == true, "\(keys.place)")
    }
  }

  @Test func keysOfTheConfigurationAreUsedOrIgnoredOrNoted() throws {
    let keys = TokenizerKeys.of("tokenizer_config.json")
    let sound: Object = [
      "tokenizer_class": "LlamaTokenizerFast", "bos_token": "ab", "eos_token": "ab",
    ]
    func read(_ more: Object) throws -> Tokenizer {
      try Self.read("tokenizer.json", [:], configuration: sound.merging(more) { $1 })
    }
    let nonsense: [[Int]] = [[]]
    // Read where a chat template is looked for, see ModelFolder.
    for key in keys.used where key != "chat_template" {
      #expect(throws: TokenizerError.self, "\(key)") { try read([key: nonsense]) }
    }
    for (key, _) in keys.ignored { #expect(try read([key: nonsense]).notes.isEmpty, "\(key)") }
    #expect(try read(["chat_template": "x", "image_token": "<i>"]).notes.isEmpty)
    let notes = try read(["surprise": 1, "other": NSNull()]).notes
    #expect(notes.count == 1)
    #expect(notes.first?.contains("surprise") == true)
    #expect(notes.first?.contains("other") == true)
  }

  @Test func thePageGivesEveryReason() throws {
    let page = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appending(path: "docs/tokenizers.md")
    let text = try String(contentsOf: page, encoding: .utf8)
    let rows = TokenizerKeys.table.flatMap { keys in
      keys.ignored.map { "| \(keys.place) | `\($0.key)` | \($0.reason) |" }
    }
    let begin = try #require(text.range(of: "| --- | --- | --- |\n", options: .backwards))
    let end = try #require(text.range(of: "<!-- end of ignored keys -->"))
    #expect(
      text[begin.upperBound..<end.lowerBound].split(separator: "\n").map(String.init) == rows)
  }
}
