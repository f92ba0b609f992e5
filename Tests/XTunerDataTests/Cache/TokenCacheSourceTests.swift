import Foundation
import Testing
import XTunerTokenizers

@testable import XTunerData

/// From files on disk to a cache, with the real reader, tokenizer and template.
@Suite struct TokenCacheSourceTests {
  /// A byte-level tokenizer without merges: one id a byte, and the chat markers.
  private func makeTokenizer(
    in folder: ScratchFolder, markers: [String] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
  ) throws -> Tokenizer {
    var vocabulary: [String: Int] = [:]
    var next: UInt32 = 256
    for byte in UInt32(0)...255 {
      let isPrintable =
        (33...126).contains(byte) || (161...172).contains(byte) || (174...255).contains(byte)
      let scalar = isPrintable ? byte : next
      next += isPrintable ? 0 : 1
      vocabulary[String(Unicode.Scalar(scalar)!)] = Int(byte)
    }
    let added = markers.enumerated().map { index, text -> [String: Any] in
      [
        "id": 256 + index, "content": text, "special": true, "normalized": false,
        "lstrip": false, "rstrip": false, "single_word": false,
      ]
    }
    let byteLevel: [String: Any] = [
      "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false,
    ]
    let document: [String: Any] = [
      "version": "1.0", "added_tokens": added, "pre_tokenizer": byteLevel, "decoder": byteLevel,
      "model": ["type": "BPE", "vocab": vocabulary, "merges": [String]()] as [String: Any],
    ]
    let path = "\(folder.path)/tokenizer.json"
    try JSONSerialization.data(withJSONObject: document).write(to: URL(fileURLWithPath: path))
    return try Tokenizer(path: path)
  }

  private func write(_ text: String, _ name: String, in folder: ScratchFolder) throws -> String {
    let path = "\(folder.path)/\(name)"
    try Data(text.utf8).write(to: URL(fileURLWithPath: path))
    return path
  }

