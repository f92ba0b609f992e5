import Foundation
import Testing
import XTunerTokenizers

@testable import XTunerGeneration

@Suite struct ChatTemplateFolderTests {
  private func withFolder<Result>(
    _ files: [String: String], _ body: (String) throws -> Result
  ) throws -> Result {
    let folder = FileManager.default.temporaryDirectory.appending(path: "\(UUID())")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    for (name, text) in files {
      try text.write(to: folder.appending(path: name), atomically: true, encoding: .utf8)
    }
    return try body(folder.path(percentEncoded: false))
  }

  /// The template found in a folder with these files, or the error's code.
  private func detect(_ files: [String: String]) throws -> String {
    try withFolder(files) { folder in
      do throws(GenerationError) {
        return try ChatTemplate.detected(inFolder: folder, tokenizer: try! byteTokenizer()).name
      } catch {
        return error.code.rawValue
      }
    }
  }

  @Test func endTokensComeFromBothFiles() throws {
    let tokenizer = try byteTokenizer()
    let ends = try withFolder([
      "generation_config.json": "{\"eos_token_id\": [7, 11]}",
      "tokenizer_config.json": "{\"eos_token\": {\"content\": \"<|stop|>\"}}",
    ]) { try ModelFolder(path: $0).endTokens(tokenizer: tokenizer) }
    #expect(ends == [7, 11, 256])
    let one = try withFolder(["generation_config.json": "{\"eos_token_id\": 5}"]) {
      try ModelFolder(path: $0).endTokens(tokenizer: tokenizer)
    }
    #expect(one == [5])
    #expect(try withFolder([:]) { try ModelFolder(path: $0).endTokens(tokenizer: tokenizer) } == [])
  }

  @Test(arguments: ["chatml", "qwen3", "qwen3-2507"])
  func ownTextsAreRecognised(name: String) throws {
    let text = try #require(try ChatTemplate.named(name).jinjaTemplate)
    #expect(try detect(["chat_template.jinja": text]) == name)
    let quoted = JSONValue.string(text).text()
    #expect(try detect(["tokenizer_config.json": "{\"chat_template\": \(quoted)}"]) == name)
  }

  @Test(arguments: [
    ("generation_config.json", "{", "is not JSON: line 1"),
    ("generation_config.json", "[]", "must hold an object, holds an array"),
    ("generation_config.json", "{\"eos_token_id\": \"x\"}", "eos_token_id must be a token id"),
    ("generation_config.json", "{\"eos_token_id\": [1, -1]}", "is [1, -1]"),
    ("tokenizer_config.json", "{\"eos_token\": 3}", "eos_token must be a text"),
  ])
  func aDamagedFileIsNamedWithItsFault(name: String, text: String, fault: String) throws {
    let tokenizer = try byteTokenizer()
    let error = try withFolder([name: text]) { folder in
      #expect(throws: GenerationError.self) {
        try ModelFolder(path: folder).endTokens(tokenizer: tokenizer)
      }
    }
    #expect(error?.description.contains("/\(name): ") == true)
    #expect(error?.description.contains(fault) == true, "\(error?.description ?? "")")
  }

  @Test func anUnknownTextAndNoTextAreErrors() throws {
    #expect(try detect(["chat_template.jinja": "[INST]"]) == "unsupported")
    #expect(try detect([:]) == "unsupported")
    #expect(try detect(["tokenizer_config.json": "{"]) == "unsupported")
  }
}