  @Test func conversationsBecomeTokensWithLossOnTheAnswerAndItsStopToken() throws {
    let folder = try ScratchFolder()
    let path = try write(
      """
      {"messages": [{"role": "user", "content": "2+3?"}, {"role": "assistant", "content": "5"}]}
      {"messages": [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}]}

      """, "chat.jsonl", in: folder)
    let tokenizer = try makeTokenizer(in: folder)
    let store = TokenCacheStore(folder: "\(folder.path)/cache")
    let options = TokenizingOptions(sequenceLength: 211, modelVocabularySize: 259)
    func open() throws -> TokenCacheResult {
      try store.openOrBuild(
        source: RecordSource(paths: [path]), tokenizer: tokenizer,
        template: ChatTemplate.named("qwen3-2507"), options: options, threadCount: 2)
    }
    let result = try open()
    #expect(result.isNew)
    #expect(result.cache.count == 2)
    let (tokens, labels) = result.cache.tokensAndLabels(at: 0)
    #expect(
      try tokenizer.decode(tokens)
        == "<|im_start|>user\n2+3?<|im_end|>\n<|im_start|>assistant\n5<|im_end|>\n")
    #expect(try tokenizer.decode(labels.filter { $0 != -100 }) == "5<|im_end|>")
    #expect(result.cache.origin(at: 1) == SampleOrigin(file: path, line: 2))
    #expect(try !open().isNew)
    // Other contents under the same name are other data.
    _ = try write(
      """
      {"messages": [{"role": "user", "content": "2+4?"}, {"role": "assistant", "content": "6"}]}

      """, "chat.jsonl", in: folder)
    #expect(try open().isNew)
  }

  @Test func samplesOfFilesWhoseNamesDifferInFormNameTheirOwnFile() throws {
    let folder = try ScratchFolder()
    let names = ["caf\u{E9}.jsonl", "cafe\u{301}.jsonl"]
    let paths = try names.map { try write("{\"text\": \"\($0)\"}\n", $0, in: folder) }
    let cache = try TokenCacheStore(folder: "\(folder.path)/cache").openOrBuild(
      source: RecordSource(paths: paths, format: .text), tokenizer: makeTokenizer(in: folder),
      template: nil, options: TokenizingOptions(), threadCount: 2
    ).cache
    #expect(cache.count == 2)
    for (index, path) in paths.enumerated() {
      #expect(Array((cache.origin(at: index)?.file ?? "").utf8) == Array(path.utf8))
      #expect(cache.tokensAndLabels(at: index).tokens == names[index].utf8.map(Int32.init))
    }
  }

  @Test func conversationsNeedTheMarksOfTheirTemplateAsTokens() throws {
    let folder = try ScratchFolder()
    let chat = try write(
      """
      {"messages": [{"role": "user", "content": "2+3?"}, {"role": "assistant", "content": "5"}]}

      """, "chat.jsonl", in: folder)
    let text = try write("{\"text\": \"abc\"}\n", "text.jsonl", in: folder)
    let tokenizer = try makeTokenizer(in: folder, markers: ["<|im_start|>"])
    let template = try ChatTemplate.named("chatml")
    let store = TokenCacheStore(folder: "\(folder.path)/cache")
    func open(_ path: String) throws -> TokenCacheResult {
      try store.openOrBuild(
        source: RecordSource(paths: [path]), tokenizer: tokenizer, template: template,
        options: TokenizingOptions(onError: .skip), threadCount: 2)
    }
    let error = #expect(throws: TokenizingError.self) { try open(chat) }
    #expect(error?.code == .missingMarks)
    #expect(error?.message.contains("\(chat):1: ") == true)
    #expect(error?.message.contains("<|im_end|>, which is no token") == true)
    #expect(try open(text).cache.count == 1)
  }

  @Test func keysThatNothingReadsAreToldFromTheCacheToo() throws {
    let folder = try ScratchFolder()
    let path = try write("{\"text\": \"abc\", \"quality\": 1}\n", "text.jsonl", in: folder)
    let tokenizer = try makeTokenizer(in: folder)
    let store = TokenCacheStore(folder: "\(folder.path)/cache")
    for isNew in [true, false] {
      let result = try store.openOrBuild(
        source: RecordSource(paths: [path]), tokenizer: tokenizer, template: nil,
        options: TokenizingOptions(), threadCount: 1)
      #expect(result.isNew == isNew)
      #expect(result.cache.unusedKeys == ["quality"])
    }
  }

  @Test func aConversationWithoutATemplateSaysWhyThereIsNone() throws {
    let folder = try ScratchFolder()
    let line = "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}\n"
    let path = try write(line, "chat.jsonl", in: folder)
    let error = #expect(throws: TokenizingError.self) {
      try TokenCacheStore(folder: "\(folder.path)/cache").openOrBuild(
        source: RecordSource(paths: [path]), tokenizer: makeTokenizer(in: folder), template: nil,
        templateAdvice: "F is of no family known here; name one of a, b",
        options: TokenizingOptions(), threadCount: 1)
    }
    #expect(error?.code == .noTemplate)
    #expect(
      error?.description
        == "\(path):1: a conversation needs a chat template: F is of no family known here; name one "
        + "of a, b")
  }

  @Test func brokenLinesStopWithTheirPlaceOrAreCounted() throws {
    let folder = try ScratchFolder()
    let path = try write(
      "{\"text\": \"abc\"}\n{\"text\": \"abc\n{\"text\": \"defg\"}\n", "text.jsonl", in: folder)
    let tokenizer = try makeTokenizer(in: folder)
    let store = TokenCacheStore(folder: "\(folder.path)/cache")
    func open(_ policy: ErrorPolicy) throws -> TokenCacheResult {
      try store.openOrBuild(
        source: RecordSource(paths: [path], format: .text), tokenizer: tokenizer, template: nil,
        options: TokenizingOptions(endOfDocumentToken: 256, onError: policy), threadCount: 2)
    }
    let error = #expect(throws: DataReadError.self) { try open(.stop) }
    #expect(error?.line == 2)
    let cache = try open(.skip).cache
    #expect(cache.count == 2)
    #expect(cache.counts.unreadable == 1)
    #expect(cache.tokensAndLabels(at: 1).tokens == [100, 101, 102, 103, 256])
    // The count is kept with the cache.
    #expect(try open(.skip).cache.counts.unreadable == 1)
  }
}
